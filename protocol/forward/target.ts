// Where a stream leads, and where the guest is to listen: in words of the protocol, as bytes. docs/protocol.md §8.10

import { type Reader, concat, lv16, u16, u32, u8, utf8 } from "../bytes.ts";
import { MAX_FORWARD_HOST, MAX_SERVICE_NAME, MAX_UNIX_PATH } from "../limits.ts";

/** A place in the guest, or as the guest sees it: names are looked up there. */
export type StreamPlace =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  /** An absolute path, opened with the user's own rights. */
  | { readonly kind: "unix"; readonly path: string }
  /** A name of the guest's configuration. `ssh` is always one. */
  | { readonly kind: "service"; readonly name: string };

export type StreamTarget =
  | StreamPlace
  /** What came to a listener: INCOMING said its number. */
  | { readonly kind: "incoming"; readonly incoming: number };

/** Where the guest listens for the client. */
export type ListenPlace =
  /** `localhost`, `*`, or an address of the guest's. Port 0: the guest chooses. */
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

const TARGETS = ["tcp", "unix", "service", "incoming"] as const;

/** Names, IPv4 and IPv6 addresses, with a zone perhaps. */
export function isForwardHost(text: string): boolean {
  return text.length <= MAX_FORWARD_HOST && /^[A-Za-z0-9_:.-]+(?:%[A-Za-z0-9_.-]+)?$/.test(text);
}

export function isUnixPath(text: string): boolean {
  return text.startsWith("/") && !text.includes("\0") && utf8(text).length <= MAX_UNIX_PATH;
}

export function isServiceName(text: string): boolean {
  return text.length <= MAX_SERVICE_NAME && /^[a-z][a-z0-9-]*$/.test(text);
}

export function targetBody(target: StreamTarget): Uint8Array {
  const kind = u8(TARGETS.indexOf(target.kind));
  switch (target.kind) {
    case "tcp":
      return concat(kind, lv16(utf8(target.host)), u16(target.port));
    case "unix":
      return concat(kind, lv16(utf8(target.path)));
    case "service":
      return concat(kind, lv16(utf8(target.name)));
    case "incoming":
      return concat(kind, u32(target.incoming));
  }
}

/** @throws SealttyError `peer-misbehaved`. */
export function readTarget(reader: Reader): StreamTarget {
  const kind = TARGETS[reader.u8()] ?? reader.fail("names an unknown kind of target");
  switch (kind) {
    case "tcp": {
      const host = readHost(reader);
      const port = reader.u16();
      if (port === 0) reader.fail("names port 0");
      return { kind, host, port };
    }
    case "unix":
      return { kind, path: readPath(reader) };
    case "service": {
      const name = reader.text16(MAX_SERVICE_NAME);
      if (!isServiceName(name)) reader.fail("has a malformed service name");
      return { kind, name };
    }
    case "incoming":
      return { kind, incoming: reader.u32() };
  }
}

export function listenBody(place: ListenPlace): Uint8Array {
  return targetBody(place);
}

/** @throws SealttyError `peer-misbehaved`. */
export function readListenPlace(reader: Reader): ListenPlace {
  const kind = TARGETS[reader.u8()];
  if (kind === "unix") return { kind, path: readPath(reader) };
  if (kind !== "tcp") reader.fail("names an unknown kind of place to listen on");
  const host = reader.text16(MAX_FORWARD_HOST);
  if (host !== "*" && !isForwardHost(host)) reader.fail("has a malformed host");
  return { kind, host, port: reader.u16() };
}

function readHost(reader: Reader): string {
  const host = reader.text16(MAX_FORWARD_HOST);
  if (!isForwardHost(host)) reader.fail("has a malformed host");
  return host;
}

function readPath(reader: Reader): string {
  const path = reader.text16(MAX_UNIX_PATH);
  if (!isUnixPath(path)) reader.fail("has a malformed path");
  return path;
}

/** For people: `127.0.0.1:22`, `[::1]:22`, `unix:/path`, `ssh`. */
export function placeWords(place: StreamPlace | ListenPlace): string {
  if (place.kind === "unix") return `unix:${place.path}`;
  if (place.kind === "service") return place.name;
  return `${place.host.includes(":") ? `[${place.host}]` : place.host}:${place.port}`;
}

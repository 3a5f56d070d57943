// -L, -R and -D as ssh(1) has them.

import { isIP } from "node:net";
import { type ListenPlace, isForwardHost, isUnixPath } from "../../protocol/forward/target.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { PeerPlace } from "../../protocol/api/places.ts";
import type { Input } from "../options.ts";

export type ForwardSpec =
  /** Listens here, connects there. */
  | { readonly kind: "local"; readonly listen: ListenPlace; readonly to: PeerPlace }
  /** Listens there, connects here; without `to` a SOCKS proxy. */
  | { readonly kind: "remote"; readonly listen: ListenPlace; readonly to: PeerPlace | undefined }
  /** Listens here: a SOCKS proxy, which connects there. */
  | { readonly kind: "dynamic"; readonly listen: ListenPlace };

export const FORWARD_OPTIONS = [
  {
    name: "local",
    short: "L",
    value: "[BIND:]PORT:HOST:PORT",
    help: "listen here, connect from the guest; either side may be a socket's path",
  },
  {
    name: "remote",
    short: "R",
    value: "[BIND:]PORT:HOST:PORT",
    help: "listen in the guest, connect from here; without HOST:PORT a SOCKS proxy",
  },
  {
    name: "dynamic",
    short: "D",
    value: "[BIND:]PORT",
    help: "listen here as a SOCKS proxy (5, 4, 4a), connect from the guest",
  },
] as const;

/** @throws SealttyError `bad-config` on one that is malformed. */
export function forwardSpecs(input: Pick<Input, "texts">): ForwardSpec[] {
  return [
    ...input.texts("local").map(localSpec),
    ...input.texts("remote").map(remoteSpec),
    ...input.texts("dynamic").map(dynamicSpec),
  ];
}

export function localSpec(text: string): ForwardSpec {
  const { listen, to } = parsed(text, "L");
  if (to === undefined) throw malformed("L", text);
  return { kind: "local", listen, to };
}

export function remoteSpec(text: string): ForwardSpec {
  return { kind: "remote", ...parsed(text, "R") };
}

export function dynamicSpec(text: string): ForwardSpec {
  const { listen, to } = parsed(text, "D");
  if (to !== undefined || listen.kind !== "tcp") throw malformed("D", text);
  return { kind: "dynamic", listen };
}

/** `HOST:PORT`, `[ADDRESS]:PORT`, `unix:PATH` or a path. @returns undefined where it is none of these. */
export function peerPlace(text: string): PeerPlace | undefined {
  const path = text.startsWith("unix:") ? text.slice("unix:".length) : text;
  if (isUnixPath(path)) return { kind: "unix", path };
  const fields = fieldsOf(text);
  if (fields === undefined || fields.length !== 2) return undefined;
  return tcpOf(fields[0] ?? "", fields[1] ?? "");
}

function parsed(text: string, option: string): { listen: ListenPlace; to: PeerPlace | undefined } {
  const fields = fieldsOf(text);
  const bad = (): SealttyError => malformed(option, text);
  if (fields === undefined) throw bad();
  const { to, rest } = targetOf(fields);
  const listen = listenOf(rest);
  if (listen === undefined) throw bad();
  return { listen, to };
}

/** The last one or two fields, where they are a place to connect to. */
function targetOf(fields: readonly string[]): { to: PeerPlace | undefined; rest: readonly string[] } {
  const last = fields.at(-1) ?? "";
  if (fields.length >= 2 && isUnixPath(last))
    return { to: { kind: "unix", path: last }, rest: fields.slice(0, -1) };
  if (fields.length < 3) return { to: undefined, rest: fields };
  const to = tcpOf(fields.at(-2) ?? "", last);
  return { to, rest: to === undefined ? fields : fields.slice(0, -2) };
}

function listenOf(fields: readonly string[]): ListenPlace | undefined {
  const [first = "", second] = fields;
  if (fields.length === 1) {
    if (isUnixPath(first)) return { kind: "unix", path: first };
    const port = portOf(first, 0);
    return port === undefined ? undefined : { kind: "tcp", host: "localhost", port };
  }
  const port = second === undefined || fields.length !== 2 ? undefined : portOf(second, 0);
  if (port === undefined) return undefined;
  // As ssh has it: an empty address is every one.
  const host = first === "" || first === "*" ? "*" : first;
  return host === "*" || isForwardHost(host) ? { kind: "tcp", host, port } : undefined;
}

function tcpOf(host: string, text: string): PeerPlace | undefined {
  const port = portOf(text, 1);
  return port === undefined || !isForwardHost(host) ? undefined : { kind: "tcp", host, port };
}

function portOf(text: string, least: number): number | undefined {
  const port = Number(text);
  return /^[0-9]{1,5}$/.test(text) && port >= least && port <= 65_535 ? port : undefined;
}

/** Parted at colons outside of brackets, which go. @returns undefined where the brackets do not hold an IPv6 address. */
function fieldsOf(text: string): string[] | undefined {
  const fields: string[] = [];
  let rest = text;
  for (;;) {
    const bracketed = /^\[([^\]]*)\](?=:|$)/.exec(rest);
    const field = bracketed?.[0] ?? /^[^:]*/.exec(rest)?.[0] ?? "";
    if (bracketed === null ? /[[\]]/.test(field) : isIP(bracketed[1] ?? "") !== 6) return undefined;
    fields.push(bracketed?.[1] ?? field);
    if (field.length === rest.length) return fields;
    rest = rest.slice(field.length + 1);
  }
}

function malformed(option: string, text: string): SealttyError {
  const form =
    option === "D"
      ? "[BIND:]PORT"
      : "[BIND:]PORT:HOST:PORT, with absolute paths of sockets on either side, of 107 bytes at most";
  return new SealttyError("bad-config", `-${option} takes ${form}; not ${JSON.stringify(text)}`);
}

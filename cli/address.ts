// GUEST on the command line: which pipe leads to it.

import type { RfbPlace } from "../node/rfb.ts";
import { SealttyError } from "../protocol/errors.ts";
import { MAX_ADDRESS } from "../protocol/limits.ts";
import { utf8 } from "../protocol/bytes.ts";
import { printable } from "./printable.ts";

export type GuestAddress =
  | { readonly kind: "web-socket"; readonly text: string; readonly url: string; readonly secure: boolean }
  | { readonly kind: "tcp"; readonly text: string; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly text: string; readonly path: string }
  | { readonly kind: "tty"; readonly text: string; readonly path: string }
  | { readonly kind: "vsock"; readonly text: string; readonly path: string; readonly port: number }
  | {
      readonly kind: "proxmox";
      readonly text: string;
      /** HOST:PORT, for a URL. */
      readonly authority: string;
      readonly node: string;
      readonly vmid: number;
      readonly serial: string;
    }
  | { readonly kind: "kubevirt"; readonly text: string; readonly namespace: string; readonly name: string }
  /** `url`: the serial proxy's, without its token; else `server`, whose console Nova's API opens. */
  | { readonly kind: "nova"; readonly text: string; readonly url: string; readonly server?: undefined }
  | { readonly kind: "nova"; readonly text: string; readonly url?: undefined; readonly server: string }
  | { readonly kind: "incus"; readonly text: string; readonly project: string; readonly instance: string }
  /** The guest's screen and keys, at the VNC server that is there. */
  | { readonly kind: "vnc"; readonly text: string; readonly place: RfbPlace };

const FORMS =
  "ws://HOST:PORT/  wss://HOST/…  tcp:HOST:PORT  unix:PATH  tty:PATH  vsock+unix:PATH:PORT  vnc+unix:PATH  vnc+tcp:HOST:PORT  vnc+ws://HOST:PORT/  and, in docs/hosts.md, proxmox:  kubevirt:  nova:  incus:";
const PROXMOX_PORT = 8006;
/** All ones is "any port". */
const MAX_VSOCK_PORT = 2 ** 32 - 2;

/** @throws SealttyError `bad-config` with the forms that work. */
export function parseAddress(text: string): GuestAddress {
  if (utf8(text).length > MAX_ADDRESS) throw refused(text, `is longer than ${MAX_ADDRESS} bytes`);
  if (text !== printable(text, MAX_ADDRESS)) throw refused(text, "holds characters that do not print");
  if (/^wss?:\/\//i.test(text)) return parseWebSocket(text);
  if (text.startsWith("tcp:")) return parseTcp(text);
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (path === "") throw refused(text, "names no socket");
    return { kind: "unix", text, path };
  }
  if (text.startsWith("tty:")) {
    const path = text.slice("tty:".length);
    if (!path.startsWith("/")) throw refused(text, "must name a device by its full path");
    return { kind: "tty", text, path };
  }
  if (text.startsWith("vsock+unix:")) return parseVsock(text);
  if (text.startsWith("proxmox:")) return parseProxmox(text);
  if (text.startsWith("kubevirt:")) return parseKubevirt(text);
  if (text.startsWith("nova:")) return parseNova(text);
  if (text.startsWith("incus:")) return parseIncus(text);
  if (/^vnc(?:\+|:)/i.test(text)) return parseVnc(text);
  const [, user, guest] = /^([^@:/\s]+)@([^@\s]+)$/.exec(text) ?? [];
  if (user !== undefined)
    throw refused(text, `is no guest address: the user goes with -l, as in -l ${user} ${guest}`);
  throw refused(text, "is no guest address");
}

function parseWebSocket(text: string): GuestAddress {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw refused(text, "is not a well-formed URL");
  }
  if (url.username !== "" || url.password !== "") {
    throw refused(text, "holds a user name or password, which the address bar and logs would show");
  }
  if (url.hash !== "") throw refused(text, "holds a #fragment, which no web socket can carry");
  return { kind: "web-socket", text, url: url.href, secure: url.protocol === "wss:" };
}

function parseTcp(text: string): GuestAddress {
  const match = /^tcp:(?:\[([0-9a-fA-F:.%a-z]+)\]|([^:[\]\s/]+)):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined) throw refused(text, "is not tcp:HOST:PORT (an IPv6 address goes in brackets)");
  if (port < 1 || port > 65535) throw refused(text, "names a port outside 1 to 65535");
  return { kind: "tcp", text, host, port };
}

function parseVsock(text: string): GuestAddress {
  const match = /^vsock\+unix:(.+):([0-9]{1,10})$/.exec(text);
  const path = match?.[1];
  const port = Number(match?.[2]);
  if (path === undefined) throw refused(text, "is not vsock+unix:PATH:PORT");
  if (port > MAX_VSOCK_PORT) throw refused(text, `names a vsock port above ${MAX_VSOCK_PORT}`);
  return { kind: "vsock", text, path, port };
}

function parseVnc(text: string): GuestAddress {
  const address = text.startsWith("vnc+") ? inner(text) : undefined;
  switch (address?.kind) {
    case "unix":
      return { kind: "vnc", text, place: { kind: "unix", path: address.path } };
    case "tcp":
      return { kind: "vnc", text, place: { kind: "tcp", host: address.host, port: address.port } };
    case "web-socket":
      return { kind: "vnc", text, place: { kind: "web-socket", url: address.url } };
    default:
      throw refused(text, "is not vnc+unix:PATH, vnc+tcp:HOST:PORT or vnc+ws://HOST:PORT/ (or vnc+wss:)");
  }
}

/** What is behind "vnc+". @throws SealttyError `bad-config`, naming all of it. */
function inner(text: string): GuestAddress | undefined {
  const rest = text.slice("vnc+".length);
  if (!/^(?:unix:|tcp:|wss?:\/\/)/i.test(rest)) return undefined;
  try {
    return parseAddress(rest);
  } catch (cause) {
    if (!(cause instanceof SealttyError)) throw cause;
    throw new SealttyError("bad-config", `${JSON.stringify(text)}: ${cause.message}`, { cause });
  }
}

function parseProxmox(text: string): GuestAddress {
  const match =
    /^proxmox:(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?\/([A-Za-z0-9](?:[A-Za-z0-9-]{0,62}))\/([1-9][0-9]{2,8})(?:\/(serial[0-3]))?$/.exec(
      text,
    );
  const [, host, port = String(PROXMOX_PORT), node, vmid, serial = "serial0"] = match ?? [];
  if (host === undefined || node === undefined) {
    throw refused(
      text,
      "is not proxmox:HOST/NODE/NUMBER (or HOST:PORT, and /serial1 behind it); NUMBER is 100 or more",
    );
  }
  if (Number(port) < 1 || Number(port) > 65535) throw refused(text, "names a port outside 1 to 65535");
  return { kind: "proxmox", text, authority: `${host}:${Number(port)}`, node, vmid: Number(vmid), serial };
}

function parseKubevirt(text: string): GuestAddress {
  const match =
    /^kubevirt:([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)\/([a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?)$/.exec(text);
  const [, namespace, name] = match ?? [];
  if (namespace === undefined || name === undefined || name.includes("..")) {
    throw refused(text, "is not kubevirt:NAMESPACE/NAME, both in lower case");
  }
  return { kind: "kubevirt", text, namespace, name };
}

function parseNova(text: string): GuestAddress {
  const target = text.slice("nova:".length);
  if (/^[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}$/.test(target)) {
    return { kind: "nova", text, server: target };
  }
  if (!/^wss?:\/\//i.test(target)) {
    throw refused(
      text,
      "is neither nova:SERVER-ID nor nova:wss://HOST:PORT/; SERVER-ID is a UUID (openstack server list)",
    );
  }
  const address = parseWebSocket(target);
  if (address.kind !== "web-socket" || new URL(address.url).search !== "") {
    throw refused(
      text.replace(/\?.*$/s, "?…"), // once more is once too often
      "holds a token or query, which other users of this machine can see; see docs/hosts.md",
    );
  }
  return { kind: "nova", text, url: address.url };
}

function parseIncus(text: string): GuestAddress {
  const match = /^incus:(?:([A-Za-z0-9][\w.-]{0,62})\/)?([A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)$/.exec(
    text,
  );
  const [, project = "default", instance] = match ?? [];
  if (instance === undefined) throw refused(text, "is not incus:INSTANCE or incus:PROJECT/INSTANCE");
  return { kind: "incus", text, project, instance };
}

function refused(text: string, problem: string): SealttyError {
  return new SealttyError(
    "bad-config",
    `"${printable(text, 120)}" ${problem}. An address is one of: ${FORMS}`,
  );
}

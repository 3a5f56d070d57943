// GUEST on the command line: which pipe leads to it.

import { SealttyError } from "../protocol/errors.ts";
import { MAX_ADDRESS } from "../protocol/limits.ts";
import { utf8 } from "../protocol/bytes.ts";
import { printable } from "./printable.ts";

export type GuestAddress =
  | { readonly kind: "web-socket"; readonly text: string; readonly url: string; readonly secure: boolean }
  | { readonly kind: "tcp"; readonly text: string; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly text: string; readonly path: string }
  | { readonly kind: "tty"; readonly text: string; readonly path: string };

const FORMS = "ws://HOST:PORT/  wss://HOST/…  tcp:HOST:PORT  unix:PATH  tty:PATH";
const LATER = ["vnc+ws:", "vnc+wss:", "vnc+tcp:", "vnc+unix:", "vnc:", "kubevirt:", "proxmox:", "nova:"];

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
  const later = LATER.find((scheme) => text.toLowerCase().startsWith(scheme));
  if (later !== undefined) throw refused(text, `is not in this version ("${later}" addresses come later)`);
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

function refused(text: string, problem: string): SealttyError {
  return new SealttyError(
    "bad-config",
    `"${printable(text, 120)}" ${problem}. An address is one of: ${FORMS}`,
  );
}

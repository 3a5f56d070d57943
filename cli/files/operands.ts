// What stands on cp's command line: which of it is a guest's, and which this machine's. docs/files.md has the rules.

import { SealttyError } from "../../protocol/errors.ts";
import { MAX_FILES_PATH } from "../../protocol/limits.ts";
import { printable } from "../printable.ts";

export interface GuestPath {
  readonly kind: "guest";
  /** An address, or a name that stands for one. */
  readonly guest: string;
  /** In place of -l. */
  readonly user: string | undefined;
  readonly path: string;
}
export type Operand =
  | { readonly kind: "stdio" }
  | { readonly kind: "local"; readonly path: string }
  | GuestPath;

/** Names of guests, which are never taken for addresses: those have a colon. */
const NAMED = /^(?:([A-Za-z0-9_.][A-Za-z0-9_.-]*)@)?([A-Za-z0-9][A-Za-z0-9._-]{0,62}):(.*)$/s;
const SCHEMES = /^(?:wss?|unix|tcp|tty|vsock\+unix|proxmox|kubevirt|nova|incus|vnc(?:\+[a-z]+)?):/i;

/** @param guest - of --guest. @throws SealttyError `bad-config`. */
export function parseOperand(text: string, guest: string | undefined): Operand {
  if (text === "-") return { kind: "stdio" };
  if (text === "") throw refused(text, "is empty; the current directory is .");
  if (text.includes("\0")) throw refused(text, "holds a NUL, which no path can");
  const bracketed = inBrackets(text);
  if (bracketed !== undefined) return guestPath(text, bracketed.address, undefined, bracketed.path);
  if (text.startsWith(":")) {
    if (guest === undefined)
      throw refused(text, "is a path in the guest of --guest ADDRESS, which was not given");
    return guestPath(text, guest, undefined, text.slice(1));
  }
  const colon = text.indexOf(":");
  const slash = text.indexOf("/");
  if (SCHEMES.test(text)) {
    throw refused(
      text,
      "begins as an address does, and where that ends nobody can say; write [ADDRESS]:PATH, or :PATH with --guest ADDRESS",
    );
  }
  if (colon < 0 || (slash >= 0 && slash < colon)) return { kind: "local", path: text };
  const [, user, name, path] = NAMED.exec(text) ?? [];
  if (name === undefined || path === undefined)
    throw refused(
      text,
      "is neither GUEST:PATH nor a path here; of a file whose name has a colon write ./NAME",
    );
  return guestPath(text, name, user, path);
}

function guestPath(text: string, guest: string, user: string | undefined, path: string): GuestPath {
  if (Buffer.byteLength(path) > MAX_FILES_PATH)
    throw refused(text, `has a path of more than ${MAX_FILES_PATH} bytes`);
  return { kind: "guest", guest, user, path };
}

/** "[ADDRESS]:PATH"; the address may hold brackets in pairs, as IPv6 in tcp:[::1]:7000 does. */
function inBrackets(text: string): { readonly address: string; readonly path: string } | undefined {
  if (!text.startsWith("[")) return undefined;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "[") depth++;
    else if (text[at] === "]") depth--;
    if (depth > 0) continue;
    if (text[at + 1] !== ":" || at === 1) return undefined;
    return { address: text.slice(1, at), path: text.slice(at + 2) };
  }
  return undefined;
}

function refused(text: string, problem: string): SealttyError {
  return new SealttyError("bad-config", `"${printable(text, 120)}" ${problem}`);
}

// authorized_keys (sshd(8)): plain ssh-ed25519 lines are taken, every other line is refused whole and reported.

import { utf8 } from "../bytes.ts";
import { decodeBase64 } from "./base64.ts";
import { decodeEd25519Key, SSH_ED25519 } from "./ssh-wire.ts";

export interface AuthorizedKey {
  readonly keyType: typeof SSH_ED25519;
  /** SSH wire format, 51 bytes. */
  readonly blob: Uint8Array;
  readonly comment: string;
  /** Counted from 1. */
  readonly line: number;
}

export interface AuthorizedKeys {
  readonly keys: readonly AuthorizedKey[];
  /** For the server's log; `reason` is fixed words, never text of the file. */
  readonly refusedLines: readonly { readonly line: number; readonly reason: string }[];
}

export const MAX_AUTHORIZED_KEYS_LINE = 8192;

const OTHER_KEY_TYPES: ReadonlySet<string> = new Set(
  ["ssh-rsa", "ssh-dss", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"].concat(
    ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"],
    ["ssh-ed25519-cert-v01@openssh.com", "ssh-rsa-cert-v01@openssh.com"],
    ["sk-ssh-ed25519-cert-v01@openssh.com", "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com"],
    ["ecdsa-sha2-nistp256-cert-v01@openssh.com", "ecdsa-sha2-nistp384-cert-v01@openssh.com"],
    ["ecdsa-sha2-nistp521-cert-v01@openssh.com", "ssh-mldsa44-ed25519@openssh.com"],
  ),
);

/** Never throws: a line that is not understood in full grants nothing. */
export function parseAuthorizedKeys(text: string): AuthorizedKeys {
  const keys: AuthorizedKey[] = [];
  const refusedLines: { line: number; reason: string }[] = [];
  for (const [index, raw] of text.split("\n").entries()) {
    const found = parseLine(raw);
    if (found === undefined) continue;
    if (typeof found === "string") refusedLines.push({ line: index + 1, reason: found });
    else keys.push({ ...found, line: index + 1 });
  }
  return { keys, refusedLines };
}

/** @returns a key, the reason of a refusal, or undefined for a line that says nothing. */
function parseLine(raw: string): Omit<AuthorizedKey, "line"> | string | undefined {
  if (raw.length > MAX_AUTHORIZED_KEYS_LINE || utf8(raw).length > MAX_AUTHORIZED_KEYS_LINE) {
    return "longer than 8 KiB";
  }
  const line = raw.replace(/^[ \t]+/, "").trimEnd();
  if (line === "" || line.startsWith("#")) return undefined;
  const [type, rest] = splitAt(line, line.search(/[ \t]/));
  if (OTHER_KEY_TYPES.has(type)) return "this version accepts only ssh-ed25519 keys";
  if (type !== SSH_ED25519) {
    const [, afterOptions] = splitAt(line, endOfOptions(line));
    const [next] = splitAt(afterOptions, afterOptions.search(/[ \t]/));
    const isKey = next === SSH_ED25519 || OTHER_KEY_TYPES.has(next);
    return isKey ? "it has options, and this version understands none" : "not a public key line";
  }
  const [base64, comment] = splitAt(rest, rest.search(/[ \t]/));
  const blob = decodeBase64(base64);
  if (blob === undefined || !isEd25519Key(blob)) return "the key is malformed";
  return { keyType: SSH_ED25519, blob, comment };
}

/** Cuts at a blank; without one (-1) all is the first part. */
function splitAt(text: string, blank: number): readonly [string, string] {
  return blank < 0 ? [text, ""] : [text.slice(0, blank), text.slice(blank).replace(/^[ \t]+/, "")];
}

/** The first blank outside double quotes, in which a backslash protects a quote; -1 without one. */
function endOfOptions(line: string): number {
  let quoted = false;
  for (let i = 0; i < line.length; i++) {
    const character = line.charAt(i);
    if (quoted && character === "\\" && line.charAt(i + 1) === '"') i++;
    else if (character === '"') quoted = !quoted;
    else if (!quoted && (character === " " || character === "\t")) return i;
  }
  return -1;
}

function isEd25519Key(blob: Uint8Array): boolean {
  try {
    decodeEd25519Key(blob);
    return true;
  } catch {
    return false;
  }
}

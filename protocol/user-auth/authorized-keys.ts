// authorized_keys (sshd(8)), whole: a line whose key and options are all understood counts, every other one is refused whole
// and reported.

import { utf8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { decodeBase64 } from "./base64.ts";
import { certifiedType } from "./certificate.ts";
import { type KeyOptions, NO_OPTIONS, parseKeyOptions } from "./key-options.ts";
import { decodePublicKey, isKeyType, type KeyType, typeOf } from "./public-key.ts";

export interface AuthorizedKey {
  readonly keyType: KeyType;
  /** SSH wire format. */
  readonly blob: Uint8Array;
  readonly options: KeyOptions;
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
  if (line.includes("\0")) return "it has a zero byte"; // no argument of a program could have it
  const [first] = splitAt(line, line.search(/[ \t]/));
  if (isKey(first)) return keyOf(line, NO_OPTIONS);
  const [optionText, key] = splitAt(line, endOfOptions(line));
  const [type] = splitAt(key, key.search(/[ \t]/));
  if (!isKey(type)) return "not a public key line";
  const options = parseKeyOptions(optionText);
  return typeof options === "string" ? options : keyOf(key, options);
}

/** @param text - type, base64, and a comment. */
function keyOf(text: string, options: KeyOptions): Omit<AuthorizedKey, "line"> | string {
  const [type, rest] = splitAt(text, text.search(/[ \t]/));
  if (!isKeyType(type)) return whyNot(type);
  const [base64, comment] = splitAt(rest, rest.search(/[ \t]/));
  const blob = decodeBase64(base64);
  const problem = blob === undefined ? MALFORMED : problemOf(blob, type);
  if (blob === undefined || problem !== undefined) return problem ?? MALFORMED;
  return { keyType: type, blob, options, comment };
}

const MALFORMED = "the key is malformed";

function isKey(type: string): boolean {
  return isKeyType(type) || REFUSED_TYPES.has(type) || certifiedType(type) !== undefined;
}

const REFUSED_TYPES: ReadonlySet<string> = new Set(["ssh-dss", "ssh-mldsa44-ed25519@openssh.com"]);

function whyNot(type: string): string {
  return REFUSED_TYPES.has(type)
    ? "keys of this type are not accepted"
    : "it is a certificate; name the key that signs them, with cert-authority in front";
}

function problemOf(blob: Uint8Array, type: KeyType): string | undefined {
  try {
    return typeOf(decodePublicKey(blob)) === type ? undefined : MALFORMED;
  } catch (error) {
    const short = error instanceof SealttyError && error.message.endsWith("less than 2048 bits");
    return short ? "the RSA key has less than 2048 bits" : MALFORMED;
  }
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

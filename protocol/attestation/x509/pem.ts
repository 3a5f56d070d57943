// Textual encoding of certificates, strictly: nothing between the blocks, canonical base64 in them. RFC 7468

import { SealttyError } from "../../errors.ts";
import { decodeBase64 } from "../../user-auth/base64.ts";

/** Certificates that one text may hold. */
const MAX_PEM_CERTIFICATES = 16;
/** Bytes of the whole text. */
export const MAX_PEM_TEXT = 64 * 1024;

const BLOCK = /-----BEGIN CERTIFICATE-----\r?\n((?:[A-Za-z0-9+/=]{1,76}\r?\n)+)-----END CERTIFICATE-----/y;
const SPACE = /[ \t\r\n]*/y;

/**
 * @param text - at most 64 KiB: CERTIFICATE blocks with white space between them; zero bytes may follow the last (Intel's
 * quotes have one). @returns the DER of 1 to 16 certificates, not parsed. @throws SealttyError `peer-misbehaved`.
 */
export function pemCertificates(text: Uint8Array): Uint8Array[] {
  if (text.length > MAX_PEM_TEXT) fail("are longer than 64 KiB");
  const ascii = asciiText(text);
  const found: Uint8Array[] = [];
  let at = skipSpace(ascii, 0);
  while (at < ascii.length) {
    if (found.length >= MAX_PEM_CERTIFICATES) fail("are too many");
    BLOCK.lastIndex = at;
    const body = BLOCK.exec(ascii)?.[1];
    if (body === undefined) return fail("have something else than certificate blocks");
    found.push(decodeBase64(body.replace(/[\r\n]/g, "")) ?? fail("have base64 that is malformed"));
    at = skipSpace(ascii, BLOCK.lastIndex);
  }
  if (found.length === 0) fail("are none");
  return found;
}

function skipSpace(text: string, at: number): number {
  SPACE.lastIndex = at;
  SPACE.exec(text);
  return SPACE.lastIndex;
}

/** The text without the zero bytes at its end. */
function asciiText(bytes: Uint8Array): string {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  let text = "";
  for (const byte of bytes.subarray(0, end)) {
    if (byte === 0 || byte > 0x7e) fail("have a byte that is not ASCII");
    text += String.fromCharCode(byte);
  }
  return text;
}

function fail(problem: string): never {
  throw new SealttyError("peer-misbehaved", `Certificates in PEM ${problem}`);
}

// A public key as people meet it: the line for authorized_keys, and the fingerprint of ssh-keygen -l.

import { encodeBase64 } from "./base64.ts";
import { keyTypeOf } from "./ssh-wire.ts";

/** As ssh-keygen -l has it. @param digest - SHA-256 of the plain key in SSH wire format. */
export function fingerprintOf(digest: Uint8Array): string {
  return `SHA256:${encodeBase64(digest).replace(/=+$/, "")}`;
}

/** @param blob - SSH wire format. @param comment - one line of plain text. */
export function authorizedKeysLine(blob: Uint8Array, comment: string): string {
  return `${keyTypeOf(blob) ?? ""} ${encodeBase64(blob)} ${comment}`;
}

// Node's hashes by name: images are hundreds of megabytes, and nothing here runs in a browser.

import { createHash } from "node:crypto";

export type HashName = "sha256" | "sha384";

export function digest(name: HashName, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash(name);
  for (const part of parts) hash.update(part);
  return Uint8Array.from(hash.digest());
}

export const DIGEST_SIZE: Readonly<Record<HashName, number>> = { sha256: 32, sha384: 48 };

/** TPM2_PCR_Extend from a register's old value. TPM 2.0 Library Part 1 §17.2 */
export function extend(name: HashName, register: Uint8Array, measured: Uint8Array): Uint8Array {
  return digest(name, register, measured);
}

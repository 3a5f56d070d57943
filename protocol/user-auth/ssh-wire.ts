// The SSH wire format (RFC 4251 §5, RFC 8709), as far as Ed25519 keys and signatures need it.

import { concat, equalBytes, lv32, Reader, utf8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";

export const SSH_ED25519 = "ssh-ed25519";
const ED25519_NAME = utf8(SSH_ED25519);

/** `string`: u32 length, then the bytes (text as UTF-8). */
export function sshString(value: Uint8Array | string): Uint8Array<ArrayBuffer> {
  return lv32(typeof value === "string" ? utf8(value) : value);
}

/** @param publicKey - 32 bytes. @returns the 51-byte blob of RFC 8709 §4. */
export function encodeEd25519Key(publicKey: Uint8Array): Uint8Array<ArrayBuffer> {
  if (publicKey.length !== 32) throw new SealttyError("api-misuse", "Ed25519 public key must be 32 bytes");
  return concat(sshString(ED25519_NAME), sshString(publicKey));
}

/** @returns the 32-byte key. @throws SealttyError `peer-misbehaved` on any other blob, or one with a byte too many. */
export function decodeEd25519Key(blob: Uint8Array): Uint8Array {
  return decodeNamed(blob, 32, "SSH public key");
}

/** @param signature - 64 bytes. @returns the 83-byte blob of RFC 8709 §6. */
export function encodeEd25519Signature(signature: Uint8Array): Uint8Array<ArrayBuffer> {
  if (signature.length !== 64) throw new SealttyError("api-misuse", "Ed25519 signature must be 64 bytes");
  return concat(sshString(ED25519_NAME), sshString(signature));
}

/** @returns the 64-byte signature. @throws SealttyError `peer-misbehaved` on any other blob. */
export function decodeEd25519Signature(blob: Uint8Array): Uint8Array {
  return decodeNamed(blob, 64, "SSH signature");
}

/** The algorithm name in front of a key blob; undefined where there is none. For messages to people only. */
export function keyTypeOf(blob: Uint8Array): string | undefined {
  try {
    const name = new Reader(blob, "SSH public key").lv32(64);
    return /^[a-z0-9@.-]+$/.test(String.fromCharCode(...name)) ? String.fromCharCode(...name) : undefined;
  } catch {
    return undefined;
  }
}

function decodeNamed(blob: Uint8Array, length: number, what: string): Uint8Array {
  const reader = new Reader(blob, what);
  if (!equalBytes(reader.lv32(64), ED25519_NAME)) reader.fail("is not of type ssh-ed25519");
  const value = reader.lv32(length);
  if (value.length !== length) reader.fail("has the wrong length");
  reader.end();
  return value;
}

// The SSH wire format (RFC 4251 §5), and Ed25519 keys and signatures in it (RFC 8709).

import { concat, equalBytes, lv32, Reader, u8, utf8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";

export const SSH_ED25519 = "ssh-ed25519";
const ED25519_NAME = utf8(SSH_ED25519);
/** Of an algorithm or a curve. */
const MAX_NAME = 64;

/** `string`: u32 length, then the bytes (text as UTF-8). */
export function sshString(value: Uint8Array | string): Uint8Array<ArrayBuffer> {
  return lv32(typeof value === "string" ? utf8(value) : value);
}

/** `mpint` of a number that is not negative. @param magnitude - big-endian; zeros in front do not matter. */
export function sshMpint(magnitude: Uint8Array): Uint8Array<ArrayBuffer> {
  let start = 0;
  while (magnitude[start] === 0) start++;
  const digits = magnitude.subarray(start);
  return lv32(digits.length > 0 && (digits[0] as number) >= 0x80 ? concat(u8(0), digits) : digits);
}

/** @returns a name of an algorithm or curve. @throws SealttyError `peer-misbehaved` on what can be none. */
export function readName(reader: Reader): string {
  const name = String.fromCharCode(...reader.lv32(MAX_NAME));
  if (!/^[a-z0-9@.-]+$/.test(name)) reader.fail("has a malformed name");
  return name;
}

/**
 * @param limit - bytes of the magnitude. @returns it, big-endian, without zeros in front; never empty.
 * @throws SealttyError `peer-misbehaved` on a number that is not above zero, or not in its one shortest form.
 */
export function readMpint(reader: Reader, limit: number): Uint8Array {
  const bytes = reader.lv32(limit + 1);
  const [first, second] = bytes;
  if (first === undefined || first >= 0x80) return reader.fail("has a number that is not above zero");
  if (first !== 0) {
    if (bytes.length > limit) reader.fail("has a number that is too large");
    return bytes;
  }
  if (second === undefined || second < 0x80) reader.fail("has a number in a longer form than needed");
  return bytes.subarray(1);
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
    return readName(new Reader(blob, "SSH public key"));
  } catch {
    return undefined;
  }
}

function decodeNamed(blob: Uint8Array, length: number, what: string): Uint8Array {
  const reader = new Reader(blob, what);
  if (!equalBytes(reader.lv32(MAX_NAME), ED25519_NAME)) reader.fail("is not of type ssh-ed25519");
  const value = reader.lv32(length);
  if (value.length !== length) reader.fail("has the wrong length");
  reader.end();
  return value;
}

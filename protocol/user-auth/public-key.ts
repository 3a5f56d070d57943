// SSH public keys of every kind that a user may have: Ed25519 (RFC 8709), ECDSA (RFC 5656), RSA (RFC 4253 §6.6), and those of
// security keys (OpenSSH's PROTOCOL.u2f).

import { concat, Reader, u8 } from "../bytes.ts";
import { MAX_SSH_KEY } from "../limits.ts";
import { readMpint, readName, SSH_ED25519, sshMpint, sshString } from "./ssh-wire.ts";

export const CURVES = {
  nistp256: { size: 32, type: "ecdsa-sha2-nistp256" }, // size: bytes of a coordinate
  nistp384: { size: 48, type: "ecdsa-sha2-nistp384" },
  nistp521: { size: 66, type: "ecdsa-sha2-nistp521" },
} as const;
export type CurveName = keyof typeof CURVES;

export const SSH_RSA = "ssh-rsa";
export const SK_ED25519 = "sk-ssh-ed25519@openssh.com";
export const SK_ECDSA = "sk-ecdsa-sha2-nistp256@openssh.com";

export const KEY_TYPES = [
  SSH_ED25519,
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  SSH_RSA,
  SK_ED25519,
  SK_ECDSA,
] as const;
export type KeyType = (typeof KEY_TYPES)[number];

export type SshPublicKey =
  | { readonly kind: "ed25519"; readonly key: Uint8Array } // 32 bytes
  | { readonly kind: "ecdsa"; readonly curve: CurveName; readonly x: Uint8Array; readonly y: Uint8Array }
  | { readonly kind: "rsa"; readonly modulus: Uint8Array; readonly exponent: Uint8Array } // big-endian
  /** `application`: whom the key signs for, "ssh:…" or, of a passkey, the RP ID. */
  | { readonly kind: "sk-ed25519"; readonly key: Uint8Array; readonly application: Uint8Array }
  | {
      readonly kind: "sk-ecdsa";
      readonly x: Uint8Array;
      readonly y: Uint8Array;
      readonly application: Uint8Array;
    };

/** RSA, bytes of the modulus: 2048 to 8192 bits. */
const MIN_MODULUS = 256;
const MAX_MODULUS = 1024;
const MAX_EXPONENT = 4;
const MAX_APPLICATION = 256;

export function isKeyType(name: string): name is KeyType {
  return (KEY_TYPES as readonly string[]).includes(name);
}

/** @throws SealttyError `peer-misbehaved` on a blob of no known kind, a malformed one, one with bytes left over. */
export function decodePublicKey(blob: Uint8Array): SshPublicKey {
  const reader = new Reader(blob, "SSH public key");
  if (blob.length > MAX_SSH_KEY) reader.fail("is too long");
  const type = readName(reader);
  if (!isKeyType(type)) return reader.fail("is of no known type");
  const key = readKeyFields(type, reader);
  reader.end();
  return key;
}

/** What stands behind the type's name: of a key blob, and of a certificate behind its nonce. */
export function readKeyFields(type: KeyType, reader: Reader): SshPublicKey {
  switch (type) {
    case SSH_ED25519:
      return { kind: "ed25519", key: readExactly(reader, 32) };
    case SK_ED25519:
      return {
        kind: "sk-ed25519",
        key: readExactly(reader, 32),
        application: reader.lv32(MAX_APPLICATION),
      };
    case SK_ECDSA:
      return {
        kind: "sk-ecdsa",
        ...readPoint("nistp256", reader),
        application: reader.lv32(MAX_APPLICATION),
      };
    case SSH_RSA:
      return readRsa(reader);
    case "ecdsa-sha2-nistp256":
      return { kind: "ecdsa", curve: "nistp256", ...readPoint("nistp256", reader) };
    case "ecdsa-sha2-nistp384":
      return { kind: "ecdsa", curve: "nistp384", ...readPoint("nistp384", reader) };
    case "ecdsa-sha2-nistp521":
      return { kind: "ecdsa", curve: "nistp521", ...readPoint("nistp521", reader) };
  }
}

export function typeOf(key: SshPublicKey): KeyType {
  switch (key.kind) {
    case "ed25519":
      return SSH_ED25519;
    case "ecdsa":
      return CURVES[key.curve].type;
    case "rsa":
      return SSH_RSA;
    case "sk-ed25519":
      return SK_ED25519;
    case "sk-ecdsa":
      return SK_ECDSA;
  }
}

/** @returns the blob that `decodePublicKey` takes: the plain key, also of one that came in a certificate. */
export function encodePublicKey(key: SshPublicKey): Uint8Array<ArrayBuffer> {
  return concat(sshString(typeOf(key)), encodeKeyFields(key));
}

/** The other way round from `readKeyFields`. */
function encodeKeyFields(key: SshPublicKey): Uint8Array {
  switch (key.kind) {
    case "ed25519":
      return sshString(key.key);
    case "sk-ed25519":
      return concat(sshString(key.key), sshString(key.application));
    case "rsa":
      return concat(sshMpint(key.exponent), sshMpint(key.modulus));
    case "ecdsa":
      return concat(sshString(key.curve), point(key));
    case "sk-ecdsa":
      return concat(sshString("nistp256"), point(key), sshString(key.application));
  }
}

function point({ x, y }: { readonly x: Uint8Array; readonly y: Uint8Array }): Uint8Array {
  return sshString(concat(u8(4), x, y));
}

/** Uncompressed only (SEC 1 §2.3.3), as OpenSSH; whether it is on the curve is seen when a signature is checked. */
function readPoint(curve: CurveName, reader: Reader): { readonly x: Uint8Array; readonly y: Uint8Array } {
  const { size } = CURVES[curve];
  if (readName(reader) !== curve) reader.fail("names another curve");
  const bytes = readExactly(reader, 1 + 2 * size);
  if (bytes[0] !== 4) reader.fail("has no uncompressed point");
  return { x: bytes.subarray(1, 1 + size), y: bytes.subarray(1 + size) };
}

function readRsa(reader: Reader): SshPublicKey {
  const exponent = readMpint(reader, MAX_EXPONENT);
  const modulus = readMpint(reader, MAX_MODULUS);
  const odd = (number: Uint8Array): boolean => ((number.at(-1) ?? 0) & 1) === 1;
  if (modulus.length < MIN_MODULUS || (modulus.length === MIN_MODULUS && (modulus[0] ?? 0) < 0x80))
    reader.fail("is an RSA key of less than 2048 bits");
  const one = exponent.length === 1 && exponent[0] === 1;
  if (!odd(exponent) || one || !odd(modulus)) reader.fail("is no RSA key");
  return { kind: "rsa", modulus, exponent };
}

function readExactly(reader: Reader, length: number): Uint8Array {
  const bytes = reader.lv32(length);
  if (bytes.length !== length) reader.fail("has the wrong length");
  return bytes;
}

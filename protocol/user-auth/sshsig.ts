// SSHSIG (OpenSSH's PROTOCOL.sshsig), for Ed25519 keys: what ssh-keygen -Y and every agent make and check.

import { concat, equalBytes, Reader, u32, utf8 } from "../bytes.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import { decodeEd25519Key, decodeEd25519Signature, encodeEd25519Signature, sshString } from "./ssh-wire.ts";

export type SshsigHash = "sha256" | "sha512";

export interface Sshsig {
  /** SSH wire format of an Ed25519 key, 51 bytes. */
  readonly publicKey: Uint8Array;
  readonly namespace: Uint8Array;
  readonly hash: SshsigHash;
  /** 64 bytes. */
  readonly signature: Uint8Array;
}

/** An Ed25519 SSHSIG has 160 bytes and its namespace; nothing longer is read. */
export const MAX_SSHSIG = 512;
const MAGIC = utf8("SSHSIG");
const VERSION = 1;

/** The bytes that the key signs: magic, namespace, reserved, hash name, hash of `message`. */
export function sshsigToBeSigned(
  suite: CryptoSuite,
  namespace: string,
  hash: SshsigHash,
  message: Uint8Array,
): Uint8Array<ArrayBuffer> {
  if (namespace === "") throw new SealttyError("api-misuse", "SSHSIG needs a namespace");
  return toBeSigned(suite, utf8(namespace), hash, message);
}

/** @param parts - `signature` is the key's 64 bytes over `sshsigToBeSigned`. @returns the blob, without PEM armour. */
export function encodeSshsig(parts: {
  readonly publicKey: Uint8Array;
  readonly namespace: string;
  readonly hash: SshsigHash;
  readonly signature: Uint8Array;
}): Uint8Array<ArrayBuffer> {
  return concat(
    MAGIC,
    u32(VERSION),
    sshString(parts.publicKey),
    sshString(parts.namespace),
    sshString(""), // reserved
    sshString(parts.hash),
    sshString(encodeEd25519Signature(parts.signature)),
  );
}

/** @throws SealttyError `peer-misbehaved` on anything but the exact form: other keys, a reserved field, bytes left over. */
export function decodeSshsig(blob: Uint8Array): Sshsig {
  const reader = new Reader(blob, "SSHSIG");
  if (blob.length > MAX_SSHSIG) reader.fail(`is longer than ${MAX_SSHSIG} bytes`);
  if (!equalBytes(reader.bytes(MAGIC.length), MAGIC)) reader.fail("does not start with its magic");
  if (reader.u32() !== VERSION) reader.fail("has an unknown version");
  const publicKey = reader.lv32(MAX_SSHSIG);
  decodeEd25519Key(publicKey);
  const namespace = reader.lv32(MAX_SSHSIG);
  if (namespace.length === 0) reader.fail("has no namespace");
  if (reader.lv32(MAX_SSHSIG).length !== 0) reader.fail("has a reserved field");
  const hash = hashNamed(reader.lv32(MAX_SSHSIG));
  if (hash === undefined) return reader.fail("names an unknown hash");
  const signature = decodeEd25519Signature(reader.lv32(MAX_SSHSIG));
  reader.end();
  return { publicKey, namespace, hash, signature };
}

/**
 * @param expected - `publicKey` in SSH wire format; key and namespace must be exactly these.
 * @returns false for every signature that does not hold, malformed ones included.
 */
export function verifySshsig(
  suite: CryptoSuite,
  blob: Uint8Array,
  expected: { readonly publicKey: Uint8Array; readonly namespace: string; readonly message: Uint8Array },
): boolean {
  try {
    const found = decodeSshsig(blob);
    if (!equalBytes(found.publicKey, expected.publicKey)) return false;
    if (!equalBytes(found.namespace, utf8(expected.namespace))) return false;
    const signed = toBeSigned(suite, found.namespace, found.hash, expected.message);
    return suite.ed25519Verify(decodeEd25519Key(found.publicKey), signed, found.signature);
  } catch (error) {
    if (error instanceof SealttyError && error.code === "peer-misbehaved") return false;
    throw error;
  }
}

function toBeSigned(
  suite: CryptoSuite,
  namespace: Uint8Array,
  hash: SshsigHash,
  message: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const digest = hash === "sha512" ? suite.sha512(message) : suite.sha256(message);
  return concat(MAGIC, sshString(namespace), sshString(""), sshString(hash), sshString(digest));
}

function hashNamed(name: Uint8Array): SshsigHash | undefined {
  return (["sha512", "sha256"] as const).find((hash) => equalBytes(utf8(hash), name));
}

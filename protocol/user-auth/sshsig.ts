// SSHSIG (OpenSSH's PROTOCOL.sshsig): what ssh-keygen -Y and every agent make and check.

import { concat, equalBytes, Reader, u32, utf8 } from "../bytes.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import { MAX_SSH_KEY, MAX_SSH_SIGNATURE, MAX_SSHSIG } from "../limits.ts";
import { type SshPublicKey } from "./public-key.ts";
import { type SignatureFacts, type SshCrypto, verifySignature } from "./signature.ts";
import { sshString } from "./ssh-wire.ts";

export type SshsigHash = "sha256" | "sha512";

export interface Sshsig {
  /** SSH wire format of a key or a certificate; not looked at yet. */
  readonly publicKey: Uint8Array;
  readonly namespace: Uint8Array;
  readonly hash: SshsigHash;
  /** SSH wire format; not looked at yet. */
  readonly signature: Uint8Array;
}

const MAX_NAMESPACE = 256;
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

/** @param parts - `signature` is the key's own over `sshsigToBeSigned`, in SSH wire format. @returns the blob, without PEM armour. */
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
    sshString(parts.signature),
  );
}

/** @throws SealttyError `peer-misbehaved` on anything but the exact form: a reserved field, an unknown hash, bytes left over. */
export function decodeSshsig(blob: Uint8Array): Sshsig {
  const reader = new Reader(blob, "SSHSIG");
  if (blob.length > MAX_SSHSIG) reader.fail(`is longer than ${MAX_SSHSIG} bytes`);
  if (!equalBytes(reader.bytes(MAGIC.length), MAGIC)) reader.fail("does not start with its magic");
  if (reader.u32() !== VERSION) reader.fail("has an unknown version");
  const publicKey = reader.lv32(MAX_SSH_KEY);
  const namespace = reader.lv32(MAX_NAMESPACE);
  if (namespace.length === 0) reader.fail("has no namespace");
  if (reader.lv32(MAX_NAMESPACE).length !== 0) reader.fail("has a reserved field");
  const hash = hashNamed(reader.lv32(16));
  if (hash === undefined) return reader.fail("names an unknown hash");
  const signature = reader.lv32(MAX_SSH_SIGNATURE);
  reader.end();
  return { publicKey, namespace, hash, signature };
}

/**
 * @param expected - `publicKey` is the blob that the signature must name: a key's or a certificate's, and `key` the key in it.
 * Blob and namespace must be exactly these.
 * @returns undefined for every signature that does not hold, malformed ones included.
 */
export async function verifySshsig(
  crypto: SshCrypto,
  blob: Uint8Array,
  expected: {
    readonly publicKey: Uint8Array;
    readonly key: SshPublicKey;
    readonly namespace: string;
    readonly message: Uint8Array;
  },
): Promise<SignatureFacts | undefined> {
  let found: Sshsig;
  try {
    found = decodeSshsig(blob);
  } catch (error) {
    if (error instanceof SealttyError && error.code === "peer-misbehaved") return undefined;
    throw error;
  }
  if (!equalBytes(found.publicKey, expected.publicKey)) return undefined;
  if (!equalBytes(found.namespace, utf8(expected.namespace))) return undefined;
  const signed = toBeSigned(crypto.suite, found.namespace, found.hash, expected.message);
  return await verifySignature(crypto, expected.key, signed, found.signature);
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

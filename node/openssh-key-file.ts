// OpenSSH private key files (PROTOCOL.key, "openssh-key-v1"): unencrypted Ed25519 keys; all others are named and refused.

import { equalBytes, Reader, utf8, wipe } from "../protocol/bytes.ts";
import { SealttyError } from "../protocol/errors.ts";
import { decodeBase64 } from "../protocol/user-auth/base64.ts";
import {
  decodeEd25519Key,
  encodeEd25519Key,
  keyTypeOf,
  SSH_ED25519,
} from "../protocol/user-auth/ssh-wire.ts";
import { nodeSuite } from "./crypto-suite.ts";

export interface OpensshKey {
  /** SSH wire format, 51 bytes. */
  readonly publicKeyBlob: Uint8Array;
  readonly comment: string;
  /** @returns the 64-byte Ed25519 signature. */
  sign(message: Uint8Array): Uint8Array;
}

export const MAX_KEY_FILE = 64 * 1024;
const BEGIN = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC = utf8("openssh-key-v1\0");

/** The clear part of a key file: what it is, whether its key is encrypted or not. */
interface Envelope {
  readonly encrypted: boolean;
  readonly publicKeyBlob: Uint8Array;
  readonly privatePart: Uint8Array;
}

/**
 * @param text - the file. @param name - how the user named it, for errors.
 * @throws SealttyError `bad-config` where it is no such file, its key is encrypted, or not an Ed25519 key.
 */
export function parseOpensshKey(text: string, name: string): OpensshKey {
  const envelope = openEnvelope(text, name);
  try {
    if (envelope.encrypted) {
      throw refused(name, "this key is encrypted; load it into ssh-agent (ssh-add FILE) and try again");
    }
    const type = keyTypeOf(envelope.publicKeyBlob) ?? "unknown";
    if (type !== SSH_ED25519) throw refused(name, `its type is ${type}; only ssh-ed25519 keys are supported`);
    return malformedUnless(name, () => parsePrivatePart(envelope));
  } finally {
    wipe(envelope.privatePart);
  }
}

/** The public key of a private key file (encrypted or not) or of a `.pub` file; undefined where there is none. */
export function publicKeyOfKeyFile(text: string): Uint8Array | undefined {
  try {
    const [type, base64] = text.trim().split(/[ \t]+/, 2);
    const blob =
      type === SSH_ED25519 && base64 !== undefined
        ? decodeBase64(base64)
        : openEnvelope(text, "").publicKeyBlob.slice();
    if (blob !== undefined) decodeEd25519Key(blob);
    return blob;
  } catch {
    return undefined;
  }
}

function openEnvelope(text: string, name: string): Envelope {
  const lines = text.split("\n").map((line) => line.trimEnd());
  const begin = lines.indexOf(BEGIN);
  const end = lines.indexOf(END);
  if (begin < 0 || end < begin) {
    if (/^-----BEGIN [A-Z ]*PRIVATE KEY-----/m.test(text)) {
      throw refused(name, "this is not OpenSSH's own key format; convert a copy with ssh-keygen -p -f FILE");
    }
    if (/^(?:ssh|sk|ecdsa)-\S+ /.test(text))
      throw refused(name, "this is a public key; name the private key file");
    throw refused(
      name,
      "this is not an OpenSSH private key file. Name the private key that ssh-keygen -t ed25519 made, or load it with ssh-add",
    );
  }
  const bytes = decodeBase64(lines.slice(begin + 1, end).join(""));
  if (bytes === undefined) throw refused(name, "the key file is damaged");
  return malformedUnless(name, () => {
    const reader = new Reader(bytes, "key file");
    if (!equalBytes(reader.bytes(MAGIC.length), MAGIC)) reader.fail("does not start with its magic");
    const none = utf8("none");
    const cipher = reader.lv32(64);
    const derivation = reader.lv32(64);
    reader.lv32(1024); // parameters of the key derivation
    if (reader.u32() !== 1) reader.fail("holds more than one key");
    const publicKeyBlob = reader.lv32(MAX_KEY_FILE);
    const privatePart = reader.lv32(MAX_KEY_FILE);
    const encrypted = !equalBytes(cipher, none) || !equalBytes(derivation, none);
    if (!encrypted) reader.end(); // ciphers with a tag put it behind
    return { encrypted, publicKeyBlob, privatePart };
  });
}

function parsePrivatePart({ publicKeyBlob, privatePart }: Envelope): OpensshKey {
  const reader = new Reader(privatePart, "private key");
  if (reader.u32() !== reader.u32()) reader.fail("has unequal check numbers");
  if (!equalBytes(reader.lv32(64), utf8(SSH_ED25519))) reader.fail("has another type than its public key");
  const publicKey = reader.lv32(32).slice();
  const pair = reader.lv32(64); // seed, public key
  const comment = new TextDecoder().decode(reader.lv32(1024));
  if (privatePart.length % 8 !== 0 || reader.remaining > 8) reader.fail("has bad padding");
  for (let i = 1; reader.remaining > 0; i++) if (reader.u8() !== i) reader.fail("has bad padding");
  if (pair.length !== 64) reader.fail("has the wrong length");
  const seed = pair.slice(0, 32);
  const agree = [nodeSuite.ed25519PublicKey(seed), pair.subarray(32), decodeEd25519Key(publicKeyBlob)];
  if (!agree.every((found) => equalBytes(found, publicKey))) reader.fail("does not belong to its public key");
  return {
    publicKeyBlob: encodeEd25519Key(publicKey),
    comment,
    sign: (message) => nodeSuite.ed25519Sign(seed, message),
  };
}

function malformedUnless<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    if (cause instanceof SealttyError && cause.code === "peer-misbehaved") {
      throw refused(name, "the key file is damaged", cause);
    }
    throw cause;
  }
}

function refused(name: string, problem: string, cause?: unknown): SealttyError {
  return new SealttyError("bad-config", `${name}: ${problem}`, { cause });
}

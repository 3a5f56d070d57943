// OpenSSH private key files (PROTOCOL.key, "openssh-key-v1").

import type { KeyObject } from "node:crypto";
import { equalBytes, Reader, utf8, wipe } from "../protocol/bytes.ts";
import { SealttyError } from "../protocol/errors.ts";
import { decodeBase64 } from "../protocol/user-auth/base64.ts";
import { CURVES, type CurveName, isKeyType, SK_ECDSA, SK_ED25519 } from "../protocol/user-auth/public-key.ts";
import { keyTypeOf, readMpint, readName } from "../protocol/user-auth/ssh-wire.ts";
import { ecdsaObject, ed25519Object, type PrivateKey, privateKeyOf, rsaObject } from "./private-key.ts";

export const MAX_KEY_FILE = 64 * 1024;
const BEGIN = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC = utf8("openssh-key-v1\0");
/** Of a number in an RSA key of 8192 bits. */
const MAX_NUMBER = 1024;

/** How the private part is encrypted. */
export interface KeyFileEncryption {
  readonly cipher: string;
  readonly derivation: string;
  /** Parameters of the derivation. */
  readonly parameters: Uint8Array;
  /** Behind the private part, where the cipher has one. */
  readonly tag: Uint8Array;
}

/** The clear part of a key file. */
export interface KeyFile {
  /** SSH wire format; not looked at yet. */
  readonly publicKeyBlob: Uint8Array;
  readonly encryption: KeyFileEncryption | undefined;
  readonly privatePart: Uint8Array;
}

/** @returns undefined where the text is no such file. @param name - how the user named it. @throws SealttyError `bad-config`. */
export function readKeyFile(text: string, name: string): KeyFile | undefined {
  const lines = text.split("\n").map((line) => line.trimEnd());
  const begin = lines.indexOf(BEGIN);
  const end = lines.indexOf(END);
  if (begin < 0 || end < begin) return undefined;
  const bytes = decodeBase64(lines.slice(begin + 1, end).join(""));
  if (bytes === undefined) throw refused(name, DAMAGED);
  return damagedUnless(name, () => {
    const reader = new Reader(bytes, "key file");
    if (!equalBytes(reader.bytes(MAGIC.length), MAGIC)) reader.fail("does not start with its magic");
    const cipher = readName(reader);
    const derivation = readName(reader);
    const parameters = reader.lv32(1024);
    if (reader.u32() !== 1) reader.fail("holds more than one key");
    const publicKeyBlob = reader.lv32(MAX_KEY_FILE).slice();
    const privatePart = reader.lv32(MAX_KEY_FILE);
    const plain = cipher === "none" && derivation === "none";
    if (plain) reader.end();
    const tag = reader.rest();
    return {
      publicKeyBlob,
      encryption: plain ? undefined : { cipher, derivation, parameters, tag },
      privatePart,
    };
  });
}

/**
 * A key that is not encrypted. @param text - the file. @param name - how the user named it, for errors.
 * @throws SealttyError `bad-config` where it is no such file, its key is encrypted, or in a security key.
 */
export function parseOpensshKey(text: string, name: string): PrivateKey {
  const file = readKeyFile(text, name);
  if (file === undefined) throw notAKeyFile(text, name);
  if (file.encryption !== undefined)
    throw refused(name, "this key is encrypted; load it into ssh-agent (ssh-add FILE) and try again");
  return readPrivatePart(file.privatePart, 8, file.publicKeyBlob, name);
}

/**
 * @param part - decrypted; it is wiped. @param blockSize - of the cipher: what the padding fills up to.
 * @throws SealttyError `bad-config`: damaged, not of its public key, or of a kind that cannot be used from a file.
 */
export function readPrivatePart(
  part: Uint8Array,
  blockSize: number,
  publicKeyBlob: Uint8Array,
  name: string,
): PrivateKey {
  const type = keyTypeOf(publicKeyBlob) ?? "";
  try {
    if (type === SK_ED25519 || type === SK_ECDSA) throw inSecurityKey(name);
    if (!isKeyType(type))
      throw refused(name, "keys of this type are not supported; make one with ssh-keygen -t ed25519");
    return damagedUnless(name, () => {
      const reader = new Reader(part, "private key");
      if (reader.u32() !== reader.u32()) reader.fail("has unequal check numbers");
      if (readName(reader) !== type) reader.fail("has another type than its public key");
      const object = readSecret(type, reader);
      const comment = new TextDecoder().decode(reader.lv32(1024));
      if (part.length % blockSize !== 0 || reader.remaining > blockSize) reader.fail("has bad padding");
      for (let i = 1; reader.remaining > 0; i++) if (reader.u8() !== i) reader.fail("has bad padding");
      const key = privateKeyOf(object, comment);
      if (key === undefined || !equalBytes(key.publicKeyBlob, publicKeyBlob))
        return reader.fail("does not belong to its public key");
      return key;
    });
  } finally {
    wipe(part);
  }
}

function readSecret(type: string, reader: Reader): KeyObject {
  if (type === "ssh-ed25519") {
    const publicKey = reader.lv32(32);
    const pair = reader.lv32(64); // seed, public key
    if (pair.length !== 64 || !equalBytes(pair.subarray(32), publicKey)) reader.fail("has unequal halves");
    return ed25519Object(pair.subarray(0, 32));
  }
  if (type === "ssh-rsa") {
    const [modulus, exponent, secret, inverse, p, q] = Array.from({ length: 6 }, () =>
      readMpint(reader, MAX_NUMBER),
    ) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    return objectOr(reader, () => rsaObject({ modulus, exponent, secret, inverse, primes: [p, q] }));
  }
  const curve = (Object.keys(CURVES) as CurveName[]).find((each) => CURVES[each].type === type);
  if (curve === undefined || readName(reader) !== curve) return reader.fail("names another curve");
  reader.lv32(256); // the public key again; what OpenSSL computes from the secret is compared
  const secret = readMpint(reader, CURVES[curve].size);
  return objectOr(reader, () => ecdsaObject(curve, secret));
}

/** OpenSSL's complaints have no words for users. */
function objectOr(reader: Reader, make: () => KeyObject): KeyObject {
  try {
    return make();
  } catch {
    return reader.fail("has numbers that are no key");
  }
}

const DAMAGED = "the key file is damaged";

export function inSecurityKey(name: string): SealttyError {
  return refused(
    name,
    "the private half of this key is in a security key; load it into ssh-agent (ssh-add FILE), which asks the security key",
  );
}

/** For a file without a private key of this format: what it is, and what to do. */
export function notAKeyFile(text: string, name: string): SealttyError {
  if (/^(?:ssh|sk|ecdsa)-\S+ /.test(text))
    return refused(
      name,
      "this is a public key: name the private key file, or load that into ssh-agent (SSH_AUTH_SOCK)",
    );
  return refused(
    name,
    "this is not an OpenSSH private key file. Name the private key that ssh-keygen -t ed25519 made, or load it with ssh-add",
  );
}

function damagedUnless<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    if (cause instanceof SealttyError && cause.code === "peer-misbehaved")
      throw refused(name, DAMAGED, cause);
    throw cause;
  }
}

export function refused(name: string, problem: string, cause?: unknown): SealttyError {
  return new SealttyError("bad-config", `${name}: ${problem}`, { cause });
}

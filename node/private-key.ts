// A user's private key in this process, as Node's crypto has it, and its signatures in SSH wire format.

import { createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import { concat } from "../protocol/bytes.ts";
import { SealttyError } from "../protocol/errors.ts";
import {
  CURVES,
  type CurveName,
  encodePublicKey,
  type SshPublicKey,
} from "../protocol/user-auth/public-key.ts";
import { encodeEcdsaSignature, RSA_SHA2_512 } from "../protocol/user-auth/signature.ts";
import { encodeEd25519Signature, sshString } from "../protocol/user-auth/ssh-wire.ts";

export interface PrivateKey {
  readonly key: SshPublicKey;
  /** SSH wire format. */
  readonly publicKeyBlob: Uint8Array;
  readonly comment: string;
  /** @returns the signature in SSH wire format; of an RSA key `rsa-sha2-512`. */
  sign(message: Uint8Array): Uint8Array;
}

const JWK_CURVES: Readonly<Record<string, CurveName>> = {
  "P-256": "nistp256",
  "P-384": "nistp384",
  "P-521": "nistp521",
};
const ECDSA_HASHES = { nistp256: "sha256", nistp384: "sha384", nistp521: "sha512" } as const;
/** DER of the curves' object identifiers: RFC 5480 §2.1.1.1 */
const CURVE_OIDS = {
  nistp256: "06082a8648ce3d030107",
  nistp384: "06052b81040022",
  nistp521: "06052b81040023",
} as const;
// RFC 8410: everything in front of the 32 key bytes.
const ED25519_PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");

/** @returns undefined for a key of a kind that SSH does not have. */
export function privateKeyOf(object: KeyObject, comment: string): PrivateKey | undefined {
  const key = publicHalf(object);
  if (key === undefined) return undefined;
  return {
    key,
    publicKeyBlob: encodePublicKey(key),
    comment,
    sign: (message) => signWith(object, key, message),
  };
}

function signWith(object: KeyObject, key: SshPublicKey, message: Uint8Array): Uint8Array {
  switch (key.kind) {
    case "ed25519":
      return encodeEd25519Signature(new Uint8Array(sign(null, message, object)));
    case "rsa":
      return concat(sshString(RSA_SHA2_512), sshString(new Uint8Array(sign("sha512", message, object))));
    case "ecdsa": {
      const pair = sign(ECDSA_HASHES[key.curve], message, { key: object, dsaEncoding: "ieee-p1363" });
      return encodeEcdsaSignature(CURVES[key.curve].type, new Uint8Array(pair));
    }
    case "sk-ed25519":
    case "sk-ecdsa":
      throw new SealttyError("api-misuse", "A security key's private half is never here");
  }
}

function publicHalf(object: KeyObject): SshPublicKey | undefined {
  const jwk = createPublicKey(object).export({ format: "jwk" });
  const part = (text: string | undefined): Uint8Array => new Uint8Array(Buffer.from(text ?? "", "base64url"));
  if (jwk.kty === "OKP" && jwk.crv === "Ed25519") return { kind: "ed25519", key: part(jwk.x) };
  if (jwk.kty === "RSA") return { kind: "rsa", modulus: part(jwk.n), exponent: part(jwk.e) };
  const curve = jwk.kty === "EC" ? JWK_CURVES[jwk.crv ?? ""] : undefined;
  return curve && { kind: "ecdsa", curve, x: part(jwk.x), y: part(jwk.y) };
}

/** @param seed - 32 bytes. */
export function ed25519Object(seed: Uint8Array): KeyObject {
  return fromDer(Buffer.concat([ED25519_PKCS8, seed]), "pkcs8");
}

/** @param secret - big-endian, as long as the curve's coordinates or shorter. @throws where it is no key of the curve. */
export function ecdsaObject(curve: CurveName, secret: Uint8Array): KeyObject {
  const padded = concat(new Uint8Array(Math.max(0, CURVES[curve].size - secret.length)), secret);
  // RFC 5915; OpenSSL computes the public half.
  const oid = Buffer.from(CURVE_OIDS[curve], "hex");
  return fromDer(der(0x30, der(0x02, Uint8Array.of(1)), der(0x04, padded), der(0xa0, oid)), "sec1");
}

/** Big-endian numbers. */
export interface RsaNumbers {
  readonly modulus: Uint8Array;
  readonly exponent: Uint8Array;
  readonly secret: Uint8Array;
  readonly inverse: Uint8Array; // of the second prime, modulo the first
  readonly primes: readonly [Uint8Array, Uint8Array];
}

/** @throws where they are no RSA key. */
export function rsaObject({ modulus, exponent, secret, inverse, primes }: RsaNumbers): KeyObject {
  const [p, q] = primes;
  const d = numberOf(secret);
  const rest = (prime: Uint8Array): Uint8Array => bytesOf(d % (numberOf(prime) - 1n));
  // RFC 8017 §A.1.2
  const numbers = [new Uint8Array(1), modulus, exponent, secret, p, q, rest(p), rest(q), inverse];
  return fromDer(der(0x30, ...numbers.map(integer)), "pkcs1");
}

function numberOf(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).toString("hex") || "0"}`);
}

function bytesOf(number: bigint): Uint8Array {
  const hex = number.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
}

/** @param magnitude - without a sign. */
function integer(magnitude: Uint8Array): Uint8Array {
  const negative = (magnitude[0] ?? 0) >= 0x80;
  return der(0x02, negative ? Uint8Array.of(0) : new Uint8Array(0), magnitude);
}

function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = concat(...parts);
  const { length } = content;
  const lengthBytes =
    length < 0x80
      ? Uint8Array.of(length)
      : length < 0x100
        ? Uint8Array.of(0x81, length)
        : Uint8Array.of(0x82, length >>> 8, length & 0xff);
  return concat(Uint8Array.of(tag), lengthBytes, content);
}

function fromDer(bytes: Uint8Array, type: "pkcs1" | "pkcs8" | "sec1"): KeyObject {
  try {
    return createPrivateKey({
      key: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
      format: "der",
      type,
    });
  } finally {
    bytes.fill(0);
  }
}

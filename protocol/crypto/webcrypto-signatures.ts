// Signatures of hardware and users checked with WebCrypto, which browsers and Node share.

import type { HardwareKey, SignatureAlgorithm, SignatureVerifier } from "./signatures.ts";

/** The JWK members that are used here. */
export interface SubtlePublicKey {
  readonly kty: string;
  readonly crv?: string;
  readonly x?: string;
  readonly y?: string;
  readonly n?: string;
  readonly e?: string;
}

export interface SubtleAlgorithm {
  readonly name: string;
  readonly namedCurve?: string;
  readonly hash?: string;
  readonly saltLength?: number;
}

/** What is needed of `SubtleCrypto`, without the DOM's types. */
export interface SubtleLike<Key = unknown> {
  importKey(
    format: "jwk",
    key: SubtlePublicKey,
    algorithm: SubtleAlgorithm,
    extractable: boolean,
    usages: "verify"[],
  ): Promise<Key>;
  verify(
    algorithm: SubtleAlgorithm,
    key: Key,
    signature: Uint8Array<ArrayBuffer>,
    message: Uint8Array<ArrayBuffer>,
  ): Promise<boolean>;
}

type Parameters =
  | { readonly kind: "ec"; readonly curve: string; readonly size: number; readonly hash: string }
  | {
      readonly kind: "rsa";
      readonly name: string;
      readonly hash: string;
      readonly saltLength: number | undefined;
    };

const ALGORITHMS: Readonly<Record<SignatureAlgorithm, Parameters>> = {
  "ecdsa-p256-sha256": { kind: "ec", curve: "P-256", size: 32, hash: "SHA-256" },
  "ecdsa-p384-sha384": { kind: "ec", curve: "P-384", size: 48, hash: "SHA-384" },
  "ecdsa-p521-sha512": { kind: "ec", curve: "P-521", size: 66, hash: "SHA-512" },
  "rsassa-sha256": { kind: "rsa", name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", saltLength: undefined },
  "rsassa-sha512": { kind: "rsa", name: "RSASSA-PKCS1-v1_5", hash: "SHA-512", saltLength: undefined },
  "rsapss-sha384": { kind: "rsa", name: "RSA-PSS", hash: "SHA-384", saltLength: 48 },
};
const MIN_MODULUS = 256; // bytes: 2048 bits
const MAX_MODULUS = 1024;

/** @param subtle - `globalThis.crypto.subtle`. */
export function webCryptoSignatures<Key>(subtle: SubtleLike<Key>): SignatureVerifier {
  return {
    async verify(algorithm, key, message, signature) {
      const parameters = ALGORITHMS[algorithm];
      try {
        if (parameters.kind === "ec") return await verifyEc(subtle, parameters, key, message, signature);
        return await verifyRsa(subtle, parameters, key, message, signature);
      } catch {
        return false; // a point off the curve, a key the implementation refuses: not a valid signature
      }
    },
  };
}

async function verifyEc<Key>(
  subtle: SubtleLike<Key>,
  { curve, size, hash }: Parameters & { kind: "ec" },
  key: HardwareKey,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (key.kind !== "ec" || key.x.length !== size || key.y.length !== size) return false;
  if (signature.length !== 2 * size) return false;
  const jwk = { kty: "EC", crv: curve, x: base64url(key.x), y: base64url(key.y) };
  const imported = await subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: curve }, false, [
    "verify",
  ]);
  return await subtle.verify({ name: "ECDSA", hash }, imported, signature.slice(), message.slice());
}

async function verifyRsa<Key>(
  subtle: SubtleLike<Key>,
  { name, hash, saltLength }: Parameters & { kind: "rsa" },
  key: HardwareKey,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (key.kind !== "rsa") return false;
  const modulus = withoutLeadingZeros(key.modulus);
  const exponent = withoutLeadingZeros(key.exponent);
  if (modulus.length < MIN_MODULUS || modulus.length > MAX_MODULUS) return false;
  if (exponent.length === 0 || exponent.length > 4 || signature.length !== modulus.length) return false;
  const jwk = { kty: "RSA", n: base64url(modulus), e: base64url(exponent) };
  const imported = await subtle.importKey("jwk", jwk, { name, hash }, false, ["verify"]);
  const how = saltLength === undefined ? { name } : { name, saltLength };
  return await subtle.verify(how, imported, signature.slice(), message.slice());
}

function withoutLeadingZeros(number: Uint8Array): Uint8Array {
  let start = 0;
  while (number[start] === 0) start++;
  return number.subarray(start);
}

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

function base64url(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const group = ((bytes[i] as number) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    const characters = Math.min(bytes.length - i, 3) + 1;
    for (let j = 0; j < characters; j++) text += ALPHABET[(group >> (18 - 6 * j)) & 63];
  }
  return text;
}

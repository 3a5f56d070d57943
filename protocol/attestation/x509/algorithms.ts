// AlgorithmIdentifier and SubjectPublicKeyInfo: the few algorithms that the hardware vendors' chains use. RFC 3279, 4055, 5480, 5758

import { concat } from "../../bytes.ts";
import type { HardwareKey, HardwareSignatureAlgorithm } from "../../crypto/signatures.ts";
import { DerReader, TAG, explicitTag } from "./der.ts";

export type KeyKind = "ec-p256" | "ec-p384" | "rsa";
export type CertificateSignatureAlgorithm = HardwareSignatureAlgorithm | "unsupported";

const RSA_ENCRYPTION = "1.2.840.113549.1.1.1";
const MGF1 = "1.2.840.113549.1.1.8";
const RSASSA_PSS = "1.2.840.113549.1.1.10";
const SHA256_WITH_RSA = "1.2.840.113549.1.1.11";
const EC_PUBLIC_KEY = "1.2.840.10045.2.1";
const ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
const ECDSA_WITH_SHA384 = "1.2.840.10045.4.3.3";
const SHA384 = "2.16.840.1.101.3.4.2.2";
const CURVES: ReadonlyMap<string, { readonly kind: KeyKind; readonly size: number }> = new Map([
  ["1.2.840.10045.3.1.7", { kind: "ec-p256", size: 32 }],
  ["1.3.132.0.34", { kind: "ec-p384", size: 48 }],
]);

/** Bytes of an RSA modulus that is read at all: 8192 bits. */
const MAX_MODULUS = 1024;

/** Which key can have made a signature; ECDSA's `size` is that of r and of s. */
const SIGNERS = {
  "ecdsa-p256-sha256": { key: "ec-p256", size: 32 },
  "ecdsa-p384-sha384": { key: "ec-p384", size: 48 },
  "rsassa-sha256": { key: "rsa", size: undefined },
  "rsapss-sha384": { key: "rsa", size: undefined },
} as const satisfies Record<HardwareSignatureAlgorithm, { key: KeyKind; size: number | undefined }>;

export function fitsKey(algorithm: CertificateSignatureAlgorithm, kind: KeyKind): boolean {
  return algorithm !== "unsupported" && SIGNERS[algorithm].key === kind;
}

/** Reads one AlgorithmIdentifier of a signature. Another algorithm is no error here: it verifies nothing. */
export function readSignatureAlgorithm(reader: DerReader): {
  readonly whole: Uint8Array;
  readonly algorithm: CertificateSignatureAlgorithm;
} {
  const element = reader.element(TAG.sequence);
  return { whole: element.whole, algorithm: signatureAlgorithmOf(reader.inside(element)) };
}

function signatureAlgorithmOf(reader: DerReader): CertificateSignatureAlgorithm {
  switch (reader.oid()) {
    case ECDSA_WITH_SHA256:
      reader.end(); // RFC 5758 §3.2: no parameters
      return "ecdsa-p256-sha256";
    case ECDSA_WITH_SHA384:
      reader.end();
      return "ecdsa-p384-sha384";
    case SHA256_WITH_RSA:
      reader.null();
      reader.end();
      return "rsassa-sha256";
    case RSASSA_PSS:
      return isPssWithSha384(reader) ? "rsapss-sha384" : "unsupported";
    default:
      return "unsupported";
  }
}

/** SHA-384, MGF1 with SHA-384, salt of 48 bytes, trailer 1 (AMD writes that default out in some certificates). */
function isPssWithSha384(reader: DerReader): boolean {
  const parameters = reader.open();
  reader.end();
  const hash = parameters.openOptional(explicitTag(0));
  const mask = parameters.openOptional(explicitTag(1));
  const salt = parameters.openOptional(explicitTag(2));
  const trailer = parameters.openOptional(explicitTag(3));
  parameters.end();
  if (hash === undefined || mask === undefined || salt === undefined) return false; // the defaults are SHA-1
  const hashIsRight = isSha384(hash);
  const algorithm = mask.open();
  mask.end();
  const maskIsRight = algorithm.oid() === MGF1 && isSha384(algorithm);
  const saltIsRight = salt.number(0xffff) === 48;
  salt.end();
  const trailerIsRight = trailer === undefined || trailer.number(0xffff) === 1;
  trailer?.end();
  return hashIsRight && maskIsRight && saltIsRight && trailerIsRight;
}

/** The hash's AlgorithmIdentifier, to the end of `reader`; RFC 4055 §2.1 allows NULL or absent parameters. */
function isSha384(reader: DerReader): boolean {
  const algorithm = reader.open();
  reader.end();
  if (algorithm.oid() !== SHA384) return false;
  if (algorithm.nextTag === TAG.null) algorithm.null();
  algorithm.end();
  return true;
}

/** Reads SubjectPublicKeyInfo. @throws SealttyError `peer-misbehaved` also on a key of another kind. */
export function readPublicKey(reader: DerReader): {
  readonly spki: Uint8Array;
  readonly key: HardwareKey;
  readonly kind: KeyKind;
} {
  const element = reader.element(TAG.sequence);
  const info = reader.inside(element);
  const algorithm = info.open();
  const bits = info.bitString();
  info.end();
  const name = algorithm.oid();
  if (name === RSA_ENCRYPTION) {
    algorithm.null();
    algorithm.end();
    const outer = new DerReader(bits, "RSA public key");
    const rsa = outer.open();
    outer.end();
    const key = { kind: "rsa", modulus: rsa.unsigned(MAX_MODULUS), exponent: rsa.unsigned(8) } as const;
    rsa.end();
    return { spki: element.whole, key, kind: "rsa" };
  }
  if (name !== EC_PUBLIC_KEY) return info.fail("has a key of an unknown kind");
  const curve = CURVES.get(algorithm.oid());
  algorithm.end();
  if (curve === undefined) return info.fail("has a key on an unknown curve");
  const { kind, size } = curve;
  if (bits.length !== 1 + 2 * size || bits[0] !== 0x04)
    info.fail("has a public key that is no uncompressed point");
  const key = { kind: "ec", x: bits.subarray(1, 1 + size), y: bits.subarray(1 + size) } as const;
  return { spki: element.whole, key, kind };
}

/**
 * A signature as `SignatureVerifier` takes it: ECDSA's SEQUENCE { r, s } becomes r‖s, each as long as the algorithm's
 * curve order; others stay as they are. @throws SealttyError `peer-misbehaved` where r or s does not fit.
 */
export function rawSignature(algorithm: CertificateSignatureAlgorithm, bits: Uint8Array): Uint8Array {
  if (algorithm === "unsupported") return bits;
  const { size } = SIGNERS[algorithm];
  if (size === undefined) return bits;
  const outer = new DerReader(bits, "ECDSA signature");
  const sequence = outer.open();
  outer.end();
  const halves = [sequence.unsigned(size), sequence.unsigned(size)];
  sequence.end();
  return concat(...halves.flatMap((half) => [new Uint8Array(size - half.length), half]));
}

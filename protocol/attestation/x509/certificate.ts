// X.509 version 3 certificates of the hardware vendors: parsed strictly, verified one link at a time. RFC 5280 §4
// No path is searched for here: each vendor's chain has a fixed shape, which its own verifier spells out.

import { equalBytes } from "../../bytes.ts";
import type { HardwareKey, SignatureVerifier } from "../../crypto/signatures.ts";
import { isWithin } from "../validity.ts";
import {
  type CertificateSignatureAlgorithm,
  type KeyKind,
  fitsKey,
  rawSignature,
  readPublicKey,
  readSignatureAlgorithm,
} from "./algorithms.ts";
import { DerReader, TAG, asciiOf, explicitTag } from "./der.ts";

/** Bytes of one certificate; vendors' have at most 2 KiB. */
export const MAX_CERTIFICATE = 16 * 1024;
/** Content of a serial number: 20 bytes (RFC 5280 §4.1.2.2) and a sign byte. */
const MAX_SERIAL = 21;
const MAX_EXTENSIONS = 32;
const MAX_NAME_PARTS = 16;
const MAX_COMMON_NAME = 128;

const COMMON_NAME = "2.5.4.3";
const KEY_USAGE = "2.5.29.15";
const BASIC_CONSTRAINTS = "2.5.29.19";
/** Extensions that this module honours; another one that is critical makes the certificate unusable. */
const UNDERSTOOD: ReadonlySet<string> = new Set([KEY_USAGE, BASIC_CONSTRAINTS]);

/** RFC 5280 §4.2.1.3, in the order of the bits. */
const KEY_USAGES = [
  "digitalSignature",
  "contentCommitment",
  "keyEncipherment",
  "dataEncipherment",
  "keyAgreement",
  "keyCertSign",
  "cRLSign",
  "encipherOnly",
  "decipherOnly",
] as const;
export type KeyUsage = (typeof KEY_USAGES)[number];

export interface Extension {
  readonly critical: boolean;
  /** Content of extnValue: DER as a rule, but raw bytes in some of AMD's. */
  readonly value: Uint8Array;
}

/** All bytes are views into `der`. */
export interface Certificate {
  readonly der: Uint8Array;
  /** What is signed. */
  readonly tbs: Uint8Array;
  /** Content of the INTEGER: a leading zero byte where the first bit is set. */
  readonly serial: Uint8Array;
  /** DER of the Name. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** Printable ASCII, at most 128 characters; undefined where there is none, or not exactly one. */
  readonly issuerCommonName: string | undefined;
  readonly subjectCommonName: string | undefined;
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** DER of SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly key: HardwareKey;
  readonly keyKind: KeyKind;
  readonly signatureAlgorithm: CertificateSignatureAlgorithm;
  /** As `SignatureVerifier` takes it: ECDSA is r‖s. */
  readonly signature: Uint8Array;
  /** By dotted object identifier. */
  readonly extensions: ReadonlyMap<string, Extension>;
  readonly isCa: boolean;
  /** CAs that may follow below this one; undefined: any number. */
  readonly pathLength: number | undefined;
  /** Undefined where the certificate does not say. */
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined;
}

/** @throws SealttyError `peer-misbehaved` on anything but one whole certificate in DER. */
export function parseCertificate(der: Uint8Array): Certificate {
  const outer = new DerReader(der, "Certificate");
  if (der.length > MAX_CERTIFICATE) outer.fail("is longer than 16 KiB");
  const certificate = outer.open();
  outer.end();
  const tbsElement = certificate.element(TAG.sequence);
  const tbs = certificate.inside(tbsElement);
  const signing = readSignatureAlgorithm(certificate);
  const bits = certificate.bitString();
  certificate.end();

  const version = tbs.open(explicitTag(0));
  if (version.number(255) !== 2) version.fail("has another version than 3");
  version.end();
  const serial = readSerial(tbs);
  if (!equalBytes(readSignatureAlgorithm(tbs).whole, signing.whole)) {
    tbs.fail("names two different signature algorithms");
  }
  const issuer = readName(tbs);
  const validity = tbs.open();
  const notBefore = validity.time();
  const notAfter = validity.time();
  validity.end();
  const subject = readName(tbs);
  const { spki, key, kind } = readPublicKey(tbs);
  const extensions = readExtensions(tbs.openOptional(explicitTag(3)));
  tbs.end(); // unique identifiers, [1] and [2], are refused with it

  return {
    der,
    tbs: tbsElement.whole,
    serial,
    issuer: issuer.whole,
    subject: subject.whole,
    issuerCommonName: issuer.commonName,
    subjectCommonName: subject.commonName,
    notBefore,
    notAfter,
    spki,
    key,
    keyKind: kind,
    signatureAlgorithm: signing.algorithm,
    signature: rawSignature(signing.algorithm, bits),
    extensions,
    ...basicConstraintsOf(extensions.get(BASIC_CONSTRAINTS)),
    keyUsage: keyUsageOf(extensions.get(KEY_USAGE)),
  };
}

/**
 * One link of a chain: `issuer` is a CA whose key made the certificate's signature, and neither has a critical extension
 * that is not understood. Validity, pinning, path length and revocation are the caller's.
 */
export async function isSignedBy(
  certificate: Certificate,
  issuer: Certificate,
  signatures: SignatureVerifier,
): Promise<boolean> {
  const { signatureAlgorithm: algorithm } = certificate;
  if (!equalBytes(certificate.issuer, issuer.subject)) return false;
  if (!issuer.isCa || issuer.keyUsage?.has("keyCertSign") === false) return false;
  if (hasUnknownCritical(certificate) || hasUnknownCritical(issuer)) return false;
  if (algorithm === "unsupported" || !fitsKey(algorithm, issuer.keyKind)) return false;
  return await signatures.verify(algorithm, issuer.key, certificate.tbs, certificate.signature);
}

/** @param now - and @param skew - in milliseconds. */
export function isValidAt(
  certificate: Pick<Certificate, "notBefore" | "notAfter">,
  now: number,
  skew: number,
): boolean {
  return isWithin(certificate.notBefore, certificate.notAfter, now, skew);
}

/** An extension that its maker wants honoured and that nobody here knows. */
export function hasUnknownCritical(certificate: Pick<Certificate, "extensions">): boolean {
  return [...certificate.extensions].some(([oid, { critical }]) => critical && !UNDERSTOOD.has(oid));
}

/** CertificateSerialNumber; AMD's VCEKs have the number zero. */
export function readSerial(reader: DerReader): Uint8Array {
  const serial = reader.integer();
  if ((serial[0] as number) >= 0x80) reader.fail("has a negative serial number");
  if (serial.length > MAX_SERIAL) reader.fail("has a serial number that is too long");
  return serial;
}

/** Name, with the one common name in it, if there is exactly one that is plain text. */
export function readName(reader: DerReader): {
  readonly whole: Uint8Array;
  readonly commonName: string | undefined;
} {
  const element = reader.element(TAG.sequence);
  const name = reader.inside(element);
  const commonNames: (string | undefined)[] = [];
  let parts = 0;
  while (name.remaining > 0) {
    const set = name.open(TAG.set);
    do {
      if (++parts > MAX_NAME_PARTS) name.fail("has a name of too many parts");
      const part = set.open();
      const type = part.oid();
      const { tag, content } = part.element();
      part.end();
      const isText = tag === TAG.utf8String || tag === TAG.printableString || tag === TAG.ia5String;
      if (type === COMMON_NAME) commonNames.push(isText ? asciiOf(content, MAX_COMMON_NAME) : undefined);
    } while (set.remaining > 0);
  }
  return { whole: element.whole, commonName: commonNames.length === 1 ? commonNames[0] : undefined };
}

/** @param wrapper - the [n] around Extensions, opened. */
export function readExtensions(wrapper: DerReader | undefined): ReadonlyMap<string, Extension> {
  const extensions = new Map<string, Extension>();
  if (wrapper === undefined) return extensions;
  const list = wrapper.open();
  wrapper.end();
  if (list.remaining === 0) list.fail("has an empty list of extensions");
  while (list.remaining > 0) {
    if (extensions.size >= MAX_EXTENSIONS) list.fail("has too many extensions");
    const extension = list.open();
    const oid = extension.oid();
    const critical = extension.nextTag === TAG.boolean && extension.boolean();
    const value = extension.octetString();
    extension.end();
    if (extensions.has(oid)) list.fail("has one extension twice");
    extensions.set(oid, { critical, value });
  }
  return extensions;
}

function basicConstraintsOf(extension: Extension | undefined): Pick<Certificate, "isCa" | "pathLength"> {
  if (extension === undefined) return { isCa: false, pathLength: undefined };
  const outer = new DerReader(extension.value, "Basic constraints");
  const constraints = outer.open();
  outer.end();
  const isCa = constraints.nextTag === TAG.boolean && constraints.boolean();
  const pathLength = constraints.nextTag === TAG.integer ? constraints.number(255) : undefined;
  constraints.end();
  if (!isCa && pathLength !== undefined) constraints.fail("limit the path below something that is no CA");
  return { isCa, pathLength };
}

function keyUsageOf(extension: Extension | undefined): ReadonlySet<KeyUsage> | undefined {
  if (extension === undefined) return undefined;
  const outer = new DerReader(extension.value, "Key usage");
  const bits = outer.namedBits(KEY_USAGES.length);
  outer.end();
  return new Set(KEY_USAGES.filter((_, bit) => bits.has(bit)));
}

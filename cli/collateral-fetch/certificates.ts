// Certificates and CRLs as pieces: checked up to a pinned root before they are kept.

import { concat, toHex } from "../../protocol/bytes.ts";
import type { SignatureVerifier } from "../../protocol/crypto/signatures.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";
import { SealttyError } from "../../protocol/errors.ts";
import {
  type Certificate,
  isSignedBy,
  isValidAt,
  parseCertificate,
} from "../../protocol/attestation/x509/certificate.ts";
import { isCrlCurrent, isCrlSignedBy, parseCrl } from "../../protocol/attestation/x509/crl.ts";
import { pemCertificates } from "../../protocol/attestation/x509/pem.ts";
import type { Piece } from "./piece.ts";

/** Clocks differ, and a vendor may publish a list some minutes ahead. */
const SKEW_MS = 5 * 60 * 1000;

export interface Trust {
  /** Milliseconds since 1970. */
  readonly now: number;
  /** SHA-256 of the accepted roots' SubjectPublicKeyInfo, hex. */
  readonly pins: readonly string[];
  readonly suite: Pick<CryptoSuite, "sha256">;
  readonly signatures: SignatureVerifier;
}

/** @param url - for errors. @returns intermediate and root. @throws SealttyError `peer-misbehaved` where it leads to no pinned root. */
export async function checkedChain(
  url: string,
  pem: Uint8Array,
  trust: Trust,
): Promise<{ issuer: Certificate; root: Certificate }> {
  const [issuer, root, ...more] = reading(url, () => pemCertificates(pem).map(parseCertificate));
  if (issuer === undefined || root === undefined || more.length > 0)
    return wrong(url, "is not a chain of two certificates");
  if (!trust.pins.includes(toHex(trust.suite.sha256(root.spki))))
    wrong(url, "ends in another root than the vendor's; do not use this server");
  if (
    !(await isSignedBy(root, root, trust.signatures)) ||
    !(await isSignedBy(issuer, root, trust.signatures))
  )
    wrong(url, "has a certificate that its root did not sign");
  for (const certificate of [issuer, root])
    if (!isValidAt(certificate, trust.now, SKEW_MS))
      wrong(url, "has a certificate that is not valid today; check this machine's clock");
  return { issuer, root };
}

export function chainPiece(
  name: string,
  what: string,
  chain: { issuer: Certificate; root: Certificate },
): Piece {
  const rankOf = (bytes: Uint8Array) =>
    quietly(() => {
      const [issuer, root] = pemCertificates(bytes).map(parseCertificate);
      return issuer === undefined || root === undefined ? undefined : [issuer.notBefore, root.notBefore];
    });
  const { issuer, root } = chain;
  return {
    name,
    what,
    bytes: new TextEncoder().encode(pem(issuer.der, root.der)),
    from: Math.max(issuer.notBefore, root.notBefore),
    until: Math.min(issuer.notAfter, root.notAfter),
    rank: [issuer.notBefore, root.notBefore],
    rankOf,
  };
}

/** @throws SealttyError `peer-misbehaved` where the issuer did not sign it, or it is not valid now. */
export async function leafPiece(
  url: string,
  name: string,
  what: string,
  der: Uint8Array,
  issuer: Certificate,
  trust: Trust,
): Promise<{ piece: Piece; certificate: Certificate }> {
  const certificate = reading(url, () => parseCertificate(der));
  if (!(await isSignedBy(certificate, issuer, trust.signatures))) wrong(url, "is not signed by its issuer");
  if (!isValidAt(certificate, trust.now, SKEW_MS))
    wrong(url, "is not valid today; check this machine's clock");
  const { notBefore, notAfter } = certificate;
  const rankOf = (bytes: Uint8Array) => quietly(() => [parseCertificate(bytes).notBefore]);
  return {
    certificate,
    piece: { name, what, bytes: der, from: notBefore, until: notAfter, rank: [notBefore], rankOf },
  };
}

/** @throws SealttyError `peer-misbehaved` where the issuer did not sign it, or it is out of date. */
export async function crlPiece(
  url: string,
  name: string,
  what: string,
  der: Uint8Array,
  issuer: Certificate,
  trust: Trust,
): Promise<Piece> {
  const crl = reading(url, () => parseCrl(der));
  if (!(await isCrlSignedBy(crl, issuer, trust.signatures))) wrong(url, "is not signed by its issuer");
  if (!isCrlCurrent(crl, trust.now, SKEW_MS))
    wrong(url, "is out of date, or of the future; check this machine's clock");
  const { thisUpdate, nextUpdate } = crl;
  const rankOf = (bytes: Uint8Array) => quietly(() => [parseCrl(bytes).thisUpdate]);
  return { name, what, bytes: der, from: thisUpdate, until: nextUpdate, rank: [thisUpdate], rankOf };
}

/** Parsers blame the peer without a name; here the peer is a URL. */
export function reading<T>(url: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof SealttyError)) throw cause;
    return wrong(url, `answers with what is not it: ${cause.message}`, cause);
  }
}

/** Another file is no reason to fail: it is then the worse one. */
export function quietly<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof SealttyError) return undefined;
    throw error;
  }
}

export function wrong(url: string, problem: string, cause?: unknown): never {
  throw new SealttyError("peer-misbehaved", `${url} ${problem}`, { cause });
}

function pem(...certificates: readonly Uint8Array[]): string {
  return certificates
    .map((der) => {
      const lines =
        Buffer.from(concat(der))
          .toString("base64")
          .match(/.{1,64}/g) ?? [];
      return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
    })
    .join("");
}

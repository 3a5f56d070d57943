// Certificate revocation lists, complete ones only: no delta lists, no indirect ones, no partitions. RFC 5280 §5

import { equalBytes, toHex } from "../../bytes.ts";
import type { SignatureVerifier } from "../../crypto/signatures.ts";
import { MAX_COLLATERAL_PIECE } from "../../limits.ts";
import { isWithin } from "../validity.ts";
import {
  type CertificateSignatureAlgorithm,
  fitsKey,
  rawSignature,
  readSignatureAlgorithm,
} from "./algorithms.ts";
import {
  type Certificate,
  type Extension,
  hasUnknownCritical,
  readExtensions,
  readName,
  readSerial,
} from "./certificate.ts";
import { DerReader, TAG, explicitTag } from "./der.ts";

const CRL_NUMBER = "2.5.29.20";
const DELTA_CRL_INDICATOR = "2.5.29.27";
const ISSUING_DISTRIBUTION_POINT = "2.5.29.28";
const AUTHORITY_KEY_IDENTIFIER = "2.5.29.35";
const REASON_CODE = "2.5.29.21";
const INVALIDITY_DATE = "2.5.29.24";
const UNDERSTOOD: ReadonlySet<string> = new Set([CRL_NUMBER, AUTHORITY_KEY_IDENTIFIER]);
const UNDERSTOOD_IN_ENTRY: ReadonlySet<string> = new Set([REASON_CODE, INVALIDITY_DATE]);

export interface RevocationList {
  readonly der: Uint8Array;
  /** What is signed. */
  readonly tbs: Uint8Array;
  /** DER of the Name. */
  readonly issuer: Uint8Array;
  readonly issuerCommonName: string | undefined;
  /** Milliseconds since 1970. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** Serial numbers: hex of the INTEGER's content, as in `toHex(certificate.serial)`. */
  readonly revoked: ReadonlySet<string>;
  /** CRL number, hex of the magnitude. */
  readonly number: string | undefined;
  readonly signatureAlgorithm: CertificateSignatureAlgorithm;
  /** As `SignatureVerifier` takes it. */
  readonly signature: Uint8Array;
}

/**
 * @throws SealttyError `peer-misbehaved` on anything but one complete version 2 CRL in DER that says when the next one
 * comes; an extension that is critical and not understood, in the list or in an entry, is refused here already.
 */
export function parseCrl(der: Uint8Array): RevocationList {
  const outer = new DerReader(der, "Revocation list");
  if (der.length > MAX_COLLATERAL_PIECE) outer.fail("is longer than 128 KiB");
  const list = outer.open();
  outer.end();
  const tbsElement = list.element(TAG.sequence);
  const tbs = list.inside(tbsElement);
  const signing = readSignatureAlgorithm(list);
  const bits = list.bitString();
  list.end();

  if (tbs.number(255) !== 1) tbs.fail("has another version than 2");
  if (!equalBytes(readSignatureAlgorithm(tbs).whole, signing.whole)) {
    tbs.fail("names two different signature algorithms");
  }
  const issuer = readName(tbs);
  const thisUpdate = tbs.time();
  const nextUpdate = tbs.time(); // optional in the grammar; without it a list would be good for ever
  if (nextUpdate < thisUpdate) tbs.fail("ends before it begins");
  const entries = tbs.openOptional(TAG.sequence);
  const revoked = new Set<string>();
  while (entries !== undefined && entries.remaining > 0) revoked.add(readEntry(entries));
  const extensions = readExtensions(tbs.openOptional(explicitTag(0)));
  tbs.end();
  if (extensions.has(DELTA_CRL_INDICATOR) || extensions.has(ISSUING_DISTRIBUTION_POINT)) {
    tbs.fail("is not a complete list");
  }
  refuseUnknownCritical(tbs, extensions, UNDERSTOOD);

  return {
    der,
    tbs: tbsElement.whole,
    issuer: issuer.whole,
    issuerCommonName: issuer.commonName,
    thisUpdate,
    nextUpdate,
    revoked,
    number: crlNumberOf(extensions.get(CRL_NUMBER)),
    signatureAlgorithm: signing.algorithm,
    signature: rawSignature(signing.algorithm, bits),
  };
}

/** One revoked certificate. @returns its serial number; every reason counts the same. */
function readEntry(entries: DerReader): string {
  const entry = entries.open();
  const serial = readSerial(entry);
  entry.time();
  if (entry.remaining > 0) {
    // The same grammar as in a certificate, without the [n] around it.
    refuseUnknownCritical(entry, readExtensions(entry), UNDERSTOOD_IN_ENTRY);
  }
  entry.end();
  return toHex(serial);
}

function refuseUnknownCritical(
  reader: DerReader,
  extensions: ReadonlyMap<string, Extension>,
  understood: ReadonlySet<string>,
): void {
  for (const [oid, { critical }] of extensions) {
    if (critical && !understood.has(oid)) reader.fail("has a critical extension that nobody here knows");
  }
}

function crlNumberOf(extension: Extension | undefined): string | undefined {
  if (extension === undefined) return undefined;
  const reader = new DerReader(extension.value, "CRL number");
  const number = reader.unsigned(20);
  reader.end();
  return toHex(number);
}

/** `issuer` is a CA that may sign lists, and its key made this one's signature. Dates and pinning are the caller's. */
export async function isCrlSignedBy(
  crl: RevocationList,
  issuer: Certificate,
  signatures: SignatureVerifier,
): Promise<boolean> {
  const { signatureAlgorithm: algorithm } = crl;
  if (!equalBytes(crl.issuer, issuer.subject)) return false;
  if (!issuer.isCa || issuer.keyUsage?.has("cRLSign") === false || hasUnknownCritical(issuer)) return false;
  if (algorithm === "unsupported" || !fitsKey(algorithm, issuer.keyKind)) return false;
  return await signatures.verify(algorithm, issuer.key, crl.tbs, crl.signature);
}

/** @param now - and @param skew - in milliseconds. */
export function isCrlCurrent(
  crl: Pick<RevocationList, "thisUpdate" | "nextUpdate">,
  now: number,
  skew: number,
): boolean {
  return isWithin(crl.thisUpdate, crl.nextUpdate, now, skew);
}

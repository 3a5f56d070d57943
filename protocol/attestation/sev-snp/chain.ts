// AMD's chain, which has one shape: ARK (pinned) signs ASK or ASVK, that signs the VCEK or VLEK; the ARK's revocation list
// covers the one in between. AMD 57230 §3; AMD does not revoke VCEKs.

import { equalBytes, toHex } from "../../bytes.ts";
import { SealttyError } from "../../errors.ts";
import { refuse } from "../refusal.ts";
import type { SnpProduct } from "../roots.ts";
import { timeWords } from "../validity.ts";
import type { VerifyContext } from "../verify-context.ts";
import { type Certificate, isSignedBy, isValidAt } from "../x509/certificate.ts";
import { type RevocationList, isCrlCurrent, isCrlSignedBy } from "../x509/crl.ts";
import type { Pool } from "./pool.ts";
import { type EndorsementKind, intermediateName, rootName } from "./product.ts";

/** Certificates that fit one place in the chain and are tried there. AMD issues the same key's certificate anew now and then. */
const MAX_CANDIDATES = 8;

const NEXT_CHAIN =
  "Fetch the certificates again from AMD's key distribution service (`sealtty collateral fetch --for FILE`, or the host's certificate table), or name a directory that has them: `--collateral DIR`.";
const NEXT_CLOCK =
  "Check this machine's clock; if it is right, fetch the certificates and revocation lists again.";

/** A revocation list of the ARK that holds. */
export interface CrlFacts {
  /** Milliseconds since 1970. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}

export interface Chain {
  /** SHA-256 of the ARK's SubjectPublicKeyInfo, hex. */
  readonly root: string;
  readonly ark: Certificate;
  /** ASK or ASVK. */
  readonly intermediate: Certificate;
  readonly crl: CrlFacts | "absent";
}

/** Whose certificate: what its names must be, and who may have signed it. */
export interface ChainSubject {
  readonly kind: EndorsementKind;
  readonly product: SnpProduct;
}

/**
 * From a VCEK or VLEK up to a pinned root. @param leaf - named SEV-VCEK or SEV-VLEK.
 * @throws SealttyError `evidence-refused`.
 */
export async function checkChain(
  leaf: Certificate,
  { kind, product }: ChainSubject,
  pool: Pool,
  context: VerifyContext,
): Promise<Chain> {
  const words = kind.toUpperCase();
  const check = `snp.${kind}-chain`;
  const issuerName = intermediateName(kind, product);
  if (leaf.issuerCommonName !== issuerName) {
    refuse(
      check,
      `The ${words} certificate names an issuer that does not issue ${words}s for ${product}`,
      issuerName,
      leaf.issuerCommonName ?? "no such name",
      NEXT_CHAIN,
    );
  }
  if (leaf.isCa || leaf.keyKind !== "ec-p384") {
    refuse(
      check,
      `The ${words} certificate is not one for a signing key`,
      "P-384, no CA",
      leaf.keyKind,
      NEXT_CHAIN,
    );
  }
  const { ark, root } = await pinnedRoot(product, pool, context);
  // Of the same name, byte for byte; so their common name is the right one too.
  const issuers = pool.certificates.filter(({ subject }) => equalBytes(subject, leaf.issuer));
  if (issuers.length === 0) {
    refuse(
      check,
      "The certificate between AMD's root and the report's key is missing",
      issuerName,
      "none",
      NEXT_CHAIN,
    );
  }
  const intermediate = await firstThatHolds(check, issuers, async (issuer) => {
    if (!(await isPssSignedBy(issuer, ark, context))) {
      refuse(
        check,
        `AMD's root did not sign the certificate ${issuerName}`,
        "AMD's signature",
        "another",
        NEXT_CHAIN,
      );
    }
    requireValid(issuer, issuerName, context);
    if (!(await isPssSignedBy(leaf, issuer, context))) {
      refuse(
        check,
        `${issuerName} did not sign the ${words} certificate`,
        "AMD's signature",
        "another",
        NEXT_CHAIN,
      );
    }
    return issuer;
  });
  requireValid(leaf, words, context);
  return { root, ark, intermediate, crl: await checkRevocation(ark, intermediate, pool, context) };
}

/** The ARK's certificate whose key is pinned for this product. */
async function pinnedRoot(
  product: SnpProduct,
  pool: Pool,
  context: VerifyContext,
): Promise<{ ark: Certificate; root: string }> {
  const check = "snp.root";
  const pins = context.roots.amd[product];
  const name = rootName(product);
  const pinOf = (certificate: Certificate) => toHex(context.suite.sha256(certificate.spki));
  const named = pool.certificates.filter(({ subjectCommonName }) => subjectCommonName === name);
  const [stranger] = named;
  if (stranger === undefined) {
    return refuse(
      check,
      `The certificate of AMD's root key, ${name}, is missing: it must come with the evidence or from your own collateral`,
      pins.join(" or "),
      "none",
      NEXT_CHAIN,
    );
  }
  const pinned = named.filter((certificate) => pins.includes(pinOf(certificate)));
  if (pinned.length === 0) {
    refuse(
      check,
      `The certificate named ${name} is not AMD's: its key is not the pinned one`,
      pins.join(" or "),
      pinOf(stranger),
      "Do not connect: somebody made up a root certificate.",
    );
  }
  const ark = await firstThatHolds(check, pinned, async (certificate) => {
    const longEnough = certificate.pathLength === undefined || certificate.pathLength >= 1;
    if (
      certificate.keyKind !== "rsa" ||
      !longEnough ||
      !(await isPssSignedBy(certificate, certificate, context))
    ) {
      refuse(check, `The certificate of ${name} was changed`, "signed by its own key", "another", NEXT_CHAIN);
    }
    requireValid(certificate, name, context);
    return certificate;
  });
  return { ark, root: pinOf(ark) };
}

/**
 * One list in the ARK's name that the ARK did not sign, and the evidence is refused. An outdated one is passed over where a
 * current one is there (an owner's cache ages), but what it revokes stays revoked.
 */
async function checkRevocation(
  ark: Certificate,
  intermediate: Certificate,
  pool: Pool,
  context: VerifyContext,
): Promise<CrlFacts | "absent"> {
  const check = "snp.crl";
  const crls = pool.crls.filter(({ issuer }) => equalBytes(issuer, ark.subject));
  if (crls.length > MAX_CANDIDATES) tooMany(check, crls.length);
  for (const crl of crls) {
    if (crl.signatureAlgorithm !== "rsapss-sha384" || !(await isCrlSignedBy(crl, ark, context.signatures))) {
      refuse(
        check,
        "A revocation list in AMD's name was not signed by AMD",
        "AMD's signature",
        "another",
        "Do not connect; if the list is from your own collateral, fetch it again.",
      );
    }
    for (const certificate of [intermediate, ark]) {
      if (crl.revoked.has(toHex(certificate.serial))) {
        refuse(
          check,
          "AMD has revoked the certificate above the report's key",
          "not revoked",
          `serial number ${toHex(certificate.serial)}`,
          "Do not connect: keys below a revoked certificate prove nothing.",
        );
      }
    }
  }
  const newest = newestOf(crls.filter((crl) => isCrlCurrent(crl, context.now, context.clockSkew)));
  const [outdated] = crls;
  if (newest === undefined && outdated !== undefined) {
    refuse(
      check,
      "AMD's revocation list is not valid at this time",
      timesWords(outdated.thisUpdate, outdated.nextUpdate),
      timeWords(context.now),
      NEXT_CLOCK,
    );
  }
  return newest ?? "absent";
}

function newestOf(crls: readonly RevocationList[]): CrlFacts | undefined {
  const [newest] = crls.toSorted((a, b) => b.thisUpdate - a.thisUpdate);
  return newest === undefined ? undefined : { thisUpdate: newest.thisUpdate, nextUpdate: newest.nextUpdate };
}

/** AMD signs with RSASSA-PSS and SHA-384 only. */
async function isPssSignedBy(certificate: Certificate, issuer: Certificate, context: VerifyContext) {
  return (
    certificate.signatureAlgorithm === "rsapss-sha384" &&
    (await isSignedBy(certificate, issuer, context.signatures))
  );
}

/** @param name - of ours, never from the certificate. */
function requireValid(certificate: Certificate, name: string, { now, clockSkew }: VerifyContext): void {
  if (isValidAt(certificate, now, clockSkew)) return;
  refuse(
    "snp.validity",
    `The ${name} certificate is not valid at this time`,
    timesWords(certificate.notBefore, certificate.notAfter),
    timeWords(now),
    NEXT_CLOCK,
  );
}

/**
 * Tries candidates in turn. @param check - blamed where there are too many.
 * @returns what the first attempt that holds gives. @throws SealttyError what the first candidate failed with.
 */
export async function firstThatHolds<Candidate, Result>(
  check: string,
  candidates: readonly Candidate[],
  attempt: (candidate: Candidate) => Promise<Result>,
): Promise<Result> {
  if (candidates.length > MAX_CANDIDATES) tooMany(check, candidates.length);
  let first: SealttyError | undefined;
  for (const candidate of candidates) {
    try {
      return await attempt(candidate);
    } catch (error) {
      if (!(error instanceof SealttyError) || error.code !== "evidence-refused") throw error;
      first ??= error;
    }
  }
  throw first ?? new SealttyError("api-misuse", "No candidate to try");
}

function tooMany(check: string, count: number): never {
  return refuse(
    check,
    "Too many certificates or revocation lists beside the report claim to be the same one",
    `at most ${MAX_CANDIDATES}`,
    `${count}`,
    "Remove old ones from the collateral directory or from the host's certificate table.",
  );
}

function timesWords(from: number, until: number): string {
  return `${timeWords(from)} to ${timeWords(until)}`;
}

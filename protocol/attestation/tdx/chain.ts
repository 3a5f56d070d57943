// Intel's two certificate chains, of fixed shape: root, PCK CA, PCK leaf; and root, TCB signing certificate. The profile is
// spelled out, so that no key can play another's part: a leaked PCK key must not sign TCB info.

import { equalBytes, toHex } from "../../bytes.ts";
import { parsing, refuse } from "../refusal.ts";
import type { VerifyContext } from "../verify-context.ts";
import { type Certificate, isSignedBy, isValidAt, parseCertificate } from "../x509/certificate.ts";
import { pemCertificates } from "../x509/pem.ts";
import { timeWords } from "../validity.ts";
import type { PckFacts } from "./pck.ts";

const ROOT_NAME = "Intel SGX Root CA";
const LEAF_NAME = "Intel SGX PCK Certificate";
export const SIGNER_NAME = "Intel SGX TCB Signing";
export const CA_NAMES: Readonly<Record<PckFacts["ca"], string>> = {
  Platform: "Intel SGX PCK Platform CA",
  Processor: "Intel SGX PCK Processor CA",
};
/** TCB signing certificates that a bag may hold; Intel has made two since 2018. */
const MAX_SIGNERS = 8;
const MAX_OTHERS = 16;

const NEXT_FORGED =
  "Connect again; if it stays, something between you and the guest changes the evidence: do not connect.";
const NEXT_CLOCK =
  "Set this machine's clock right; if it is right, the platform's operator must renew the certificates.";

export interface PckChain {
  readonly leaf: Certificate;
  readonly ca: Certificate;
  readonly root: Certificate;
  readonly caKind: PckFacts["ca"];
}

/**
 * @param pem - the certificates in the quote: leaf, CA, root, in this order.
 * @throws SealttyError `evidence-refused`: tdx.pck-chain-format, tdx.root, tdx.pck-chain, tdx.pck-validity.
 */
export async function requirePckChain(pem: Uint8Array, context: VerifyContext): Promise<PckChain> {
  const certificates = parsing("tdx.pck-chain-format", "The PCK certificate chain in the quote", () => {
    const found = pemCertificates(pem).map(parseCertificate);
    return isPlainPem(pem, found.length) ? found : [];
  });
  const [leaf, ca, root, more] = certificates;
  if (leaf === undefined || ca === undefined || root === undefined || more !== undefined) {
    return refuse(
      "tdx.pck-chain-format",
      "The quote's certificate chain is not of three certificates",
      "leaf, CA and root in plain PEM",
      `${certificates.length} certificates`,
      NEXT_FORGED,
    );
  }
  const pin = toHex(context.suite.sha256(root.spki));
  if (!context.roots.intel.includes(pin)) {
    refuse(
      "tdx.root",
      "The quote's certificate chain does not end at Intel's root key",
      context.roots.intel.join(" or "),
      pin,
      "Do not connect: whoever signed this quote is not Intel hardware.",
    );
  }
  const caKind = caKindOf(ca);
  const shape =
    isCaOf(root, ROOT_NAME) &&
    (root.pathLength ?? 1) >= 1 &&
    caKind !== undefined &&
    isCaOf(ca, CA_NAMES[caKind]) &&
    isLeafOf(leaf, LEAF_NAME);
  const signed =
    shape &&
    (await isSignedBy(root, root, context.signatures)) &&
    (await isSignedBy(ca, root, context.signatures)) &&
    (await isSignedBy(leaf, ca, context.signatures));
  if (!signed) {
    return refuse(
      "tdx.pck-chain",
      shape
        ? "A certificate of the PCK chain is not signed by the next"
        : "The PCK chain's certificates are not of the kinds that Intel issues",
      `${LEAF_NAME}, issued by ${CA_NAMES.Platform} or ${CA_NAMES.Processor}, issued by ${ROOT_NAME}`,
      [leaf, ca, root].map(nameWords).join(", "),
      NEXT_FORGED,
    );
  }
  for (const certificate of [leaf, ca, root]) {
    if (isValidAt(certificate, context.now, context.clockSkew)) continue;
    refuse(
      "tdx.pck-validity",
      "A certificate of the PCK chain is expired or not yet valid",
      `valid at ${timeWords(context.now)}`,
      `${nameWords(certificate)}: ${timeWords(certificate.notBefore)} to ${timeWords(certificate.notAfter)}`,
      NEXT_CLOCK,
    );
  }
  return { leaf, ca, root, caKind };
}

export interface TcbSigners {
  readonly signers: readonly Certificate[];
  /** Those and expired ones: the root issued them all. */
  readonly certified: readonly Certificate[];
  /** Other keys that were certified, but for something else: only to name what is wrong. */
  readonly others: readonly Certificate[];
}

/**
 * Those of the bag's certificates that may sign TCB info and QE identities now: issued by the root itself. An expired one
 * is left out where another is valid, since Intel rotates them; one that only claims to be of the root is refused.
 * @throws SealttyError `evidence-refused`: tdx.tcb-signing-chain, tdx.tcb-signing-validity.
 */
export async function requireTcbSigners(
  bag: readonly Uint8Array[],
  chain: PckChain,
  context: VerifyContext,
): Promise<TcbSigners> {
  const { root } = chain;
  const certificates = parsing("tdx.collateral-format", "A certificate in the collateral", () =>
    bag.map(parseCertificate),
  );
  const named = unique(certificates).filter(
    ({ subjectCommonName, issuer }) => subjectCommonName === SIGNER_NAME && equalBytes(issuer, root.subject),
  );
  if (named.length === 0 || named.length > MAX_SIGNERS) {
    refuse(
      "tdx.tcb-signing-chain",
      "The collateral has no TCB signing certificate that Intel's root issued",
      `${SIGNER_NAME}, issued by ${ROOT_NAME} itself`,
      named.length === 0 ? "none" : `more than ${MAX_SIGNERS}`,
      "Fetch the TDX collateral anew: the issuer chain of the TCB info belongs to it.",
    );
  }
  for (const signer of named) {
    if (isLeafOf(signer, SIGNER_NAME) && (await isSignedBy(signer, root, context.signatures))) continue;
    refuse(
      "tdx.tcb-signing-chain",
      "A TCB signing certificate in the collateral is not Intel's",
      `${SIGNER_NAME}, signed by ${ROOT_NAME}`,
      "another signature, or another kind of certificate",
      NEXT_FORGED,
    );
  }
  const valid = named.filter((signer) => isValidAt(signer, context.now, context.clockSkew));
  if (valid.length === 0) {
    refuse(
      "tdx.tcb-signing-validity",
      "The TCB signing certificate is expired or not yet valid",
      `valid at ${timeWords(context.now)}`,
      named.map(({ notBefore, notAfter }) => `${timeWords(notBefore)} to ${timeWords(notAfter)}`).join(", "),
      "Fetch the TDX collateral anew, and see that this machine's clock is right.",
    );
  }
  const others = unique([chain.leaf, chain.ca, root, ...certificates]).filter(
    (certificate) => certificate.keyKind === "ec-p256" && !named.includes(certificate),
  );
  return { signers: valid, certified: named, others: others.slice(0, MAX_OTHERS) };
}

function caKindOf(ca: Certificate): PckFacts["ca"] | undefined {
  if (ca.subjectCommonName === CA_NAMES.Platform) return "Platform";
  return ca.subjectCommonName === CA_NAMES.Processor ? "Processor" : undefined;
}

function isCaOf(certificate: Certificate, name: string): boolean {
  const { isCa, keyUsage, keyKind, subjectCommonName } = certificate;
  const mayIssue = isCa && keyUsage?.has("keyCertSign") === true && keyUsage.has("cRLSign");
  return subjectCommonName === name && mayIssue && keyKind === "ec-p256";
}

function isLeafOf(certificate: Certificate, name: string): boolean {
  const { isCa, keyUsage, keyKind, subjectCommonName } = certificate;
  const maySign = !isCa && keyUsage?.has("digitalSignature") === true && !keyUsage.has("keyCertSign");
  return subjectCommonName === name && maySign && keyKind === "ec-p256";
}

/** A common name is printable ASCII already; it is still another's text, and only Intel's are repeated. */
function nameWords({ subjectCommonName }: Certificate): string {
  const known = [ROOT_NAME, LEAF_NAME, SIGNER_NAME, CA_NAMES.Platform, CA_NAMES.Processor];
  return known.find((name) => name === subjectCommonName) ?? "a certificate of another name";
}

function unique(certificates: readonly Certificate[]): readonly Certificate[] {
  return [...new Map(certificates.map((certificate) => [toHex(certificate.der), certificate])).values()];
}

/**
 * Nothing signs the text around the base64, so it must be the plain form: no other white space than line ends, and at most
 * one zero byte behind.
 */
function isPlainPem(pem: Uint8Array, certificates: number): boolean {
  const end = pem.at(-1) === 0 ? pem.length - 1 : pem.length;
  let spaces = 0;
  for (const byte of pem.subarray(0, end)) {
    if (byte === 0x20) spaces++;
    else if (byte !== 0x0a && (byte < 0x20 || byte > 0x7e)) return false;
  }
  return pem[end - 1] === 0x0a && spaces === 2 * certificates; // BEGIN CERTIFICATE, END CERTIFICATE
}

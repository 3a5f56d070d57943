// A TDX quote, checked from its bytes down to Intel's root: everything that needs no policy, in the order of Intel's
// quote verification library. docs/protocol.md §6.3

import { equalBytes, isZero, toHex } from "../../bytes.ts";
import { type Collateral, joinCollateral } from "../collateral.ts";
import { MAX_EVIDENCE_QUOTE } from "../../limits.ts";
import { parsing, refuse } from "../refusal.ts";
import type { CheckedLine } from "../verified-guest.ts";
import type { VerifyContext } from "../verify-context.ts";
import type { Certificate } from "../x509/certificate.ts";
import type { RevocationList } from "../x509/crl.ts";
import { requirePckChain, requireTcbSigners } from "./chain.ts";
import {
  type Lifetime,
  requireCandidates,
  requireCrl,
  requireQeIdentity,
  requireTcbInfo,
} from "./collateral.ts";
import { timeWords } from "../validity.ts";
import { type PckFacts, readPckFacts } from "./pck.ts";
import { type QeIdentity, qeMismatch } from "./qe-identity.ts";
import { type TdxBody, type TdxQuote, parseTdxQuote } from "./quote.ts";
import type { IsvLevel } from "./tcb-info.ts";
import { type TcbVerdict, isvLevelOf, judgeTcb, requireKnownModule } from "./tcb-level.ts";

/** A quote that genuine Intel hardware signed, and what Intel says of that hardware; nothing about what runs there. */
export interface TdxFacts extends TcbVerdict {
  readonly version: 4 | 5;
  readonly body: TdxBody;
  readonly pck: PckFacts;
  /** The lower one of TCB info and QE identity. */
  readonly tcbEvaluationDataNumber: number;
  readonly lifetimes: {
    readonly tcbInfo: Lifetime;
    readonly qeIdentity: Lifetime;
    readonly pckCrl: Lifetime;
    readonly rootCrl: Lifetime;
  };
  readonly verified: readonly CheckedLine[];
}

const NEXT_CHANGED =
  "Connect again; if it stays, something between you and the guest changes the evidence, or the platform's quoting is broken.";

/**
 * @param quote - as the hardware's quoting enclave gave it, zero padding included.
 * @param collateral - what travelled with the evidence; the context's own is joined to it here.
 * @throws SealttyError `evidence-refused`, with a check named tdx.….
 */
export async function checkTdx(
  quote: Uint8Array,
  collateral: Collateral,
  context: VerifyContext,
): Promise<TdxFacts> {
  const parsed = requireQuote(quote);
  const chain = await requirePckChain(parsed.pckChain, context);
  const pck = parsing("tdx.pck-extension", "The PCK certificate", () =>
    readPckFacts(chain.leaf, chain.caKind),
  );

  const bag = joinCollateral(collateral, context.collateral);
  const candidates = requireCandidates(bag, chain, pck, context);
  const rootCrl = await requireCrl(candidates.rootCrls, chain.root, "tdx.root-crl", context);
  const pckCrl = await requireCrl(candidates.pckCrls, chain.ca, "tdx.pck-crl", context);
  requireNotRevoked(chain.ca, rootCrl, "tdx.ca-revoked", "The PCK CA");
  requireNotRevoked(chain.leaf, pckCrl, "tdx.pck-revoked", "The platform's PCK certificate");
  const signers = await requireTcbSigners(bag.certificates, chain, context);
  const info = await requireTcbInfo(candidates.tcbInfos, signers, context);
  const identity = await requireQeIdentity(candidates.qeIdentities, signers, context);
  for (const { signer } of [info, identity])
    requireNotRevoked(signer, rootCrl, "tdx.tcb-signing-revoked", "The TCB signing certificate");

  const module = requireKnownModule(parsed.body, info.content);
  await requireQeReport(parsed, chain.leaf, context);
  const qe = requireQeIdentityMatch(parsed, identity.content);
  await requireQuoteSignature(parsed, context);
  const tcb = judgeTcb(parsed.body, pck, info.content, module, qe);
  return {
    ...tcb,
    version: parsed.version,
    body: parsed.body,
    pck,
    tcbEvaluationDataNumber: Math.min(info.content.evaluationNumber, identity.content.evaluationNumber),
    lifetimes: {
      tcbInfo: { from: info.content.issueDate, until: info.content.nextUpdate },
      qeIdentity: { from: identity.content.issueDate, until: identity.content.nextUpdate },
      pckCrl: { from: pckCrl.thisUpdate, until: pckCrl.nextUpdate },
      rootCrl: { from: rootCrl.thisUpdate, until: rootCrl.nextUpdate },
    },
    verified: linesOf(pck, tcb, rootCrl, pckCrl),
  };
}

function requireQuote(quote: Uint8Array): TdxQuote {
  if (quote.length > MAX_EVIDENCE_QUOTE)
    refuse(
      "tdx.quote-format",
      "The TDX quote is too long",
      `at most ${MAX_EVIDENCE_QUOTE} bytes`,
      `${quote.length}`,
      NEXT_CHANGED,
    );
  const parsed = parsing("tdx.quote-format", "The TDX quote", () => parseTdxQuote(quote));
  if (parsed.supported) return parsed.quote;
  const { check, problem, found } = parsed.unsupported;
  return refuse(
    check,
    problem,
    "a TD quote of version 4 or 5, signed on P-256, with its PCK certificates",
    found,
    "A newer version of sealtty may know this kind of quote; nothing that the policy can say makes this one accept it.",
  );
}

function requireNotRevoked(
  certificate: Certificate,
  crl: RevocationList,
  check: string,
  words: string,
): void {
  const serial = toHex(certificate.serial);
  if (!crl.revoked.has(serial)) return;
  refuse(
    check,
    `${words} is revoked by Intel`,
    "a certificate that is not in the revocation list",
    `serial number ${serial}`,
    "Do not connect: its key may be in other hands.",
  );
}

/** Steps 12 and 13: the PCK key signed the quoting enclave's report, and that report names the attestation key. */
async function requireQeReport(quote: TdxQuote, leaf: Certificate, context: VerifyContext): Promise<void> {
  const { qeReport, qeReportSignature, attestationKey, authData } = quote;
  if (!(await context.signatures.verify("ecdsa-p256-sha256", leaf.key, qeReport.bytes, qeReportSignature))) {
    refuse(
      "tdx.qe-report-signature",
      "The quoting enclave's report is not signed by the platform's PCK key",
      "a signature of the PCK key",
      "another signature",
      NEXT_CHANGED,
    );
  }
  const committed = new Uint8Array(attestationKey.length + authData.length);
  committed.set(attestationKey);
  committed.set(authData, attestationKey.length);
  const expected = context.suite.sha256(committed);
  const { reportData } = qeReport;
  if (!equalBytes(reportData.subarray(0, 32), expected) || !isZero(reportData.subarray(32))) {
    refuse(
      "tdx.attestation-key",
      "The quoting enclave does not vouch for the key that signed the quote",
      toHex(expected),
      toHex(reportData),
      NEXT_CHANGED,
    );
  }
}

/** Steps 14 and 15. @returns the level of the quoting enclave. */
function requireQeIdentityMatch({ qeReport }: TdxQuote, identity: QeIdentity): IsvLevel {
  const mismatch = qeMismatch(qeReport, identity);
  if (mismatch !== undefined) {
    refuse(
      "tdx.qe-identity-match",
      `The quoting enclave is not Intel's: its ${mismatch} differs`,
      `MRSIGNER ${toHex(identity.mrSigner)}, ISVPRODID ${identity.isvProdId}`,
      `MRSIGNER ${toHex(qeReport.mrSigner)}, ISVPRODID ${qeReport.isvProdId}`,
      "Do not connect: another enclave than Intel's made this quote.",
    );
  }
  const level = isvLevelOf(identity.levels, qeReport.isvSvn);
  if (level !== undefined) return level;
  return refuse(
    "tdx.tcb-unsupported",
    "Intel lists no level that this quoting enclave reaches",
    `ISVSVN ${identity.levels.map(({ isvSvn }) => isvSvn).join(" or ")}`,
    `ISVSVN ${qeReport.isvSvn}`,
    "The platform's operator must update the quoting enclave.",
  );
}

/** Step 16. */
async function requireQuoteSignature(quote: TdxQuote, context: VerifyContext): Promise<void> {
  const { attestationKey, signed, signature } = quote;
  const key = { kind: "ec", x: attestationKey.subarray(0, 32), y: attestationKey.subarray(32) } as const;
  if (await context.signatures.verify("ecdsa-p256-sha256", key, signed, signature)) return;
  refuse(
    "tdx.signature",
    "The TDX quote's signature does not hold",
    "a signature of the attestation key",
    "another signature",
    NEXT_CHANGED,
  );
}

function linesOf(
  pck: PckFacts,
  tcb: TcbVerdict,
  rootCrl: RevocationList,
  pckCrl: RevocationList,
): readonly CheckedLine[] {
  return [
    {
      check: "tdx.pck-chain",
      words: "The platform's PCK certificate leads to Intel's root key, which is pinned",
      value: `PCK ${pck.ca} CA, FMSPC ${pck.fmspc}`,
    },
    {
      check: "tdx.revocation",
      words: "Intel has revoked none of the certificates",
      value: `lists until ${timeWords(Math.min(rootCrl.nextUpdate, pckCrl.nextUpdate))}`,
    },
    {
      check: "tdx.module",
      words: "Intel signed the TDX module, and knows its version",
      value: tcb.moduleStatus ?? "version 1.0",
    },
    {
      check: "tdx.qe-identity-match",
      words: "Intel's quoting enclave on this platform vouches for the attestation key",
      value: tcb.qeStatus,
    },
    { check: "tdx.signature", words: "That key signed the quote", value: "ECDSA P-256 with SHA-256" },
  ];
}

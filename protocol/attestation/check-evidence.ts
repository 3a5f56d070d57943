// Evidence of any kind, checked as far as no policy is needed: decoded, its signatures and chains, and what it is bound to.

import { equalBytes, toHex } from "../bytes.ts";
import type { SignatureVerifier } from "../crypto/signatures.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import type { EvidenceReport } from "./appraised-report.ts";
import { type AuxParts, decodeAux } from "./aux.ts";
import { checkAzure, judgeAzure, reportAzure } from "./azure/verify.ts";
import { tpmQualifyingData } from "./binder.ts";
import { CCA_RECOGNISED } from "./cca/verify.ts";
import { type Collateral, NO_COLLATERAL, decodeCollateral } from "./collateral.ts";
import type { Commitment } from "./commitment.ts";
import type { Evidence, EvidenceType } from "./evidence.ts";
import { NITRO_RECOGNISED } from "./nitro/verify.ts";
import type { Policy } from "./policy.ts";
import { type Checks, parsing, refuse } from "./refusal.ts";
import type { TrustRoots } from "./roots.ts";
import { checkSnp, judgeSnp, reportSnp } from "./sev-snp/verify.ts";
import { checkSimulated, judgeSimulated, reportSimulated } from "./simulated.ts";
import { judgeTdx } from "./tdx/judge.ts";
import { reportTdx } from "./tdx/report.ts";
import { checkTdx } from "./tdx/verify.ts";
import type { PcrValue } from "./tpm/pcr.ts";
import { checkTpm, judgeTpm, reportTpm } from "./tpm/verify.ts";
import { BINDING_WORDS, type BoundTo } from "./verdict.ts";
import type { VerifyContext } from "./verify-context.ts";

/** All that a check without a policy needs; nothing in here reads a clock or a network by itself. */
export interface CheckInput {
  readonly evidence: Evidence;
  readonly commitment: Commitment;
  readonly suite: CryptoSuite;
  readonly signatures: SignatureVerifier;
  /** Only ever true because the user said `--simulated`. */
  readonly acceptSimulated: boolean;
  /** Milliseconds since 1970, UTC: when certificates and collateral have to be valid. */
  readonly now: number;
  readonly roots: TrustRoots;
  /** The owner's own. */
  readonly collateral: Collateral;
}

/** Evidence whose signatures and binding hold. */
export interface Checked {
  readonly parts: AuxParts;
  readonly report: EvidenceReport;
  readonly pcrs: readonly PcrValue[];
  judge(policy: Policy, checks: Checks): void;
}

/** Decodes, checks and compares with the binder: everything that needs no policy. */
export async function checkEvidence(input: CheckInput, clockSkew: number): Promise<Checked> {
  const { evidence, suite } = input;
  const { type, quote } = evidence;
  if (type === "nitro") return refuseRecognised(type, NITRO_RECOGNISED);
  if (type === "cca") return refuseRecognised(type, CCA_RECOGNISED);
  const parts = parsing("evidence.format", "What came beside the quote", () => decodeAux(type, evidence.aux));
  const binder = input.commitment.binderFor(type, evidence.aux);
  const context: VerifyContext = {
    now: input.now,
    clockSkew: clockSkew * 1000,
    roots: input.roots,
    signatures: input.signatures,
    suite,
    collateral: input.collateral,
  };
  const checked = await checkOfType(type, quote, parts, binder, context, input);
  const { boundTo } = input.commitment;
  if (boundTo === "nothing") return { ...checked, parts };
  requireBinding(type, checked.report.bound, boundValue(type, binder, suite), boundTo);
  const held = {
    check: `${PREFIX[type]}.binding`,
    words: BINDING_WORDS[boundTo],
    value: toHex(checked.report.bound),
  };
  return { ...checked, parts, report: { ...checked.report, verified: [...checked.report.verified, held] } };
}

async function checkOfType(
  type: AppraisedType,
  quote: Uint8Array,
  parts: AuxParts,
  binder: Uint8Array,
  context: VerifyContext,
  input: CheckInput,
): Promise<Omit<Checked, "parts">> {
  const collateral = parsing("evidence.format", "The collateral beside the quote", () =>
    parts.collateral === undefined ? NO_COLLATERAL : decodeCollateral(parts.collateral),
  );
  switch (type) {
    case "sev-snp": {
      const facts = await checkSnp(quote, parts.certificateTable, collateral, context);
      return {
        report: reportSnp(facts),
        pcrs: [],
        judge: (policy, checks) => judgeSnp(facts, required(policy.snp), checks),
      };
    }
    case "tdx": {
      const facts = await checkTdx(quote, collateral, context);
      return {
        report: reportTdx(facts, parts.eventLog),
        pcrs: [],
        judge: (policy, checks) => judgeTdx(facts, required(policy.tdx), checks),
      };
    }
    case "azure-snp":
    case "azure-tdx": {
      const facts = await checkAzure(type, quote, parts, context);
      return {
        report: reportAzure(facts),
        pcrs: facts.pcrs,
        judge: (policy, checks) => judgeAzure(facts, policy, checks),
      };
    }
    case "tpm": {
      const facts = await checkTpm(quote, parts, context);
      return {
        report: reportTpm(facts),
        pcrs: facts.pcrs,
        judge: (policy, checks) => judgeTpm(facts, required(policy.tpm), checks),
      };
    }
    case "simulated": {
      const facts = checkSimulated(quote, parts, binder, input.suite, input.acceptSimulated);
      return {
        report: reportSimulated(facts),
        pcrs: [],
        judge: (policy, checks) => judgeSimulated(facts, required(policy.simulated), checks),
      };
    }
  }
}

/** The kinds of evidence that this version appraises, and what their checks' names begin with. */
const PREFIX = {
  "sev-snp": "snp",
  tdx: "tdx",
  "azure-snp": "azure",
  "azure-tdx": "azure",
  tpm: "tpm",
  simulated: "simulated",
} as const;
type AppraisedType = keyof typeof PREFIX;

/** What the signed structure of a type has to carry. */
function boundValue(type: AppraisedType, binder: Uint8Array, suite: CryptoSuite): Uint8Array {
  return type === "tpm" || type === "azure-snp" || type === "azure-tdx"
    ? tpmQualifyingData(suite, binder)
    : binder;
}

function requireBinding(
  type: AppraisedType,
  bound: Uint8Array,
  expected: Uint8Array,
  boundTo: BoundTo,
): void {
  if (equalBytes(bound, expected)) return;
  const { problem, next } = UNBOUND[boundTo];
  refuse(`${PREFIX[type]}.binding`, problem, toHex(expected), toHex(bound), next);
}

const UNBOUND: Readonly<Record<BoundTo, { readonly problem: string; readonly next: string }>> = {
  connection: {
    problem:
      "The evidence was not made for this connection: it is replayed, relayed from another connection, or something beside it was exchanged",
    next: "Connect again; if it stays, someone between you and the guest answers in its place.",
  },
  file: {
    problem:
      "The evidence was not made for the connection that the file describes, or something in the file was changed",
    next: "Fetch evidence anew: sealtty inspect GUEST --save-evidence FILE.",
  },
  "report-data": {
    problem: "The evidence carries other report data than you named",
    next: "Check --report-data: it is what the guest was told to put in, 64 bytes in hex.",
  },
  nothing: { problem: "", next: "" }, // never compared
};

function refuseRecognised(type: EvidenceType, words: string): never {
  return refuse(
    "evidence.type",
    words,
    "sev-snp, tdx, azure-snp, azure-tdx or tpm",
    type,
    "Use a machine with one of the kinds of evidence that this version appraises.",
  );
}

/** The section is there: `requireAccepted` was asked. Yet nothing rests on that. */
function required<Section>(section: Section | undefined): Section {
  if (section === undefined)
    throw new SealttyError("api-misuse", "No section of the policy for this evidence");
  return section;
}

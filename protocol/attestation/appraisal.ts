// From evidence to a verified guest, in words for people. The one place that makes a VerifiedGuest: decode, check what
// needs no policy, compare with the binder, judge by the policy, and only then believe.

import { equalBytes, toHex } from "../bytes.ts";
import type { SignatureVerifier } from "../crypto/signatures.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import type { EvidenceReport } from "./appraised-report.ts";
import { type AuxParts, decodeAux } from "./aux.ts";
import { checkAzure, judgeAzure, reportAzure } from "./azure/verify.ts";
import {
  type BindingContext,
  type RenewalContext,
  binderOf,
  keyProofContext,
  renewalBinderOf,
  tpmQualifyingData,
} from "./binder.ts";
import { CCA_RECOGNISED } from "./cca/verify.ts";
import { type Collateral, NO_COLLATERAL, decodeCollateral } from "./collateral.ts";
import type { Evidence, EvidenceType } from "./evidence.ts";
import { judgeInstance } from "./instance/judge.ts";
import { NITRO_RECOGNISED } from "./nitro/verify.ts";
import { type Policy, acceptedTypes, isPolicyName, reaches, renderPolicy, weakInstance } from "./policy.ts";
import { INSTANCE_DEFAULTS, POLICY_DEFAULTS } from "./policy/model.ts";
import { Checks, parsing, refuse } from "./refusal.ts";
import type { TrustRoots } from "./roots.ts";
import { checkSnp, judgeSnp, reportSnp } from "./sev-snp/verify.ts";
import { checkSimulated, judgeSimulated, reportSimulated } from "./simulated.ts";
import { judgeTdx } from "./tdx/judge.ts";
import { reportTdx } from "./tdx/report.ts";
import { checkTdx } from "./tdx/verify.ts";
import type { PcrValue } from "./tpm/pcr.ts";
import { checkTpm, judgeTpm, reportTpm } from "./tpm/verify.ts";
import { type AppraisedClaims, type ProvenInstance, VerifiedGuest } from "./verified-guest.ts";
import type { VerifyContext } from "./verify-context.ts";
import { BINDING_WORDS, type BoundTo, LEFT_OPEN, verdictWords } from "./verdict.ts";

/** What evidence must commit to: the verifier's own values of its own connection, never the peer's word for them. */
export interface Commitment {
  /** @param aux - encoded. @returns 64 bytes. */
  readonly binderFor: (type: EvidenceType, aux: Uint8Array) => Uint8Array;
  /** What an instance key must have signed. */
  readonly keyProof: Uint8Array;
  /** How fresh evidence that fits this is, in words. */
  readonly fresh: string;
  readonly boundTo: BoundTo;
}

export function commitmentOf(suite: CryptoSuite, context: BindingContext | RenewalContext): Commitment {
  const keyProof = keyProofContext(context);
  if ("counter" in context) {
    return {
      binderFor: (type, aux) => renewalBinderOf(suite, context, type, aux),
      keyProof,
      boundTo: "connection",
      fresh: `Made for this connection, when it was asked for again (${context.counter})`,
    };
  }
  return {
    binderFor: (type, aux) => binderOf(suite, context, type, aux),
    keyProof,
    boundTo: "connection",
    fresh: "Made for this very connection, when it began: for its keys and its nonce",
  };
}

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

export interface AppraisalInput extends CheckInput {
  readonly policy: Policy;
}

const ANY_INSTANCE = "The policy names no machine: any machine that runs the accepted software is accepted";

/** Evidence whose signatures and binding hold. */
interface Checked {
  readonly parts: AuxParts;
  readonly report: EvidenceReport;
  readonly pcrs: readonly PcrValue[];
  judge(policy: Policy, checks: Checks): void;
}

/** What a file says that evidence was made for. @param context - as the file has it. @param fetched - when, in words, as it says. */
export function commitmentOfFile(suite: CryptoSuite, context: BindingContext, fetched: string): Commitment {
  return {
    ...commitmentOf(suite, context),
    boundTo: "file",
    fresh: `Made for the connection that the file describes${fetched}`,
  };
}

/**
 * For `sealtty verify`: the same checks and the same policy on evidence that no connection stands behind. Deliberately not
 * a VerifiedGuest: nothing may be sent on its strength.
 * @param input.boundTo - a file's connection; 64 bytes that REPORT_DATA has to be; undefined where nothing is known.
 * @throws SealttyError `evidence-refused`.
 */
export async function appraiseOffline(
  input: Omit<AppraisalInput, "commitment"> & { readonly boundTo: Commitment | Uint8Array | undefined },
): Promise<{ readonly claims: AppraisedClaims }> {
  const { boundTo, ...rest } = input;
  const commitment =
    boundTo === undefined || boundTo instanceof Uint8Array ? bareCommitment(boundTo) : boundTo;
  if (commitment.boundTo === "connection")
    throw new SealttyError("api-misuse", "Evidence of a connection is appraised by that connection");
  return { claims: await appraiseClaims({ ...rest, commitment }) };
}

/** Of a bare report. @param reportData - 64 bytes that REPORT_DATA has to be; undefined where nothing is known. */
export function bareCommitment(reportData: Uint8Array | undefined): Commitment {
  return {
    binderFor: () => reportData ?? new Uint8Array(64),
    keyProof: new Uint8Array(),
    boundTo: reportData === undefined ? "nothing" : "report-data",
    fresh:
      reportData === undefined
        ? "Unknown: it may be any age, and made for anyone"
        : "Unknown: it carries the report data that you named",
  };
}

/** Resolves only if every check passed; there is no `false` to forget. @throws SealttyError `evidence-refused`. */
export async function appraise(input: AppraisalInput): Promise<VerifiedGuest> {
  if (input.commitment.boundTo !== "connection")
    throw new SealttyError("api-misuse", "Only evidence of a standing connection makes a verified guest");
  const claims = await appraiseClaims(input);
  return VerifiedGuest.afterChecks(
    {
      signature: "valid",
      binding: "equal",
      instance: claims.anyInstance ? "any-by-policy" : "pinned",
      referenceValues: "met",
      assurance: "met",
    },
    claims,
  );
}

async function appraiseClaims(input: AppraisalInput): Promise<AppraisedClaims> {
  const { evidence, policy } = input;
  const { boundTo, fresh } = input.commitment;
  requireAccepted(policy, evidence.type);
  const checked = await checkEvidence(input, policy.clockSkew);
  const checks = new Checks();
  const document = judgeAll(input, checked, policy, checks);
  const verified = checks.settle();
  const { report } = checked;
  const warnings = [...report.warnings, ...checks.warnings, ...replayedWarning(boundTo)];
  return {
    ...commonClaims(evidence.type, report, policy.name, document, policy.instance.pcr),
    notVerified: [...openOf(boundTo), ...report.notVerified, ...checks.notVerified],
    verdict: verdictWords(report.assurance, policy, boundTo),
    instance: instanceWords(report, policy, document),
    fresh,
    anyInstance: policy.anyInstance,
    verified,
    warnings: policy.anyInstance ? [ANY_INSTANCE, ...warnings] : warnings,
  };
}

function replayedWarning(boundTo: BoundTo): string[] {
  return boundTo === "nothing"
    ? ["Nothing says for whom this evidence was made, or when: it may be replayed"]
    : [];
}

/**
 * What a client offers in its HELLO, which is in the transcript. A guest with another kind
 * sends that all the same, and the appraisal names it in its refusal.
 * Empty where the policy accepts simulated evidence only and the user did not.
 */
export function acceptedEvidenceTypes(policy: Policy, acceptSimulated: boolean): EvidenceType[] {
  return acceptedTypes(policy).filter((type) => type !== "simulated" || acceptSimulated);
}

/**
 * For `sealtty inspect` without a policy: every cryptographic check, but no reference values, because there are none yet.
 * Deliberately not a VerifiedGuest: nothing may be sent on its strength.
 * `claims.policyText` would pin what was found. @param input.name - goes into the policy text.
 * @throws SealttyError `evidence-refused`, or `api-misuse` on a name that no policy may have.
 */
export async function describeUnderNoPolicy(
  input: CheckInput & { readonly name: string },
): Promise<{ readonly claims: AppraisedClaims }> {
  const { evidence, name } = input;
  const { boundTo } = input.commitment;
  if (!isPolicyName(name)) throw new SealttyError("api-misuse", "Not a name that a policy may have");
  const { report, ...checked } = await checkEvidence(input, POLICY_DEFAULTS.clockSkew);
  const checks = new Checks();
  checks.established(...report.verified);
  // What it brings along is held against its own evidence, as with a policy that pins nothing of it.
  const document = judgeDocument(input, { ...checked, report }, { ...INSTANCE_DEFAULTS }, checks);
  const verified = checks.settle();
  return {
    claims: {
      ...commonClaims(evidence.type, report, name, document, INSTANCE_DEFAULTS.pcr),
      verdict:
        boundTo === "connection"
          ? "Nothing was compared with a policy: this says what answered, not whether it is the guest you mean"
          : "Nothing was compared with a policy: this says what the evidence shows, not whether it is your guest's",
      instance: `${documentWords(document)}${report.which}`,
      fresh: input.commitment.fresh,
      anyInstance: false,
      verified,
      notVerified: [
        "Which machine this is, and what it runs: no reference values",
        ...openOf(boundTo),
        ...report.notVerified,
      ],
      warnings: [
        "No policy was applied: these are the guest's values, not values that anyone expected",
        ...report.warnings,
        ...replayedWarning(boundTo),
      ],
    },
  };
}

/** Decodes, checks and compares with the binder: everything that needs no policy. */
async function checkEvidence(input: CheckInput, clockSkew: number): Promise<Checked> {
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
  requireBinding(type, checked.report.bound, boundValue(type, binder, suite));
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

function requireBinding(type: AppraisedType, bound: Uint8Array, expected: Uint8Array): void {
  if (equalBytes(bound, expected)) return;
  refuse(
    `${PREFIX[type]}.binding`,
    "The evidence was not made for this connection: it is replayed, relayed from another connection, or something beside it was exchanged",
    toHex(expected),
    toHex(bound),
    "Connect again; if it stays, someone between you and the guest answers in its place.",
  );
}

function judgeAll(
  input: AppraisalInput,
  checked: Checked,
  policy: Policy,
  checks: Checks,
): ProvenInstance | undefined {
  const { assurance } = checked.report;
  checks.established(...checked.report.verified);
  checked.judge(policy, checks);
  const type = acceptedTypes(policy).find((each) => each === input.evidence.type);
  const weak = type === undefined ? undefined : weakInstance(policy, type);
  if (weak !== undefined) checks.warn(`Which guest this is rests on little: ${weak.words}`);
  checks.compare({
    check: "assurance",
    met: reaches(assurance, policy.minimumAssurance),
    words: `This kind of evidence is worth "${assurance}"`,
    problem: `This evidence is worth "${assurance}", and the policy wants at least "${policy.minimumAssurance}"`,
    expected: policy.minimumAssurance,
    found: assurance,
    policyKey: "minimumAssurance",
    next: "Use a guest with stronger evidence, or lower minimumAssurance in the policy if that is enough for you.",
  });
  return judgeDocument(input, checked, policy.instance, checks);
}

function judgeDocument(
  input: CheckInput,
  checked: Checked,
  instance: Policy["instance"],
  checks: Checks,
): ProvenInstance | undefined {
  return judgeInstance(
    {
      policy: instance,
      documentDigest: checked.report.documentDigest,
      pcrs: checked.pcrs,
      document: checked.parts.instanceDocument,
      keyProof: checked.parts.instanceKey,
      proofContext: input.commitment.keyProof,
      suite: input.suite,
    },
    checks,
  );
}

function commonClaims(
  type: EvidenceType,
  report: EvidenceReport,
  name: string,
  document: ProvenInstance | undefined,
  instancePcr: number,
) {
  const { assurance, signedBy, notVerified, values } = report;
  return {
    type,
    assurance,
    what: report.what,
    signedBy,
    instanceDocument: document,
    notVerified,
    values:
      document === undefined
        ? values
        : [
            ...values,
            {
              name: "instance.document",
              words: "Instance document (SHA-256)",
              value: document.digest,
              scope: "lasting",
            } as const,
          ],
    policyText: renderPolicy(savedPolicy(report, name, document, instancePcr)),
  };
}

/**
 * A policy that this evidence meets, and that pins as much of it as is the same tomorrow. The PCR that a document was
 * extended into is the document's: pinned twice, a new document would have to be written in two places.
 */
function savedPolicy(
  { pins, assurance }: EvidenceReport,
  name: string,
  document: ProvenInstance | undefined,
  instancePcr: number,
): Policy {
  const common = { ...POLICY_DEFAULTS, name, minimumAssurance: assurance };
  if (document === undefined) return { ...common, instance: INSTANCE_DEFAULTS, ...pins };
  const instance = { ...INSTANCE_DEFAULTS, documents: [document.digest], pcr: instancePcr };
  const { tpm, azure } = pins;
  return {
    ...common,
    instance,
    ...pins,
    tpm: tpm && { ...tpm, pcrs: without(instancePcr, tpm.pcrs) },
    azure: azure && { ...azure, pcrs: without(instancePcr, azure.pcrs) },
  };
}

/** Never leaves nothing: a policy says what runs. */
function without<Value>(index: number, pcrs: ReadonlyMap<number, Value>): ReadonlyMap<number, Value> {
  const others = new Map([...pcrs].filter(([each]) => each !== index));
  return others.size === 0 ? pcrs : others;
}

function instanceWords(report: EvidenceReport, policy: Policy, document: ProvenInstance | undefined): string {
  const which = `${documentWords(document)}${report.which}`;
  return policy.anyInstance ? `Any machine (the policy says so). ${which}` : which;
}

/** A name that nobody pinned is only what whoever started the guest wrote. */
function documentWords(document: ProvenInstance | undefined): string {
  if (document === undefined) return "";
  return document.pinned
    ? `"${document.name}", by its owner's document. `
    : `Started with a document that calls it "${document.name}", which your policy does not name. `;
}

function openOf(boundTo: BoundTo): string[] {
  const words = LEFT_OPEN[boundTo];
  return words === undefined ? [] : [words];
}

/** Nitro and CCA documents are refused with words of their own, further on. */
function requireAccepted(policy: Policy, type: EvidenceType): void {
  const accepted = acceptedTypes(policy);
  if (type === "nitro" || type === "cca" || accepted.includes(type)) return;
  refuse(
    "evidence.type",
    `The guest sent ${type} evidence, which the policy does not accept`,
    accepted.join(" or "),
    type,
    `Have the guest's sealttyd use ${accepted.join(" or ")} evidence, or write a policy for ${type} (docs/policy.md).`,
  );
}

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

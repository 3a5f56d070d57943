// From evidence to a verified guest, in words for people. The one place that makes a VerifiedGuest: decode, check what
// needs no policy, compare with the binder, judge by the policy, and only then believe.

import { SealttyError } from "../errors.ts";
import { type CheckInput, type Checked, checkEvidence } from "./check-evidence.ts";
import { commonClaims, documentWords, instanceWords } from "./claims.ts";
import { type Commitment, bareCommitment } from "./commitment.ts";
import type { EvidenceType } from "./evidence.ts";
import { judgeInstance } from "./instance/judge.ts";
import { type Policy, acceptedTypes, isPolicyName, reaches, weakInstance } from "./policy.ts";
import { INSTANCE_DEFAULTS, POLICY_DEFAULTS } from "./policy/model.ts";
import { Checks, refuse } from "./refusal.ts";
import { type BoundTo, LEFT_OPEN, verdictWords } from "./verdict.ts";
import { type AppraisedClaims, type ProvenInstance, VerifiedGuest } from "./verified-guest.ts";

export interface AppraisalInput extends CheckInput {
  readonly policy: Policy;
}

const ANY_INSTANCE = "The policy names no machine: any machine that runs the accepted software is accepted";

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

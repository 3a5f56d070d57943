// From evidence to a verified guest, in words for people. The one place that makes a VerifiedGuest.

import type { SignatureVerifier } from "../crypto/signatures.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import { type BindingContext, binderOf } from "./binder.ts";
import type { Evidence, EvidenceType } from "./evidence.ts";
import { type Policy, isPolicyName, reaches, renderPolicy } from "./policy.ts";
import { refuse } from "./refusal.ts";
import { type SimulatedFacts, checkSimulated, verifySimulated } from "./simulated.ts";
import { type TpmFacts, checkTpmEvidence, describeRest, verifyTpm } from "./tpm/verify.ts";
import { type AppraisedClaims, type Assurance, type CheckedLine, VerifiedGuest } from "./verified-guest.ts";
import { toHex } from "../bytes.ts";

export interface AppraisalInput {
  readonly evidence: Evidence;
  /** The verifier's own values of this handshake. */
  readonly context: BindingContext;
  readonly policy: Policy;
  readonly suite: CryptoSuite;
  readonly signatures: SignatureVerifier;
  /** Only ever true because the user said `--simulated`. */
  readonly acceptSimulated: boolean;
}

const ASSURANCE_OF = { tpm: "host-vouched", simulated: "simulated" } as const satisfies Record<
  string,
  Assurance
>;
const SIMULATED_WARNING = "SIMULATED evidence: nothing about this guest is proven";
/** PCRs that `--save-policy` leaves out: reset by any software (16, 23), or different at every look (10, IMA). */
const NOT_SAVED: ReadonlySet<number> = new Set([10, 16, 23]);

/** Resolves only if every check passed; there is no `false` to forget. @throws SealttyError `evidence-refused`. */
export async function appraise(input: AppraisalInput): Promise<VerifiedGuest> {
  const { evidence, context, policy, suite } = input;
  const binder = binderOf(suite, context, evidence.type, evidence.aux);
  switch (evidence.type) {
    case "tpm": {
      requireSection(policy, "tpm");
      requireAssurance(policy, "tpm");
      const { facts, verdict } = await verifyTpm(evidence, binder, policy, suite, input.signatures);
      const anyInstance = policy.tpm?.akNames.length === 0;
      return VerifiedGuest.afterChecks(
        {
          signature: "valid",
          binding: "equal",
          instance: anyInstance ? "any-by-policy" : "pinned",
          referenceValues: "met",
          assurance: "met",
        },
        {
          ...tpmWords(facts, policy.name),
          instance: anyInstance
            ? `Any machine (the policy says so); this one has the TPM attestation key ${facts.akName}`
            : `The machine with the TPM attestation key ${facts.akName}`,
          anyInstance,
          ...verdict,
        },
      );
    }
    case "simulated": {
      requireSection(policy, "simulated");
      requireAssurance(policy, "simulated");
      const facts = verifySimulated(evidence, binder, policy, suite, input.acceptSimulated);
      return VerifiedGuest.afterChecks(
        {
          signature: "valid",
          binding: "equal",
          instance: "pinned",
          referenceValues: "met",
          assurance: "met",
        },
        simulatedClaims(facts, policy.name),
      );
    }
    case "sev-snp":
    case "tdx":
    case "azure-snp":
    case "azure-tdx":
      return refuseUnbuilt(evidence.type);
  }
}

/**
 * What a client offers in its HELLO, which is in the transcript. A guest with another kind
 * sends that all the same, and the appraisal names it in its refusal.
 * Empty where the policy accepts simulated evidence only and the user did not.
 */
export function acceptedEvidenceTypes(policy: Policy, acceptSimulated: boolean): EvidenceType[] {
  const types: EvidenceType[] = [];
  if (policy.tpm !== undefined) types.push("tpm");
  if (policy.simulated !== undefined && acceptSimulated) types.push("simulated");
  return types;
}

/**
 * For `sealtty inspect --save-policy`, on a machine that the user already trusts: every cryptographic check, but no
 * reference values, because there are none yet. Deliberately not a VerifiedGuest: nothing may be sent on its strength.
 * `claims.policyText` would pin what was found. @param input.name - goes into the policy text.
 * @throws SealttyError `evidence-refused`, or `api-misuse` on a name that no policy may have.
 */
export async function describeUnderNoPolicy(
  input: Omit<AppraisalInput, "policy"> & { readonly name: string },
): Promise<{ readonly claims: AppraisedClaims }> {
  const { evidence, context, suite, name } = input;
  if (!isPolicyName(name)) throw new SealttyError("api-misuse", "Not a name that a policy may have");
  const binder = binderOf(suite, context, evidence.type, evidence.aux);
  const warning = "No policy was applied: these are the guest's values, not values that anyone expected";
  switch (evidence.type) {
    case "tpm": {
      const facts = await checkTpmEvidence(evidence, binder, suite, input.signatures);
      const bank = bankToSave(facts);
      const rest = describeRest(facts, bank, suite);
      const values: CheckedLine[] = facts.pcrs.map(({ bank, index, value }) => ({
        check: "tpm.pcr-quoted",
        words: `PCR ${index} of ${bank}, as quoted`,
        value: toHex(value),
      }));
      const claims = {
        ...tpmWords(facts, name),
        instance: `The machine with the TPM attestation key ${facts.akName}`,
        anyInstance: false,
        verified: [...facts.verified, ...values, ...rest.verified],
        notVerified: ["Which machine this is, and what it runs: no reference values", ...rest.notVerified],
        warnings: [warning],
      };
      return { claims };
    }
    case "simulated": {
      const facts = checkSimulated(evidence, binder, suite, input.acceptSimulated);
      const claims = simulatedClaims(facts, name);
      return { claims: { ...claims, warnings: [...claims.warnings, warning] } };
    }
    case "sev-snp":
    case "tdx":
    case "azure-snp":
    case "azure-tdx":
      return refuseUnbuilt(evidence.type);
  }
}

function tpmWords(facts: TpmFacts, name: string) {
  return {
    type: "tpm",
    assurance: ASSURANCE_OF.tpm,
    signedBy: `TPM attestation key ${facts.akName}`,
    policyText: tpmPolicyText(facts, name),
  } as const;
}

/** Pins the key and every PCR that was quoted in one bank. */
function tpmPolicyText(facts: TpmFacts, name: string): string {
  const bank = bankToSave(facts);
  const pcrs = new Map<number, string[]>();
  for (const pcr of facts.pcrs) {
    if (pcr.bank === bank && !NOT_SAVED.has(pcr.index)) pcrs.set(pcr.index, [toHex(pcr.value)]);
  }
  return renderPolicy({
    version: 1,
    name,
    minimumAssurance: ASSURANCE_OF.tpm,
    anyInstance: false,
    tpm: { akNames: [facts.akName], bank, pcrs },
    simulated: undefined,
  });
}

function bankToSave(facts: TpmFacts): "sha256" | "sha384" {
  for (const bank of ["sha256", "sha384"] as const) {
    if (facts.pcrs.some((pcr) => pcr.bank === bank && !NOT_SAVED.has(pcr.index))) return bank;
  }
  return refuse(
    "tpm.pcr-selection",
    "The quote covers no PCR that a policy could pin",
    "PCRs of the sha256 or sha384 bank",
    "none",
    "Have sealttyd quote the PCRs of the boot, in its default configuration 0-9, 11, 12 and 14 of sha256.",
  );
}

function simulatedClaims(facts: SimulatedFacts, name: string): AppraisedClaims {
  return {
    type: "simulated",
    assurance: ASSURANCE_OF.simulated,
    signedBy: "A simulated key, made by software for tests",
    instance: `Simulated instance "${facts.instance}"`,
    anyInstance: false,
    verified: [
      {
        check: "simulated.binding",
        words: "The simulated quote was made for this connection",
        value: facts.publicKey,
      },
    ],
    notVerified: ["Everything: which machine this is, what it runs, who can read its memory"],
    warnings: [SIMULATED_WARNING],
    policyText: renderPolicy({
      version: 1,
      name,
      minimumAssurance: "simulated",
      anyInstance: false,
      tpm: undefined,
      simulated: { instance: facts.instance },
    }),
  };
}

function requireSection(policy: Policy, type: "tpm" | "simulated"): void {
  if (policy[type] !== undefined) return;
  const accepted = acceptedEvidenceTypes(policy, true).join(" or ");
  refuse(
    "evidence.type",
    `The guest sent ${type} evidence, which the policy does not accept`,
    accepted,
    type,
    `Have the guest's sealttyd use ${accepted} evidence, or add a [${type}] section to the policy.`,
  );
}

function requireAssurance(policy: Policy, type: keyof typeof ASSURANCE_OF): void {
  const assurance = ASSURANCE_OF[type];
  if (reaches(assurance, policy.minimumAssurance)) return;
  refuse(
    "assurance",
    `This evidence is worth "${assurance}", and the policy wants at least "${policy.minimumAssurance}"`,
    policy.minimumAssurance,
    assurance,
    "Use a guest with stronger evidence, or lower minimumAssurance in the policy if that is enough for you.",
  );
}

function refuseUnbuilt(type: EvidenceType): never {
  return refuse(
    "evidence.type",
    `This version cannot check ${type} evidence yet`,
    "tpm",
    type,
    "Use a newer sealtty, or have the guest's sealttyd use its TPM.",
  );
}

// A guest whose evidence passed every check: nobody makes one by accident.

import type { EvidenceType } from "./evidence.ts";

/** Strongest first. `host-vouched`: the host itself runs the device that signed (a software TPM beside QEMU). */
export const ASSURANCES = ["hardware", "paravisor", "host-vouched", "simulated"] as const;
export type Assurance = (typeof ASSURANCES)[number];

/** One line of the trust panel and of `sealtty inspect`: what was checked, in words. */
export interface CheckedLine {
  /** Stable name, e.g. `tpm.signature`. */
  readonly check: string;
  readonly words: string;
  /** What was found: hex or fixed words; never raw guest text. */
  readonly value?: string;
  /** What the policy or the specification asks for; absent where the words say it. */
  readonly expected?: string;
  /** The policy's key that decided, e.g. `snp.vmpl`. */
  readonly policyKey?: string;
}

/** A value that tells guests, boots or software apart: compared on re-attestation, and with what was seen before. */
export interface ClaimedValue {
  /** Stable name, e.g. `snp.measurement`. */
  readonly name: string;
  /** For people, e.g. "Launch measurement". */
  readonly words: string;
  /** Hex or fixed words. */
  readonly value: string;
  /** `boot`: new at every boot of the guest (REPORT_ID); `lasting`: a change needs an explanation (measurement). */
  readonly scope: "boot" | "lasting";
}

/** An instance document whose digest is in the evidence: whoever started the guest chose it. */
export interface ProvenInstance {
  readonly name: string;
  /** The policy names it: only then is it the owner's, and are its words the owner's. */
  readonly pinned: boolean;
  /** SHA-256, hex. */
  readonly digest: string;
  /** The document whole, for showing: to be escaped. */
  readonly text: string;
}

/** Everything a verifier learned; plain data, so that it can be shown and printed as JSON. */
export interface AppraisedClaims {
  readonly type: EvidenceType;
  readonly assurance: Assurance;
  /** One sentence that sums up. */
  readonly verdict: string;
  /** What runs there, in words. */
  readonly what: string;
  /** Who signed, in words: "TPM attestation key 000b…". */
  readonly signedBy: string;
  /** Which machine this is, in words, or that any instance was allowed. */
  readonly instance: string;
  /** How fresh the evidence is, in words. */
  readonly fresh: string;
  readonly anyInstance: boolean;
  readonly instanceDocument: ProvenInstance | undefined;
  readonly verified: readonly CheckedLine[];
  /** What this evidence does not prove, in words. */
  readonly notVerified: readonly string[];
  /** Shown for as long as the connection lives. */
  readonly warnings: readonly string[];
  readonly values: readonly ClaimedValue[];
  /** What `--save-policy` would pin: the policy text that this evidence meets. */
  readonly policyText: string;
}

/** Every check is a required argument; audit with `grep afterChecks`. */
export interface ChecksPassed {
  readonly signature: "valid";
  readonly binding: "equal";
  readonly instance: "pinned" | "any-by-policy";
  readonly referenceValues: "met";
  readonly assurance: "met";
}

export class VerifiedGuest {
  readonly claims: AppraisedClaims;
  private constructor(claims: AppraisedClaims) {
    this.claims = claims;
  }
  /** The only maker. */
  static afterChecks(_checks: ChecksPassed, claims: AppraisedClaims): VerifiedGuest {
    return new VerifiedGuest(claims);
  }
}

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
  /** Hex or fixed words; never raw guest text. */
  readonly value?: string;
}

/** Everything a verifier learned; plain data, so that it can be shown and printed as JSON. */
export interface AppraisedClaims {
  readonly type: EvidenceType;
  readonly assurance: Assurance;
  /** Who signed, in words: "TPM attestation key 000b…". */
  readonly signedBy: string;
  /** Which machine this is, in words, or that any instance was allowed. */
  readonly instance: string;
  readonly anyInstance: boolean;
  readonly verified: readonly CheckedLine[];
  /** What this evidence does not prove, in words. */
  readonly notVerified: readonly string[];
  /** Shown for as long as the connection lives. */
  readonly warnings: readonly string[];
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

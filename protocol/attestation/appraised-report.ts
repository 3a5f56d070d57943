// What a verifier of one kind of evidence gives the appraisal: the same shape for every kind.

import type { Policy } from "./policy/model.ts";
import type { Assurance, ClaimedValue, CheckedLine } from "./verified-guest.ts";

/** Facts that need no policy, told. Signatures, chains and structure hold where one of these exists. */
export interface EvidenceReport {
  readonly assurance: Assurance;
  /** 64 bytes of REPORT_DATA, or a TPM's qualifyingData: compared with the binder by the appraisal. */
  readonly bound: Uint8Array;
  /** Who signed, in words. */
  readonly signedBy: string;
  /** What runs there, in words: names the measurement. */
  readonly what: string;
  /** Which machine this is, in words, as far as the hardware itself says. */
  readonly which: string;
  /** SHA-256 or SHA-384 fields that may hold an instance document's digest: HOST_DATA, MRCONFIGID. */
  readonly documentDigest:
    | { readonly hash: "sha256" | "sha384"; readonly value: Uint8Array; readonly field: string }
    | undefined;
  readonly verified: readonly CheckedLine[];
  readonly notVerified: readonly string[];
  readonly warnings: readonly string[];
  readonly values: readonly ClaimedValue[];
  /** The sections of a policy that would pin what was found: for `--save-policy`. */
  readonly pins: Pick<Policy, "snp" | "tdx" | "azure" | "tpm"> & {
    readonly simulated?: Policy["simulated"];
  };
}

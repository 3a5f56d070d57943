// What a test hands to the verifying page, and what comes back: plain data.

import type { EvidenceType } from "../../../protocol/attestation/evidence.ts";
import type { TrustRoots } from "../../../protocol/attestation/roots.ts";

export interface VerifyRequest {
  readonly type: EvidenceType;
  /** base64 */
  readonly quote: string;
  /** base64 */
  readonly aux: string;
  /** base64, 64 bytes: what the evidence must commit to. */
  readonly bound: string;
  /** TOML */
  readonly policy: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** The vendors' own where absent. */
  readonly roots?: TrustRoots;
}

export type VerifyAnswer = { readonly milliseconds: number } & (
  | { readonly verdict: string; readonly assurance: string; readonly checks: readonly string[] }
  | { readonly refused: string; readonly message: string }
);

declare global {
  interface Window {
    verify(request: VerifyRequest): Promise<VerifyAnswer>;
  }
}

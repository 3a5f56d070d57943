// What holds of checked Azure evidence before any policy was asked.

import type { SnpFacts } from "../sev-snp/facts.ts";
import type { TdxFacts } from "../tdx/verify.ts";
import type { EventLogReport } from "../tpm/event-log.ts";
import type { PinnableBank, QuotedFacts } from "../tpm/quoted.ts";
import type { RuntimeClaims } from "./runtime-claims.ts";

export type AzureHardware =
  | { readonly kind: "snp"; readonly facts: SnpFacts }
  | { readonly kind: "tdx"; readonly facts: TdxFacts };

/** A vTPM's quote whose key a paravisor on genuine hardware vouches for; nothing yet about which paravisor, VM or boot. */
export interface AzureFacts extends QuotedFacts {
  readonly hardware: AzureHardware;
  readonly claims: RuntimeClaims;
  /** SHA-256 of the modulus of the vTPM's key, lower-case hex. */
  readonly akId: string;
  readonly bank: PinnableBank;
  readonly log: EventLogReport;
}

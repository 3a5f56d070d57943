// The owner's appraisal policy: reference values, the instance, the assurance that is enough.

import type { Assurance } from "./verified-guest.ts";

export interface TpmPolicy {
  /** AK names (nameAlg ‖ digest, lower-case hex). Empty only with anyInstance. */
  readonly akNames: readonly string[];
  readonly bank: "sha256" | "sha384";
  /** PCR index to the accepted values (lower-case hex): at least one PCR, at least one value each. */
  readonly pcrs: ReadonlyMap<number, readonly string[]>;
}

export interface Policy {
  readonly version: 1;
  /** Shown beside the guest; not trusted. */
  readonly name: string;
  readonly minimumAssurance: Assurance;
  /** Any machine that runs the accepted software is accepted: shown for ever. */
  readonly anyInstance: boolean;
  readonly tpm: TpmPolicy | undefined;
  /** Present only where the owner wrote `[simulated]`; still needs `--simulated`. */
  readonly simulated: { readonly instance: string } | undefined;
}

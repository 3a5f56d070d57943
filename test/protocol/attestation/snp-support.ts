// Shared by the SEV-SNP tests: checking what was made, and the sentence of a refusal.

import { type Collateral, NO_COLLATERAL } from "../../../protocol/attestation/collateral.ts";
import { type SnpFacts, checkSnp } from "../../../protocol/attestation/sev-snp/verify.ts";
import type { VerifyContext } from "../../../protocol/attestation/verify-context.ts";
import type { SealttyError } from "../../../protocol/errors.ts";
import type { MadeSnp } from "../../support/made-snp.ts";
import { refusedBy, signatures, suite } from "./support.ts";

export function contextOf(made: MadeSnp, change: Partial<VerifyContext> = {}): VerifyContext {
  return {
    now: made.now,
    clockSkew: 0,
    roots: made.roots,
    signatures,
    suite,
    collateral: NO_COLLATERAL,
    ...change,
  };
}
export const check = (made: MadeSnp, change: Partial<VerifyContext> = {}): Promise<SnpFacts> =>
  checkSnp(made.report, undefined, made.collateral, contextOf(made, change));

/** "check: sentence" of the refusal. */
export async function refusal(attempt: () => Promise<unknown>): Promise<string> {
  let sentence = "";
  const name = await refusedBy(async () => {
    try {
      await attempt();
    } catch (error) {
      sentence = (error as SealttyError).message;
      throw error;
    }
  });
  return `${name}: ${sentence}`;
}

/** A bag with other certificates or CRLs in it. */
export function bag(certificates: readonly Uint8Array[], crls: readonly Uint8Array[] = []): Collateral {
  return { ...NO_COLLATERAL, certificates, crls };
}

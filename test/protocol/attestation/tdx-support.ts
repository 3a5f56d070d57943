// Shared by the TDX tests: a made platform checked and judged.

import { NO_COLLATERAL } from "../../../protocol/attestation/collateral.ts";
import { TDX_DEFAULTS, type TdxPolicy } from "../../../protocol/attestation/policy/model.ts";
import { Checks } from "../../../protocol/attestation/refusal.ts";
import { judgeTdx } from "../../../protocol/attestation/tdx/judge.ts";
import { type TdxFacts, checkTdx } from "../../../protocol/attestation/tdx/verify.ts";
import type { CheckedLine } from "../../../protocol/attestation/verified-guest.ts";
import type { VerifyContext } from "../../../protocol/attestation/verify-context.ts";
import { type MadeTdx, type MadeTdxOptions, madeTdx } from "../../support/made-tdx.ts";
import { signatures, suite } from "./support.ts";

export function contextOf(made: MadeTdx, change: Partial<VerifyContext> = {}): VerifyContext {
  const { now, roots } = made;
  return { now, clockSkew: 300_000, roots, signatures, suite, collateral: NO_COLLATERAL, ...change };
}

/** What a made platform is checked to be. */
export async function check(
  options: MadeTdxOptions | MadeTdx = {},
  change: Partial<VerifyContext> = {},
): Promise<TdxFacts> {
  const made = "quote" in options ? options : madeTdx(options);
  return await checkTdx(made.quote, made.collateral, contextOf(made, change));
}

/** @throws SealttyError `evidence-refused` with everything that does not fit. */
export function judge(facts: TdxFacts, policy: Partial<TdxPolicy> = {}): readonly CheckedLine[] {
  const checks = new Checks();
  judgeTdx(facts, { ...TDX_DEFAULTS, ...policy }, checks);
  return checks.settle();
}

export async function checkAndJudge(
  options: MadeTdxOptions = {},
  policy: Partial<TdxPolicy> = {},
): Promise<TdxFacts> {
  const facts = await check(options);
  judge(facts, policy);
  return facts;
}

// A TPM's quote checked against a known key, and quoted registers against an owner's values: what a TPM's own evidence
// and a paravisor's vTPM have in common. TPM 2.0 Library Part 3 §18.4

import { sha384 } from "@noble/hashes/sha2.js";
import { equalBytes, isZero, toHex } from "../../bytes.ts";
import type { HardwareKey, HardwareSignatureAlgorithm } from "../../crypto/signatures.ts";
import type { CryptoSuite } from "../../crypto/suite.ts";
import type { TpmPolicy } from "../policy/model.ts";
import { type Checks, parsing, refuse } from "../refusal.ts";
import type { CheckedLine, ClaimedValue } from "../verified-guest.ts";
import type { VerifyContext } from "../verify-context.ts";
import { TPM_GENERATED, TPM_ST_ATTEST_QUOTE, type TpmAttest, parseAttest } from "./attest.ts";
import { type EventLogReport, reportEventLog } from "./event-log.ts";
import {
  KERNEL_PCRS,
  type PcrSelection,
  type PcrValue,
  RESETTABLE_PCRS,
  coversExactly,
  pcrDigestOf,
  pcrMeaning,
} from "./pcr.ts";
import { TPM_ALG, algorithmWords } from "./public.ts";
import type { TpmQuote } from "./quote.ts";
import { parseSignature } from "./signature.ts";

/** Banks that a policy may pin. */
export type PinnableBank = TpmPolicy["bank"];

/** What a quote says once its signature holds, and the registers that it covers. */
export interface QuotedFacts {
  /** extraData: the appraisal compares it with the binder. */
  readonly bound: Uint8Array;
  readonly resetCount: number;
  readonly restartCount: number;
  readonly clockSafe: boolean;
  readonly firmwareVersion: string;
  readonly selections: readonly PcrSelection[];
  /** Covered by the quote's signature. */
  readonly pcrs: readonly PcrValue[];
}

/** The key that a quote must be signed with, and what it says when it is not. */
export interface QuoteKey {
  readonly key: HardwareKey;
  /** TPM_ALG_ID of the key's own scheme: rsassa or ecdsa, with SHA-256. */
  readonly scheme: number;
  /** For people; hex or fixed words. */
  readonly name: string;
  /** The check that a signature of another key fails, and its sentence. */
  readonly check: string;
  readonly problem: string;
}

const SCHEMES: ReadonlyMap<number, { algorithm: HardwareSignatureAlgorithm; words: string }> = new Map([
  [TPM_ALG.ecdsa, { algorithm: "ecdsa-p256-sha256", words: "ECDSA P-256 with SHA-256" }],
  [TPM_ALG.rsassa, { algorithm: "rsassa-sha256", words: "RSASSA-2048 with SHA-256" }],
]);

export const NEXT_CHANGED =
  "Connect again; if it stays, something between you and the guest changes the evidence, or the guest's TPM is broken.";

/** PCRs that every look finds different (10, IMA) or that any software resets: neither saved nor compared later. */
const PASSING: ReadonlySet<number> = new Set([10, ...RESETTABLE_PCRS]);

export function schemeWords(scheme: number): string {
  return SCHEMES.get(scheme)?.words ?? algorithmWords(scheme);
}

/**
 * Structure, signature, and that the values beside the quote are the quoted ones; not whom it was made for.
 * @param pcrs - in the order of the quote's selection. @throws SealttyError `evidence-refused`.
 */
export async function checkQuote(
  quote: TpmQuote,
  pcrs: readonly PcrValue[],
  key: QuoteKey,
  context: Pick<VerifyContext, "signatures" | "suite">,
): Promise<QuotedFacts> {
  const attest = parsing("tpm.format", "The TPM's attestation structure", () => parseAttest(quote.attest));
  const quoted = requireQuote(attest);
  const signature = parsing("tpm.signature-scheme", "The quote's signature", () =>
    parseSignature(quote.signature),
  );
  const scheme = SCHEMES.get(key.scheme);
  if (scheme === undefined || signature.scheme !== key.scheme || signature.hash !== TPM_ALG.sha256) {
    return refuse(
      "tpm.signature-scheme",
      "The quote's signature is not of the kind that the attestation key makes",
      schemeWords(key.scheme),
      `${algorithmWords(signature.scheme)} with ${algorithmWords(signature.hash)}`,
      "The quote comes from another key than the one shown: connect again, and do not trust this machine if it stays.",
    );
  }
  if (!(await context.signatures.verify(scheme.algorithm, key.key, quote.attest, signature.bytes))) {
    refuse(key.check, key.problem, `a signature of ${key.name}`, "another signature", NEXT_CHANGED);
  }
  if (!coversExactly(quoted.selections, pcrs)) {
    refuse(
      "tpm.pcr-list",
      "The PCR values beside the quote are not of the PCRs that the quote covers",
      selectionWords(quoted.selections),
      `${pcrs.length} values`,
      NEXT_CHANGED,
    );
  }
  const digest = pcrDigestOf(pcrs, (message) => context.suite.sha256(message));
  if (!equalBytes(digest, quoted.pcrDigest)) {
    refuse(
      "tpm.pcr-digest",
      "The PCR values beside the quote are not the quoted ones",
      toHex(quoted.pcrDigest),
      toHex(digest),
      "Connect again: a PCR may have changed in between; if it stays, the values were changed on the way.",
    );
  }
  return {
    bound: attest.extraData,
    resetCount: attest.resetCount,
    restartCount: attest.restartCount,
    clockSafe: attest.clockSafe,
    firmwareVersion: attest.firmwareVersion,
    selections: quoted.selections,
    pcrs,
  };
}

function requireQuote(attest: TpmAttest): NonNullable<TpmAttest["quote"]> {
  if (attest.magic !== TPM_GENERATED) {
    refuse(
      "tpm.magic",
      "The signed data was not made by a TPM",
      "ff544347",
      hex32(attest.magic),
      NEXT_CHANGED,
    );
  }
  if (attest.type !== TPM_ST_ATTEST_QUOTE || attest.quote === undefined) {
    return refuse(
      "tpm.type",
      "The TPM signed something else than a quote",
      "8018 (quote)",
      hex32(attest.type).slice(4),
      NEXT_CHANGED,
    );
  }
  return attest.quote;
}

/** The first bank of those that a policy may pin. @throws SealttyError `evidence-refused` where the quote covers neither. */
export function quotedBank(facts: Pick<QuotedFacts, "pcrs">): PinnableBank {
  for (const bank of ["sha256", "sha384"] as const) {
    if (facts.pcrs.some((pcr) => pcr.bank === bank)) return bank;
  }
  return refuse(
    "tpm.pcr-selection",
    "The quote covers no PCR that a policy could pin",
    "PCRs of the sha256 or sha384 bank",
    "none",
    "Have sealttyd quote the PCRs of the boot, in its default configuration 0 to 9, 11, 12 and 14 of sha256.",
  );
}

/** @returns a register's value, or undefined where the quote does not cover it. */
export function valueOf(
  facts: Pick<QuotedFacts, "pcrs">,
  bank: PcrValue["bank"],
  index: number,
): Uint8Array | undefined {
  return facts.pcrs.find((pcr) => pcr.bank === bank && pcr.index === index)?.value;
}

/** Compares the quoted registers with an owner's values. @param section - names checks and policy keys. */
export function judgePcrs(
  facts: Pick<QuotedFacts, "pcrs" | "selections">,
  policy: Pick<TpmPolicy, "bank" | "pcrs">,
  section: "tpm" | "azure",
  checks: Checks,
): void {
  const { bank } = policy;
  const pinned = [...policy.pcrs].sort(([a], [b]) => a - b);
  for (const [index, accepted] of pinned) {
    const value = valueOf(facts, bank, index);
    const policyKey = `${section}.pcrs.${index}`;
    const meaning = pcrMeaning(index);
    if (value === undefined) {
      checks.compare({
        check: `${section}.pcr-selection`,
        met: false,
        words: "",
        problem: `The quote does not cover PCR ${index} of the ${bank} bank, which the policy pins`,
        expected: `PCR ${pinned.map(([each]) => each).join(", ")} of ${bank}`,
        found: selectionWords(facts.selections),
        policyKey,
        next: `Have sealttyd quote PCR ${index} (its configuration lists the PCRs), or take ${policyKey} out of the policy.`,
      });
      continue;
    }
    checks.compare({
      check: `${section}.pcr`,
      met: accepted.includes(toHex(value)),
      words: `PCR ${index} (${meaning}) holds an accepted value`,
      problem: `PCR ${index} (${meaning}) does not hold a value that the policy accepts`,
      expected: accepted.join(" or "),
      found: toHex(value),
      policyKey,
      next: `If you changed that part of the guest yourself, add the value to ${policyKey}; otherwise do not connect.`,
    });
  }
  const measured = pinned.some(
    ([index]) => KERNEL_PCRS.has(index) && !isZero(valueOf(facts, bank, index) ?? new Uint8Array()),
  );
  if (!measured) {
    checks.warn("The policy pins no PCR that says which kernel was started (4, 8, 9 or 11, measured)");
  }
  const unpinned = facts.pcrs.filter((pcr) => pcr.bank === bank && !policy.pcrs.has(pcr.index));
  if (unpinned.length > 0) {
    const list = unpinned.map((pcr) => pcr.index).join(", ");
    checks.leaveOpen(`PCRs quoted but not pinned by the policy: ${list}`);
  }
}

/** Values of one bank that stay the same from look to look, as `tpm.pcr-4` or `azure.pcr-4`. */
export function pcrValues(
  facts: Pick<QuotedFacts, "pcrs">,
  bank: PinnableBank,
  section: string,
): ClaimedValue[] {
  return lastingPcrs(facts, bank).map(({ index, value }) => ({
    name: `${section}.pcr-${index}`,
    words: `PCR ${index} of ${bank} (${pcrMeaning(index)})`,
    value: toHex(value),
    scope: "lasting",
  }));
}

export function bootCounters(facts: QuotedFacts, section: string): ClaimedValue[] {
  return [
    {
      name: `${section}.reset-count`,
      words: "Boots that the TPM has counted",
      value: String(facts.resetCount),
      scope: "boot",
    },
    {
      name: `${section}.restart-count`,
      words: "Resumes that the TPM has counted since that boot",
      value: String(facts.restartCount),
      scope: "boot",
    },
  ];
}

/** What `--save-policy` would pin of the registers; empty where nothing of the quote is worth pinning. */
export function pcrPins(
  facts: Pick<QuotedFacts, "pcrs">,
  bank: PinnableBank,
): Map<number, readonly string[]> {
  return new Map(lastingPcrs(facts, bank).map(({ index, value }) => [index, [toHex(value)]]));
}

function lastingPcrs(facts: Pick<QuotedFacts, "pcrs">, bank: PinnableBank): PcrValue[] {
  return facts.pcrs.filter((pcr) => pcr.bank === bank && !PASSING.has(pcr.index));
}

/** The log compared with the quoted registers of one bank. */
export function quotedEventLog(
  pcrs: readonly PcrValue[],
  log: Uint8Array,
  bank: PinnableBank,
  hashes: Pick<CryptoSuite, "sha256">,
): EventLogReport {
  return reportEventLog(log, pcrs, bank, bank === "sha256" ? (message) => hashes.sha256(message) : sha384);
}

/** The event log and the boot counters in words: the same with and without a policy. */
export function describeBoot(
  facts: QuotedFacts,
  log: EventLogReport,
  section: "tpm" | "azure",
): { readonly verified: readonly CheckedLine[]; readonly notVerified: readonly string[] } {
  const verified: CheckedLine[] = [
    {
      check: `${section}.boot`,
      words: "Boots that the TPM has counted: resets and resumes",
      value: `resetCount=${facts.resetCount} restartCount=${facts.restartCount}`,
    },
  ];
  const notVerified: string[] = [];
  if (!facts.clockSafe)
    notVerified.push("The TPM's boot counters: it says itself that they may have gone back");
  if (log.problem !== undefined) {
    notVerified.push(`The event log: ${log.problem}`);
    return { verified, notVerified };
  }
  verified.push({
    check: `${section}.event-log`,
    words: `Replaying the event log gives the quoted value of PCR ${log.reproduced.join(", ")}`,
    value: `${log.proven} events`,
  });
  const open = [...log.differing, ...log.uncovered].sort((a, b) => a - b);
  if (open.length > 0) {
    notVerified.push(`How PCR ${open.join(", ")} came to its value: the event log does not account for it`);
  }
  return { verified, notVerified };
}

export function selectionWords(selections: readonly PcrSelection[]): string {
  const words = selections
    .filter((selection) => selection.indexes.length > 0)
    .map((selection) => `PCR ${selection.indexes.join(", ")} of ${selection.bank}`);
  return words.length > 0 ? words.join("; ") : "no PCR";
}

function hex32(value: number): string {
  return value.toString(16).padStart(8, "0");
}

// TPM 2.0 evidence, checked from the container down to the pinned registers. docs/protocol.md §6.3
// Two steps: `checkTpm…` does what needs no policy (shape, key, signature, binding, digest), `judgeTpm` compares with the
// owner's reference values. A TPM is host-vouched: who runs a software TPM can make it say anything.

import { sha384 } from "@noble/hashes/sha2.js";
import { equalBytes, isZero, toHex } from "../../bytes.ts";
import type { HardwareSignatureAlgorithm, SignatureVerifier } from "../../crypto/signatures.ts";
import type { CryptoSuite } from "../../crypto/suite.ts";
import { tpmQualifyingData } from "../binder.ts";
import type { Evidence } from "../evidence.ts";
import type { Policy, TpmPolicy } from "../policy.ts";
import { parsing, refuse } from "../refusal.ts";
import type { CheckedLine } from "../verified-guest.ts";
import { TPM_GENERATED, TPM_ST_ATTEST_QUOTE, type TpmAttest, parseAttest } from "./attest.ts";
import { type EventLogReport, reportEventLog } from "./event-log.ts";
import { type PcrSelection, type PcrValue, coversExactly, pcrDigestOf, pcrMeaning } from "./pcr.ts";
import {
  TPM_ALG,
  type TpmPublic,
  algorithmWords,
  attributeFaults,
  parsePublic,
  sha256Name,
} from "./public.ts";
import { type TpmAux, type TpmQuote, decodeTpmAux, decodeTpmQuote } from "./quote.ts";
import { type TpmSignature, parseSignature } from "./signature.ts";

type Bank = TpmPolicy["bank"];

/** Crypto that the checks need; a whole CryptoSuite fits. */
export type TpmHashes = Pick<CryptoSuite, "sha256">;

/** A quote that a key with these attributes signed for this connection; nothing about which key, or which values. */
export interface TpmFacts {
  /** `000b` and the SHA-256 of the public area, lower-case hex. */
  readonly akName: string;
  readonly akWords: string;
  readonly resetCount: number;
  readonly restartCount: number;
  readonly clockSafe: boolean;
  readonly firmwareVersion: string;
  readonly selections: readonly PcrSelection[];
  /** Covered by the quote's signature. */
  readonly pcrs: readonly PcrValue[];
  readonly eventLog: Uint8Array;
  readonly verified: readonly CheckedLine[];
}

export interface TpmVerdict {
  readonly verified: readonly CheckedLine[];
  readonly notVerified: readonly string[];
  readonly warnings: readonly string[];
}

const SCHEMES: Readonly<
  Record<TpmPublic["kind"], { scheme: number; algorithm: HardwareSignatureAlgorithm; words: string }>
> = {
  "ecc-p256": { scheme: TPM_ALG.ecdsa, algorithm: "ecdsa-p256-sha256", words: "ECDSA P-256 with SHA-256" },
  "rsa-2048": { scheme: TPM_ALG.rsassa, algorithm: "rsassa-sha256", words: "RSASSA-2048 with SHA-256" },
};

const NEXT_CHANGED =
  "Connect again; if it stays, something between you and the guest changes the evidence, or the guest's TPM is broken.";
const NEXT_KEY = "Let sealttyd make its own attestation key in the guest; other keys prove nothing.";

/** Everything about TPM evidence that needs no reference values. @throws SealttyError `evidence-refused`. */
export async function checkTpmEvidence(
  evidence: Evidence,
  binder: Uint8Array,
  suite: CryptoSuite,
  signatures: SignatureVerifier,
): Promise<TpmFacts> {
  const quote = parsing("tpm.format", "The TPM quote", () => decodeTpmQuote(evidence.quote));
  const aux = parsing("tpm.format", "The data beside the TPM quote", () => decodeTpmAux(evidence.aux));
  return await checkTpmQuote(quote, aux, tpmQualifyingData(suite, binder), suite, signatures);
}

/** @param qualifyingData - what the quote must carry as extraData. @throws SealttyError `evidence-refused`. */
export async function checkTpmQuote(
  quote: TpmQuote,
  aux: TpmAux,
  qualifyingData: Uint8Array,
  hashes: TpmHashes,
  signatures: SignatureVerifier,
): Promise<TpmFacts> {
  const sha256 = (message: Uint8Array) => hashes.sha256(message);
  const attest = parsing("tpm.format", "The TPM's attestation structure", () => parseAttest(quote.attest));
  const quoted = requireQuote(attest);

  const ak = parsing("tpm.ak-public", "The attestation key's public area", () => parsePublic(aux.akPublic));
  requireAttestationKey(ak);
  const akName = toHex(sha256Name(aux.akPublic, sha256));

  const signature = parsing("tpm.signature-scheme", "The quote's signature", () =>
    parseSignature(quote.signature),
  );
  const scheme = requireMatchingScheme(ak, signature);
  if (!(await signatures.verify(scheme.algorithm, ak.key, quote.attest, signature.bytes))) {
    refuse(
      "tpm.signature",
      "The TPM quote's signature does not hold",
      `a signature of ${akName}`,
      "another signature",
      NEXT_CHANGED,
    );
  }
  if (!equalBytes(attest.extraData, qualifyingData)) {
    refuse(
      "tpm.binding",
      "The TPM quote was not made for this connection: it is replayed, or relayed from another connection",
      toHex(qualifyingData),
      toHex(attest.extraData),
      "Connect again; if it stays, someone between you and the guest answers in its place.",
    );
  }
  if (!coversExactly(quoted.selections, aux.pcrs)) {
    refuse(
      "tpm.pcr-list",
      "The PCR values beside the quote are not of the PCRs that the quote covers",
      selectionWords(quoted.selections),
      `${aux.pcrs.length} values`,
      NEXT_CHANGED,
    );
  }
  const digest = pcrDigestOf(aux.pcrs, sha256);
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
    akName,
    akWords: scheme.words,
    resetCount: attest.resetCount,
    restartCount: attest.restartCount,
    clockSafe: attest.clockSafe,
    firmwareVersion: attest.firmwareVersion,
    selections: quoted.selections,
    pcrs: aux.pcrs,
    eventLog: aux.eventLog,
    verified: [
      {
        check: "tpm.ak-attributes",
        words:
          "The attestation key was made in its TPM, cannot leave it, and signs only what the TPM itself says",
        value: "fixedTPM fixedParent sensitiveDataOrigin restricted sign",
      },
      { check: "tpm.signature", words: "That key signed the quote", value: scheme.words },
      {
        check: "tpm.binding",
        words:
          "The quote was made for this connection and no other: this key exchange, this nonce, this guest key",
        value: toHex(qualifyingData),
      },
      {
        check: "tpm.pcr-digest",
        words: "The PCR values shown are the quoted ones",
        value: selectionWords(quoted.selections),
      },
    ],
  };
}

/** Compares checked facts with the owner's reference values. @throws SealttyError `evidence-refused`. */
export function judgeTpm(facts: TpmFacts, policy: TpmPolicy, hashes: TpmHashes): TpmVerdict {
  const verified: CheckedLine[] = [...facts.verified];
  const warnings: string[] = [];
  if (policy.akNames.length === 0) {
    warnings.push("The policy names no machine: any machine that runs the accepted software is accepted");
  } else if (policy.akNames.includes(facts.akName)) {
    verified.push({
      check: "tpm.ak-name",
      words: "The attestation key is one that the policy names",
      value: facts.akName,
    });
  } else {
    refuse(
      "tpm.ak-name",
      "This is another machine: its attestation key is not in the policy",
      policy.akNames.join(" or "),
      facts.akName,
      "If the guest's TPM was replaced, and you know that, put the new name into tpm.ak; otherwise do not connect.",
    );
  }

  const pinned = [...policy.pcrs].sort(([a], [b]) => a - b);
  for (const [index] of pinned) {
    if (valueOf(facts, policy.bank, index) !== undefined) continue;
    refuse(
      "tpm.pcr-selection",
      `The quote does not cover PCR ${index} of the ${policy.bank} bank, which the policy pins`,
      `PCR ${pinned.map(([each]) => each).join(", ")} of ${policy.bank}`,
      selectionWords(facts.selections),
      `Have sealttyd quote PCR ${index} (its configuration lists the PCRs), or take it out of the policy.`,
    );
  }
  for (const [index, accepted] of pinned) {
    const found = toHex(valueOf(facts, policy.bank, index) as Uint8Array);
    if (!accepted.includes(found)) {
      refuse(
        "tpm.pcr",
        `PCR ${index} (${pcrMeaning(index)}) does not hold a value that the policy accepts`,
        accepted.join(" or "),
        found,
        `If you changed that part of the guest yourself, add the value to tpm.pcrs.${index}; otherwise do not connect.`,
      );
    }
    verified.push({
      check: "tpm.pcr",
      words: `PCR ${index} (${pcrMeaning(index)}) holds an accepted value`,
      value: found,
    });
  }
  if (
    !pinned.some(
      ([index]) => SAYS_WHAT_BOOTED.has(index) && !isZero(valueOf(facts, policy.bank, index) as Uint8Array),
    )
  ) {
    warnings.push("The policy pins no PCR that says which kernel was started (4, 8, 9 or 11, measured)");
  }
  const unpinned = facts.pcrs
    .filter((pcr) => pcr.bank === policy.bank && !policy.pcrs.has(pcr.index))
    .map((pcr) => pcr.index);
  const rest = describeRest(facts, policy.bank, hashes);
  const notVerified = [...rest.notVerified];
  if (unpinned.length > 0)
    notVerified.push(`PCRs quoted but not pinned by the policy: ${unpinned.join(", ")}`);
  return { verified: [...verified, ...rest.verified], notVerified, warnings };
}

/** Both steps. @throws SealttyError `evidence-refused`. */
export async function verifyTpm(
  evidence: Evidence,
  binder: Uint8Array,
  policy: Policy,
  suite: CryptoSuite,
  signatures: SignatureVerifier,
): Promise<{ readonly facts: TpmFacts; readonly verdict: TpmVerdict }> {
  if (policy.tpm === undefined) {
    return refuse(
      "evidence.type",
      "The policy does not accept TPM evidence",
      "another type",
      "tpm",
      "Add a [tpm] section.",
    );
  }
  const facts = await checkTpmEvidence(evidence, binder, suite, signatures);
  return { facts, verdict: judgeTpm(facts, policy.tpm, suite) };
}

/** The event log, the boot counters, and what a TPM cannot say: the same with and without a policy. */
export function describeRest(facts: TpmFacts, bank: Bank, hashes: TpmHashes): Omit<TpmVerdict, "warnings"> {
  const verified: CheckedLine[] = [
    {
      check: "tpm.boot",
      words: "Boots that the TPM has counted: resets and resumes",
      value: `resetCount=${facts.resetCount} restartCount=${facts.restartCount}`,
    },
  ];
  const notVerified = [
    "That memory is encrypted, or hidden from the host: a TPM does not say",
    "The TPM itself: a software TPM beside QEMU belongs to the host, who can make it sign anything",
  ];
  if (!facts.clockSafe)
    notVerified.push("The TPM's boot counters: it says itself that they may have gone back");
  const log = eventLogReport(facts.pcrs, facts.eventLog, bank, hashes);
  if (log.problem === undefined) {
    verified.push({
      check: "tpm.event-log",
      words: `Replaying the event log gives the quoted value of PCR ${log.reproduced.join(", ")}`,
      value: `${log.events.filter((event) => event.verified).length} events`,
    });
    const open = [...log.differing, ...log.uncovered].sort((a, b) => a - b);
    if (open.length > 0) {
      notVerified.push(`How PCR ${open.join(", ")} came to its value: the event log does not account for it`);
    }
  } else {
    notVerified.push(`The event log: ${log.problem}`);
  }
  return { verified, notVerified };
}

/**
 * The event log of evidence that was already accepted, entry by entry, for showing. Text in it is the guest's, escaped.
 * @throws SealttyError `evidence-refused` where `evidence` is not well-formed TPM evidence.
 */
export function tpmEventLogOf(evidence: Evidence, bank: Bank, hashes: TpmHashes): EventLogReport {
  const aux = parsing("tpm.format", "The data beside the TPM quote", () => decodeTpmAux(evidence.aux));
  return eventLogReport(aux.pcrs, aux.eventLog, bank, hashes);
}

function eventLogReport(
  pcrs: readonly PcrValue[],
  log: Uint8Array,
  bank: Bank,
  hashes: TpmHashes,
): EventLogReport {
  return reportEventLog(log, pcrs, bank, bank === "sha256" ? (message) => hashes.sha256(message) : sha384);
}

/** PCRs that software measures the kernel into. */
const SAYS_WHAT_BOOTED: ReadonlySet<number> = new Set([4, 8, 9, 11]);

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

function requireAttestationKey(ak: TpmPublic): void {
  const faults = attributeFaults(ak.attributes);
  if (faults.length > 0) {
    refuse(
      "tpm.ak-attributes",
      "The key that signed is no attestation key: it could sign a made-up quote, or exist outside the TPM",
      "fixedTPM fixedParent sensitiveDataOrigin restricted sign, not decrypt",
      faults.join(", "),
      NEXT_KEY,
    );
  }
  if (ak.nameAlgorithm !== TPM_ALG.sha256) {
    refuse(
      "tpm.ak-public",
      "The attestation key's name is not made with SHA-256",
      "sha256",
      algorithmWords(ak.nameAlgorithm),
      NEXT_KEY,
    );
  }
}

function requireMatchingScheme(ak: TpmPublic, signature: TpmSignature) {
  const expected = SCHEMES[ak.kind];
  if (ak.scheme !== expected.scheme || ak.schemeHash !== TPM_ALG.sha256) {
    refuse(
      "tpm.ak-scheme",
      "The attestation key has a signing scheme that this version cannot check",
      expected.words,
      `${algorithmWords(ak.scheme)} with ${algorithmWords(ak.schemeHash)}`,
      NEXT_KEY,
    );
  }
  if (signature.scheme !== ak.scheme || signature.hash !== ak.schemeHash) {
    refuse(
      "tpm.signature-scheme",
      "The quote's signature is not of the kind that the attestation key makes",
      expected.words,
      `${algorithmWords(signature.scheme)} with ${algorithmWords(signature.hash)}`,
      "The quote comes from another key than the one shown: connect again, and do not trust this machine if it stays.",
    );
  }
  return expected;
}

export function valueOf(facts: Pick<TpmFacts, "pcrs">, bank: Bank, index: number): Uint8Array | undefined {
  return facts.pcrs.find((pcr) => pcr.bank === bank && pcr.index === index)?.value;
}

function selectionWords(selections: readonly PcrSelection[]): string {
  const words = selections
    .filter((selection) => selection.indexes.length > 0)
    .map((selection) => `PCR ${selection.indexes.join(", ")} of ${selection.bank}`);
  return words.length > 0 ? words.join("; ") : "no PCR";
}

function hex32(value: number): string {
  return value.toString(16).padStart(8, "0");
}

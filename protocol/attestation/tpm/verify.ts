// TPM 2.0 evidence, checked from the container down to the quoted registers, then judged by the owner's policy.
// docs/protocol.md §6.3. A TPM is host-vouched: who runs a software TPM can make it say anything.

import { toHex } from "../../bytes.ts";
import type { CryptoSuite } from "../../crypto/suite.ts";
import type { EvidenceReport } from "../appraised-report.ts";
import type { AuxParts } from "../aux.ts";
import type { TpmPolicy } from "../policy/model.ts";
import { type Checks, parsing, refuse } from "../refusal.ts";
import type { CheckedLine } from "../verified-guest.ts";
import type { VerifyContext } from "../verify-context.ts";
import type { EventLogReport } from "./event-log.ts";
import {
  TPM_ALG,
  type TpmPublic,
  algorithmWords,
  attributeFaults,
  parsePublic,
  sha256Name,
} from "./public.ts";
import { decodeTpmQuote, readTpmParts } from "./quote.ts";
import {
  type PinnableBank,
  type QuotedFacts,
  bootCounters,
  checkQuote,
  describeBoot,
  judgePcrs,
  pcrPins,
  pcrValues,
  quotedBank,
  quotedEventLog,
  schemeWords,
  selectionWords,
} from "./quoted.ts";

export { valueOf } from "./quoted.ts";

/** A quote that a key with these attributes signed; nothing about which key, which values, or for whom. */
export interface TpmFacts extends QuotedFacts {
  /** `000b` and the SHA-256 of the public area, lower-case hex. */
  readonly akName: string;
  readonly akWords: string;
  /** The bank that is shown and saved. */
  readonly bank: PinnableBank;
  /** The event log compared with that bank. */
  readonly log: EventLogReport;
}

const SCHEME_OF: Readonly<Record<TpmPublic["kind"], number>> = {
  "ecc-p256": TPM_ALG.ecdsa,
  "rsa-2048": TPM_ALG.rsassa,
};
const NEXT_KEY = "Let sealttyd make its own attestation key in the guest; other keys prove nothing.";

/**
 * Everything about TPM evidence that needs no reference values and no binder.
 * @param quote - of an Evidence of type "tpm". @throws SealttyError `evidence-refused`.
 */
export async function checkTpm(
  quote: Uint8Array,
  parts: AuxParts,
  context: Pick<VerifyContext, "signatures" | "suite">,
): Promise<TpmFacts> {
  const { suite } = context;
  const container = parsing("tpm.format", "The TPM quote", () => decodeTpmQuote(quote));
  const aux = parsing("tpm.format", "The data beside the TPM quote", () => readTpmParts(parts));
  const ak = parsing("tpm.ak-public", "The attestation key's public area", () => parsePublic(aux.akPublic));
  requireAttestationKey(ak);
  const akName = toHex(sha256Name(aux.akPublic, (message) => suite.sha256(message)));
  const key = {
    key: ak.key,
    scheme: requireScheme(ak),
    name: akName,
    check: "tpm.signature",
    problem: "The TPM quote's signature does not hold",
  };
  const facts = await checkQuote(container, aux.pcrs, key, context);
  const bank = quotedBank(facts);
  const log = quotedEventLog(facts.pcrs, aux.eventLog, bank, suite);
  return { ...facts, akName, akWords: schemeWords(key.scheme), bank, log };
}

/** Compares checked facts with the owner's reference values. */
export function judgeTpm(facts: TpmFacts, policy: TpmPolicy, checks: Checks): void {
  if (policy.akNames.length > 0) {
    checks.compare({
      check: "tpm.ak-name",
      met: policy.akNames.includes(facts.akName),
      words: "The attestation key is one that the policy names",
      problem: "This is another machine: its attestation key is not in the policy",
      expected: policy.akNames.join(" or "),
      found: facts.akName,
      policyKey: "tpm.ak",
      next: "If the guest's TPM was replaced, and you know that, put the new name into tpm.ak; otherwise do not connect.",
    });
  }
  judgePcrs(facts, policy, "tpm", checks);
}

/** Checked facts in words. */
export function reportTpm(facts: TpmFacts): EvidenceReport {
  const { akName, bank } = facts;
  const verified: CheckedLine[] = [
    {
      check: "tpm.ak-attributes",
      words:
        "The attestation key was made in its TPM, cannot leave it, and signs only what the TPM itself says",
      value: "fixedTPM fixedParent sensitiveDataOrigin restricted sign",
    },
    { check: "tpm.signature", words: "That key signed the quote", value: facts.akWords },
    {
      check: "tpm.pcr-digest",
      words: "The PCR values shown are the quoted ones",
      value: selectionWords(facts.selections),
    },
  ];
  const boot = describeBoot(facts, facts.log, "tpm");
  const pcrs = pcrPins(facts, bank);
  return {
    assurance: "host-vouched",
    bound: facts.bound,
    signedBy: `TPM attestation key ${akName}`,
    what: `What the machine's own software measured at boot: ${selectionWords(facts.selections)}`,
    which: `The machine with the TPM attestation key ${akName}`,
    documentDigest: undefined, // a PCR holds it: judged from `pcrs`
    verified: [...verified, ...boot.verified],
    notVerified: [
      "That memory is encrypted, or hidden from the host: a TPM does not say",
      "The TPM itself: a software TPM beside QEMU belongs to the host, who can make it sign anything",
      ...boot.notVerified,
    ],
    warnings: [],
    values: [
      { name: "tpm.ak-name", words: "Name of the TPM attestation key", value: akName, scope: "lasting" },
      ...pcrValues(facts, bank, "tpm"),
      ...bootCounters(facts, "tpm"),
    ],
    pins: pcrs.size === 0 ? NO_PINS : { ...NO_PINS, tpm: { akNames: [akName], bank, pcrs } },
  };
}

const NO_PINS = { snp: undefined, tdx: undefined, azure: undefined, tpm: undefined };

/**
 * The event log of evidence that was already accepted, entry by entry, for showing. Text in it is the guest's, escaped.
 * @throws SealttyError `evidence-refused` where the parts are not those of TPM evidence.
 */
export function tpmEventLogOf(
  parts: AuxParts,
  bank: PinnableBank,
  hashes: Pick<CryptoSuite, "sha256">,
): EventLogReport {
  const aux = parsing("tpm.format", "The data beside the TPM quote", () => readTpmParts(parts));
  return quotedEventLog(aux.pcrs, aux.eventLog, bank, hashes);
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

/** @returns TPM_ALG_ID. */
function requireScheme(ak: TpmPublic): number {
  const expected = SCHEME_OF[ak.kind];
  if (ak.scheme !== expected || ak.schemeHash !== TPM_ALG.sha256) {
    refuse(
      "tpm.ak-scheme",
      "The attestation key has a signing scheme that this version cannot check",
      schemeWords(expected),
      `${algorithmWords(ak.scheme)} with ${algorithmWords(ak.schemeHash)}`,
      NEXT_KEY,
    );
  }
  return expected;
}

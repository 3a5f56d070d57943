// A policy in plain words: who is accepted, what must run, which machine, what is tolerated, which defaults are in force.

import { type Entry, type SubLine, inline } from "../../toml-keys.ts";
import { KERNEL_PCRS } from "../tpm/pcr.ts";
import type { Assurance } from "../verified-guest.ts";
import { entriesOf } from "./entries.ts";
import type { Policy } from "./model.ts";
import { type AcceptableType, REACH, acceptedTypes, instancePins, weakInstance } from "./rules.ts";

export interface ExplainedKey {
  /** "snp.vmpl". */
  readonly key: string;
  /** As TOML, whole. */
  readonly value: string;
  readonly words: string;
  /** Of a table: one for each of its lines. */
  readonly entries?: readonly ExplainedKey[];
}

export interface PolicyWarning {
  /** The key to look at. */
  readonly key: string;
  readonly words: string;
}

/** Plain data, so that it can be shown and printed as JSON. */
export interface PolicyExplanation {
  /** Who is accepted, with what proof. */
  readonly summary: readonly string[];
  /** What the owner wrote. */
  readonly written: readonly ExplainedKey[];
  /** Defaults in force that restrict. */
  readonly defaults: readonly ExplainedKey[];
  /** Keys that pin nothing because they are absent. */
  readonly notCompared: readonly string[];
  readonly warnings: readonly PolicyWarning[];
}

const HONEST: Readonly<Record<Assurance, string>> = {
  hardware: "the processor's maker has to be honest, and the guest's memory is encrypted",
  paravisor: "the processor's maker and the cloud's paravisor have to be honest",
  "host-vouched": "the host, too, has to be honest, because it may run the TPM itself",
  simulated: "everyone has to be honest: nothing is proven",
};

const EVIDENCE: Readonly<Record<AcceptableType, string>> = {
  "sev-snp": "AMD SEV-SNP reports",
  tdx: "Intel TDX quotes",
  "azure-snp": "quotes of an Azure paravisor's TPM over an AMD SEV-SNP report",
  "azure-tdx": "quotes of an Azure paravisor's TPM over an Intel TDX quote",
  tpm: "quotes of a TPM 2.0",
  simulated: "simulated evidence, and only where the user says --simulated",
};

export function explanationOf(policy: Policy): PolicyExplanation {
  const { minimumAssurance } = policy;
  const types = acceptedTypes(policy);
  const sections = entriesOf(policy);
  const all = sections.flatMap(({ entries }) => entries);
  const ofDefaults = all.filter(({ isDefault }) => isDefault);
  return {
    summary: [
      `Guest "${policy.name}". Evidence must be worth at least "${minimumAssurance}": ${HONEST[minimumAssurance]}.`,
      ...types.map((type) => `Accepted: ${EVIDENCE[type]}, worth "${REACH[type]}".`),
      ...types.map((type) => whichWords(policy, type)),
    ],
    written: all.filter(({ path, isDefault }) => !isDefault && !SUMMED_UP.has(path)).map(explained),
    defaults: ofDefaults.filter(({ strict }) => strict !== undefined).map(explained),
    notCompared: ofDefaults
      .filter(({ path, strict }) => strict === undefined && !NEVER_COMPARED.has(path))
      .map(({ path }) => path),
    warnings: [
      ...all.flatMap(({ path, risk }) => (risk === undefined ? [] : [{ key: path, words: risk }])),
      ...combinations(policy),
    ],
  };
}

/** The same as lines of text; those about risks begin with "Warning: ". */
export function explainPolicy(policy: Policy): string[] {
  const { summary, written, defaults, notCompared, warnings } = explanationOf(policy);
  return [
    ...summary,
    ...written.flatMap(({ key, value, words, entries }) =>
      entries === undefined
        ? [`${key} = ${value}: ${words}`]
        : [
            `${key}: ${words}`,
            ...entries.map((entry) => `${entry.key} = ${entry.value}${entry.words && `: ${entry.words}`}`),
          ],
    ),
    ...defaults.map(({ key, value, words }) => `Default ${key} = ${value}: ${words}.`),
    ...(notCompared.length === 0 ? [] : [`Not compared, because not written: ${notCompared.join(", ")}.`]),
    ...warnings.map(({ words }) => `Warning: ${words}.`),
  ];
}

/** Said in the summary. */
const SUMMED_UP: ReadonlySet<string> = new Set(["version", "name", "minimumAssurance"]);
/** No reference values: names, and where to look. */
const NEVER_COMPARED: ReadonlySet<string> = new Set(["name", "instance.pcr", "tpm.bank", "azure.bank"]);

function whichWords(policy: Policy, type: AcceptableType): string {
  if (type === "simulated") return `Which: the simulated instance "${policy.simulated?.instance}".`;
  const pins = instancePins(policy, type);
  if (pins.length === 0) return `Which machine (${type}): ANY that runs the accepted software.`;
  return `Which machine (${type}): the one that ${pins.join(" and ")} ${pins.length === 1 ? "says" : "say"}.`;
}

/** What no single key shows. */
function combinations(policy: Policy): PolicyWarning[] {
  const { snp, tdx, azure, tpm, simulated } = policy;
  const warnings: PolicyWarning[] = [];
  const warn = (key: string, words: string) => void warnings.push({ key, words });
  if (simulated !== undefined)
    warn("simulated", "[simulated] accepts evidence that anybody can make: for tests only");
  if (snp !== undefined) {
    const lent = snp.signingKeys.includes("vlek") && snp.cspIds.length > 0;
    const pinned = snp.chipIds.length > 0 || snp.allowMilanWithoutChipId || lent;
    if (snp.products.every((product) => product === "Milan") && !pinned) {
      warn(
        "snp.chipId",
        "snp.products lists Milan alone, and Milan is refused without a pinned CHIP_ID: this policy accepts no machine; add snp.chipId",
      );
    }
    if (snp.signingKeys.includes("vlek") && snp.cspIds.length === 0) {
      warn("snp.cspId", "snp.signingKey accepts VLEK of any cloud; name yours in snp.cspId");
    }
  }
  if (tdx !== undefined) {
    const others = tdx.tcbStatus.filter((status) => status !== "UpToDate");
    if (others.length > 0 && tdx.advisories.length === 0) {
      warn(
        "tdx.advisories",
        "tdx.tcbStatus accepts more than UpToDate, but tdx.advisories tolerates no advisory, so most such platforms are refused all the same",
      );
    }
    if (others.length === 0 && tdx.advisories.length > 0) {
      warn("tdx.advisories", "tdx.advisories has no effect while tdx.tcbStatus accepts only UpToDate");
    }
  }
  if (azure !== undefined) {
    const firmwares = [["snp.measurement", snp?.measurements] as const, ["tdx.mrtd", tdx?.mrtd] as const];
    for (const [key, values] of firmwares) {
      if (values === undefined || values.length < 2) continue;
      warn(
        key,
        `${key} has ${values.length} values, and beside [azure] each is a paravisor that is believed for all that it says: a guest of anybody's that is measured so could make up the rest; keep only values of Microsoft's`,
      );
    }
  }
  for (const [section, pcrs] of [["azure", azure?.pcrs] as const, ["tpm", tpm?.pcrs] as const]) {
    if (pcrs !== undefined && ![...KERNEL_PCRS].some((index) => pcrs.has(index))) {
      warn(
        `${section}.pcrs`,
        `${section}.pcrs pins none of 4, 8, 9 and 11, so nothing is said about the kernel`,
      );
    }
  }
  for (const type of acceptedTypes(policy)) {
    const weak = weakInstance(policy, type);
    if (weak !== undefined) warn(weak.pin, weak.words);
  }
  return warnings;
}

function explained({ path, written, lines, words, strict, isDefault }: Entry): ExplainedKey {
  return {
    key: path,
    value: inline(written),
    words: isDefault ? (strict ?? words) : words,
    ...(lines === undefined ? {} : { entries: lines.map((line) => entryOf(path, line)) }),
  };
}

function entryOf(path: string, { key, toml, comment = "" }: SubLine): ExplainedKey {
  return { key: `${path}.${key}`, value: toml, words: comment };
}

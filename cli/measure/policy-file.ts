// Writes expected values into a policy: a new one, or one that the owner has already, of which nothing may get lost.

import { basename } from "node:path";
import { isDeepStrictEqual } from "node:util";
import {
  AZURE_DEFAULTS,
  INSTANCE_DEFAULTS,
  isPolicyName,
  parsePolicy,
  POLICY_DEFAULTS,
  type Policy,
  renderPolicy,
  SNP_DEFAULTS,
  type TpmPolicy,
} from "../../protocol/attestation/policy.ts";
import { MAX_POLICY } from "../../protocol/attestation/policy/parse.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { readOwnerFile } from "../owner-file.ts";
import { writeWholeFile } from "../whole-file.ts";

/** What was computed, as a policy accepts it. */
export type Expected =
  | {
      readonly kind: "snp";
      readonly measurement: string;
      /** Kernel, initrd and command line are in the measurement. */
      readonly kernel: boolean;
    }
  | {
      readonly kind: "tpm";
      readonly bank: TpmPolicy["bank"];
      /** PCR to accepted values, lower-case hex. */
      readonly pcrs: ReadonlyMap<number, readonly string[]>;
    };

/** Which machine: a policy without an answer is not one. */
export interface Which {
  readonly anyInstance: boolean;
  /** SHA-256 of an instance document, 64 hex digits. */
  readonly document: string | undefined;
  /** Name of a TPM's attestation key, hex. */
  readonly ak: string | undefined;
}

/** @returns TOML of a new policy that accepts exactly this. @throws SealttyError `bad-policy`: what is missing. */
export function newPolicy(file: string, expected: Expected, which: Which): string {
  const name = basename(file).replace(/\.toml(\..*)?$/, "");
  const common = {
    ...POLICY_DEFAULTS,
    name: isPolicyName(name) ? name : "guest",
    anyInstance: which.anyInstance,
    instance: { ...INSTANCE_DEFAULTS, documents: which.document === undefined ? [] : [which.document] },
  };
  const policy: Policy =
    expected.kind === "snp"
      ? {
          ...common,
          minimumAssurance: "hardware",
          snp: { ...SNP_DEFAULTS, measurements: [expected.measurement] },
        }
      : {
          ...common,
          minimumAssurance: "host-vouched",
          tpm: {
            akNames: which.ak === undefined ? [] : [which.ak],
            bank: expected.bank,
            pcrs: expected.pcrs,
          },
        };
  return withRemarks(rendered(policy), remarksOn(expected));
}

export interface Merged {
  readonly text: string;
  /** False: the policy accepted it already. */
  readonly changed: boolean;
  /** Where the values went: "snp.measurement", "tpm.pcrs", "azure.pcrs". */
  readonly key: string;
}

/**
 * Adds accepted values; takes none away.
 * @throws SealttyError `bad-policy` on a policy that cannot be read or would not be whole; `bad-config` where writing it
 * would lose comments of the owner's, or the banks differ.
 */
export function mergePolicy(file: string, text: string, expected: Expected, dropComments: boolean): Merged {
  const policy = parsePolicy(text);
  const { policy: merged, key } =
    expected.kind === "snp"
      ? withMeasurement(file, policy, expected.measurement)
      : withPcrs(policy, expected);
  if (isDeepStrictEqual(merged, policy)) return { text, changed: false, key };
  const earlier = commentsOf(text);
  const kept = (merged.snp?.measurements ?? []).map(noKernelIn).filter((words) => earlier.includes(words));
  const result = withRemarks(rendered(merged), [...new Set([...kept, ...remarksOn(expected)])]);
  const ours = new Set(commentsOf(result));
  const lost = earlier.filter((comment) => !ours.has(comment));
  if (lost.length > 0 && !dropComments) {
    const [first] = lost;
    throw new SealttyError(
      "bad-config",
      `The policy has ${lost.length === 1 ? "a comment" : `${lost.length} comments`} of yours that would be lost, first ` +
        `"${first}"; add the values by hand, or drop such comments with --force`,
    );
  }
  return { text: result, changed: true, key };
}

/** Stands above the measurements of a policy that was written here. */
const noKernelIn = (measurement: string) =>
  `Careful: no kernel is in ${measurement.slice(0, 16)}…: whoever starts this firmware chooses what it boots.`;

function remarksOn(expected: Expected): string[] {
  return expected.kind === "snp" && !expected.kernel ? [noKernelIn(expected.measurement)] : [];
}

/** @param text - as rendered: the key stands at the beginning of one line and of no other. */
function withRemarks(text: string, remarks: readonly string[]): string {
  return text.replace(/^(?=measurement = )/m, remarks.map((words) => `# ${words}\n`).join(""));
}

function withMeasurement(file: string, policy: Policy, measurement: string): { policy: Policy; key: string } {
  const { snp } = policy;
  if (policy.azure !== undefined)
    throw new SealttyError(
      "bad-config",
      `${file} has [azure], and beside it snp.measurement is the paravisor's: what is measured so would be believed for all ` +
        "that a paravisor says; write a policy of its own for this guest (--save-policy)",
    );
  if (snp === undefined)
    throw new SealttyError(
      "bad-config",
      `${file} accepts no SEV-SNP evidence yet; write an [snp] section into it first, or make a policy with --save-policy`,
    );
  const measurements = union(snp.measurements, [measurement]);
  return { policy: { ...policy, snp: { ...snp, measurements } }, key: "snp.measurement" };
}

function withPcrs(
  policy: Policy,
  { bank, pcrs }: Extract<Expected, { kind: "tpm" }>,
): { policy: Policy; key: string } {
  const merge = (old: ReadonlyMap<number, readonly string[]>) => {
    const all = new Map(old);
    for (const [index, values] of pcrs) all.set(index, union(all.get(index) ?? [], values));
    return new Map([...all].sort(([a], [b]) => a - b));
  };
  // A paravisor's vTPM is judged by [azure]; a policy has one or the other as a rule.
  const azure = policy.tpm === undefined ? policy.azure : undefined;
  const section = azure ?? policy.tpm ?? { akNames: [], bank, pcrs: new Map<number, readonly string[]>() };
  if (section.bank !== bank && section.pcrs.size > 0)
    throw new SealttyError(
      "bad-config",
      `The policy pins PCRs of the ${section.bank} bank and these are ${bank}; say --bank ${section.bank}`,
    );
  if (azure !== undefined)
    return {
      policy: { ...policy, azure: { ...AZURE_DEFAULTS, ...azure, bank, pcrs: merge(azure.pcrs) } },
      key: "azure.pcrs",
    };
  const tpm = section as TpmPolicy;
  return { policy: { ...policy, tpm: { ...tpm, bank, pcrs: merge(tpm.pcrs) } }, key: "tpm.pcrs" };
}

function union(old: readonly string[], more: readonly string[]): string[] {
  return [...new Set([...old, ...more])];
}

/** Rendered, and read back: what the file says must be what was meant. */
function rendered(policy: Policy): string {
  const text = renderPolicy(policy);
  if (!isDeepStrictEqual(parsePolicy(text), policy))
    throw new SealttyError(
      "bad-config",
      "The policy has something that cannot be written out again; add the values by hand",
    );
  return text;
}

/** Comments of a TOML file, without the sign and blanks. A `#` inside a string is none. */
export function commentsOf(toml: string): string[] {
  // Strings of every kind first, so that what is inside them cannot match as a comment.
  const tokens = /"""[\s\S]*?"""|'''[\s\S]*?'''|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#(?<comment>[^\n]*)/g;
  return [...toml.matchAll(tokens)]
    .map(({ groups }) => groups?.["comment"]?.trim() ?? "")
    .filter((comment) => comment !== "");
}

export async function readPolicyText(file: string): Promise<string> {
  const bytes = await readOwnerFile(file, "policy", 4 * MAX_POLICY);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new SealttyError("bad-policy", `${file} is not UTF-8 text; name a policy file`, { cause });
  }
}

/** Whole or not at all. @param replace - else it must not be there. @throws SealttyError `bad-config`. */
export async function writePolicyText(file: string, text: string, replace: boolean): Promise<void> {
  try {
    await writeWholeFile(file, text, replace);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new SealttyError(
      "bad-config",
      code === "EEXIST" && !replace
        ? `${file} exists already; name another file, add to it with --add-to-policy, or replace it with --force`
        : `cannot write ${file} (${code}); name a file where you may write`,
      { cause },
    );
  }
}

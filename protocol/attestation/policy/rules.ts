// What a policy must have as a whole, beyond the form of each key: what runs, which machine, how good the proof is.

import type { EvidenceType } from "../evidence.ts";
import { ASSURANCES, type Assurance } from "../verified-guest.ts";
import { NO_PCRS } from "./kinds.ts";
import { type Policy, pinsKernel } from "./model.ts";

/** @returns true where `assurance` is at least as strong as `minimum`. */
export function reaches(assurance: Assurance, minimum: Assurance): boolean {
  return ASSURANCES.indexOf(assurance) <= ASSURANCES.indexOf(minimum);
}

/** The best that evidence of a type can be worth; undefined for types that no policy accepts. */
export const REACH = {
  "sev-snp": "hardware",
  tdx: "hardware",
  "azure-snp": "paravisor",
  "azure-tdx": "paravisor",
  tpm: "host-vouched",
  simulated: "simulated",
} as const satisfies Partial<Record<EvidenceType, Assurance>>;
export type AcceptableType = keyof typeof REACH;

/** Strongest first. "simulated" still needs `--simulated`. Beside [azure], [snp] and [tdx] accept nothing by themselves. */
export function acceptedTypes(policy: Policy): AcceptableType[] {
  const { snp, tdx, azure, tpm, simulated } = policy;
  const types: AcceptableType[] = [];
  if (snp !== undefined) types.push(azure === undefined ? "sev-snp" : "azure-snp");
  if (tdx !== undefined) types.push(azure === undefined ? "tdx" : "azure-tdx");
  if (tpm !== undefined) types.push("tpm");
  if (simulated !== undefined) types.push("simulated");
  return types;
}

/** Keys that say which machine, of one kind of evidence: path in the file, and whether the policy has it. */
export function instancePins(policy: Policy, type: AcceptableType): string[] {
  const { instance, snp, tdx, azure, tpm } = policy;
  const pins: [string, readonly unknown[] | undefined][] = [
    ["instance.documents", instance.documents],
    ["instance.keys", instance.keys],
  ];
  if (type === "azure-snp" || type === "azure-tdx") pins.push(["azure.vmId", azure?.vmIds]);
  if (type === "sev-snp" || type === "azure-snp") {
    pins.push(
      ["snp.authorKey", snp?.authorKeys],
      ["snp.hostData", snp?.hostData],
      ["snp.chipId", snp?.chipIds],
    );
  }
  if (type === "tdx" || type === "azure-tdx") {
    pins.push(["tdx.mrConfigId", tdx?.mrConfigId], ["tdx.mrOwner", tdx?.mrOwner], ["tdx.piid", tdx?.piids]);
  }
  if (type === "tpm") pins.push(["tpm.ak", tpm?.akNames]);
  return pins.filter(([, values]) => (values?.length ?? 0) > 0).map(([path]) => path);
}

/**
 * Pins that alone do not tell a sibling apart, in words for people; undefined where the policy pins something better.
 * HOST_DATA and its like are chosen by whoever starts a guest: they tell machines apart as far as the image itself heeds
 * them (docs/threat-model.md, formal/).
 */
export function weakInstance(
  policy: Policy,
  type: AcceptableType,
): { pin: string; words: string } | undefined {
  const pins = instancePins(policy, type);
  const [pin] = pins;
  if (pin === undefined) return undefined;
  if (pins.every((each) => CHIPS.has(each))) {
    const words = `${pin} alone says which processor, not which guest: another guest with the same software on that machine passes; add [instance] documents or keys`;
    return { pin, words };
  }
  if (pins.every((each) => CHOSEN_AT_LAUNCH.has(each) || CHIPS.has(each))) {
    const words = `${pin} is chosen by whoever starts a guest, so anyone can start the same image with it; it says which guest only where the image itself lets in nobody but whom it names: better pin [instance] documents or keys`;
    return { pin, words };
  }
  if (pins.every((each) => each === GIVEN_BY_AZURE || CHOSEN_AT_LAUNCH.has(each) || CHIPS.has(each))) {
    const words = `${GIVEN_BY_AZURE} is what Azure's host told the paravisor, who only passes it on: a host that lies can give another VM the same id; add [instance] documents or keys`;
    return { pin: GIVEN_BY_AZURE, words };
  }
  return undefined;
}
const GIVEN_BY_AZURE = "azure.vmId";
const CHIPS: ReadonlySet<string> = new Set(["snp.chipId", "tdx.piid"]);
const CHOSEN_AT_LAUNCH: ReadonlySet<string> = new Set([
  "snp.hostData",
  "snp.authorKey",
  "tdx.mrConfigId",
  "tdx.mrOwner",
]);

/** What to write where evidence of a type pins no machine. */
const WHICH: Readonly<Record<AcceptableType, { readonly key: string; readonly write: string }>> = {
  "sev-snp": { key: "snp", write: "`hostData`, `authorKey` or `chipId` into [snp]" },
  tdx: { key: "tdx", write: "`mrConfigId`, `mrOwner` or `piid` into [tdx]" },
  "azure-snp": {
    key: "azure",
    write: "`vmId` into [azure], or `hostData`, `authorKey` or `chipId` into [snp]",
  },
  "azure-tdx": {
    key: "azure",
    write: "`vmId` into [azure], or `mrConfigId`, `mrOwner` or `piid` into [tdx]",
  },
  tpm: { key: "tpm.ak", write: '`ak = ["000b…"]` into [tpm] with the name that `sealtty inspect` shows' },
  simulated: { key: "simulated.instance", write: "`instance` into [simulated]" },
};

/** @returns what is wrong and what to write instead, the first thing first; empty where the policy is whole. */
export function policyProblems(policy: Policy): string[] {
  return [...problems(policy)];
}

function* problems(policy: Policy): Generator<string> {
  const { snp, tdx, azure, simulated, minimumAssurance, anyInstance } = policy;
  const types = acceptedTypes(policy);
  if (azure !== undefined && snp === undefined && tdx === undefined) {
    yield "[azure] says nothing about the hardware below it; add an [snp] or a [tdx] section, which then judges the " +
      "paravisor's own report";
  } else if (types.length === 0) {
    yield "no kind of evidence is accepted; add a [tpm] section with tpm.ak and [tpm.pcrs], or an [snp], [tdx] or " +
      "[azure] section (docs/policy.md)";
  }
  if (snp !== undefined && snp.measurements.length + snp.idKeys.length + snp.authorKeys.length === 0) {
    yield '[snp] does not say what may run, so any software could; write `measurement = ["…"]`, or `idKey` or ' +
      "`authorKey` for an image that you sign";
  }
  if (tdx !== undefined && tdx.mrtd.length === 0) {
    yield 'tdx.mrtd is missing, so any software could run; write `mrtd = ["…"]` into [tdx]';
  } else if (tdx !== undefined && azure === undefined && !tdx.allowAnyKernel && !pinsKernel(tdx)) {
    yield "tdx.rtmrs does not pin both 1 and 2, so whoever starts this firmware chooses the kernel, its command line and " +
      'the initramfs; write [tdx.rtmrs] with `1 = ["…"]` and `2 = ["…"]`, or, if any kernel will do, `allowAnyKernel = true` into [tdx]';
  }
  for (const [section, pcrs] of [["azure", azure?.pcrs] as const, ["tpm", policy.tpm?.pcrs] as const]) {
    if (pcrs?.size === 0) yield `${section}.pcrs ${NO_PCRS.replace("SECTION", section)}`;
  }
  for (const type of types) {
    if (type === "simulated") continue;
    const pins = instancePins(policy, type);
    const { key, write } = WHICH[type];
    if (
      !anyInstance &&
      type === "tpm" &&
      pins.every((pin) => pin === "instance.documents") &&
      pins.length > 0
    ) {
      yield "tpm.ak is missing: any software can play a TPM that shows the document's digest in a PCR, so for a TPM " +
        '[instance] documents count only beside tpm.ak or [instance] keys; write `ak = ["000b…"]` into [tpm]';
    } else if (anyInstance && pins.length > 0) {
      yield `anyInstance = true and ${pins[0]} contradict each other; remove one of them`;
    } else if (!anyInstance && pins.length === 0) {
      const what = key.includes(".") ? `${key} is missing` : `[${key}] has no key that says which machine`;
      const instance = type === "tpm" ? "[instance] keys" : "[instance] documents or keys";
      yield `${what}, so any machine could answer; ` +
        `write ${write}, or ${instance}, or, if any machine will do, \`anyInstance = true\` at the top`;
    }
  }
  if (simulated !== undefined && minimumAssurance !== "simulated") {
    yield `[simulated] accepts evidence that proves nothing, but minimumAssurance is "${minimumAssurance}"; ` +
      'remove [simulated], or for a test write `minimumAssurance = "simulated"`';
  }
  for (const type of types) {
    const reach = REACH[type];
    if (type === "simulated" || reaches(reach, minimumAssurance)) continue;
    const section = type.startsWith("azure") ? "azure" : type;
    const why =
      reach === "paravisor"
        ? "because the cloud's paravisor must be honest"
        : "because the host may run the TPM";
    yield `[${section}] reaches at most "${reach}", ${why}, but minimumAssurance is "${minimumAssurance}"; write ` +
      `\`minimumAssurance = "${reach}"\` if that is enough for you`;
  }
}

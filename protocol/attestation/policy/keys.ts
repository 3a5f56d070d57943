// Every key of a policy file, once: parser, renderer, explanation, digest, documents and editors' schema read this table.

import {
  type Keys,
  type Kind,
  Section,
  choice,
  flag,
  hex,
  integer,
  list,
  one,
  text,
} from "../../toml-keys.ts";
import { VERSION_MISSING, guestName, versionKind } from "../owner-file-head.ts";
import { ASSURANCES } from "../verified-guest.ts";
import { NO_PCRS, ed25519Key, on, pcrs } from "./kinds.ts";
import {
  AZURE_DEFAULTS,
  type AzurePolicy,
  INSTANCE_DEFAULTS,
  type InstancePolicy,
  POLICY_DEFAULTS,
  type Policy,
  SNP_DEFAULTS,
  type SnpPolicy,
  TDX_DEFAULTS,
  type TdxPolicy,
  type TpmPolicy,
} from "./model.ts";
import { isInstanceName } from "./names.ts";
import { SNP_KEYS } from "./snp-keys.ts";
import { TDX_KEYS } from "./tdx-keys.ts";

type TopPolicy = Pick<
  Policy,
  "version" | "name" | "minimumAssurance" | "anyInstance" | "clockSkew" | "reattestEvery" | "reattestMisses"
>;
type SimulatedPolicy = NonNullable<Policy["simulated"]>;

const bank: Kind<"sha256" | "sha384"> = one(
  choice(["sha256", "sha384"], "is not a bank that can be believed"),
);
const PAST_ASSURANCE = ASSURANCES.map((each) => `"${each}"`).join(", ");

const TOP: Keys<TopPolicy> = {
  version: {
    name: "version",
    kind: versionKind,
    words: "Version of the file's format.",
    missing: VERSION_MISSING,
  },
  name: {
    name: "name",
    kind: one(guestName),
    words: "Shown beside the guest; not part of what is proven.",
  },
  minimumAssurance: {
    name: "minimumAssurance",
    kind: one(choice(ASSURANCES)),
    words: "The weakest evidence that is enough: who must be honest for it to be true.",
    missing: `minimumAssurance is missing; write \`minimumAssurance = "host-vouched"\` (or another of ${PAST_ASSURANCE})`,
    risk: (value) =>
      value === "simulated"
        ? 'minimumAssurance = "simulated" accepts evidence that proves nothing: for tests only'
        : undefined,
  },
  anyInstance: {
    name: "anyInstance",
    kind: flag,
    words:
      "`true`: any machine that runs the accepted software will do. Client and page keep saying so. Excludes every key that says which machine.",
    strict: "a machine must be pinned",
    risk: on(
      "anyInstance = true: whoever boots the same software is believed, an attacker's own copy of it included",
    ),
  },
  clockSkew: {
    name: "clockSkew",
    kind: one(integer(0, 86_400, 300)),
    words: "Seconds tolerated around the validity of certificates, CRLs and TCB information.",
    strict: "5 minutes",
    risk: (value) =>
      value > 3600
        ? `clockSkew = ${value} accepts certificates and CRLs that long after they ended`
        : undefined,
  },
  reattestEvery: {
    name: "reattestEvery",
    kind: one(integer(10, 86_400, 600)),
    words: "Seconds after which evidence is asked for again during a connection.",
    strict: "every 10 minutes",
  },
  reattestMisses: {
    name: "reattestMisses",
    kind: one(integer(0, 1000, 3)),
    words:
      "So many askings in a row without fresh evidence, and the session is frozen until its user chose; `0`: never.",
    strict: "3 in a row",
    risk: (value) =>
      value === 0
        ? "reattestMisses = 0: a guest that gives no evidence any more is believed for as long as the connection lasts"
        : undefined,
  },
};

const INSTANCE: Keys<InstancePolicy> = {
  documents: {
    name: "documents",
    kind: list(hex(64)),
    words:
      "Which machine: SHA-256 of accepted instance documents (docs/instance.md). The guest must deliver one, and its digest must be in the evidence. With a TPM it says so only beside tpm.ak or instance.keys.",
  },
  keys: {
    name: "keys",
    kind: list(ed25519Key),
    words:
      "Which machine: Ed25519 public keys. The guest must prove on every connection that it holds one of them.",
  },
  pcr: {
    name: "pcr",
    kind: one(integer(8, 15, 15)),
    words:
      "The PCR into which the instance document's digest was extended, once and alone, where the evidence is a TPM's.",
  },
};

const AZURE: Keys<AzurePolicy> = {
  vmIds: {
    name: "vmId",
    kind: list(
      text({
        words: "UUID",
        pattern: /^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$/,
        problem: "is not a VM's unique id",
        write: 'for example "B7C1A6C3-0E1D-4C9B-8F4A-2D1E5A6B7C8D"',
        normal: (value) => value.toUpperCase(),
        refuse: (value) =>
          /^[0-]*$/.test(value) ? "is all zero, which is no VM's id; remove it" : undefined,
      }),
    ),
    words: "Which machine: vmUniqueId, as Azure's host gave it to the paravisor.",
  },
  bank: { name: "bank", kind: bank, words: "Bank of the pinned PCRs." },
  pcrs: {
    name: "pcrs",
    kind: pcrs("azure"),
    words: "What runs: every PCR named here must hold one of its values.",
    missing: `azure.pcrs ${NO_PCRS.replace("SECTION", "azure")}`,
  },
  allowHostConsole: {
    name: "allowHostConsole",
    kind: flag,
    words: "Accept guests whose plain serial console the host can read (`console-enabled`).",
    strict: "guests with a plain serial console are refused",
    risk: on("azure.allowHostConsole = true: the guest also has a console that the host reads in the clear"),
  },
  allowNoSecureBoot: {
    name: "allowNoSecureBoot",
    kind: flag,
    words: "Accept guests with Secure Boot off.",
    strict: "Secure Boot must be on",
    risk: on(
      "azure.allowNoSecureBoot = true: unsigned boot loaders and kernels start; only azure.pcrs keep them out",
    ),
  },
};

const TPM: Keys<TpmPolicy> = {
  akNames: {
    name: "ak",
    kind: list(
      text({
        words: '"000b" and 64 hex digits',
        pattern: /^000[bB][0-9a-fA-F]{64}$/,
        problem: "is not the name of a key",
        write: '"000b" and 64 hex digits, as `sealtty inspect` shows them',
        normal: (value) => value.toLowerCase(),
      }),
    ),
    words: "Which machine: names of TPM attestation keys. One of them must have signed.",
  },
  bank: { name: "bank", kind: bank, words: "Bank of the pinned PCRs." },
  pcrs: {
    name: "pcrs",
    kind: pcrs("tpm"),
    words: "What runs: every PCR named here must hold one of its values.",
    missing: `tpm.pcrs ${NO_PCRS.replace("SECTION", "tpm")}`,
  },
};

const SIMULATED: Keys<SimulatedPolicy> = {
  instance: {
    name: "instance",
    kind: one(
      text({
        words: "1 to 64 printable ASCII characters",
        pattern: /^[\x20-\x7e]{1,64}$/,
        problem: "is not 1 to 64 printable ASCII characters",
        write: '`instance = "demo"`',
        refuse: (value) => (isInstanceName(value) ? undefined : "is not a name"),
      }),
    ),
    words: "The simulated guest's name.",
    missing: 'simulated.instance is missing; write `instance = "demo"` into [simulated]',
  },
};

export const TOP_SECTION = new Section<TopPolicy>(
  "",
  "A sealtty policy: which machine, running what, is believed.",
  TOP,
  {
    name: POLICY_DEFAULTS.name,
    anyInstance: POLICY_DEFAULTS.anyInstance,
    clockSkew: POLICY_DEFAULTS.clockSkew,
    reattestEvery: POLICY_DEFAULTS.reattestEvery,
    reattestMisses: POLICY_DEFAULTS.reattestMisses,
  },
);
export const INSTANCE_SECTION = new Section<InstancePolicy>(
  "instance",
  "Which machine, by what its owner made: holds for every kind of evidence.",
  INSTANCE,
  INSTANCE_DEFAULTS,
);
export const SNP_SECTION = new Section<SnpPolicy>(
  "snp",
  "Accept AMD SEV-SNP reports; beside [azure], judges the paravisor's own report.",
  SNP_KEYS,
  SNP_DEFAULTS,
);
export const TDX_SECTION = new Section<TdxPolicy>(
  "tdx",
  "Accept Intel TDX quotes; beside [azure], judges the paravisor's own quote.",
  TDX_KEYS,
  TDX_DEFAULTS,
);
export const AZURE_SECTION = new Section<AzurePolicy>(
  "azure",
  "Accept Azure confidential VMs: the paravisor's TPM, vouched for by the hardware report that [snp] or [tdx] judges.",
  AZURE,
  AZURE_DEFAULTS,
);
export const TPM_SECTION = new Section<TpmPolicy>("tpm", "Accept TPM 2.0 quotes.", TPM, {
  akNames: [],
  bank: "sha256",
});
export const SIMULATED_SECTION = new Section<SimulatedPolicy>(
  "simulated",
  'Accept simulated evidence, which proves nothing. Needs `minimumAssurance = "simulated"` here and `--simulated` on the command line.',
  SIMULATED,
  {},
);

/** In the order of the file. */
export const SECTIONS = [
  TOP_SECTION,
  INSTANCE_SECTION,
  SNP_SECTION,
  TDX_SECTION,
  AZURE_SECTION,
  TPM_SECTION,
  SIMULATED_SECTION,
] as const;
export const SECTION_NAMES: readonly string[] = SECTIONS.map((section) => section.name).filter(
  (name) => name !== "",
);

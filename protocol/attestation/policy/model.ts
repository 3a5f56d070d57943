// The owner's appraisal policy as data: reference values, instances, tolerances. docs/policy.md says each key in words;
// policy/keys.ts is the one table behind parser, renderer, explanation and editors' schema.

import type { SnpProduct } from "../roots.ts";
import type { Assurance } from "../verified-guest.ts";

/** What Intel's verification can say of a TDX platform, best first. */
export const TCB_STATUSES = [
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "TDRelaunchAdvised",
  "TDRelaunchAdvisedConfigurationNeeded",
  "Revoked",
] as const;
export type TcbStatus = (typeof TCB_STATUSES)[number];

/** Which machine, by what the owner made: holds for every kind of evidence. Empty lists pin nothing. */
export interface InstancePolicy {
  /** SHA-256 of accepted instance documents, lower-case hex (64 digits). */
  readonly documents: readonly string[];
  /** Ed25519 public keys that a guest must prove to hold, lower-case hex (64 digits). */
  readonly keys: readonly string[];
  /** The PCR that holds an instance document's digest where the evidence is a TPM's; default 15. */
  readonly pcr: number;
}

/** Component-wise minimum of a TCB_VERSION; an absent component has no minimum. */
export interface SnpTcbMinimum {
  /** Turin only. */
  readonly fmc?: number;
  readonly bootloader?: number;
  readonly tee?: number;
  readonly snp?: number;
  readonly microcode?: number;
}

/** `[snp]`. Lists are any-of; an empty list pins nothing. All hex is lower-case. */
export interface SnpPolicy {
  /** MEASUREMENT, 96 digits. What. */
  readonly measurements: readonly string[];
  /** ID_KEY_DIGEST, 96 digits: who signed the image's identity block. What, by its signer. */
  readonly idKeys: readonly string[];
  /** AUTHOR_KEY_DIGEST, 96 digits. What and who. */
  readonly authorKeys: readonly string[];
  /** HOST_DATA, 64 digits. Which. */
  readonly hostData: readonly string[];
  /** CHIP_ID, 128 digits (on Turin the first 16 are enough to write; kept padded with zeros to 128). Which. */
  readonly chipIds: readonly string[];
  /** Cloud's name in a VLEK, e.g. "CN=cc-us-east-2.amazonaws.com". */
  readonly cspIds: readonly string[];
  /** FAMILY_ID and IMAGE_ID, 32 digits. */
  readonly familyIds: readonly string[];
  readonly imageIds: readonly string[];
  /** Default: all; Milan is refused without a pinned CHIP_ID all the same. */
  readonly products: readonly SnpProduct[];
  /** Default ["vcek"]. */
  readonly signingKeys: readonly ("vcek" | "vlek")[];
  /** Default [0]. */
  readonly vmpls: readonly number[];
  readonly minimumTcb: SnpTcbMinimum;
  readonly minimumLaunchTcb: SnpTcbMinimum;
  /** Bits that must be set in the CURRENT_MIT_VECTOR, 16 hex digits; default all zero. Version 5 reports only. */
  readonly minimumMitigation: string;
  readonly minimumGuestSvn: number;
  /** Firmware ABI that the guest policy must at least ask for, "major.minor"; default "0.0". */
  readonly minimumAbi: string;
  /** Default "any" for the three. */
  readonly smt: "any" | "off";
  readonly singleSocket: "any" | "required";
  readonly ciphertextHiding: "any" | "required";
  /** Default "required" (BadRAM, CVE-2024-21944). */
  readonly aliasCheck: "any" | "required";
  /** Default "required": AMD's CRL must be there and hold. "if-present": a missing one is told, a bad one refused. */
  readonly crl: "required" | "if-present";
  /** All default to false. */
  readonly allowDebug: boolean;
  readonly allowMigrationAgent: boolean;
  readonly allowProvisionalFirmware: boolean;
  readonly allowMilanWithoutChipId: boolean;
}

/** `[tdx]`. Lists are any-of; an empty list pins nothing. All hex is lower-case, 96 digits unless said. */
export interface TdxPolicy {
  readonly mrtd: readonly string[];
  /** RTMR 0 to 3. */
  readonly rtmrs: ReadonlyMap<number, readonly string[]>;
  readonly mrSeam: readonly string[];
  readonly mrConfigId: readonly string[];
  readonly mrOwner: readonly string[];
  readonly mrOwnerConfig: readonly string[];
  /** Default: all zero only, that is no service (migration) TD. */
  readonly mrServiceTd: readonly string[];
  /** Platform instance ids of the PCK certificate, 32 digits. Which. */
  readonly piids: readonly string[];
  /** Default ["UpToDate"]; never "Revoked". */
  readonly tcbStatus: readonly TcbStatus[];
  /** Advisories that are tolerated where a status other than UpToDate is: "INTEL-SA-00615". Empty: none is. */
  readonly advisories: readonly string[];
  /** Default 0. */
  readonly minimumTcbEvaluation: number;
  /** XFAM, 16 digits in the quote's byte order. */
  readonly xfam: readonly string[];
  /** Default "any". */
  readonly smt: "any" | "off";
  readonly dynamicPlatform: "any" | "static";
  /** All default to false. Any kernel: RTMR 1 and 2 not pinned; SEPT_VE_DISABLE off; MIGRATABLE on; PERFMON on. */
  readonly allowAnyKernel: boolean;
  readonly allowDebug: boolean;
  readonly allowSeptVe: boolean;
  readonly allowMigratable: boolean;
  readonly allowPerfmon: boolean;
}

/** RTMRs that together say which kernel was started, and with what: MRTD is the firmware alone. */
const KERNEL_RTMRS = [1, 2];

/** Whether a policy says which kernel a TD started by itself may run. */
export function pinsKernel({ rtmrs }: Pick<TdxPolicy, "rtmrs">): boolean {
  return KERNEL_RTMRS.every((index) => rtmrs.has(index));
}

/** `[tpm]`. */
export interface TpmPolicy {
  /** AK names (nameAlg ‖ digest, lower-case hex). Which. */
  readonly akNames: readonly string[];
  readonly bank: "sha256" | "sha384";
  /** PCR index to the accepted values (lower-case hex): at least one PCR, at least one value each. What. */
  readonly pcrs: ReadonlyMap<number, readonly string[]>;
}

/** `[azure]`: beside `[snp]` or `[tdx]`, which then judge the paravisor's own report. */
export interface AzurePolicy {
  /** vmUniqueId of the runtime claims, upper-case as Azure writes it. Which. */
  readonly vmIds: readonly string[];
  readonly bank: "sha256" | "sha384";
  readonly pcrs: ReadonlyMap<number, readonly string[]>;
  /** Default false: a guest whose plain serial console is on is refused. */
  readonly allowHostConsole: boolean;
  /** Default false. */
  readonly allowNoSecureBoot: boolean;
}

export interface Policy {
  readonly version: 1;
  /** Shown beside the guest; not trusted. */
  readonly name: string;
  readonly minimumAssurance: Assurance;
  /** Any machine that runs the accepted software is accepted: shown for ever. */
  readonly anyInstance: boolean;
  /** Seconds tolerated around validity times; default 300. */
  readonly clockSkew: number;
  /** Seconds between re-attestations; default 600. */
  readonly reattestEvery: number;
  /** Re-attestations in a row that may go without evidence before the session is frozen; default 3, 0: any number. */
  readonly reattestMisses: number;
  readonly instance: InstancePolicy;
  readonly snp: SnpPolicy | undefined;
  readonly tdx: TdxPolicy | undefined;
  readonly azure: AzurePolicy | undefined;
  readonly tpm: TpmPolicy | undefined;
  /** Present only where the owner wrote `[simulated]`; still needs `--simulated`. */
  readonly simulated: { readonly instance: string } | undefined;
}

export const NO_SERVICE_TD = "0".repeat(96);

/** What an absent key means; every default that is not "pins nothing" is the strict one. */
export const SNP_DEFAULTS: SnpPolicy = {
  measurements: [],
  idKeys: [],
  authorKeys: [],
  hostData: [],
  chipIds: [],
  cspIds: [],
  familyIds: [],
  imageIds: [],
  products: ["Milan", "Genoa", "Turin"],
  signingKeys: ["vcek"],
  vmpls: [0],
  minimumTcb: {},
  minimumLaunchTcb: {},
  minimumMitigation: "0".repeat(16),
  minimumGuestSvn: 0,
  minimumAbi: "0.0",
  smt: "any",
  singleSocket: "any",
  ciphertextHiding: "any",
  aliasCheck: "required",
  crl: "required",
  allowDebug: false,
  allowMigrationAgent: false,
  allowProvisionalFirmware: false,
  allowMilanWithoutChipId: false,
};

export const TDX_DEFAULTS: TdxPolicy = {
  mrtd: [],
  rtmrs: new Map(),
  mrSeam: [],
  mrConfigId: [],
  mrOwner: [],
  mrOwnerConfig: [],
  mrServiceTd: [NO_SERVICE_TD],
  piids: [],
  tcbStatus: ["UpToDate"],
  advisories: [],
  minimumTcbEvaluation: 0,
  xfam: [],
  smt: "any",
  dynamicPlatform: "any",
  allowAnyKernel: false,
  allowDebug: false,
  allowSeptVe: false,
  allowMigratable: false,
  allowPerfmon: false,
};

export const AZURE_DEFAULTS: AzurePolicy = {
  vmIds: [],
  bank: "sha256",
  pcrs: new Map(),
  allowHostConsole: false,
  allowNoSecureBoot: false,
};

export const INSTANCE_DEFAULTS: InstancePolicy = { documents: [], keys: [], pcr: 15 };

export const POLICY_DEFAULTS = {
  version: 1,
  name: "guest",
  anyInstance: false,
  clockSkew: 300,
  reattestEvery: 600,
  reattestMisses: 3,
  instance: INSTANCE_DEFAULTS,
  snp: undefined,
  tdx: undefined,
  azure: undefined,
  tpm: undefined,
  simulated: undefined,
} as const satisfies Omit<Policy, "minimumAssurance">;

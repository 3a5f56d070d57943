// `[evidence]` and `[instance]`: how the guest proves what it is, and which one it is.

import { INSTANCE_DEFAULTS } from "../../protocol/attestation/policy/model.ts";
import { DEFAULT_PCRS } from "../evidence/tpm.ts";
import { TPM_DEVICE } from "../evidence/tpm-channel.ts";
import type { Table } from "./table.ts";

/** What evidence of every real kind of hardware has. */
interface HardwareConfig {
  /** Minutes between two health probes; 0: none but that at the start. */
  readonly probeMinutes: number;
}

/** Evidence of the TEE's own hardware. */
interface TeeConfig extends HardwareConfig {
  /** Directory of certificates, CRLs and TCB info to send along; undefined: none. */
  readonly collateral: string | undefined;
  readonly timeoutSeconds: number;
  readonly secondsBetweenReports: number;
}

export type EvidenceConfig =
  | (HardwareConfig & { readonly type: "tpm"; readonly device: string; readonly pcrs: readonly number[] })
  | (TeeConfig & {
      readonly type: "sev-snp";
      /** "auto": configfs-tsm where the kernel has it, else /dev/sev-guest; the evidence is the same. */
      readonly collector: "auto" | "configfs" | "sev-guest";
      readonly vmpl: number;
    })
  | (TeeConfig & { readonly type: "tdx" })
  | (HardwareConfig & {
      readonly type: "azure";
      readonly device: string;
      readonly pcrs: readonly number[];
      readonly collateral: string | undefined;
      /** Whether Azure's metadata service may be asked. */
      readonly imds: boolean;
    })
  | { readonly type: "simulated"; readonly instance: string };

export function evidenceOf(table: Table): EvidenceConfig {
  const type = table.oneOf("type", ["sev-snp", "tdx", "azure", "tpm", "simulated"]);
  switch (type) {
    case "sev-snp":
      if (table.has("service_provider")) {
        table.fail(
          "evidence through an SVSM (service_provider) has no verifier in this version",
          "Remove the key; under an SVSM set vmpl to the level that this guest runs at.",
        );
      }
      table.allow("type", "collector", "vmpl", ...TEE_KEYS);
      return {
        type,
        collector: table.has("collector")
          ? table.oneOf("collector", ["auto", "configfs", "sev-guest"])
          : "auto",
        vmpl: table.whole("vmpl", 0, 3) ?? 0,
        ...teeOf(table),
      };
    case "tdx":
      table.allow("type", ...TEE_KEYS);
      return { type, ...teeOf(table) };
    case "azure":
      table.allow("type", "device", "pcrs", "collateral", "imds", "probe_minutes");
      return {
        type,
        ...tpmOf(table),
        collateral: table.has("collateral") ? table.path("collateral") : undefined,
        imds: table.flag("imds") ?? false,
      };
    case "tpm":
      table.allow("type", "device", "pcrs", "probe_minutes");
      return { type, ...tpmOf(table) };
    case "simulated":
      table.allow("type", "instance", "i_know_this_proves_nothing");
      if (table.flag("i_know_this_proves_nothing") !== true) {
        table.fail(
          'type = "simulated" proves nothing about this machine',
          "For a test, add i_know_this_proves_nothing = true; for anything else use real evidence.",
        );
      }
      return { type, instance: table.text("instance") };
  }
}

const TEE_KEYS = ["collateral", "timeout_seconds", "seconds_between_reports", "probe_minutes"] as const;

const WEEK_IN_MINUTES = 7 * 24 * 60;

function teeOf(table: Table): TeeConfig {
  return {
    collateral: table.has("collateral") ? table.path("collateral") : undefined,
    timeoutSeconds: table.whole("timeout_seconds", 1, 600) ?? 75,
    secondsBetweenReports: table.whole("seconds_between_reports", 1, 60) ?? 1,
    probeMinutes: probeMinutesOf(table),
  };
}

function tpmOf(table: Table) {
  return {
    device: table.has("device") ? table.path("device") : TPM_DEVICE,
    pcrs: table.has("pcrs") ? table.pcrs("pcrs") : DEFAULT_PCRS,
    probeMinutes: probeMinutesOf(table),
  };
}

function probeMinutesOf(table: Table): number {
  return table.whole("probe_minutes", 0, WEEK_IN_MINUTES) ?? 60;
}

/** `[instance]`: which guest this is. */
export interface InstanceConfig {
  /** "fw_cfg", "cmdline" or absolute paths, tried in order; undefined: there is no document. */
  readonly document: readonly string[] | undefined;
  /** Of TPM and Azure evidence: the register that holds the document's digest. */
  readonly pcr: number;
  /** OpenSSH private key file (Ed25519). */
  readonly key: string | undefined;
  /** Public key files of the guest's sshd, sent along. */
  readonly sshHostKeys: readonly string[];
}

export const NO_INSTANCE: InstanceConfig = {
  document: undefined,
  pcr: INSTANCE_DEFAULTS.pcr, // the one that policies look at unless they say otherwise
  key: undefined,
  sshHostKeys: [],
};

export function instanceOf(table: Table, evidence: EvidenceConfig): InstanceConfig {
  table.allow("document", "pcr", "key", "ssh_host_keys");
  const document = table.has("document") ? table.documentSources("document") : undefined;
  if (document !== undefined && evidence.type === "simulated") {
    table.fail(
      "simulated evidence holds no digest, so no instance document could be believed",
      "Remove document, or use real evidence.",
    );
  }
  if (table.has("pcr") && evidence.type !== "tpm" && evidence.type !== "azure")
    table.fail(`"pcr" has no meaning for ${evidence.type} evidence`, "Remove it.");
  return {
    document,
    // Zero at the start, for the operating system, and not to be reset: TCG PC Client Profile §2.3.4
    pcr: table.whole("pcr", 8, 15) ?? INSTANCE_DEFAULTS.pcr,
    key: table.has("key") ? table.path("key") : undefined,
    sshHostKeys: table.has("ssh_host_keys") ? table.paths("ssh_host_keys") : [],
  };
}

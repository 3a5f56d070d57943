// `[unlock]`, `[services]` and `[provision]`: what takes root's rights.

import type { Table } from "./table.ts";

/** `[unlock]`: who may see what passphrases are asked for, and answer. */
export interface UnlockConfig {
  /** Users who signed in with a key; none: nobody may. */
  readonly users: readonly string[];
  /** Fingerprints of their keys that may, "SHA256:…"; undefined: any of them. */
  readonly keys: readonly string[] | undefined;
}

export const NOBODY_UNLOCKS: UnlockConfig = { users: [], keys: undefined };

export function unlockOf(table: Table): UnlockConfig {
  table.allow("users", "keys");
  return {
    users: table.namedUsers("users"),
    keys: table.has("keys") ? table.fingerprints("keys") : undefined,
  };
}

/** `[services]`: what takes root's rights, by names of users with a key. */
export interface ServicesConfig {
  /** Who may read the kernel's log. */
  readonly kernelLog: readonly string[];
  /** Who may have SysRq keys pressed, and which. */
  readonly sysrq: readonly string[];
  readonly sysrqKeys: readonly string[];
}

export const NO_SERVICES: ServicesConfig = { kernelLog: [], sysrq: [], sysrqKeys: [] };

export function servicesOf(table: Table): ServicesConfig {
  table.allow("kernel_log", "sysrq", "sysrq_keys");
  const sysrq = table.has("sysrq") ? table.namedUsers("sysrq") : [];
  if (table.has("sysrq") !== table.has("sysrq_keys"))
    table.fail(
      '"sysrq" and "sysrq_keys" go together: who may have keys pressed, and which',
      'For example sysrq = ["root"] and sysrq_keys = ["s", "u", "b"].',
    );
  return {
    kernelLog: table.has("kernel_log") ? table.namedUsers("kernel_log") : [],
    sysrq,
    sysrqKeys: table.has("sysrq_keys") ? table.sysrqKeys("sysrq_keys") : [],
  };
}

export const AT_TIMEOUT = ["go-on", "power-off"] as const;

/** `[provision]`: a seed for cloud-init, handed over through the console. */
export interface ProvisionConfig {
  readonly users: readonly string[];
  /** Becomes cloud-init's seed. */
  readonly directory: string;
  /** File that remembers that the machine has its seed. */
  readonly state: string;
  readonly again: boolean;
  /** How long a boot waits for the seed. */
  readonly waitSeconds: number;
  /** What comes then; cloud-init stays off in either case. */
  readonly atTimeout: (typeof AT_TIMEOUT)[number];
}

/** Where cloud-init's NoCloud looks for a seed of the machine's own. */
export const SEED_DIRECTORY = "/var/lib/cloud/seed/nocloud";

export const PROVISION_STATE = "/var/lib/sealtty/provisioned";

const DAY_IN_SECONDS = 24 * 60 * 60;

export function provisionOf(table: Table): ProvisionConfig {
  table.allow("users", "directory", "state", "again", "wait_seconds", "at_timeout");
  return {
    users: table.namedUsers("users"),
    directory: table.has("directory") ? table.path("directory") : SEED_DIRECTORY,
    state: table.has("state") ? table.path("state") : PROVISION_STATE,
    again: table.flag("again") ?? false,
    waitSeconds: table.whole("wait_seconds", 0, DAY_IN_SECONDS) ?? 600,
    atTimeout: table.has("at_timeout") ? table.oneOf("at_timeout", AT_TIMEOUT) : "go-on",
  };
}

// sealttyd's configuration: TOML, read strictly. What is absent is refused or off, never unchecked.

import { readFile } from "node:fs/promises";
import { TomlError, parse } from "smol-toml";
import { INSTANCE_DEFAULTS } from "../protocol/attestation/policy/model.ts";
import { SealttyError } from "../protocol/errors.ts";
import { errorCode } from "../node/socket-pipe.ts";
import { Table } from "./config-table.ts";
import { DEFAULT_PCRS } from "./evidence/tpm.ts";
import { TPM_DEVICE } from "./evidence/tpm-channel.ts";
import { escapeText } from "./log.ts";
import type { ConsoleDevices } from "./pipes/framebuffer/devices.ts";
import { INPUT_KINDS, type InputKind } from "./pipes/framebuffer/find-input.ts";

export type PipeConfig =
  | { readonly type: "virtio"; readonly name: string }
  | { readonly type: "tty"; readonly device: string; readonly armourOnly: boolean }
  | { readonly type: "unix"; readonly path: string }
  | FramebufferConfig;

/** The machine's own screen and keys, which the host shows by VNC. */
export interface FramebufferConfig {
  readonly type: "framebuffer";
  /** Undefined: /dev/fb0, else the text cells of the virtual terminal in front. */
  readonly screen: string | undefined;
  /** Undefined: the best that there is. */
  readonly input: InputKind | undefined;
  /** What the half with rights has taken, as the other one is told; never in a file. */
  readonly taken?: ConsoleDevices;
}

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

/** A PAM session for users' programs: where it is to be had, or else sealttyd does not start, or never. */
export type PamUse = "auto" | "required" | "off";

export interface UsersConfig {
  /** File of public keys; absent: nobody can use a key, unless an instance document lists keys. */
  readonly authorizedKeys: string | undefined;
  /** Who may log in with a key of that file; a file of all users' must say it, of each user's own the place says it. */
  readonly names: readonly string[] | "any";
  /** Program and arguments for a session without a key; absent: not allowed. */
  readonly login: readonly string[] | undefined;
  /** Program and arguments of a session with a key; absent: the user's own shell from /etc/passwd. */
  readonly shell: readonly string[] | undefined;
  /** Pages that may ask for a passkey's signature: protocol/user-auth/webauthn.ts. */
  readonly passkeyOrigins: readonly string[];
  readonly pam: PamUse;
  /** Of one user's, and likewise of all logins without a key together, that run at a time. */
  readonly maxPrograms: number;
}

/** Sessions that outlive their connections. */
export interface SessionsConfig {
  readonly keep: boolean;
  /** Bytes of output that each of them keeps. */
  readonly ringBytes: number;
  /** Ms without anybody attached after which one is hung up. */
  readonly idleMs: number;
}

/** `[forward]`: connections to elsewhere, for users with a key. */
export interface ForwardConfig {
  readonly allow: boolean;
  /** Program and arguments of the service `ssh`; undefined: 127.0.0.1:22 is connected to. */
  readonly ssh: readonly string[] | undefined;
  /** Whether other addresses than loopback may be listened on. */
  readonly gateway: boolean;
}

/** `[unlock]`: who may see what passphrases are asked for, and answer. */
export interface UnlockConfig {
  /** Users who signed in with a key; none: nobody may. */
  readonly users: readonly string[];
  /** Fingerprints of their keys that may, "SHA256:…"; undefined: any of them. */
  readonly keys: readonly string[] | undefined;
}

/** `[audit]`: what is written down besides the log. */
export interface AuditConfig {
  /** Lines of JSON; undefined: there are the log's lines only. */
  readonly file: string | undefined;
  /** Where the file cannot be written, nobody is let in and nothing is started. */
  readonly required: boolean;
}

/** Programs that run at a time, whoever asked for them. */
export const MAX_PROGRAMS = 4096;

export const RECORDED_SERVICES = ["login", "shell"] as const;

/** `[recording]`: sessions on a terminal, as files of the guest. */
export interface RecordingConfig {
  readonly directory: string;
  /** Of users with a key; undefined: everybody's. */
  readonly users: readonly string[] | undefined;
  readonly services: readonly (typeof RECORDED_SERVICES)[number][];
  /** Whether users are told. */
  readonly notice: boolean;
  /** What cannot be recorded is not started, and ended where it cannot be recorded any more. */
  readonly required: boolean;
  readonly maxMib: number;
  /** Of the files of one user, and likewise of all logins without a key together. At least maxMib, at most totalMib. */
  readonly userMib: number;
  /** Of all files in the directory. What would go beyond this, or userMib, is not recorded. */
  readonly totalMib: number;
}

/** `[services]`: what takes root's rights, by names of users with a key. */
export interface ServicesConfig {
  /** Who may read the kernel's log. */
  readonly kernelLog: readonly string[];
  /** Who may have SysRq keys pressed, and which. */
  readonly sysrq: readonly string[];
  readonly sysrqKeys: readonly string[];
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

/** Who does what. */
export interface DaemonConfig {
  /** Whom the half becomes that talks to the host, where sealttyd is started by root; "root": nothing is split. */
  readonly user: string;
  /** Whether that half is confined as far as the kernel can, besides having no rights. */
  readonly sandbox: boolean;
}

export interface ServerConfig {
  readonly daemon: DaemonConfig;
  readonly pipe: PipeConfig;
  readonly evidence: EvidenceConfig;
  readonly users: UsersConfig;
  readonly instance: InstanceConfig;
  readonly sessions: SessionsConfig;
  readonly forward: ForwardConfig;
  readonly unlock: UnlockConfig;
  readonly audit: AuditConfig;
  /** Undefined: nothing is recorded. */
  readonly recording: RecordingConfig | undefined;
  readonly services: ServicesConfig;
  /** Undefined: no seed is taken. */
  readonly provision: ProvisionConfig | undefined;
}

export const DEFAULT_CONFIG_FILE = "/etc/sealtty/sealttyd.toml";

/** @throws SealttyError `bad-config`. */
export async function readServerConfig(file: string): Promise<ServerConfig> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    const code = errorCode(cause) ?? "unknown error";
    const [why, next] =
      code === "ENOENT"
        ? [
            code,
            "Have `sealttyd setup` write one (sealttyd.toml(5) has every key), or name another with --config.",
          ]
        : code === "EISDIR"
          ? ["it is a directory", "Name the file in it with --config."]
          : [code, "Check that sealttyd may read it."];
    throw new SealttyError("bad-config", `Cannot read ${escapeText(file)}: ${why}. ${next}`, { cause });
  }
  return parseServerConfig(text, file);
}

const TABLES = [
  "pipe",
  "evidence",
  "users",
  "instance",
  "sessions",
  "forward",
  "unlock",
  "daemon",
  "audit",
  "recording",
  "services",
  "provision",
] as const;

/** @param where - the file's name, for errors. @throws SealttyError `bad-config`. */
export function parseServerConfig(text: string, where: string): ServerConfig {
  const place = escapeText(where);
  let root: Table;
  try {
    root = new Table(parse(text), place, "");
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    // Not its own message: that quotes the file.
    throw new SealttyError(
      "bad-config",
      `${place}, line ${cause.line}, column ${cause.column}: not valid TOML. Check quotes, brackets and repeated keys there.`,
      { cause },
    );
  }
  root.allow(...TABLES);
  const pipe = pipeOf(root.table("pipe", "It says how the host carries the console."));
  const evidence = evidenceOf(root.table("evidence", "It says how this machine proves what it is."));
  const instance = root.has("instance") ? instanceOf(root.table("instance", ""), evidence) : NO_INSTANCE;
  const byDocument = instance.document !== undefined;
  const users =
    byDocument && !root.has("users")
      ? NO_USERS
      : usersOf(root.table("users", "It says who may log in."), byDocument);
  const sessions = root.has("sessions") ? sessionsOf(root.table("sessions", "")) : DEFAULT_SESSIONS;
  const forward = root.has("forward") ? forwardOf(root.table("forward", "")) : NO_FORWARDING;
  const daemon = root.has("daemon") ? daemonOf(root.table("daemon", "")) : DEFAULT_DAEMON;
  const audit = root.has("audit") ? auditOf(root.table("audit", "")) : NO_AUDIT_FILE;
  const recording = root.has("recording") ? recordingOf(root.table("recording", "")) : undefined;
  const unlock = root.has("unlock") ? unlockOf(root.table("unlock", "")) : NOBODY_UNLOCKS;
  const services = root.has("services") ? servicesOf(root.table("services", "")) : NO_SERVICES;
  const provision = root.has("provision") ? provisionOf(root.table("provision", "")) : undefined;
  return {
    daemon,
    pipe,
    evidence,
    users,
    instance,
    sessions,
    forward,
    unlock,
    audit,
    recording,
    services,
    provision,
  };
}

export const NOBODY_UNLOCKS: UnlockConfig = { users: [], keys: undefined };

function unlockOf(table: Table): UnlockConfig {
  table.allow("users", "keys");
  return {
    users: table.namedUsers("users"),
    keys: table.has("keys") ? table.fingerprints("keys") : undefined,
  };
}

export const NO_SERVICES: ServicesConfig = { kernelLog: [], sysrq: [], sysrqKeys: [] };

function servicesOf(table: Table): ServicesConfig {
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

/** Where cloud-init's NoCloud looks for a seed of the machine's own. */
export const SEED_DIRECTORY = "/var/lib/cloud/seed/nocloud";
export const PROVISION_STATE = "/var/lib/sealtty/provisioned";
const DAY_IN_SECONDS = 24 * 60 * 60;

function provisionOf(table: Table): ProvisionConfig {
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

const NO_AUDIT_FILE: AuditConfig = { file: undefined, required: false };

function auditOf(table: Table): AuditConfig {
  table.allow("file", "required");
  return { file: table.path("file"), required: table.flag("required") ?? false };
}

function recordingOf(table: Table): RecordingConfig {
  table.allow("directory", "users", "services", "notice", "required", "max_mib", "user_mib", "total_mib");
  const totalMib = table.whole("total_mib", 1, 1_048_576) ?? 1024;
  const userMib = table.whole("user_mib", 1, 1_048_576) ?? Math.max(1, Math.floor(totalMib / 2));
  const maxMib = table.whole("max_mib", 1, 65_536) ?? Math.min(64, userMib);
  if (userMib > totalMib)
    table.fail(
      '"user_mib" is more than all recordings may have together',
      "Make total_mib larger, or user_mib smaller.",
    );
  if (maxMib > userMib)
    table.fail(
      `"max_mib" is more than one user may have (user_mib, ${userMib} here), so nothing could be recorded`,
      "Make max_mib smaller, or user_mib and total_mib larger.",
    );
  return {
    directory: table.path("directory"),
    users: table.has("users") ? table.namedUsers("users") : undefined,
    services: table.has("services") ? table.someOf("services", RECORDED_SERVICES) : RECORDED_SERVICES,
    notice: table.flag("notice") ?? true,
    required: table.flag("required") ?? false,
    maxMib,
    userMib,
    totalMib,
  };
}

const NO_FORWARDING: ForwardConfig = { allow: false, ssh: undefined, gateway: false };

function forwardOf(table: Table): ForwardConfig {
  table.allow("allow", "ssh", "gateway");
  const allow = table.flag("allow");
  if (allow === undefined) {
    table.fail(
      '"allow" is missing',
      "Write allow = true, so that users with a key may connect to elsewhere through this machine; or false.",
    );
  }
  return {
    allow,
    ssh: table.has("ssh") ? table.command("ssh") : undefined,
    gateway: table.flag("gateway") ?? false,
  };
}

const DEFAULT_DAEMON: DaemonConfig = { user: "sealtty", sandbox: true };

function daemonOf(table: Table): DaemonConfig {
  table.allow("user", "sandbox");
  return {
    user: table.has("user") ? table.text("user") : DEFAULT_DAEMON.user,
    sandbox: table.flag("sandbox") ?? DEFAULT_DAEMON.sandbox,
  };
}

/** 4 MiB hold some 50,000 lines; a day lets people go home. */
const DEFAULT_SESSIONS: SessionsConfig = {
  keep: true,
  ringBytes: 4096 * 1024,
  idleMs: 24 * 60 * 60_000,
};

/** 24 days: a timer cannot wait for 25. */
const MAX_IDLE_MINUTES = 24 * 24 * 60;

function sessionsOf(table: Table): SessionsConfig {
  table.allow("keep", "ring_kib", "idle_minutes");
  const ring = table.whole("ring_kib", 64, 65_536);
  const idle = table.whole("idle_minutes", 1, MAX_IDLE_MINUTES);
  return {
    keep: table.flag("keep") ?? DEFAULT_SESSIONS.keep,
    ringBytes: ring === undefined ? DEFAULT_SESSIONS.ringBytes : ring * 1024,
    idleMs: idle === undefined ? DEFAULT_SESSIONS.idleMs : idle * 60_000,
  };
}

/** Where `sealtty open` serves its page: on the user's own machine, and on another port each time. */
const DEFAULT_PASSKEY_ORIGINS: readonly string[] = ["http://localhost:*"];

/** Eight connections with all their channels. */
const DEFAULT_MAX_PROGRAMS = 512;

const NO_USERS: UsersConfig = {
  authorizedKeys: undefined,
  names: [],
  login: undefined,
  shell: undefined,
  passkeyOrigins: DEFAULT_PASSKEY_ORIGINS,
  pam: "auto",
  maxPrograms: DEFAULT_MAX_PROGRAMS,
};
const NO_INSTANCE: InstanceConfig = {
  document: undefined,
  pcr: INSTANCE_DEFAULTS.pcr, // the one that policies look at unless they say otherwise
  key: undefined,
  sshHostKeys: [],
};

function pipeOf(table: Table): PipeConfig {
  const type = table.oneOf("type", ["virtio", "tty", "unix", "framebuffer"]);
  switch (type) {
    case "virtio":
      table.allow("type", "name");
      return { type, name: table.text("name") };
    case "tty":
      table.allow("type", "device", "armour_only");
      return { type, device: table.path("device"), armourOnly: table.flag("armour_only") ?? false };
    case "unix":
      table.allow("type", "path");
      return { type, path: table.path("path") };
    case "framebuffer":
      table.allow("type", "screen", "input");
      return {
        type,
        screen: table.has("screen") ? table.path("screen") : undefined,
        input: table.has("input") ? table.oneOf("input", INPUT_KINDS) : undefined,
      };
  }
}

function evidenceOf(table: Table): EvidenceConfig {
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

function instanceOf(table: Table, evidence: EvidenceConfig): InstanceConfig {
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

/** @param byDocument - an instance document says who may log in; this table then says only how. */
function usersOf(table: Table, byDocument: boolean): UsersConfig {
  table.allow("authorized_keys", "names", "login", "shell", "passkey_origins", "pam", "max_programs");
  if (byDocument && table.has("authorized_keys")) {
    table.fail(
      "both authorized_keys and the instance document ([instance] document) would say whose keys are good",
      "Remove one of the two.",
    );
  }
  const authorizedKeys = table.has("authorized_keys") ? table.path("authorized_keys") : undefined;
  const users: UsersConfig = {
    authorizedKeys,
    names: namesOf(table, authorizedKeys, byDocument),
    login: table.has("login") ? table.command("login") : undefined,
    shell: table.has("shell") ? table.command("shell") : undefined,
    passkeyOrigins: table.has("passkey_origins") ? table.origins("passkey_origins") : DEFAULT_PASSKEY_ORIGINS,
    pam: table.has("pam") ? table.oneOf("pam", ["auto", "required", "off"]) : "auto",
    maxPrograms: table.whole("max_programs", 1, MAX_PROGRAMS) ?? DEFAULT_MAX_PROGRAMS,
  };
  if (!byDocument && users.authorizedKeys === undefined && users.login === undefined) {
    table.fail(
      "nobody could log in",
      'Set authorized_keys = "/etc/sealtty/authorized_keys", or login = ["/bin/login"], or both.',
    );
  }
  return users;
}

/**
 * Never "anybody" because nothing is said: a line for one user would be good for root.
 * @throws SealttyError `bad-config`.
 */
function namesOf(
  table: Table,
  authorizedKeys: string | undefined,
  byDocument: boolean,
): UsersConfig["names"] {
  if (authorizedKeys === undefined) {
    if (!table.has("names")) return [];
    table.fail(
      byDocument
        ? "the instance document ([instance] document) says which users its keys are good for"
        : '"names" says who may use a key, and no authorized_keys says whose keys are good',
      byDocument ? "Remove names." : "Add authorized_keys, or remove names.",
    );
  }
  if (table.has("names")) return table.userNames("names");
  if (authorizedKeys.includes("%u")) return "any"; // each user has a file, which says it
  table.fail(
    '"names" is missing: authorized_keys is one file for all users, so each key in it would be good for every user, root as well',
    'Write names = ["alice", "bob"], or ["*"] for everybody; or give each user a file: authorized_keys = "/etc/sealtty/keys/%u".',
  );
}

// sealttyd's configuration: TOML, read strictly. What is absent is refused or off, never unchecked.

import { readFile } from "node:fs/promises";
import { TomlError, parse } from "smol-toml";
import { SealttyError } from "../protocol/errors.ts";
import { errorCode } from "../node/socket-pipe.ts";
import {
  type EvidenceConfig,
  evidenceOf,
  type InstanceConfig,
  instanceOf,
  NO_INSTANCE,
} from "./config/evidence.ts";
import { type PipeConfig, pipeOf } from "./config/pipe.ts";
import {
  type AuditConfig,
  auditOf,
  NO_AUDIT_FILE,
  type RecordingConfig,
  recordingOf,
} from "./config/records.ts";
import {
  NO_SERVICES,
  NOBODY_UNLOCKS,
  type ProvisionConfig,
  provisionOf,
  type ServicesConfig,
  servicesOf,
  type UnlockConfig,
  unlockOf,
} from "./config/services.ts";
import {
  DEFAULT_SESSIONS,
  type ForwardConfig,
  forwardOf,
  NO_FORWARDING,
  type SessionsConfig,
  sessionsOf,
} from "./config/sessions.ts";
import { Table } from "./config/table.ts";
import { NO_USERS, type UsersConfig, usersOf } from "./config/users.ts";
import { escapeText } from "./log.ts";

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

const DEFAULT_DAEMON: DaemonConfig = { user: "sealtty", sandbox: true };

function daemonOf(table: Table): DaemonConfig {
  table.allow("user", "sandbox");
  return {
    user: table.has("user") ? table.text("user") : DEFAULT_DAEMON.user,
    sandbox: table.flag("sandbox") ?? DEFAULT_DAEMON.sandbox,
  };
}

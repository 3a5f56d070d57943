// `[audit]` and `[recording]`: what is written down.

import type { Table } from "./table.ts";

/** `[audit]`: what is written down besides the log. */
export interface AuditConfig {
  /** Lines of JSON; undefined: there are the log's lines only. */
  readonly file: string | undefined;
  /** Where the file cannot be written, nobody is let in and nothing is started. */
  readonly required: boolean;
}

export const NO_AUDIT_FILE: AuditConfig = { file: undefined, required: false };

export function auditOf(table: Table): AuditConfig {
  table.allow("file", "required");
  return { file: table.path("file"), required: table.flag("required") ?? false };
}

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

export function recordingOf(table: Table): RecordingConfig {
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

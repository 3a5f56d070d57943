// `[sessions]` and `[forward]`: what users may have beside a program.

import type { Table } from "./table.ts";

/** Sessions that outlive their connections. */
export interface SessionsConfig {
  readonly keep: boolean;
  /** Bytes of output that each of them keeps. */
  readonly ringBytes: number;
  /** Ms without anybody attached after which one is hung up. */
  readonly idleMs: number;
}

/** 4 MiB hold some 50,000 lines; a day lets people go home. */
export const DEFAULT_SESSIONS: SessionsConfig = {
  keep: true,
  ringBytes: 4096 * 1024,
  idleMs: 24 * 60 * 60_000,
};

/** 24 days: a timer cannot wait for 25. */
const MAX_IDLE_MINUTES = 24 * 24 * 60;

export function sessionsOf(table: Table): SessionsConfig {
  table.allow("keep", "ring_kib", "idle_minutes");
  const ring = table.whole("ring_kib", 64, 65_536);
  const idle = table.whole("idle_minutes", 1, MAX_IDLE_MINUTES);
  return {
    keep: table.flag("keep") ?? DEFAULT_SESSIONS.keep,
    ringBytes: ring === undefined ? DEFAULT_SESSIONS.ringBytes : ring * 1024,
    idleMs: idle === undefined ? DEFAULT_SESSIONS.idleMs : idle * 60_000,
  };
}

/** `[forward]`: connections to elsewhere, for users with a key. */
export interface ForwardConfig {
  readonly allow: boolean;
  /** Program and arguments of the service `ssh`; undefined: 127.0.0.1:22 is connected to. */
  readonly ssh: readonly string[] | undefined;
  /** Whether other addresses than loopback may be listened on. */
  readonly gateway: boolean;
}

export const NO_FORWARDING: ForwardConfig = { allow: false, ssh: undefined, gateway: false };

export function forwardOf(table: Table): ForwardConfig {
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

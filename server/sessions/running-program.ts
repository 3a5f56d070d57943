// A program of a user's that was started: signals go to it, and its end is told. Who started it may be another process
// than the one that carries its bytes (server/monitor).

import type { ChildProcess, StdioOptions } from "node:child_process";
import fs from "node:fs";
import { SealttyError } from "../../protocol/errors.ts";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { exitStatusOf, isSignalName, signalQuietly } from "./guest-process.ts";
import { findProgram, type Launch, prepareLaunch, shieldedStdio, spawnOrThrow } from "./launch.ts";

export interface ProgramEnd {
  readonly status: ExitStatus;
  /** The program was never there: why, for whoever waits on its standard error. Fixed words and the system's code. */
  readonly failure?: string;
}

export interface RunningProgram {
  /** Of the program itself; never rejects. Others may still hold its outputs open. */
  readonly ended: Promise<ProgramEnd>;
  /** To the foreground group of its terminal, or without one to all of its processes. @throws SealttyError `api-misuse`. */
  signal(name: string): void;
  /** Nobody holds its outputs open any more: its processes' numbers may be others' from now on. */
  forget(): void;
}

/** As shells have it. */
const STATUS_NOT_FOUND = 127;
const STATUS_NOT_EXECUTABLE = 126;

/** @throws SealttyError `device-unavailable`. */
export function findSetsid(): string {
  const setsid = findProgram("setsid");
  if (setsid !== undefined) return setsid;
  throw new SealttyError(
    "device-unavailable",
    "The program setsid is missing, which gives a session its terminal. Install util-linux, or busybox with setsid.",
  );
}

/** @param slave - the terminal's descriptor; it stays the caller's. @throws SealttyError `device-unavailable`, `api-misuse`. */
export function runOnTerminal(launch: Launch, slave: number): RunningProgram {
  const setsid = findSetsid();
  const { command, options } = prepareLaunch(launch);
  // setsid must not find itself the leader of a group already (`detached`): it would fork, and the pid be another's.
  const child = spawnOrThrow(setsid, ["-c", "--", ...command], {
    ...options,
    stdio: shieldedStdio([slave, slave, slave]),
  });
  const { pid } = child;
  const end = endOf(child);
  let gone = false;
  return {
    ended: end.then((ended) => {
      gone = true;
      return ended;
    }),
    signal(name) {
      if (!isSignalName(name)) throw unknownSignal(name);
      if (pid === undefined || gone) return;
      const group = foregroundGroup(pid);
      if (group === undefined || !signalQuietly(-group, name)) signalQuietly(pid, name);
    },
    forget() {},
  };
}

/** @param stdio - its three. @throws SealttyError `device-unavailable`, `limit-exceeded`, `api-misuse`. */
export function runOnStreams(
  launch: Launch,
  stdio: StdioOptions,
): { readonly child: ChildProcess; readonly program: RunningProgram } {
  const { command, options } = prepareLaunch(launch);
  const [file, ...args] = command;
  // Detached: a session of its own, so that signals reach all of it.
  const child = spawnOrThrow(file, args, { ...options, stdio, detached: true });
  const { pid } = child;
  let forgotten = false;
  const program: RunningProgram = {
    ended: endOf(child),
    // Until nobody holds its outputs any more, somebody of the group lives, and its number is no other's.
    signal(name) {
      if (!isSignalName(name)) throw unknownSignal(name);
      if (pid !== undefined && !forgotten) signalQuietly(-pid, name);
    },
    forget() {
      forgotten = true;
    },
  };
  return { child, program };
}

function endOf(child: ChildProcess): Promise<ProgramEnd> {
  return new Promise((resolve) => {
    child.once("exit", (code, signal) => resolve({ status: exitStatusOf(code, signal) }));
    child.once("error", (error) => {
      if (child.pid !== undefined) return; // a signal that could not be sent
      const code = errorCode(error);
      const missing = code === "ENOENT";
      const status = missing ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
      const failure = missing ? "not found" : `cannot be started (${code ?? "unknown error"})`;
      resolve({ status: { kind: "exited", status }, failure });
    });
  });
}

const unknownSignal = (name: string): SealttyError =>
  new SealttyError("api-misuse", `Unknown signal ${JSON.stringify(name)}`);

/** The group that the terminal's control keys reach; undefined where /proc does not say. */
function foregroundGroup(pid: number): number | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    // proc_pid_stat(5): after the name in parentheses come state, ppid, pgrp, session, tty_nr, tpgid.
    const group = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[5]);
    return Number.isInteger(group) && group > 1 ? group : undefined;
  } catch {
    return undefined;
  }
}

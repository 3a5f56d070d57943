// A program of a user's that was started: signals go to it, and its end is told. Who started it may be another process
// than the one that carries its bytes (server/monitor).

import type { ChildProcess, StdioOptions } from "node:child_process";
import fs from "node:fs";
import { SealttyError } from "../../protocol/errors.ts";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import { nodeClock } from "../../node/clock.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { exitStatusOf, isSignalName, signalQuietly } from "./guest-process.ts";
import { findProgram, type Launch, prepareLaunch, shieldedStdio, spawnOrThrow } from "./launch.ts";
import { UserSignals } from "./user-signals.ts";

export interface ProgramEnd {
  readonly status: ExitStatus;
  /** The program was never there: why, for whoever waits on its standard error. Fixed words and the system's code. */
  readonly failure?: string;
}

export interface RunningProgram {
  /** Of the program itself; never rejects. Others may still hold its outputs open. */
  readonly ended: Promise<ProgramEnd>;
  /**
   * A client's word: to the foreground group of its terminal, or without one to all of its processes; of these to those that the
   * program's user could signal. A name that the launch does not allow is ignored. @throws SealttyError `api-misuse`.
   */
  signal(name: string): void;
  /** Nobody holds its outputs open any more: its processes' numbers may be others' from now on. */
  forget(): void;
}

/** One that this process started. */
export interface StartedProgram extends RunningProgram {
  /**
   * @param mayCost - asked once the launch allows the name, and only where none of these waits to be sent already; where it
   * says no, a SIGHUP is sent somewhat later, one for all that came meanwhile, and another one is dropped.
   */
  signal(name: string, mayCost?: () => boolean): void;
  /** Sealttyd's own word, SIGHUP with all its rights: nobody of the foreground group, or of its processes, is spared. */
  hangUp(): void;
}

/** Those that reach what is not the user's yet, and is to become it: they end it. */
const ENDS = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGKILL"];

/** What is root's, as some logins are for as long as the session lasts, would hold its place for good. */
const STOPS = ["SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"];

/** After which a hang-up goes out whatever it costs. */
const LATE_MS = 1000;

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
export function runOnTerminal(launch: Launch, slave: number): StartedProgram {
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
  const target = (): number | undefined => {
    if (pid === undefined || gone) return undefined;
    const group = foregroundGroup(pid);
    // The terminal remembers the number of a group that has ended: others may have it by now.
    const lives = group !== undefined && hasMember(group, ({ session }) => session === pid);
    return lives ? -group : pid;
  };
  const whoCameIn = ownerWatch(slave, pid);
  const starting = launch.account === undefined ? [] : [[setsid, "-c", "--", ...command], command];
  return {
    ended: end.then((ended) => {
      gone = true;
      return ended;
    }),
    signal: clientSignals(launch, { pid, starting, target, uid: () => launch.account?.uid ?? whoCameIn() }),
    hangUp() {
      const hungUp = target();
      if (hungUp !== undefined) hangUpOf(hungUp);
    },
    forget() {},
  };
}

/** @param stdio - its three. @throws SealttyError `device-unavailable`, `limit-exceeded`, `api-misuse`. */
export function runOnStreams(
  launch: Launch,
  stdio: StdioOptions,
): { readonly child: ChildProcess; readonly program: StartedProgram } {
  const { command, options } = prepareLaunch(launch);
  const [file, ...args] = command;
  // Detached: a session of its own, so that signals reach all of it.
  const child = spawnOrThrow(file, args, { ...options, stdio, detached: true });
  const { pid } = child;
  const uid = launch.account?.uid ?? process.getuid?.();
  let leads = true;
  let forgotten = false;
  const target = (): number | undefined => {
    if (pid === undefined || forgotten) return undefined;
    // Once the leader is gone, its number may be another's: it is not as long as somebody of the group lives, but who
    // holds the outputs open may have left the group.
    return leads || isOrphaned(pid, uid) ? -pid : undefined;
  };
  const program: StartedProgram = {
    ended: endOf(child).then((end) => {
      leads = false;
      return end;
    }),
    signal: clientSignals(launch, { pid, starting: [command], target, uid: () => launch.account?.uid }),
    hangUp() {
      const group = target();
      if (group !== undefined) hangUpOf(group);
    },
    forget() {
      forgotten = true;
    },
  };
  return { child, program };
}

interface ClientSignals {
  readonly pid: number | undefined;
  /** Command lines that the process has, one after the other, until it is the user's; none where it does not become one. */
  readonly starting: readonly (readonly string[])[];
  /** A process, or as a negative number a group; undefined: nobody is there. */
  readonly target: () => number | undefined;
  /** The program's user; undefined: sealttyd's own. */
  readonly uid: () => number | undefined;
}

/** @returns StartedProgram's `signal`. */
function clientSignals(
  { signals }: Launch,
  { pid, starting, target, uid }: ClientSignals,
): StartedProgram["signal"] {
  const own = process.getuid?.();
  const asUser = new UserSignals();
  let isLate = false;
  const send = (name: NodeJS.Signals): void => {
    const to = uid();
    if (to !== undefined && to !== own) {
      asUser.send(name, () => {
        const there = target();
        if (there === undefined || pid === undefined) return undefined;
        if (!isStarting(pid, starting, own)) return { pid: there, uid: to };
        // Root's until it has become the user, so the user cannot signal it; but a client that leaves now must not leave it behind.
        if (ENDS.includes(name)) signalQuietly(pid, name);
        return undefined;
      });
      return;
    }
    if (to === undefined && own === 0 && STOPS.includes(name)) return;
    const there = target();
    if (there !== undefined) signalQuietly(there, name);
  };
  return (name, mayCost = () => true) => {
    if (!isSignalName(name)) throw unknownSignal(name);
    if (signals !== undefined && !signals.includes(name)) return;
    if (asUser.isWaiting(name) || (name === "SIGHUP" && isLate)) return;
    if (mayCost()) return send(name);
    if (name !== "SIGHUP") return;
    isLate = true;
    nodeClock.after(LATE_MS, () => {
      isLate = false;
      send(name);
    });
  };
}

/** As the kernel does with a terminal that is gone: who is stopped would not hear it. */
function hangUpOf(target: number): void {
  signalQuietly(target, "SIGHUP");
  signalQuietly(target, "SIGCONT");
}

/**
 * Whether this process of ours still is what becomes the user (setsid, setpriv, sealtty-session), by its user and its command line: a
 * program of root's that the user started by sudo has another one.
 */
function isStarting(pid: number, lines: readonly (readonly string[])[], own: number | undefined): boolean {
  try {
    const [, real] = /^Uid:\t(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, "latin1")) ?? [];
    if (Number(real) !== own) return false;
    const line = fs.readFileSync(`/proc/${pid}/cmdline`, "utf8");
    return lines.some((words) => line === words.map((word) => `${word}\0`).join(""));
  } catch {
    return false;
  }
}

/**
 * login(1) gives the terminal to whoever has logged in: so it is known whose programs a client without a key may signal.
 * @param leader - holds the terminal: a name of /dev/pts is not another's as long as it does.
 * @returns a question: undefined as long as it belongs to whom it belonged to.
 */
function ownerWatch(terminal: number, leader: number | undefined): () => number | undefined {
  let name: string;
  let before: number;
  try {
    name = fs.readlinkSync(`/proc/self/fd/${terminal}`);
    before = fs.fstatSync(terminal).uid;
  } catch {
    return () => undefined;
  }
  return () => {
    if (leader === undefined || foregroundGroup(leader) === undefined) return undefined;
    const owner = fs.statSync(name, { throwIfNoEntry: false })?.uid;
    return owner === before ? undefined : owner;
  };
}

function endOf(child: ChildProcess): Promise<ProgramEnd> {
  return new Promise((resolve) => {
    child.once("exit", (code, signal) => resolve({ status: exitStatusOf(code, signal) }));
    child.once("error", (error) => {
      if (child.pid !== undefined) return; // a signal that could not be sent
      const code = errorCode(error);
      const missing = code === "ENOENT";
      const status = missing ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
      const why = code === "EACCES" ? "Permission denied" : (code ?? "unknown error");
      const failure = missing ? "not found" : `cannot be started (${why})`;
      resolve({ status: { kind: "exited", status }, failure });
    });
  });
}

const unknownSignal = (name: string): SealttyError =>
  new SealttyError("api-misuse", `Unknown signal ${JSON.stringify(name)}`);

interface Member {
  readonly session: number;
  readonly uid: number;
}

/** Whether members of the group are left whose leader has ended: a process with the group's number would be somebody else. */
function isOrphaned(group: number, uid: number | undefined): boolean {
  if (fs.existsSync(`/proc/${group}`)) return false;
  return hasMember(group, (member) => member.session === group && member.uid === uid);
}

/** @returns whether anybody in the group is as `is` wants it; false where /proc does not say. */
function hasMember(group: number, is: (member: Member) => boolean): boolean {
  const isMember = (name: string): boolean => {
    try {
      const [, , pgrp, session] = statOf(Number(name));
      return (
        Number(pgrp) === group && is({ session: Number(session), uid: fs.statSync(`/proc/${name}`).uid })
      );
    } catch {
      return false; // ended meanwhile
    }
  };
  if (isMember(String(group))) return true; // its leader, mostly: no need to look at every process
  let names: string[];
  try {
    names = fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  } catch {
    return false;
  }
  return names.some(isMember);
}

/** Fields of proc_pid_stat(5) after the name in parentheses: state, ppid, pgrp, session, tty_nr, tpgid, … */
function statOf(pid: number): readonly string[] {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** The group that the terminal's control keys reach; undefined where /proc does not say. */
function foregroundGroup(pid: number): number | undefined {
  try {
    const group = Number(statOf(pid)[5]);
    return Number.isInteger(group) && group > 1 ? group : undefined;
  } catch {
    return undefined;
  }
}

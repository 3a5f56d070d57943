// A process of sealttyd's without rights: the front, or the keeper of sessions.

import { type ChildProcess, spawn } from "node:child_process";
import { nodeClock } from "../../node/clock.ts";
import type { Duplex } from "node:stream";
import { type LogLevel, relayLine } from "../log.ts";
import type { Account } from "../sessions/account.ts";
import { signalQuietly } from "../sessions/guest-process.ts";
import { setprivOfUtilLinux } from "../sessions/launch.ts";
import { relayFrontLog } from "./front-log.ts";
import type { Link } from "./link.ts";
import { LINK_FD } from "./names.ts";

/** What is left of a dead process's log is read in this time. */
const LOG_WITHIN_MS = 1000;

/** Likewise of its link. */
const LAST_WORDS_MS = 1000;

export interface Child {
  /** Its end of the link. */
  readonly stream: Duplex;
  /** It has ended; what it started itself, and left in its process group, was killed. */
  readonly exited: Promise<void>;
  /** Likewise, and all that it logged was taken. */
  readonly gone: Promise<unknown>;
  /**
   * With its process group, which nothing leaves where it is in a sandbox. Resolves as `gone`, and no longer waits for a log that
   * somebody holds open.
   */
  kill(): Promise<void>;
}

export interface ChildSettings {
  /** Which of sealttyd's processes it becomes. */
  readonly option: string;
  /** In the log. */
  readonly name: string;
  readonly account: Account;
  /** What becomes the program, once it has lost its rights. */
  readonly sandbox: readonly string[];
  readonly logLevel: LogLevel;
}

export function startChild({ option, name, account, sandbox, logLevel }: ChildSettings): Child {
  const child = spawnChild(option, account, sandbox);
  const killGroup = (): void => {
    if (child.pid !== undefined) signalQuietly(-child.pid, "SIGKILL");
  };
  const exited = new Promise<void>((resolve) => {
    // At once: the number of a group that is empty may be another's some day.
    child.once("exit", () => {
      killGroup();
      resolve();
    });
    child.once("error", () => resolve());
  });
  const gone = Promise.all([exited, relayLog(child, name, logLevel)]);
  return {
    stream: child.stdio[LINK_FD] as Duplex,
    exited,
    gone,
    async kill() {
      if (child.exitCode === null && child.signalCode === null) killGroup();
      await exited;
      const cancel = nodeClock.after(LOG_WITHIN_MS, () => child.stderr?.destroy());
      await gone;
      cancel();
    },
  };
}

/** What a process left behind may hold its link open, and is not that process. @param link - what it said itself is taken before. */
export async function endWith({ exited }: Child, link: Pick<Link, "close">): Promise<void> {
  await exited;
  nodeClock.after(LAST_WORDS_MS, () => link.close());
}

export const ownPrograms = (): string[] => [process.execPath, process.argv[1] ?? ""];

function spawnChild(option: string, account: Account, sandbox: readonly string[]): ChildProcess {
  const [node = "", script = ""] = ownPrograms();
  const program = [...sandbox, node, ...process.execArgv, script, option];
  const environment: Record<string, string> = { PATH: process.env["PATH"] ?? "/usr/bin:/bin" };
  for (const name of ["SEALTTY_PTY_ADDON", "LANG"]) {
    const value = process.env[name];
    if (value !== undefined) environment[name] = value;
  }
  const stdio: ("ignore" | "pipe")[] = ["ignore", "ignore", "pipe", "pipe"];
  const setpriv = setprivOfUtilLinux();
  const [file = "", ...args] =
    setpriv === undefined
      ? program
      : [
          setpriv,
          `--reuid=${account.uid}`,
          `--regid=${account.gid}`,
          "--clear-groups",
          "--no-new-privs",
          "--inh-caps=-all",
          "--bounding-set=-all",
          "--",
          ...program,
        ];
  return spawn(file, args, {
    stdio,
    cwd: "/",
    env: environment,
    detached: true, // Ctrl-C at a terminal is the monitor's to hear
    // Whoever has this user already could stop the child before it is the program, and with it this start: nobody should.
    ...(setpriv === undefined ? { uid: account.uid, gid: account.gid } : {}),
  });
}

/** @returns when all of it was taken. */
async function relayLog({ stderr }: ChildProcess, name: string, logLevel: LogLevel): Promise<void> {
  if (stderr === null) return;
  await relayFrontLog(stderr, {
    clock: nodeClock,
    write(level, text) {
      if (level !== "debug" || logLevel === "debug") relayLine(level, name, text);
    },
  });
}

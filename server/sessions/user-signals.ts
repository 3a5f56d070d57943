// Signals that a client sends, to programs of another user than sealttyd's own: sent by a process of that user's, so that the
// kernel decides whom they reach, as it does for kill(1) in the user's own shell. What sudo or su made root's gets none.

import type { ChildProcess } from "node:child_process";
import os from "node:os";
import { nodeClock } from "../../node/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { findNativeProgram } from "../native-program.ts";
import { findProgram, setprivOfUtilLinux, shieldedStdio, spawnOrThrow } from "./launch.ts";

export interface SignalTarget {
  /** A process, or with a negative number its group. */
  readonly pid: number;
  /** As whom it is sent. */
  readonly uid: number;
}

/** Of a process that sends a signal and ends; its user can stop it, and only that one waits. */
const TIMEOUT_MS = 10_000;
/** `--` for dash, which else takes a group's number for an option; busybox complains of it, and goes on. */
const SEND = 'kill -s "$1" -- "$2"';
/** Nobody's: whom kill(2) reaches is a matter of users alone. */
const GID = 65_534;

/**
 * Of one program: one at a time, in order, each name waiting once at most. That bounds what a flood costs, and the kernel
 * itself promises no more of signals that were not taken yet.
 */
export class UserSignals {
  readonly #waiting = new Map<NodeJS.Signals, () => SignalTarget | undefined>();
  #busy = false;

  /** @param name - "SIGTERM". @param target - asked when it is its turn; undefined: it goes nowhere. */
  send(name: NodeJS.Signals, target: () => SignalTarget | undefined): void {
    this.#waiting.set(name, target);
    if (!this.#busy) this.#next();
  }

  /** Whether one more of these changes nothing. */
  isWaiting(name: NodeJS.Signals): boolean {
    return this.#waiting.has(name);
  }

  #next(): void {
    const [next] = this.#waiting;
    if (next === undefined) return;
    const [name, askTarget] = next;
    this.#waiting.delete(name);
    const target = askTarget();
    if (target === undefined) return this.#next();
    this.#busy = true;
    void sendAs(target, name).then(() => {
      this.#busy = false;
      this.#next();
    });
  }
}

/**
 * Each of these is started as root and becomes the user itself. Never Node's own `uid`: its child is the user's before it is
 * the program, the event loop waits for that, and the user can stop (SIGSTOP) whatever is the user's.
 */
function senders(
  { pid, uid }: SignalTarget,
  name: NodeJS.Signals,
): readonly (readonly [string, ...string[]])[] {
  const found: [string, ...string[]][] = [];
  const session = findNativeProgram("sealtty-session");
  if (session !== undefined)
    found.push([session, "signal", `${uid}`, `${GID}`, `${pid}`, `${os.constants.signals[name]}`]);
  const setpriv = setprivOfUtilLinux();
  const shell = findProgram("sh");
  if (setpriv !== undefined && shell !== undefined) {
    const become = [`--reuid=${uid}`, `--regid=${GID}`, "--clear-groups", "--"];
    found.push([setpriv, ...become, shell, "-c", SEND, "sh", name.replace(/^SIG/, ""), `${pid}`]);
  }
  return found;
}

/** By the first that can be started, and become the user (sealtty-session needs a libc); never rejects. Without one: as where it reaches nobody. */
async function sendAs(target: SignalTarget, name: NodeJS.Signals): Promise<void> {
  for (const command of senders(target, name)) if (await runToEnd(command)) return;
}

/** What both end with where they cannot do their part, in place of saying whether the signal reached anybody. */
const CANNOT = 126;

/** @returns whether it could be started, and did its part. */
function runToEnd([file, ...args]: readonly [string, ...string[]]): Promise<boolean> {
  return new Promise((resolve) => {
    let child: ChildProcess;
    try {
      child = spawnOrThrow(file, args, {
        cwd: "/",
        env: { PATH: "/usr/bin:/bin" },
        stdio: shieldedStdio(["ignore", "ignore", "ignore"]),
      });
    } catch (error) {
      if (!(error instanceof SealttyError)) throw error;
      return resolve(false);
    }
    const { pid } = child;
    const stopWaiting = nodeClock.after(TIMEOUT_MS, () => child.kill("SIGKILL"));
    child.once("exit", (status) => {
      stopWaiting();
      resolve(status !== CANNOT);
    });
    child.on("error", () => {
      if (pid !== undefined) return; // a signal that could not be sent
      stopWaiting();
      resolve(false);
    });
  });
}

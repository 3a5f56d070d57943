// Signals that a client sends, to programs of another user than sealttyd's own: sent by a process of that user's, so that the
// kernel decides whom they reach, as it does for kill(1) in the user's own shell. What sudo or su made root's gets none.

import type { ChildProcess } from "node:child_process";
import { nodeClock } from "../../node/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { findProgram, shieldedStdio, spawnOrThrow } from "./launch.ts";

export interface SignalTarget {
  /** A process, or with a negative number its group. */
  readonly pid: number;
  /** As whom it is sent. */
  readonly uid: number;
}

/** A shell that sends a signal and ends; its user can stop it. */
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
  readonly #waiting = new Map<string, () => SignalTarget | undefined>();
  #busy = false;

  /** @param name - "SIGTERM". @param target - asked when it is its turn; undefined: it goes nowhere. */
  send(name: string, target: () => SignalTarget | undefined): void {
    this.#waiting.set(name, target);
    if (!this.#busy) this.#next();
  }

  #next(): void {
    const [next] = this.#waiting;
    if (next === undefined) return;
    const [name, askTarget] = next;
    this.#waiting.delete(name);
    const target = askTarget();
    const shell = findProgram("sh");
    if (target === undefined || shell === undefined) return this.#next();
    this.#busy = true;
    sendAs(target.uid, shell, ["-c", SEND, "sh", name.replace(/^SIG/, ""), String(target.pid)], () => {
      this.#busy = false;
      this.#next();
    });
  }
}

function sendAs(uid: number, shell: string, args: readonly string[], done: () => void): void {
  let child: ChildProcess;
  try {
    child = spawnOrThrow(shell, args, {
      uid,
      gid: GID,
      cwd: "/",
      env: { PATH: "/usr/bin:/bin" },
      stdio: shieldedStdio(["ignore", "ignore", "ignore"]),
    });
  } catch (error) {
    if (!(error instanceof SealttyError)) throw error;
    return done(); // as where it is not delivered: whoever sent it may send it again
  }
  const stopWaiting = nodeClock.after(TIMEOUT_MS, () => child.kill("SIGKILL"));
  const end = (): void => {
    stopWaiting();
    child.off("exit", end);
    child.off("error", end);
    child.on("error", () => {});
    done();
  };
  child.once("exit", end);
  child.once("error", end);
}

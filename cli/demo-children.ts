// The demonstration's other programs: started, ended with it, and ended too where it cannot say goodbye.

import { type ChildProcess, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { SealttyError } from "../protocol/errors.ts";
import { printable } from "./printable.ts";

const END_PATIENCE_MS = 2500;
const LINES_KEPT = 20;

/**
 * Waits for the end of its standard input, which comes also when the demonstration is killed, then ends the others.
 * The signals of a terminal are for the demonstration, which ends this in order.
 */
const WATCHDOG = `trap '' INT HUP TERM QUIT
directory=$1; shift
read -r order
[ "$order" = done ] && exit 0
kill "$@" 2>/dev/null
sleep 3
kill -9 "$@" 2>/dev/null
rm -rf -- "$directory"
`;

export class DemoChildren {
  readonly #children: {
    readonly name: string;
    readonly process: ChildProcess;
    readonly ended: Promise<void>;
  }[] = [];
  #watchdog: ChildProcess | undefined;
  #ending = false;
  /** Rejects as soon as one of them ends by itself. */
  readonly failed: Promise<never>;
  #fail!: (error: SealttyError) => void;

  constructor() {
    this.failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => undefined); // whoever waits for it hears it
  }

  /** @param withTap - gives the child a pipe as descriptor 3. */
  start(
    name: string,
    program: string,
    args: readonly string[],
    withTap = false,
  ): { output: Readable; tap: Readable } {
    const child = spawn(process.execPath, [program, ...args], {
      stdio: ["ignore", "pipe", "pipe", ...(withTap ? (["pipe"] as const) : [])],
      detached: true, // ^C is for the demonstration, which then ends them in order
    });
    const last: string[] = [];
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      last.push(...text.split("\n").filter((line) => line !== ""));
      last.splice(0, last.length - LINES_KEPT);
    });
    const ended = new Promise<void>((resolve) => {
      const over = (how: string): void => {
        resolve();
        if (this.#ending) return;
        const said = last
          .slice(-3)
          .map((line) => printable(line, 300))
          .join(" | ");
        this.#fail(new SealttyError("device-unavailable", `${name} ended (${how}). It said: ${said}`));
      };
      child.once("error", (error) => over(error.message));
      child.once("exit", (code, signal) => over(signal ?? `exit status ${code}`));
    });
    this.#children.push({ name, process: child, ended });
    const { stdout } = child;
    const tap = child.stdio[3];
    if (stdout === null) throw new SealttyError("device-unavailable", `${name} could not be started`);
    return { output: stdout, tap: (withTap ? tap : stdout) as Readable };
  }

  /** Call it when all are started. @param directory - removed with them. */
  watch(directory: string): void {
    const pids = this.#children.map(({ process }) => String(process.pid));
    this.#watchdog = spawn("/bin/sh", ["-c", WATCHDOG, "sealtty-demo-watchdog", directory, ...pids], {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
    });
    this.#watchdog.on("error", () => undefined);
    this.#watchdog.stdin?.on("error", () => undefined);
  }

  /** Resolves when none is left. */
  async end(): Promise<void> {
    this.#ending = true;
    for (const { process } of this.#children) process.kill("SIGTERM");
    const all = Promise.all(this.#children.map(({ ended }) => ended));
    const patience = setTimeout(() => {
      for (const { process } of this.#children) process.kill("SIGKILL");
    }, END_PATIENCE_MS);
    await all;
    clearTimeout(patience);
    this.#watchdog?.stdin?.end("done\n");
  }
}

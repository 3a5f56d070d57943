// The built `sealtty` as a process.

import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import type { Readable, Writable } from "node:stream";

const SEALTTY = path.resolve(import.meta.dirname, "../../dist/bin/sealtty.js");
/** `sealtty exec --master` where a connection is kept already. */
export const SEALTTY_EXEC = path.resolve(import.meta.dirname, "../../dist/bin/sealtty-exec");

export interface RunningCli {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  stdout(): string;
  stderr(): string;
  /** @throws with all output where the program ends first. */
  waitFor(pattern: RegExp, timeout?: number): Promise<RegExpExecArray>;
  /** The exit status; the signal's name where one ended it. */
  ended(): Promise<number | string>;
  stop(): Promise<void>;
}

/** @param options.program - Node runs a .js or .mjs; absent: `sealtty`. */
export function startCli(
  args: readonly string[],
  options: { program?: string; env?: NodeJS.ProcessEnv; cwd?: string } = {},
): RunningCli {
  const { program = SEALTTY } = options;
  const words = /\.m?js$/.test(program) ? [process.execPath, program] : [program];
  const child = spawn(words[0] ?? "", [...words.slice(1), ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", ...options.env },
    cwd: options.cwd,
  });
  let out = "";
  let error = "";
  let looking: (() => void)[] = [];
  const wake = (): void => {
    const now = looking;
    looking = [];
    for (const look of now) look();
  };
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
    wake();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    error += chunk.toString();
    wake();
  });
  child.stdin.on("error", () => {});
  const exited = once(child, "close").then(([code, signal]) => {
    wake();
    return (code as number | null) ?? (signal as string);
  });
  return {
    child,
    stdout: () => out,
    stderr: () => error,
    async waitFor(pattern, timeout = 60_000) {
      const until = Date.now() + timeout;
      for (;;) {
        const match = pattern.exec(`${out}\n${error}`);
        if (match !== null) return match;
        if (child.exitCode !== null || child.signalCode !== null || Date.now() > until) {
          throw new Error(`sealtty ${args.join(" ")}: no ${pattern} in\n${out}\n${error}`);
        }
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, 1000);
          looking.push(() => {
            clearTimeout(timer);
            resolve();
          });
        });
      }
    },
    ended: () => exited,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      await exited;
    },
  };
}

/** Runs to its end. */
export async function runCli(
  args: readonly string[],
  input?: string | Buffer,
  options: Parameters<typeof startCli>[1] = {},
) {
  const cli = startCli(args, options);
  cli.child.stdin.end(input);
  return { status: await cli.ended(), stdout: cli.stdout(), stderr: cli.stderr() };
}

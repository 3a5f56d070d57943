// Where the project is, and running other programs: what every script here shares. Needs nothing but Node.

import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import path from "node:path";

export const projectRoot = path.resolve(import.meta.dirname, "..", "..");
/** Everything that is expensive to make and safe to delete; git-ignored. */
export const cacheDirectory = path.join(projectRoot, ".cache");

/** A failure that needs no stack trace: its message says what happened and what to do. */
export class ScriptError extends Error {
  name = "ScriptError";
}

/**
 * Runs a program to its end. Never throws for its exit status.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, input?: string, show?: boolean }} [options] - show: straight to our own output.
 * @returns {Promise<{ status: number, stdout: string, stderr: string }>} 127 when the program is missing, 128 + n for a signal.
 */
export function run(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: options.cwd ?? projectRoot,
      env: options.env ?? process.env,
      stdio: [
        options.input === undefined ? (options.show ? "inherit" : "ignore") : "pipe",
        options.show ? "inherit" : "pipe",
        options.show ? "inherit" : "pipe",
      ],
    });
    let stdout = "";
    let stderr = "";
    child.stdout?.setEncoding("utf8").on("data", (text) => (stdout += text));
    child.stderr?.setEncoding("utf8").on("data", (text) => (stderr += text));
    child.stdin?.on("error", () => {}); // it may end without reading all of it; its status tells
    child.stdin?.end(options.input);
    child.on("error", (error) => resolve({ status: 127, stdout, stderr: `${stderr}${error.message}\n` }));
    child.on("close", (status, signal) => resolve({ status: status ?? (signal ? 128 : 1), stdout, stderr }));
  });
}

/**
 * Runs a program that has to succeed.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {Parameters<typeof run>[2]} [options]
 * @returns {Promise<string>} its standard output. @throws ScriptError with what it printed.
 */
export async function mustRun(command, args, options) {
  const { status, stdout, stderr } = await run(command, args, options);
  if (status === 0) return stdout;
  throw new ScriptError(`${command} ${args.join(" ")}: exit status ${status}\n${stdout}${stderr}`.trimEnd());
}

/**
 * Makes a file beside its place, and only then puts it there. Never in place: a process that has the old one mapped, as a
 * sealttyd has its addon, would find other bytes under its code, and crash.
 * @param {string} target
 * @param {(unfinished: string) => unknown} make - writes the file of this name, which has the same last part.
 */
export async function replaceFile(target, make) {
  mkdirSync(path.dirname(target), { recursive: true });
  const directory = mkdtempSync(path.join(path.dirname(target), ".unfinished-"));
  try {
    const unfinished = path.join(directory, path.basename(target));
    await make(unfinished);
    renameSync(unfinished, target);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** "3.2 s" since `start`, a value of performance.now(). */
export const secondsSince = (start) => `${((performance.now() - start) / 1000).toFixed(1)} s`;

/**
 * The frame of a script: a ScriptError ends it with its message only, anything else with its stack.
 * @param {() => Promise<number | void>} main - returns the exit status.
 */
export async function runScript(main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    process.stderr.write(`${error instanceof ScriptError ? error.message : error.stack}\n`);
    process.exitCode = 1;
  }
}

/** Whether this module is the program that Node was started with. */
export const isMain = (meta) =>
  process.argv[1] !== undefined && path.resolve(process.argv[1]) === meta.filename;

// What starting a program on a pty and without one have in common: becoming the user, and inheriting nothing.

import { spawn } from "node:child_process";
import type { ChildProcess, SpawnOptions, StdioOptions } from "node:child_process";
import fs from "node:fs";
import type { Socket } from "node:net";
import path from "node:path";
import { SealttyError } from "../../protocol/errors.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import type { Account } from "./account.ts";

export interface Launch {
  /** Program, looked up in the environment's PATH, and its arguments. */
  readonly command: readonly string[];
  /** All of it: nothing is inherited. */
  readonly environment: Readonly<Record<string, string>>;
  /** "/" is taken where it is not a directory. */
  readonly directory: string;
  /** Run as this user; absent: as the daemon's own. */
  readonly account?: Account;
}

const PROGRAM_DIRECTORIES = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];

// The pty addon opens masters without close-on-exec, and Node cannot set it: every child would inherit every session's
// terminal, could read and type in it, and would keep it from hanging up. So each child gets /dev/null in their place.
const inheritable = new Set<number>();
let devNull: number | undefined;

/** From now on children get /dev/null in place of `fd`. @returns to be called just before `fd` is closed. */
export function shieldFromChildren(fd: number): () => void {
  devNull ??= fs.openSync("/dev/null", fs.constants.O_RDWR);
  inheritable.add(fd);
  return () => inheritable.delete(fd);
}

type OneStdio = "pipe" | "ignore" | number | Socket;

/** Use it for every child_process that can live while ptys are open. @param standard - stdin, stdout, stderr. */
export function shieldedStdio(standard: readonly [OneStdio, OneStdio, OneStdio]): StdioOptions {
  const stdio: OneStdio[] = [...standard];
  for (let fd = 3; fd <= Math.max(...inheritable); fd++) {
    // "ignore" above 2 leaves the number as it is: closed by close-on-exec.
    stdio[fd] = inheritable.has(fd) && devNull !== undefined ? devNull : "ignore";
  }
  return stdio;
}

/** spawn(), whose own synchronous errors are made ours. @throws SealttyError `limit-exceeded`, `device-unavailable`. */
export function spawnOrThrow(program: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  try {
    return spawn(program, args, options);
  } catch (cause) {
    if (errorCode(cause) === "E2BIG" || errorCode(cause) === "ENAMETOOLONG") {
      throw new SealttyError("limit-exceeded", "The command and its environment are too long", { cause });
    }
    throw new SealttyError("device-unavailable", `Cannot start a program: ${errorCode(cause) ?? "unknown"}`, {
      cause,
    });
  }
}

/** @returns an absolute path, or undefined. */
export function findProgram(name: string): string | undefined {
  return PROGRAM_DIRECTORIES.map((directory) => path.join(directory, name)).find((file) => {
    try {
      fs.accessSync(file, fs.constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export interface PreparedLaunch {
  readonly command: readonly [string, ...string[]];
  readonly options: Pick<SpawnOptions, "env" | "cwd" | "uid" | "gid">;
}

/** @throws SealttyError `api-misuse` on an empty command, or a NUL in it. */
export function prepareLaunch(launch: Launch): PreparedLaunch {
  const [program, ...args] = launch.command;
  if (program === undefined || program === "" || launch.command.some((part) => part.includes("\0"))) {
    throw new SealttyError("api-misuse", "A command needs a program, and no NUL in its arguments");
  }
  const cwd = isDirectory(launch.directory) ? launch.directory : "/";
  const { account } = launch;
  if (account === undefined || account.uid === process.getuid?.()) {
    return { command: [program, ...args], options: { env: { ...launch.environment }, cwd } };
  }
  const setpriv = setprivOfUtilLinux();
  if (setpriv === undefined) {
    // Without supplementary groups: libuv drops them all.
    const { uid, gid } = account;
    return { command: [program, ...args], options: { env: { ...launch.environment }, cwd, uid, gid } };
  }
  // setpriv still runs as root, so it must not see variables of the user's choice (LD_PRELOAD, …): `env` sets those
  // once it is the user.
  const harmless: Record<string, string> = {};
  const others: string[] = [];
  for (const [name, value] of Object.entries(launch.environment)) {
    if (/^(?:PATH|HOME|USER|LOGNAME|SHELL|TERM)$/.test(name)) harmless[name] = value;
    else if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) others.push(`${name}=${value}`);
  }
  return {
    command: [
      setpriv,
      `--reuid=${account.uid}`,
      `--regid=${account.gid}`,
      "--init-groups",
      "--",
      ...(others.length > 0 ? [findProgram("env") ?? "env", ...others] : []),
      program,
      ...args,
    ],
    options: { env: harmless, cwd },
  };
}

/** util-linux's; busybox's of the same name cannot change users. */
export function setprivOfUtilLinux(): string | undefined {
  const file = findProgram("setpriv");
  if (file === undefined || path.basename(fs.realpathSync(file)) === "busybox") return undefined;
  return file;
}

function isDirectory(name: string): boolean {
  return !name.includes("\0") && fs.statSync(name, { throwIfNoEntry: false })?.isDirectory() === true;
}

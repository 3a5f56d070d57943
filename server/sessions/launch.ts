// What starting a program on a pty and without one have in common: becoming the user, and inheriting nothing.

import { spawn } from "node:child_process";
import type { ChildProcess, SpawnOptions, StdioOptions } from "node:child_process";
import fs from "node:fs";
import type { Socket } from "node:net";
import path from "node:path";
import { SealttyError } from "../../protocol/errors.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { escapeText } from "../log.ts";
import { findNativeProgram } from "../native-program.ts";
import type { Account } from "./account.ts";

export interface Launch {
  /** Program, looked up in the environment's PATH, and its arguments. */
  readonly command: readonly string[];
  /** Of sealttyd's own making: nothing is inherited. PAM may change it. */
  readonly environment: Readonly<Record<string, string>>;
  /** What the user wants in it, on top of all else. */
  readonly wished?: Readonly<Record<string, string>>;
  /** "/" is taken where it is not a directory. */
  readonly directory: string;
  /** A directory that the user asked for, relative to `directory`: entered as the user, and the program is not started without it. */
  readonly enter?: string;
  /** Run as this user; absent: as the daemon's own. */
  readonly account?: Account;
  /** A session is opened for the account first. */
  readonly pam?: Pam;
  /** Those that a client may send; absent: any. */
  readonly signals?: readonly NodeJS.Signals[];
}

/** PAM is to be had here (pam.ts). */
export interface Pam {
  /** sealtty-session: opens a session, becomes the user, becomes the program. */
  readonly file: string;
}

/** The name that PAM's modules and logs know sealttyd by. */
export const PAM_SERVICE = "sealtty";

/** As shells have it: there, and cannot be started. */
export const STATUS_NOT_STARTED = 126;

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
  /** Never `uid`: Node's child is the user's before it is the program, and a user who stops it then stops the event loop. */
  readonly options: Pick<SpawnOptions, "env" | "cwd">;
}

/** @throws SealttyError `api-misuse` on an empty command, or a NUL in it; `device-unavailable` where a program that it needs is missing. */
export function prepareLaunch(launch: Launch): PreparedLaunch {
  const [program, ...args] = launch.command;
  if (program === undefined || program === "" || launch.command.some((part) => part.includes("\0"))) {
    throw new SealttyError("api-misuse", "A command needs a program, and no NUL in its arguments");
  }
  const { account, pam } = launch;
  const command = [program, ...args] as const;
  if (account === undefined || (pam === undefined && account.uid === process.getuid?.()))
    return ownLaunch(launch, command);
  const becomeUser = pam === undefined ? withoutPam(account) : byPam(pam, account, launch.directory);
  const { env, variables } = forRootsEyes(launch, pam !== undefined);
  // The home directory may be there only once PAM has opened the session; it is entered as the user then.
  const cwd = pam === undefined ? directoryOf(launch) : "/";
  const directory = directoryToEnter(launch, pam === undefined ? cwd : launch.directory);
  return {
    command: [...becomeUser, ...throughShell(command, { directory, variables })],
    options: { env, cwd },
  };
}

type Command = readonly [string, ...string[]];

/** As sealttyd's own user. */
function ownLaunch(launch: Launch, command: Command): PreparedLaunch {
  const cwd = directoryOf(launch);
  const directory = directoryToEnter(launch, cwd);
  return {
    command: throughShell(command, { directory, variables: [] }),
    options: { env: { ...launch.environment, ...launch.wished }, cwd },
  };
}

/** @throws SealttyError `device-unavailable` where nothing is there that does it. */
function withoutPam({ name, uid, gid }: Account): Command {
  const setpriv = setprivOfUtilLinux();
  if (setpriv !== undefined) return [setpriv, `--reuid=${uid}`, `--regid=${gid}`, "--init-groups", "--"];
  const session = findNativeProgram("sealtty-session");
  if (session !== undefined) return [session, "become", name, String(uid), String(gid)];
  throw new SealttyError(
    "device-unavailable",
    "Nothing here becomes another user. Install setpriv (util-linux), or put sealtty-session beside sealttyd.js.",
  );
}

function byPam({ file }: Pam, { name, uid, gid }: Account, directory: string): Command {
  return [file, "open", PAM_SERVICE, name, String(uid), String(gid), directory];
}

/**
 * What becomes the user still runs as root, so it must not see variables of the user's choice (LD_PRELOAD, …): they go by
 * other names until it is the user. Not as arguments of env(1), where every user of the machine could read their values.
 * Where PAM's modules run meanwhile, nothing has its name but a PATH of root's: sealtty-session sets the rest afterwards.
 */
function forRootsEyes(
  { environment, wished = {} }: Launch,
  modules: boolean,
): {
  readonly env: Record<string, string>;
  readonly variables: readonly string[];
} {
  const env: Record<string, string> = modules ? { PATH: PATH_FOR_MODULES } : {};
  const later: Record<string, string> = { ...wished };
  for (const [name, value] of Object.entries(environment)) {
    if (OWN_VARIABLES.test(name)) env[modules ? `${UNTIL_OPENED}${name}` : name] = value;
    else later[name] ??= value;
  }
  const variables = Object.keys(later).filter((name) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name));
  for (const name of variables) env[`${UNTIL_USER}${name}`] = later[name] ?? "";
  return { env, variables };
}

const OWN_VARIABLES = /^(?:PATH|HOME|USER|LOGNAME|SHELL|TERM|LANG)$/;
const PATH_FOR_MODULES = "/usr/sbin:/usr/bin:/sbin:/bin";

/** In front of a variable of sealttyd's own until PAM has opened the session, and may have another value for it. */
const UNTIL_OPENED = "SEALTTY_OWN_";

/** In front of a variable's name while a program of root's holds it. */
const UNTIL_USER = "SEALTTY_SET_";

/** What only the user may do, done by a shell that then becomes the program. @param variables - names, checked. */
function throughShell(
  command: readonly [string, ...string[]],
  { directory, variables }: { readonly directory: string | undefined; readonly variables: readonly string[] },
): [string, ...string[]] {
  if (directory === undefined && variables.length === 0) return [...command];
  const shell = findProgram("sh");
  if (shell === undefined)
    throw new SealttyError("device-unavailable", "There is no sh to start a program with");
  const lines = variables.map((name) => `export ${name}="$${UNTIL_USER}${name}"; unset ${UNTIL_USER}${name}`);
  if (directory === undefined) return [shell, "-c", [...lines, 'exec "$@"'].join("\n"), "sh", ...command];
  const complaint = `sealttyd: ${escapeText(directory)}: no such directory, or it may not be entered`;
  const enter = `cd -P -- "$1" 2>/dev/null || { printf '%s\\n' "$2" >&2; exit ${STATUS_NOT_STARTED}; }; shift 2; unset OLDPWD`;
  return [shell, "-c", [enter, ...lines, 'exec "$@"'].join("\n"), "sh", directory, complaint, ...command];
}

/** util-linux's; busybox's of the same name cannot change users. */
export function setprivOfUtilLinux(): string | undefined {
  const file = findProgram("setpriv");
  if (file === undefined || path.basename(fs.realpathSync(file)) === "busybox") return undefined;
  return file;
}

function directoryOf({ directory }: Launch): string {
  return isDirectory(directory) ? directory : "/";
}

/** @param from - the user's home. "~" and "~/…" are in it, as for cp: no shell of the user's is there to say so. */
function directoryToEnter({ enter }: Launch, from: string): string | undefined {
  if (enter === undefined || enter.startsWith("/")) return enter;
  if (enter === "~") return from;
  return `${from}/${enter.startsWith("~/") ? enter.slice(2) : enter}`;
}

function isDirectory(name: string): boolean {
  return !name.includes("\0") && fs.statSync(name, { throwIfNoEntry: false })?.isDirectory() === true;
}

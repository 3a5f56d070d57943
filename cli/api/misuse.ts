// What a program hands over, looked at before anything is done with it: from JavaScript anything may come.

import { inspect } from "node:util";
import { SealttyError } from "../../protocol/errors.ts";
import type {
  AttachOptions,
  ConnectOptions,
  CopyOptions,
  ExecOptions,
  ForwardOptions,
  KeepOptions,
  ShellOptions,
  StreamOptions,
} from "./types.ts";

/** Every name there is: the compiler misses none. */
type Names<T> = Readonly<Record<keyof T, true>>;

export const CONNECT_OPTIONS: Names<ConnectOptions> = {
  guest: true,
  policy: true,
  user: true,
  identity: true,
  simulated: true,
  collateral: true,
  timeout: true,
  encoding: true,
  obfuscate: true,
  onState: true,
  onEvidence: true,
  onChanged: true,
};

export const EXEC_OPTIONS: Names<ExecOptions> = {
  env: true,
  cwd: true,
  signal: true,
  stdin: true,
  timeout: true,
};

const ON_TERMINAL = {
  columns: true,
  rows: true,
  term: true,
  command: true,
  login: true,
  env: true,
  cwd: true,
} as const;

export const SHELL_OPTIONS: Names<ShellOptions> = { ...ON_TERMINAL, signal: true, timeout: true };

const ATTACHMENT = { screenLines: true, onMark: true, onViewers: true } as const;

export const KEEP_OPTIONS: Names<KeepOptions> = {
  ...ON_TERMINAL,
  ...ATTACHMENT,
  sizing: true,
  idleSeconds: true,
};

export const ATTACH_OPTIONS: Names<AttachOptions> = { columns: true, rows: true, mode: true, ...ATTACHMENT };

export const COPY_OPTIONS: Names<CopyOptions> = {
  recursive: true,
  preserve: true,
  follow: true,
  resume: true,
  intoDirectory: true,
  signal: true,
  onTotal: true,
  onProgress: true,
  onFile: true,
  onTrouble: true,
};

export const STREAM_OPTIONS: Names<StreamOptions> = { signal: true, onStderr: true };

export const FORWARD_OPTIONS: Names<ForwardOptions> = { onFailed: true };

/**
 * A misspelt option that is left out in silence may be the one that mattered.
 * @param call - for people. @throws SealttyError `api-misuse`.
 */
export function requireOptions<T extends object>(call: string, options: T, names: Names<T>): void {
  if (!isObject(options))
    throw misuse(`${call} takes its options as an object: ${Object.keys(names).join(", ")}`, options);
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(names, name));
  if (unknown !== undefined)
    throw new SealttyError(
      "api-misuse",
      `${call} has no option "${unknown}": ${Object.keys(names).join(", ")}`,
    );
}

export function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** @param was - what came instead. */
export function misuse(words: string, was: unknown): SealttyError {
  return new SealttyError("api-misuse", `${words}; it was ${shown(was)}`);
}

/** Whatever it is, on a line, and not at length. */
export function shown(value: unknown): string {
  return inspect(value, { depth: 0, maxStringLength: 200, maxArrayLength: 8, breakLength: Infinity });
}

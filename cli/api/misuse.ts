// What a program hands over, looked at before anything is done with it: from JavaScript anything may come.

import { inspect } from "node:util";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_SCREEN_LINES } from "../../protocol/limits.ts";
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

interface Check {
  /** What it is, for people, behind "is". */
  readonly words: string;
  holds(value: unknown): boolean;
  /** Not to be shown: there may be a secret in it. */
  readonly secret?: true;
}

/** Every option there is: the compiler misses none. */
type Checks<T> = Readonly<Record<keyof T, Check>>;

/** Looked at where it is used, by its own rules. */
const ELSEWHERE: Check = { words: "", holds: () => true };
const SWITCH: Check = { words: "true or false", holds: (value) => typeof value === "boolean" };
const TEXT: Check = { words: "a text", holds: isText };
const HOOK: Check = { words: "a function", holds: (value) => typeof value === "function" };
const MILLISECONDS: Check = {
  words: "a number of milliseconds, above 0",
  holds: (value) => typeof value === "number" && Number.isFinite(value) && value > 0,
};
/** Of whichever realm: a test runner has its own. */
const SIGNAL: Check = {
  words: "an AbortSignal",
  holds: (value) =>
    isObject(value) && "aborted" in value && typeof value.aborted === "boolean" && "throwIfAborted" in value,
};

function oneOf(...values: readonly string[]): Check {
  const quoted = values.map((value) => JSON.stringify(value));
  const words = `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1)}`;
  return { words, holds: (value) => isText(value) && values.includes(value) };
}

function whole(least: number, most: number, words: string): Check {
  const holds = (value: unknown): boolean =>
    typeof value === "number" && Number.isInteger(value) && value >= least && value <= most;
  return { words: `a whole number, ${words}`, holds };
}

export const CONNECT_OPTIONS: Checks<ConnectOptions> = {
  guest: TEXT,
  policy: {
    words: "the path of a file, or { text }",
    holds: (value) => isText(value) || (isObject(value) && "text" in value && isText(value.text)),
    secret: true,
  },
  user: TEXT,
  identity: { words: "the path of a file, or false", holds: (value) => value === false || isText(value) },
  simulated: SWITCH,
  collateral: TEXT,
  timeout: MILLISECONDS,
  encoding: oneOf("auto", "binary", "armour"),
  obfuscate: oneOf("strict", "adaptive", "off"),
  onState: HOOK,
  onEvidence: HOOK,
  onChanged: HOOK,
};

export const EXEC_OPTIONS: Checks<ExecOptions> = {
  env: ELSEWHERE,
  cwd: ELSEWHERE,
  signal: SIGNAL,
  stdin: {
    words: "true, a text, bytes, or what can be iterated",
    holds: (value) =>
      value === true ||
      isText(value) ||
      (isObject(value) && (Symbol.asyncIterator in value || Symbol.iterator in value)),
    secret: true,
  },
  timeout: MILLISECONDS,
};

const ON_TERMINAL = {
  columns: ELSEWHERE,
  rows: ELSEWHERE,
  term: TEXT,
  command: ELSEWHERE,
  login: SWITCH,
  env: ELSEWHERE,
  cwd: ELSEWHERE,
} as const;

export const SHELL_OPTIONS: Checks<ShellOptions> = { ...ON_TERMINAL, signal: SIGNAL, timeout: MILLISECONDS };

const ATTACHMENT = {
  screenLines: whole(0, MAX_SCREEN_LINES, `up to ${MAX_SCREEN_LINES}`),
  onMark: HOOK,
  onViewers: HOOK,
} as const;

export const KEEP_OPTIONS: Checks<KeepOptions> = {
  ...ON_TERMINAL,
  ...ATTACHMENT,
  sizing: oneOf("smallest", "latest"),
  idleSeconds: whole(1, 0xffff_ffff, "at least 1"),
};

export const ATTACH_OPTIONS: Checks<AttachOptions> = {
  columns: ELSEWHERE,
  rows: ELSEWHERE,
  mode: oneOf("read-write", "read-only"),
  ...ATTACHMENT,
};

export const COPY_OPTIONS: Checks<CopyOptions> = {
  recursive: SWITCH,
  preserve: SWITCH,
  follow: oneOf("named", "always", "never"),
  resume: SWITCH,
  intoDirectory: SWITCH,
  signal: SIGNAL,
  onTotal: HOOK,
  onProgress: HOOK,
  onFile: HOOK,
  onTrouble: HOOK,
};

export const STREAM_OPTIONS: Checks<StreamOptions> = { signal: SIGNAL, onStderr: HOOK };

export const FORWARD_OPTIONS: Checks<ForwardOptions> = { onFailed: HOOK };

/**
 * A misspelt option that is left out in silence may be the one that mattered, and "false" is a yes to whoever asks if it is
 * there. `undefined` is as if it were left out.
 * @param call - for people. @throws SealttyError `api-misuse`.
 */
export function requireOptions<T extends object>(call: string, options: T, checks: Checks<T>): void {
  if (!isObject(options))
    throw misuse(`${call} takes its options as an object: ${Object.keys(checks).join(", ")}`, options);
  const known = new Map<string, Check>(Object.entries(checks));
  for (const [name, value] of Object.entries(options)) {
    const check = known.get(name);
    if (check === undefined)
      throw new SealttyError(
        "api-misuse",
        `${call} has no option "${name}": ${Object.keys(checks).join(", ")}`,
      );
    if (value === undefined || check.holds(value)) continue;
    const words = `${call}: ${name} is ${check.words}`;
    throw check.secret === true ? new SealttyError("api-misuse", words) : misuse(words, value);
  }
}

function isText(value: unknown): value is string {
  return typeof value === "string";
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

// What a program hands over, looked at before anything is done with it: from JavaScript anything may come.

import { SealttyError } from "../errors.ts";
import { isUserName } from "../user-auth/user-auth-message.ts";

export interface Check {
  /** What it is, for people, behind "is". */
  readonly words: string;
  holds(value: unknown): boolean;
  /** Not to be shown: there may be a secret in it. */
  readonly secret?: true;
}

/** Every option there is: the compiler misses none. */
export type Checks<T> = Readonly<Record<keyof T, Check>>;

/** Looked at where it is used, by its own rules. */
export const ELSEWHERE: Check = { words: "", holds: () => true };
export const SWITCH: Check = { words: "true or false", holds: (value) => typeof value === "boolean" };
export const TEXT: Check = { words: "a text", holds: isText };
export const USER: Check = {
  words: "the name of a user",
  holds: (value) => isText(value) && isUserName(value),
};
export const HOOK: Check = { words: "a function", holds: (value) => typeof value === "function" };
export const MILLISECONDS: Check = {
  words: "a number of milliseconds, above 0 and below 2^31",
  // A timer for longer goes off at once.
  holds: (value) => typeof value === "number" && value > 0 && value < 2 ** 31,
};
/** Of whichever realm: a test runner has its own, and a page's frames have. */
export const SIGNAL: Check = {
  words: "an AbortSignal",
  holds: (value) =>
    isObject(value) && "aborted" in value && typeof value.aborted === "boolean" && "throwIfAborted" in value,
};
export const ENCODING: Check = oneOf("auto", "binary", "armour");
export const OBFUSCATION: Check = oneOf("strict", "adaptive", "off");

/** Of a terminal, in whatever way it is opened. */
export const ON_TERMINAL = {
  columns: ELSEWHERE,
  rows: ELSEWHERE,
  term: TEXT,
  command: ELSEWHERE,
  login: SWITCH,
  env: ELSEWHERE,
  cwd: ELSEWHERE,
} as const;

export const BOUNDED = { signal: SIGNAL, timeout: MILLISECONDS } as const;

export function oneOf(...values: readonly string[]): Check {
  const quoted = values.map((value) => JSON.stringify(value));
  const words = `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1)}`;
  return { words, holds: (value) => isText(value) && values.includes(value) };
}

export function whole(least: number, most: number, words: string): Check {
  const holds = (value: unknown): boolean =>
    typeof value === "number" && Number.isInteger(value) && value >= least && value <= most;
  return { words: `a whole number, ${words}`, holds };
}

/**
 * A misspelt option that is left out in silence may be the one that mattered, and "false" is a yes to whoever asks if it is
 * there. `undefined` is as if it were left out.
 * @param call - for people. @throws SealttyError `api-misuse`.
 */
export function requireOptions<T extends object>(call: string, options: T, checks: Checks<T>): void {
  if (!isObject(options))
    throw misuse(`${call} takes its options as an object: ${Object.keys(checks).join(", ")}`, options);
  const known = new Map<string, Check>(Object.entries(checks));
  // What an object has from its prototype, or hides from a listing, is read as well.
  const names = new Set([...Object.keys(options), ...[...known.keys()].filter((name) => name in options)]);
  for (const name of names) {
    const value: unknown = Reflect.get(options, name);
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

/** @param names - of options that nothing stands for where they are left out. @throws SealttyError `api-misuse`. */
export function requireThere<T extends object>(
  call: string,
  options: T,
  names: readonly (keyof T & string)[],
): void {
  for (const name of names) {
    const value: unknown = options[name];
    if (value === undefined || value === "")
      throw new SealttyError("api-misuse", `${call} needs ${name}; it was ${JSON.stringify(value)}`);
  }
}

export function isText(value: unknown): value is string {
  return typeof value === "string";
}

export function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** @param was - what came instead. */
export function misuse(words: string, was: unknown): SealttyError {
  return new SealttyError("api-misuse", `${words}; it was ${shown(was)}`);
}

const MAX_SHOWN_TEXT = 200; // characters
const MAX_SHOWN_ITEMS = 8;

/** Whatever it is, on a line, and not at length. Nothing of it is called. */
export function shown(value: unknown): string {
  if (!isObject(value)) return shownInside(value);
  if (ArrayBuffer.isView(value)) return `bytes, ${value.byteLength} of them`;
  if (Array.isArray(value)) return `[${few(value.map(shownInside))}]`;
  const members = Object.entries(Object.getOwnPropertyDescriptors(value)).map(
    ([name, { value: member }]) => `${name}: ${shownInside(member)}`,
  );
  return members.length === 0 ? "an object" : `{ ${few(members)} }`;
}

function shownInside(value: unknown): string {
  switch (typeof value) {
    case "string":
      return `'${JSON.stringify(value.slice(0, MAX_SHOWN_TEXT)).slice(1, -1)}'${value.length > MAX_SHOWN_TEXT ? "…" : ""}`;
    case "function":
      return "a function";
    case "object":
      return value === null ? "null" : Array.isArray(value) ? "a list" : "an object";
    default:
      return String(value);
  }
}

function few(items: readonly string[]): string {
  const first = items.slice(0, MAX_SHOWN_ITEMS).join(", ");
  return items.length > MAX_SHOWN_ITEMS ? `${first}, …` : first;
}

// One table of a configuration file, read strictly: each key with its type, each error naming file, table and key.

import { SealttyError } from "../protocol/errors.ts";
import { isOriginPattern } from "../protocol/user-auth/webauthn.ts";
import { isUserName } from "../protocol/user-auth/user-auth-message.ts";
import { isSysrqKey } from "../protocol/session/service-request.ts";
import { editDistance } from "../protocol/toml-table.ts";
import { escapeText } from "./log.ts";

const MAX_NAME = 128;
const MAX_LIST = 16;
const MAX_USERS = 1024;

function isAbsolutePath(text: string): boolean {
  return text.startsWith("/") && !text.includes("\0");
}

export class Table {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #file: string;
  readonly #name: string;

  constructor(values: Readonly<Record<string, unknown>>, file: string, name: string) {
    this.#values = values;
    this.#file = file;
    this.#name = name;
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#values, key);
  }

  allow(...known: readonly string[]): void {
    for (const key of Object.keys(this.#values)) {
      if (known.includes(key)) continue;
      const near = nearest(key, known);
      const list = known.join(", ");
      this.fail(
        `unknown key "${escapeText(key)}"`,
        near === undefined ? `Known here: ${list}.` : `Did you mean "${near}"? Known here: ${list}.`,
      );
    }
  }

  table(key: string, purpose: string): Table {
    const value = this.#values[key];
    if (!this.has(key)) this.fail(`the table [${key}] is missing`, purpose);
    if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Date) {
      this.fail(`"${key}" must be a table`, `Write [${key}] on a line of its own.`);
    }
    return new Table(value as Record<string, unknown>, this.#file, key);
  }

  oneOf<const T extends string>(key: string, choices: readonly T[]): T {
    const value = this.#values[key];
    const found = choices.find((choice) => choice === value);
    if (found !== undefined) return found;
    const list = choices.map((choice) => `"${choice}"`).join(", ");
    const near = typeof value === "string" ? nearest(value, choices) : undefined;
    this.fail(
      this.has(key) ? `"${key}" has a value that is not known` : `"${key}" is missing`,
      near === undefined
        ? `It must be one of ${list}.`
        : `Did you mean "${near}"? It must be one of ${list}.`,
    );
  }

  text(key: string): string {
    const value = this.#required(key);
    if (typeof value !== "string" || value === "" || value.length > MAX_NAME || /\p{Cc}/u.test(value)) {
      this.fail(
        `"${key}" must be a text of 1 to ${MAX_NAME} printable characters`,
        `Write it in quotes: ${key} = "…".`,
      );
    }
    return value;
  }

  path(key: string): string {
    const value = this.#required(key);
    if (typeof value !== "string" || !isAbsolutePath(value)) {
      this.fail(`"${key}" must be an absolute path`, `Write it in quotes, from the root: ${key} = "/…".`);
    }
    return value;
  }

  paths(key: string): readonly string[] {
    return this.#list(key, isAbsolutePath, "absolute paths", '["/…"]');
  }

  /** Users of this machine, each by name. */
  namedUsers(key: string): readonly string[] {
    return this.#list(key, isUserName, "names of users", '["root"]');
  }

  /** Of keys, as `ssh-keygen -l` prints them. */
  fingerprints(key: string): readonly string[] {
    const isFingerprint = (part: string) => /^SHA256:[A-Za-z0-9+/]{43}$/.test(part);
    const what = "fingerprints of keys (ssh-keygen -lf FILE)";
    return this.#list(key, isFingerprint, what, '["SHA256:…"]', MAX_USERS);
  }

  /** Each one letter or digit. */
  sysrqKeys(key: string): readonly string[] {
    return this.#list(
      key,
      isSysrqKey,
      "SysRq keys, each one lower-case letter or digit",
      '["s", "u", "b"]',
      36,
    );
  }

  someOf<const T extends string>(key: string, choices: readonly T[]): readonly T[] {
    const list = choices.map((choice) => `"${choice}"`).join(" and ");
    const isChoice = (part: string) => choices.some((choice) => choice === part);
    return this.#list(key, isChoice, list, `["${choices[0]}"]`) as readonly T[];
  }

  /** "fw_cfg", "cmdline", or absolute paths. */
  documentSources(key: string): readonly string[] {
    const isSource = (part: string) => part === "fw_cfg" || part === "cmdline" || isAbsolutePath(part);
    return this.#list(key, isSource, '"fw_cfg", "cmdline" and absolute paths', '["fw_cfg"]');
  }

  /** Origins of pages; the list may be empty. */
  origins(key: string): readonly string[] {
    const value = this.#values[key];
    if (Array.isArray(value) && value.length === 0) return [];
    const example = '["http://localhost:*"]';
    return this.#list(key, isOriginPattern, "pages' origins (scheme, host, port or :*)", example);
  }

  /** Users of this machine, or `["*"]`. */
  userNames(key: string): readonly string[] | "any" {
    const isName = (part: string) => part === "*" || isUserName(part);
    const names = this.#list(key, isName, 'users\' names, or ["*"] for everybody', '["alice"]', MAX_USERS);
    if (!names.includes("*")) return names;
    if (names.length === 1) return "any";
    this.fail(`"${key}" has "*" beside names`, 'Write ["*"] alone, for everybody, or names alone.');
  }

  /** @returns undefined where the key is absent. */
  whole(key: string, least: number, most: number): number | undefined {
    const value = this.#values[key];
    if (value === undefined) return undefined;
    if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most)
      this.fail(`"${key}" must be a whole number from ${least} to ${most}`, "Write it without quotes.");
    return value;
  }

  flag(key: string): boolean | undefined {
    const value = this.#values[key];
    if (value !== undefined && typeof value !== "boolean") {
      this.fail(`"${key}" must be true or false`, "Write it without quotes.");
    }
    return value;
  }

  command(key: string): readonly string[] {
    const value = this.#required(key);
    const isCommand =
      Array.isArray(value) &&
      value.every((part) => typeof part === "string" && !part.includes("\0")) &&
      typeof value[0] === "string" &&
      value[0].startsWith("/");
    if (!isCommand) {
      this.fail(
        `"${key}" must be a list: a program with its absolute path, then its arguments`,
        `For example ${key} = ${key === "ssh" ? '["/usr/sbin/sshd", "-i"]' : '["/bin/sh", "-l"]'}.`,
      );
    }
    return value as string[];
  }

  pcrs(key: string): readonly number[] {
    const value = this.#required(key);
    const isSelection =
      Array.isArray(value) &&
      value.length > 0 &&
      new Set(value).size === value.length &&
      value.every((pcr) => typeof pcr === "number" && Number.isInteger(pcr) && pcr >= 0 && pcr <= 23);
    if (!isSelection) {
      this.fail(
        `"${key}" must list at least one PCR, each once, from 0 to 23`,
        `For example ${key} = [0, 2, 4, 7].`,
      );
    }
    return (value as number[]).toSorted((a, b) => a - b);
  }

  fail(problem: string, next: string): never {
    const place = this.#name === "" ? this.#file : `${this.#file}, [${this.#name}]`;
    throw new SealttyError("bad-config", `${place}: ${problem}. ${next}`);
  }

  #list(
    key: string,
    isGood: (part: string) => boolean,
    what: string,
    example: string,
    most = MAX_LIST,
  ): readonly string[] {
    const value = this.#required(key);
    const isList =
      Array.isArray(value) &&
      value.length > 0 &&
      value.length <= most &&
      value.every((part) => typeof part === "string" && isGood(part));
    if (!isList) this.fail(`"${key}" must be a list of ${what}`, `For example ${key} = ${example}.`);
    return value as string[];
  }

  #required(key: string): unknown {
    if (!this.has(key)) this.fail(`"${key}" is missing`, `Add it below [${this.#name}].`);
    return this.#values[key];
  }
}

/** The known word with the fewest single-letter edits, if they are few. */
function nearest<T extends string>(word: string, known: readonly T[]): T | undefined {
  let best: T | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

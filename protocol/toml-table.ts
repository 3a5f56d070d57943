// TOML of an owner, read strictly: nothing is guessed, nothing unknown is skipped, every complaint names the place.

import { TomlError, parse } from "smol-toml";
import { SealttyError, type SealttyErrorCode } from "./errors.ts";

/** What a file is, for its complaints. */
export interface TomlSubject {
  /** In front of every message, e.g. "Policy". */
  readonly name: string;
  readonly code: Extract<SealttyErrorCode, "bad-policy" | "bad-config">;
  /** How lines of it look, e.g. "keys look like …". */
  readonly hint: string;
}

const MAX_DEPTH = 8;
const MAX_SHOWN = 60;

/** @throws SealttyError of the subject's code where `text` is not TOML 1.0, nests too deep, or has a dangerous key. */
export function readToml(text: string, subject: TomlSubject): TomlTable {
  try {
    const parsed = parse(text, {
      integersAsBigInt: true,
      unsafeKeyBehaviour: "throw",
      maxDepth: MAX_DEPTH,
    });
    return new TomlTable(parsed, "", subject);
  } catch (cause) {
    // Anything else is a stack that ran out in the middle of absurd nesting.
    const where = cause instanceof TomlError ? `line ${cause.line}, column ${cause.column}: ` : "";
    const said =
      cause instanceof TomlError ? (cause.message.split("\n", 1)[0] as string) : "it is too deeply nested";
    throw new SealttyError(
      subject.code,
      `${subject.name}: ${where}not valid TOML (${shownText(said)}); ${subject.hint}`,
      { cause },
    );
  }
}

export class TomlTable {
  readonly #entries: ReadonlyMap<string, unknown>;
  readonly #path: string;
  readonly #subject: TomlSubject;

  /** @param path - "" for the top of the file, else as in the section's header. */
  constructor(entries: object, path: string, subject: TomlSubject) {
    this.#entries = new Map(Object.entries(entries));
    this.#path = path;
    this.#subject = subject;
  }

  keys(): string[] {
    return [...this.#entries.keys()];
  }

  value(key: string): unknown {
    return this.#entries.get(key);
  }

  /** Where a key is, for people: "snp.vmpl". */
  at(key: string): string {
    return this.#path === "" ? shownText(key) : `${this.#path}.${shownText(key)}`;
  }

  /** @throws SealttyError naming the first key that is none of `known`, and one that is and may be meant. */
  allowOnly(known: readonly string[]): void {
    for (const key of this.#entries.keys()) {
      if (known.includes(key)) continue;
      const where = this.#path === "" ? "at the top" : `in [${this.#path}]`;
      const near = nearestOf(key, known);
      const advice = near === undefined ? "remove it." : `did you mean ${near}?`;
      this.fail(`unknown key ${this.at(key)}; ${advice} Known ${where}: ${known.join(", ")}`);
    }
  }

  /** A table below this one; undefined where the key is absent. @throws SealttyError where it is anything else. */
  table(key: string): TomlTable | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    const path = this.at(key);
    const prototype: unknown =
      typeof value === "object" && value !== null ? Object.getPrototypeOf(value) : undefined;
    if (prototype !== null && prototype !== Object.prototype) {
      return this.fail(`${path} is not a section; write [${path}] on a line of its own`);
    }
    return new TomlTable(value as object, path, this.#subject);
  }

  /** @param problem - what is wrong, where, and what to write instead. */
  fail(problem: string): never {
    throw new SealttyError(this.#subject.code, `${this.#subject.name}: ${problem}`);
  }
}

/** Text of a file inside a message: short, and nothing that moves a terminal's cursor. */
export function shownText(text: string): string {
  const plain = text.slice(0, MAX_SHOWN + 1).replaceAll(/[^\x20-\x7e]/g, "?");
  return text.length <= MAX_SHOWN ? plain : `${plain.slice(0, MAX_SHOWN)}...`;
}

/** TOML 1.0 basic string; `text` must not have control characters. */
export function quoted(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/** @returns undefined where none is so near that it may be a slip: an edit for every three characters, or one. */
function nearestOf(key: string, known: readonly string[]): string | undefined {
  const plain = (text: string) => text.slice(0, MAX_SHOWN).toLowerCase().replaceAll(/[-_]/g, "");
  const distances = known.map((each) => editDistance(plain(key), plain(each)));
  const least = Math.min(...distances);
  return least <= Math.max(1, Math.floor(plain(key).length / 3))
    ? known[distances.indexOf(least)]
    : undefined;
}

/** Single-character edits between two short texts. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}

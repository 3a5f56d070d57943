// Reads parsed JSON strictly by kind: what is required is required, and of the exact form. Every function throws
// SealttyError `peer-misbehaved`; `what` names the structure in errors and is never taken from it.

import { fromHex } from "../../bytes.ts";
import { timeWords } from "../validity.ts";
import { malformed } from "./signed-json.ts";

/** One object of Intel's JSON. */
export class JsonObject {
  readonly #members: ReadonlyMap<string, unknown>;
  readonly #what: string;

  constructor(value: unknown, what: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value))
      malformed(what, "has something else where an object must be");
    this.#members = new Map(Object.entries(value));
    this.#what = what;
  }

  /** Refuses members that are not named: used where a new one could change what the old ones mean. */
  only(...names: readonly string[]): this {
    for (const name of this.#members.keys()) {
      if (!names.includes(name))
        this.#fail(`has a member that this version does not know beside ${names.join(", ")}`);
    }
    return this;
  }

  has(name: string): boolean {
    return this.#members.has(name);
  }

  object(name: string): JsonObject {
    return new JsonObject(this.#member(name), this.#what);
  }

  objects(name: string, limit: number): readonly JsonObject[] {
    return this.#list(name, limit).map((value) => new JsonObject(value, this.#what));
  }

  /** A number from 0 to `limit`, whole. */
  number(name: string, limit: number): number {
    const value = this.#member(name);
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > limit)
      this.#fail(`has a ${name} that is not a number from 0 to ${limit}`);
    return value;
  }

  /** @param bytes - the exact length. */
  hex(name: string, bytes: number): Uint8Array {
    const value = this.text(name, 2 * bytes);
    if (value.length !== 2 * bytes || !/^[0-9a-fA-F]+$/.test(value))
      this.#fail(`has a ${name} that is not ${bytes} bytes in hex`);
    return fromHex(value);
  }

  /** `2025-06-19T10:16:03Z` and no other form. @returns milliseconds since 1970. */
  date(name: string): number {
    const value = this.text(name, 20);
    const parts = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z$/.exec(value)?.slice(1).map(Number);
    if (parts === undefined) this.#fail(`has a ${name} that is not a date`);
    const [year, month, day, hour, minute, second] = parts as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    const time = Date.UTC(year, month - 1, day, hour, minute, second);
    // Date.UTC carries 31 February over into March.
    if (year < 1970 || timeWords(time) !== value) this.#fail(`has a ${name} that no calendar has`);
    return time;
  }

  choice<T extends string>(name: string, choices: readonly T[]): T {
    const value = this.text(name, 64);
    const found = choices.find((choice) => choice === value);
    if (found === undefined) this.#fail(`has a ${name} that this version does not know`);
    return found;
  }

  text(name: string, limit: number): string {
    const value = this.#member(name);
    if (typeof value !== "string" || value.length > limit)
      this.#fail(`has a ${name} that is not a text of at most ${limit} characters`);
    return value;
  }

  /** Absent means none. */
  optionalTexts(name: string, limit: number, form: RegExp): readonly string[] {
    if (!this.has(name)) return [];
    return this.#list(name, limit).map((value) => {
      if (typeof value !== "string" || !form.test(value)) this.#fail(`has a ${name} of an unknown form`);
      return value;
    });
  }

  #member(name: string): unknown {
    if (!this.#members.has(name)) this.#fail(`lacks ${name}`);
    return this.#members.get(name);
  }

  #list(name: string, limit: number): readonly unknown[] {
    const value = this.#member(name);
    if (!Array.isArray(value) || value.length > limit)
      this.#fail(`has a ${name} that is not a list of at most ${limit}`);
    return value;
  }

  #fail(problem: string): never {
    malformed(this.#what, problem);
  }
}

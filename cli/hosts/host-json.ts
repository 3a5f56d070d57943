// JSON that a host's API answered: bounded before it is parsed, and only the fields that are wanted come out.

import { textOf } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";

/** Bytes of an answer; those we ask for have some hundred. */
export const MAX_ANSWER = 64 * 1024;
/** Objects and arrays inside each other. */
export const MAX_ANSWER_DEPTH = 16;

/** A field: the names that lead to it, and what its value may be. */
export interface WantedText {
  readonly path: readonly string[];
  /** Characters. */
  readonly limit: number;
  /** Anchored: the whole value. */
  readonly pattern: RegExp;
}

export class HostAnswer {
  readonly #value: unknown;
  readonly #what: string;

  /** @param what - whose answer, for errors: "Proxmox". @throws SealttyError `transport-lost`. */
  constructor(body: Uint8Array, what: string) {
    this.#what = what;
    if (body.length > MAX_ANSWER) throw this.#refused(`is longer than ${MAX_ANSWER / 1024} KiB`);
    let text: string;
    try {
      text = textOf(body);
    } catch {
      throw this.#refused("is not UTF-8");
    }
    if (nestingOf(text) > MAX_ANSWER_DEPTH)
      throw this.#refused(`nests deeper than ${MAX_ANSWER_DEPTH} levels`);
    try {
      this.#value = JSON.parse(text);
    } catch {
      throw this.#refused("is not JSON"); // not the parser's own words: those quote the answer
    }
  }

  /** @throws SealttyError `transport-lost` where it is absent or not as `wanted` says. */
  text(wanted: WantedText): string {
    const value = this.#at(wanted.path);
    if (typeof value !== "string" || value.length > wanted.limit || !wanted.pattern.test(value)) {
      throw this.#refused(`has no usable "${wanted.path.join(".")}"`);
    }
    return value;
  }

  /** The field as text where it is some, for showing; undefined otherwise. */
  hint(path: readonly string[]): string | undefined {
    const value = this.#at(path);
    return typeof value === "string" ? value : undefined;
  }

  /** A whole number, which some hosts write as text. @throws SealttyError `transport-lost`. */
  integer(path: readonly string[], least: number, most: number): number {
    const value = this.#at(path);
    const number = typeof value === "string" && /^[0-9]{1,10}$/.test(value) ? Number(value) : value;
    if (typeof number !== "number" || !Number.isInteger(number) || number < least || number > most) {
      throw this.#refused(`has no usable "${path.join(".")}"`);
    }
    return number;
  }

  #at(path: readonly string[]): unknown {
    let value = this.#value;
    for (const name of path) {
      if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
      value = (value as Readonly<Record<string, unknown>>)[name];
    }
    return value;
  }

  #refused(problem: string): SealttyError {
    return new SealttyError(
      "transport-lost",
      `The answer of ${this.#what} ${problem}. Check that the address is that of its API, with no portal in between.`,
    );
  }
}

/** How deep brackets nest, strings left out; of text that is no JSON some number. */
function nestingOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (inString) {
      if (character === "\\") at++;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === "{" || character === "[") deepest = Math.max(deepest, ++depth);
    else if (character === "}" || character === "]") depth--;
  }
  return deepest;
}

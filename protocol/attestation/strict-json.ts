// JSON that is read once and believed: RFC 8259 in printable ASCII, no member twice, bounded. JSON.parse takes the last of
// two members of one name where another reader takes the first.

import { textOf } from "../bytes.ts";
import { SealttyError } from "../errors.ts";

const MAX_DEPTH = 12;
const MAX_MEMBERS = 64; // of one object
const MAX_LIST = 256;
const MAX_NUMBER = 16;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonMembers;
export type JsonMembers = ReadonlyMap<string, JsonValue>;

/**
 * @param what - names the text in errors; never taken from it.
 * @throws SealttyError `peer-misbehaved` on anything but one object: also on member names with escapes, numbers that are
 * not whole or above 2^53, text that is not printable ASCII.
 */
export function parseStrictJson(bytes: Uint8Array, what: string): JsonMembers {
  return new Scanner(bytes, what).document().members;
}

/** The same. @returns for each member of the object the exact bytes of its value, views: what a signature beside it covers. */
export function strictJsonParts(bytes: Uint8Array, what: string): ReadonlyMap<string, Uint8Array> {
  return new Scanner(bytes, what).document().parts;
}

interface ScannedObject {
  readonly members: JsonMembers;
  readonly parts: ReadonlyMap<string, Uint8Array>;
}

const SPACES: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d]);
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};
const LITERALS: Readonly<Record<string, JsonValue>> = { true: true, false: false, null: null };

class Scanner {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  document(): ScannedObject {
    this.#space();
    const object = this.#object(1);
    this.#space();
    if (this.#at !== this.#bytes.length) this.#fail("has something after the object");
    return object;
  }

  #object(depth: number): ScannedObject {
    const members = new Map<string, JsonValue>();
    const parts = new Map<string, Uint8Array>();
    this.#expect("{");
    this.#space();
    if (this.#take("}")) return { members, parts };
    do {
      this.#space();
      const start = this.#at;
      const name = this.#string();
      // It could spell a name that is there already.
      if (this.#at - start !== name.length + 2) this.#fail("has a member name with an escape");
      if (members.has(name)) this.#fail("has a member twice");
      if (members.size >= MAX_MEMBERS) this.#fail("has too many members");
      this.#space();
      this.#expect(":");
      this.#space();
      const from = this.#at;
      members.set(name, this.#value(depth + 1));
      parts.set(name, this.#bytes.subarray(from, this.#at));
      this.#space();
    } while (this.#take(","));
    this.#expect("}");
    return { members, parts };
  }

  #value(depth: number): JsonValue {
    if (depth > MAX_DEPTH) this.#fail("is nested too deeply");
    switch (this.#peek()) {
      case "{":
        return this.#object(depth).members;
      case "[":
        return this.#array(depth);
      case '"':
        return this.#string();
      default:
        return this.#literal();
    }
  }

  #array(depth: number): readonly JsonValue[] {
    const values: JsonValue[] = [];
    this.#expect("[");
    this.#space();
    if (this.#take("]")) return values;
    do {
      if (values.length >= MAX_LIST) this.#fail("has too many members");
      this.#space();
      values.push(this.#value(depth + 1));
      this.#space();
    } while (this.#take(","));
    this.#expect("]");
    return values;
  }

  #string(): string {
    this.#expect('"');
    let text = "";
    for (let start = this.#at; ; ) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined || byte < 0x20 || byte > 0x7e)
        return this.#fail("has text that is not printable ASCII");
      if (byte !== QUOTE && byte !== BACKSLASH) {
        this.#at++;
        continue;
      }
      text += textOf(this.#bytes.subarray(start, this.#at++));
      if (byte === QUOTE) return text;
      text += this.#escape();
      start = this.#at;
    }
  }

  #escape(): string {
    const kind = this.#peek();
    this.#at++;
    const plain = Object.hasOwn(ESCAPES, kind) ? ESCAPES[kind] : undefined;
    if (plain !== undefined) return plain;
    let digits = "";
    for (const byte of this.#bytes.subarray(this.#at, this.#at + 4)) digits += String.fromCharCode(byte);
    if (kind !== "u" || !/^[0-9a-fA-F]{4}$/.test(digits)) this.#fail("has an unknown escape");
    this.#at += 4;
    return String.fromCharCode(Number.parseInt(digits, 16));
  }

  #literal(): JsonValue {
    let text = "";
    while (text.length <= MAX_NUMBER && /[-a-z0-9]/.test(this.#peek())) {
      text += this.#peek();
      this.#at++;
    }
    if (Object.hasOwn(LITERALS, text)) return LITERALS[text] as JsonValue;
    const number = Number(text);
    if (!/^(?:0|-?[1-9][0-9]*)$/.test(text) || !Number.isSafeInteger(number))
      this.#fail("has something that is not JSON, or a number that is not whole");
    return number;
  }

  #space(): void {
    while (SPACES.has(this.#bytes[this.#at] ?? 0)) this.#at++;
  }

  #peek(): string {
    const byte = this.#bytes[this.#at];
    return byte === undefined ? "" : String.fromCharCode(byte);
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at++;
    return true;
  }

  #expect(character: string): void {
    if (!this.#take(character)) this.#fail("is not JSON");
  }

  #fail(problem: string): never {
    throw new SealttyError("peer-misbehaved", `${this.#what} ${problem}`);
  }
}

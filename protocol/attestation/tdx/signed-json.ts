// Intel PCS bodies: a JSON object and a signature over the exact bytes of it. The bytes are found by a strict scanner of
// our own, because writing the object anew would not give them; what is read later are those same bytes.

import { fromHex, textOf } from "../../bytes.ts";
import { SealttyError } from "../../errors.ts";
import { MAX_COLLATERAL_PIECE } from "../../limits.ts";

const MAX_DEPTH = 12;
const MAX_MEMBERS = 64; // of one object

export interface SignedJson {
  /** The signed object, a view of the exact bytes. */
  readonly body: Uint8Array;
  /** r‖s. */
  readonly signature: Uint8Array;
}

/**
 * `{"<member>":{…},"signature":"<128 hex digits>"}` in either order and nothing else: RFC 8259 in ASCII, no member twice.
 * @throws SealttyError `peer-misbehaved`.
 */
export function parseSignedJson(
  bytes: Uint8Array,
  member: "tcbInfo" | "enclaveIdentity",
  what: string,
): SignedJson {
  if (bytes.length > MAX_COLLATERAL_PIECE) malformed(what, `is longer than ${MAX_COLLATERAL_PIECE} bytes`);
  const scanner = new Scanner(bytes, what);
  const members = scanner.document();
  const body = members.get(member);
  const signature = members.get("signature");
  if (members.size !== 2 || body === undefined || signature === undefined)
    malformed(what, `is not an object of "${member}" and "signature"`);
  if (body[0] !== OPEN_BRACE) malformed(what, `has a "${member}" that is not an object`);
  const digits = textOf(signature);
  if (!/^"[0-9a-fA-F]{128}"$/.test(digits)) malformed(what, "has a signature that is not 128 hex digits");
  return { body, signature: fromHex(digits.slice(1, -1)) };
}

const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const SPACES: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d]);
const NUMBER = /^-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?(?:[eE][+-]?[0-9]{1,2})?$/;
const MAX_NUMBER = 40;

class Scanner {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  /** The members of the one object that the text must be, each as the exact bytes of its value. */
  document(): ReadonlyMap<string, Uint8Array> {
    this.#space();
    const members = this.#object(1);
    this.#space();
    if (this.#at !== this.#bytes.length) this.#fail("has something after the object");
    return members;
  }

  #value(depth: number): void {
    if (depth > MAX_DEPTH) this.#fail("is nested too deeply");
    const first = this.#bytes[this.#at];
    if (first === OPEN_BRACE) this.#object(depth);
    else if (first === OPEN_BRACKET) this.#array(depth);
    else if (first === QUOTE) this.#string();
    else this.#literal();
  }

  #object(depth: number): ReadonlyMap<string, Uint8Array> {
    const members = new Map<string, Uint8Array>();
    this.#expect(OPEN_BRACE);
    this.#space();
    if (this.#take(CLOSE_BRACE)) return members;
    do {
      this.#space();
      const name = this.#string();
      // An escape could spell a name that is there already.
      if (name.includes("\\")) this.#fail("has a member name with an escape");
      if (members.has(name)) this.#fail("has a member twice");
      if (members.size >= MAX_MEMBERS) this.#fail("has an object with too many members");
      this.#space();
      this.#expect(COLON);
      this.#space();
      const start = this.#at;
      this.#value(depth + 1);
      members.set(name, this.#bytes.subarray(start, this.#at));
      this.#space();
    } while (this.#take(COMMA));
    this.#expect(CLOSE_BRACE);
    return members;
  }

  #array(depth: number): void {
    this.#expect(OPEN_BRACKET);
    this.#space();
    if (this.#take(CLOSE_BRACKET)) return;
    do {
      this.#space();
      this.#value(depth + 1);
      this.#space();
    } while (this.#take(COMMA));
    this.#expect(CLOSE_BRACKET);
  }

  /** @returns what is between the quotes, escapes and all. */
  #string(): string {
    this.#expect(QUOTE);
    const start = this.#at;
    for (;;) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined || byte < 0x20 || byte > 0x7e)
        this.#fail("has text that is not printable ASCII");
      if (byte === QUOTE) break;
      this.#at++;
      if (byte === BACKSLASH) this.#escape();
    }
    const text = textOf(this.#bytes.subarray(start, this.#at));
    this.#at++;
    return text;
  }

  #escape(): void {
    const kind = String.fromCharCode(this.#bytes[this.#at] ?? 0);
    this.#at++;
    if ('"\\/bfnrt'.includes(kind)) return;
    const digits = textOf(this.#bytes.subarray(this.#at, this.#at + 4));
    if (kind !== "u" || !/^[0-9a-fA-F]{4}$/.test(digits)) this.#fail("has an unknown escape");
    this.#at += 4;
  }

  #literal(): void {
    const start = this.#at;
    while (this.#at - start < MAX_NUMBER && isLiteralByte(this.#bytes[this.#at])) this.#at++;
    const text = textOf(this.#bytes.subarray(start, this.#at));
    if (text !== "true" && text !== "false" && text !== "null" && !NUMBER.test(text))
      this.#fail("has something that is not JSON");
  }

  #space(): void {
    while (SPACES.has(this.#bytes[this.#at] ?? 0)) this.#at++;
  }

  #take(byte: number): boolean {
    if (this.#bytes[this.#at] !== byte) return false;
    this.#at++;
    return true;
  }

  #expect(byte: number): void {
    if (!this.#take(byte)) this.#fail("is not JSON");
  }

  #fail(problem: string): never {
    malformed(this.#what, problem);
  }
}

function isLiteralByte(byte: number | undefined): boolean {
  return byte !== undefined && /[a-z0-9+\-.E]/.test(String.fromCharCode(byte));
}

/** @param what - names the structure; never taken from it. */
export function malformed(what: string, problem: string): never {
  throw new SealttyError("peer-misbehaved", `${what} ${problem}`);
}

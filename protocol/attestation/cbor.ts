// CBOR of attestation tokens (RFC 8949), strictly: what is shown is what was signed, and in one spelling only.

import { SealttyError } from "../errors.ts";
import { Reader, textOf } from "../bytes.ts";

const MAX_DEPTH = 8;
/** Values in one document, maps and lists included. */
const MAX_VALUES = 1024;
const MAX_BYTES = 64 * 1024;

export type CborValue =
  | number
  | string
  | boolean
  | null
  | Uint8Array
  | readonly CborValue[]
  | CborMap
  | CborTag;
/** Keys are whole numbers or text. */
export type CborMap = ReadonlyMap<number | string, CborValue>;

export class CborTag {
  readonly tag: number;
  readonly value: CborValue;
  constructor(tag: number, value: CborValue) {
    this.tag = tag;
    this.value = value;
  }
}

export interface CborOptions {
  /** Maps may be of the form that ends with a break: some makers of Nitro documents write them so. */
  readonly indefiniteMaps?: boolean;
}

/**
 * One value and nothing behind it. Refused: numbers above 2^53 - 1, floating point, undefined, lengths that are not in
 * their shortest form, a key twice in a map, strings and lists of unknown length, more than 8 levels.
 * @param what - names the document in errors; never taken from it. @throws SealttyError `peer-misbehaved`.
 */
export function decodeCbor(bytes: Uint8Array, what: string, options: CborOptions = {}): CborValue {
  const decoder = new Decoder(bytes, what, options.indefiniteMaps ?? false);
  return decoder.document();
}

const BREAK = 0xff;

class Decoder {
  readonly #reader: Reader;
  readonly #bytes: Uint8Array;
  readonly #indefiniteMaps: boolean;
  #values = 0;

  constructor(bytes: Uint8Array, what: string, indefiniteMaps: boolean) {
    this.#bytes = bytes;
    this.#reader = new Reader(bytes, what);
    this.#indefiniteMaps = indefiniteMaps;
  }

  document(): CborValue {
    if (this.#bytes.length > MAX_BYTES) this.#fail(`is longer than ${MAX_BYTES} bytes`);
    const value = this.#value(1);
    this.#reader.end();
    return value;
  }

  #value(depth: number): CborValue {
    if (depth > MAX_DEPTH) this.#fail("is nested too deeply");
    if (++this.#values > MAX_VALUES) this.#fail("holds too many values");
    const first = this.#reader.u8();
    const major = first >> 5;
    const low = first & 31;
    if (major === 5 && low === 31) return this.#indefiniteMap(depth);
    if (major === 7) return this.#simple(low);
    const argument = this.#argument(low);
    switch (major) {
      case 0:
        return argument;
      case 1:
        return -1 - argument;
      case 2:
        return this.#reader.bytes(argument);
      case 3:
        return textOf(this.#reader.bytes(argument));
      case 4:
        return this.#array(argument, depth);
      case 5:
        return this.#map(argument, depth);
      default:
        return new CborTag(argument, this.#value(depth + 1));
    }
  }

  /** A number or a length, in the shortest of its forms. */
  #argument(low: number): number {
    if (low < 24) return low;
    if (low > 27) this.#fail("has a value of a form that this version does not read");
    const value = this.#sized(low);
    const least = low === 24 ? 24 : 2 ** (8 * 2 ** (low - 25));
    if (value < least) this.#fail("has a number that is not in its shortest form");
    return value;
  }

  #sized(low: number): number {
    if (low === 24) return this.#reader.u8();
    if (low === 25) return this.#reader.u16();
    return low === 26 ? this.#reader.u32() : this.#reader.u64();
  }

  #simple(low: number): CborValue {
    if (low === 20) return false;
    if (low === 21) return true;
    if (low === 22) return null;
    return this.#fail("has a value of a kind that no attestation token has");
  }

  #array(length: number, depth: number): readonly CborValue[] {
    if (length > this.#reader.remaining) this.#fail("ends too early"); // each value has at least a byte
    const values: CborValue[] = [];
    for (let i = 0; i < length; i++) values.push(this.#value(depth + 1));
    return values;
  }

  #map(length: number, depth: number): CborMap {
    if (length > this.#reader.remaining) this.#fail("ends too early");
    const map = new Map<number | string, CborValue>();
    for (let i = 0; i < length; i++) this.#entry(map, depth);
    return map;
  }

  #indefiniteMap(depth: number): CborMap {
    if (!this.#indefiniteMaps) this.#fail("has a map of unknown length");
    const map = new Map<number | string, CborValue>();
    while (this.#bytes[this.#reader.offset] !== BREAK) this.#entry(map, depth);
    this.#reader.u8();
    return map;
  }

  #entry(map: Map<number | string, CborValue>, depth: number): void {
    const key = this.#value(depth + 1);
    if (typeof key !== "number" && typeof key !== "string")
      this.#fail("has a key that is neither a number nor text");
    if (map.has(key)) this.#fail("has a key twice");
    map.set(key, this.#value(depth + 1));
  }

  #fail(problem: string): never {
    return this.#reader.fail(problem);
  }
}

/** Reads the members of a map by kind. Every method throws SealttyError `peer-misbehaved` on another kind, or an absent one. */
export class CborMembers {
  readonly #map: CborMap;
  readonly #what: string;

  /** @param what - names the map in errors; never taken from it. */
  constructor(value: CborValue | undefined, what: string) {
    this.#what = what;
    if (!(value instanceof Map)) this.fail("is not a map");
    this.#map = value;
  }

  /** Refuses keys that are not named. */
  only(...keys: readonly (number | string)[]): this {
    for (const key of this.#map.keys())
      if (!keys.includes(key)) this.fail("has a member that this version does not know");
    return this;
  }

  get(key: number | string): CborValue | undefined {
    return this.#map.get(key);
  }

  get entries(): Iterable<readonly [number | string, CborValue]> {
    return this.#map;
  }

  /** @param lengths - those that are allowed. */
  bytes(key: number | string, ...lengths: readonly number[]): Uint8Array {
    const value = this.#map.get(key);
    if (!(value instanceof Uint8Array) || !lengths.includes(value.length))
      return this.fail(`has no ${key} of ${lengths.join(" or ")} bytes`);
    return value;
  }

  /** Of 1 to `limit` bytes. */
  someBytes(key: number | string, limit: number): Uint8Array {
    const value = this.#map.get(key);
    if (!(value instanceof Uint8Array) || value.length === 0 || value.length > limit)
      return this.fail(`has no ${key} of 1 to ${limit} bytes`);
    return value;
  }

  /** Printable ASCII of 1 to `limit` characters. */
  text(key: number | string, limit: number): string {
    const value = this.#map.get(key);
    if (
      typeof value !== "string" ||
      value.length === 0 ||
      value.length > limit ||
      !/^[\x20-\x7e]*$/.test(value)
    )
      return this.fail(`has no ${key} that is plain text of at most ${limit} characters`);
    return value;
  }

  /** A whole number from 0 to `limit`. */
  number(key: number | string, limit: number): number {
    const value = this.#map.get(key);
    if (typeof value !== "number" || value < 0 || value > limit)
      return this.fail(`has no ${key} that is a number from 0 to ${limit}`);
    return value;
  }

  fail(problem: string): never {
    throw new SealttyError("peer-misbehaved", `${this.#what} ${problem}`);
  }
}

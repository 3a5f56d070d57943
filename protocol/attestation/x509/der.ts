// A strict reader of DER, the one encoding of ASN.1 that signatures are made over. ITU-T X.690 §8, §10, §11; RFC 5280 §4.1.2.5

import { SealttyError } from "../../errors.ts";

/** Tags that X.509 uses: class, constructed bit and number in one byte. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Nesting that is followed. Certificates need 8. */
const MAX_DEPTH = 16;
/** Bytes of an object identifier's content. */
const MAX_OID = 40;

export interface DerElement {
  readonly tag: number;
  /** A view, not a copy. */
  readonly content: Uint8Array;
  /** Tag and length included; a view. */
  readonly whole: Uint8Array;
}

/** Context-specific tag [number], constructed. */
export function explicitTag(number: number): number {
  return 0xa0 | number;
}

/**
 * Reads elements one after another. Lengths are definite and minimal, tags have one byte, and whoever opened a reader
 * closes it with `end()`. Every method throws SealttyError `peer-misbehaved` on any other bytes.
 */
export class DerReader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  readonly #depth: number;
  #at = 0;

  /** @param what - names the structure in errors; never taken from the peer. */
  constructor(bytes: Uint8Array, what: string, depth = 0) {
    this.#bytes = bytes;
    this.#what = what;
    this.#depth = depth;
    if (depth > MAX_DEPTH) this.fail("is nested too deeply");
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  /** The tag of the next element; undefined at the end. */
  get nextTag(): number | undefined {
    return this.#bytes[this.#at];
  }

  /** Any element, or with `tag` only such a one. */
  element(tag?: number): DerElement {
    const start = this.#at;
    const found = this.#byte();
    if ((found & 0x1f) === 0x1f) this.fail("has a tag of more than one byte");
    if (tag !== undefined && found !== tag) this.fail("has an element of another type than it must");
    const length = this.#length();
    if (length > this.remaining) this.fail("ends too early");
    const content = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return { tag: found, content, whole: this.#bytes.subarray(start, this.#at) };
  }

  /** Opens a constructed element; close what is returned with `end()`. */
  open(tag: number = TAG.sequence): DerReader {
    return this.inside(this.element(tag));
  }

  /** Opens the next element where it has this tag, else leaves it alone. */
  openOptional(tag: number): DerReader | undefined {
    return this.nextTag === tag ? this.open(tag) : undefined;
  }

  /** Reads an element's content. */
  inside(element: DerElement): DerReader {
    return new DerReader(element.content, this.#what, this.#depth + 1);
  }

  /** @returns the two's complement, in its minimal form; a view. */
  integer(tag: number = TAG.integer): Uint8Array {
    const { content } = this.element(tag);
    const [first, second] = content;
    if (first === undefined) return this.fail("has an empty integer");
    const padded =
      second !== undefined && (first === 0x00 ? second < 0x80 : first === 0xff && second >= 0x80);
    if (padded) this.fail("has an integer that is longer than it must be");
    return content;
  }

  /** @returns the magnitude without a sign byte, 1 to `limit` bytes; zero is one zero byte. A negative number is refused. */
  unsigned(limit: number): Uint8Array {
    const content = this.integer();
    if ((content[0] as number) >= 0x80) this.fail("has a negative number where none can be");
    const magnitude = content.length > 1 && content[0] === 0 ? content.subarray(1) : content;
    if (magnitude.length > limit) this.fail("has a number that is too large");
    return magnitude;
  }

  /** A number from 0 to `limit` (below 2^32). */
  number(limit: number): number {
    let value = 0;
    for (const byte of this.unsigned(4)) value = value * 256 + byte;
    if (value > limit) this.fail("has a number that is too large");
    return value;
  }

  boolean(): boolean {
    const { content } = this.element(TAG.boolean);
    if (content.length !== 1 || (content[0] !== 0x00 && content[0] !== 0xff)) {
      this.fail("has a truth value in another form than the canonical one");
    }
    return content[0] === 0xff;
  }

  null(): void {
    if (this.element(TAG.null).content.length !== 0) this.fail("has a NULL that is not empty");
  }

  octetString(): Uint8Array {
    return this.element(TAG.octetString).content;
  }

  /** A bit string that is whole bytes: keys and signatures. */
  bitString(): Uint8Array {
    const { content } = this.element(TAG.bitString);
    if (content[0] !== 0) this.fail("has a bit string that is not whole bytes");
    return content.subarray(1);
  }

  /**
   * A bit string whose bits have names, bit 0 first. Zero bits at the end may be written out, against X.690 §11.2.2:
   * AMD's intermediate certificates do, and the set of bits is the same.
   */
  namedBits(limit: number): ReadonlySet<number> {
    const { content } = this.element(TAG.bitString);
    const unused = content[0] ?? 8;
    const last = content.length > 1 ? (content.at(-1) as number) : undefined;
    const whole = last === undefined ? unused === 0 : unused < 8 && (last & ((1 << unused) - 1)) === 0;
    if (!whole) this.fail("has a list of bits that says wrongly where it ends");
    const bits = new Set<number>();
    for (let i = 0; i < 8 * (content.length - 1); i++) {
      if ((((content[1 + (i >> 3)] as number) >> (7 - (i & 7))) & 1) === 0) continue;
      if (i >= limit) this.fail("has a bit that has no meaning");
      bits.add(i);
    }
    return bits;
  }

  /** @returns the dotted form. */
  oid(): string {
    const { content } = this.element(TAG.oid);
    if (content.length === 0 || content.length > MAX_OID)
      this.fail("has an object identifier of an impossible size");
    const arcs: number[] = [];
    let arc = 0;
    let fresh = true;
    for (const byte of content) {
      if (fresh && byte === 0x80) this.fail("has an object identifier that is longer than it must be");
      arc = arc * 128 + (byte & 0x7f);
      if (arc > Number.MAX_SAFE_INTEGER)
        this.fail("has an object identifier with a number that is too large");
      fresh = byte < 0x80;
      if (fresh) {
        arcs.push(arc);
        arc = 0;
      }
    }
    if (!fresh) this.fail("has an object identifier that ends too early");
    const [head, ...rest] = arcs as [number, ...number[]];
    const root = Math.min(Math.floor(head / 40), 2);
    return [root, head - 40 * root, ...rest].join(".");
  }

  /** Printable ASCII, at most `limit` characters. */
  ia5String(limit: number): string {
    const text = asciiOf(this.element(TAG.ia5String).content, limit);
    return text ?? this.fail("has a text that is too long or not plain ASCII");
  }

  /**
   * UTCTime YYMMDDHHMMSSZ for the years 1950 to 2049, else GeneralizedTime YYYYMMDDHHMMSSZ: RFC 5280 §4.1.2.5.
   * @returns milliseconds since 1970.
   */
  time(): number {
    const { tag, content } = this.element();
    const text = asciiOf(content, 15) ?? "";
    const utc = tag === TAG.utcTime;
    if (!utc && tag !== TAG.generalizedTime) this.fail("has something else where a time must be");
    const digits = (utc ? /^(\d{12})Z$/ : /^(\d{14})Z$/).exec(text)?.[1];
    if (digits === undefined) return this.fail("has a time in another form than the one allowed");
    const shortYear = Number(digits.slice(0, 2));
    const year = utc ? (shortYear >= 50 ? 1900 : 2000) + shortYear : Number(digits.slice(0, 4));
    if (!utc && year < 2050) this.fail("has a time in another form than the one allowed");
    const [month, day, hour, minute, second] = (digits.slice(-10).match(/../g) ?? []).map(Number) as [
      number,
      number,
      number,
      number,
      number,
    ];
    const inRange =
      month >= 1 &&
      month <= 12 &&
      day >= 1 &&
      day <= daysOf(year, month) &&
      hour < 24 &&
      minute < 60 &&
      second < 60;
    if (!inRange) this.fail("has a time that no calendar has");
    return Date.UTC(year, month - 1, day, hour, minute, second);
  }

  /** @throws SealttyError `peer-misbehaved` where bytes are left over. */
  end(): void {
    if (this.remaining !== 0) this.fail("has bytes left over");
  }

  fail(problem: string): never {
    throw new SealttyError("peer-misbehaved", `${this.#what} ${problem}`);
  }

  #byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) return this.fail("ends too early");
    this.#at++;
    return byte;
  }

  #length(): number {
    const first = this.#byte();
    if (first < 0x80) return first;
    const size = first & 0x7f;
    // 0x80 is the indefinite form; nothing here is longer than three bytes can say.
    if (size === 0 || size > 3) this.fail("has a length in a form that is not allowed");
    let length = 0;
    for (let i = 0; i < size; i++) length = length * 256 + this.#byte();
    if (length < 0x80 || length < 2 ** (8 * (size - 1)))
      this.fail("has a length that is longer than it must be");
    return length;
  }
}

/** @returns the text where every byte is printable ASCII and there are at most `limit`, else undefined. */
export function asciiOf(bytes: Uint8Array, limit: number): string | undefined {
  if (bytes.length > limit) return undefined;
  let text = "";
  for (const byte of bytes) {
    if (byte < 0x20 || byte > 0x7e) return undefined;
    text += String.fromCharCode(byte);
  }
  return text;
}

function daysOf(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return [4, 6, 9, 11].includes(month) ? 30 : 31;
}

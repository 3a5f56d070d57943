// Bytes: an exact-length reader, a writer, comparison and wiping. Every integer of the protocol is big-endian.

import { SealttyError } from "./errors.ts";

export type Bytes = Uint8Array;

const encoder = new TextEncoder();
const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/** @throws SealttyError `peer-misbehaved` where `bytes` are not well-formed UTF-8. */
export function textOf(bytes: Uint8Array): string {
  try {
    return strictDecoder.decode(bytes);
  } catch (cause) {
    throw new SealttyError("peer-misbehaved", "Text is not valid UTF-8", { cause });
  }
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Above it C libraries copy by `rep movsb` (glibc from 2112 bytes on, where the processor says that it is fast). */
const COPY_PIECE = 2048;

/**
 * The same as `target.set(source, at)`, for what may be long. On Zen 3 `rep movsb` is some thirty times slower where the target
 * lies 1 to 31 bytes above the source, modulo a page, and headers put our copies just there.
 */
export function copyInto(target: Uint8Array, at: number, source: Uint8Array): void {
  let done = 0;
  for (; source.length - done > COPY_PIECE; done += COPY_PIECE)
    target.set(source.subarray(done, done + COPY_PIECE), at + done);
  target.set(done === 0 ? source : source.subarray(done), at + done);
}

/** Compares without an early exit; the lengths are not secret. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] as number);
  return difference === 0;
}

export function isZero(bytes: Uint8Array): boolean {
  let any = 0;
  let at = 0;
  // Four at a time, but for what stands before and behind: it looks at each packet's padding.
  const before = (4 - (bytes.byteOffset % 4)) % 4;
  if (bytes.length >= before + 4) {
    for (; at < before; at++) any |= bytes[at] as number;
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + at, (bytes.length - at) >>> 2);
    for (let i = 0; i < words.length; i++) any |= words[i] as number;
    at += 4 * words.length;
  }
  for (; at < bytes.length; at++) any |= bytes[at] as number;
  return any === 0;
}

/** Best effort: the runtime may have made copies (docs/limits.md). */
export function wipe(...secrets: readonly (Uint8Array | undefined)[]): void {
  for (const secret of secrets) secret?.fill(0);
}

const HEX = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0"));

export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += HEX[byte];
  return text;
}

/** @throws SealttyError `api-misuse` on anything but an even number of hex digits. */
export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  if (!/^(?:[0-9a-fA-F]{2})*$/.test(text)) throw new SealttyError("api-misuse", "Not a hex string");
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

export function u8(value: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(value);
}
export function u16(value: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(value >>> 8, value);
}
export function u32(value: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}
/** `value` below 2^53. */
export function u64(value: number): Uint8Array<ArrayBuffer> {
  return concat(u32(Math.floor(value / 2 ** 32)), u32(value % 2 ** 32));
}

/** u16 length, then the bytes: the `lv()` of docs/protocol.md. */
export function lv16(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  if (bytes.length > 0xffff) throw new SealttyError("api-misuse", "Field longer than 65535 bytes");
  return concat(u16(bytes.length), bytes);
}

/** u32 length, then the bytes. */
export function lv32(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return concat(u32(bytes.length), bytes);
}

/** Reads exact lengths out of untrusted bytes. Every method throws SealttyError `peer-misbehaved` when they run out. */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  /** @param what - names the structure in errors; never taken from the peer. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }
  get offset(): number {
    return this.#at;
  }

  u8(): number {
    return this.#number(1);
  }
  u16(): number {
    return this.#number(2);
  }
  u32(): number {
    return this.#number(4);
  }
  u48(): number {
    return this.#number(6);
  }
  /** @throws also where the value is above 2^53 - 1. */
  u64(): number {
    const high = this.#number(4);
    const low = this.#number(4);
    if (high >= 2 ** 21) this.fail("holds a number that is too large");
    return high * 2 ** 32 + low;
  }

  /** QUIC variable-length integer (RFC 9000 §16), shortest form not required, at most 2^53 - 1. */
  varint(): number {
    const first = this.#number(1);
    if (first < 0x40) return first;
    const size = 1 << (first >> 6);
    let value = first & 0x3f;
    for (let i = 1; i < size; i++) value = value * 256 + this.#number(1);
    if (value > Number.MAX_SAFE_INTEGER) this.fail("holds a number that is too large");
    return value;
  }

  /** A view, not a copy. */
  bytes(length: number): Uint8Array {
    if (length > this.remaining) this.fail("ends too early");
    const view = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return view;
  }

  lv16(limit: number): Uint8Array {
    const length = this.u16();
    if (length > limit) this.fail(`has a field longer than ${limit} bytes`);
    return this.bytes(length);
  }

  lv32(limit: number): Uint8Array {
    const length = this.u32();
    if (length > limit) this.fail(`has a field longer than ${limit} bytes`);
    return this.bytes(length);
  }

  text16(limit: number): string {
    return textOf(this.lv16(limit));
  }

  rest(): Uint8Array {
    return this.bytes(this.remaining);
  }

  /** @throws SealttyError `peer-misbehaved` where bytes are left over. */
  end(): void {
    if (this.remaining !== 0) this.fail("has bytes left over");
  }

  fail(problem: string): never {
    throw new SealttyError("peer-misbehaved", `${this.#what} ${problem}`);
  }

  #number(size: number): number {
    if (size > this.remaining) this.fail("ends too early");
    let value = 0;
    for (let i = 0; i < size; i++) value = value * 256 + (this.#bytes[this.#at + i] as number);
    this.#at += size;
    return value;
  }
}

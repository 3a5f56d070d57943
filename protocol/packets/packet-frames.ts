// What a packet carries inside: a sequence of small frames. docs/protocol.md §5.4

import { copyInto, isZero, Reader } from "../bytes.ts";
import { MAX_ACK_RANGES } from "../limits.ts";

const PADDING = 0x00;
const ACK = 0x01;
const STREAM = 0x02;
const STREAM_END = 0x03;
const WINDOW = 0x04;
const PING = 0x05;
const CLOSE = 0x06;

/** Numbers of a closed range of packets. */
export interface AckRange {
  readonly first: number;
  readonly last: number;
}

/** Newest range first, no two touch. */
export type PacketFrame =
  | { readonly type: "ack"; readonly ranges: readonly AckRange[] }
  | {
      readonly type: "stream";
      readonly stream: number;
      readonly offset: number;
      readonly bytes: Uint8Array;
      readonly end: boolean; // `offset + bytes.length` is the stream's length
    }
  | { readonly type: "window"; readonly stream: number; readonly limit: number }
  | { readonly type: "ping" }
  | { readonly type: "close"; readonly code: number };

export function varintLength(value: number): number {
  return value < 0x40 ? 1 : value < 0x4000 ? 2 : value < 0x40000000 ? 4 : 8;
}

/** Bytes of a STREAM frame around its data. */
export function streamOverhead(stream: number, offset: number, length: number): number {
  return 1 + varintLength(stream) + varintLength(offset) + varintLength(length);
}

/** Fills the plaintext of one packet after the other, in one buffer: a packet per keystroke must not cost 16 KiB each. */
export class PacketWriter {
  #bytes = new Uint8Array(0);
  #capacity = 0;
  #at = 0;

  constructor(capacity = 0) {
    this.begin(capacity);
  }

  /** A new packet of at most `capacity` bytes; what `written` gave before is gone. */
  begin(capacity: number): void {
    if (capacity > this.#bytes.length) {
      this.wipe();
      this.#bytes = new Uint8Array(capacity);
    }
    this.#capacity = capacity;
    this.#at = 0;
  }

  /** Best effort (docs/limits.md). */
  wipe(): void {
    this.#bytes.fill(0);
  }

  get room(): number {
    return this.#capacity - this.#at;
  }
  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }

  /** @returns whether it fitted; what does not fit into `atMost` bytes is left out: older ranges first. */
  ack(ranges: readonly AckRange[], atMost = this.room): boolean {
    const newest = ranges[0];
    if (newest === undefined) return false;
    const fields: number[] = [newest.last, newest.last - newest.first];
    let size = 2 + varintLength(newest.last) + varintLength(newest.last - newest.first);
    let below = newest.first;
    let count = 1;
    for (const range of ranges.slice(1, MAX_ACK_RANGES)) {
      const gap = below - range.last - 2; // at least one number lies between two ranges
      const length = range.last - range.first;
      const more = varintLength(gap) + varintLength(length);
      if (size + more > atMost) break;
      fields.push(gap, length);
      size += more;
      below = range.first;
      count++;
    }
    if (size > atMost) return false;
    this.#byte(ACK);
    this.#byte(count);
    for (const field of fields) this.#varint(field);
    return true;
  }

  stream(stream: number, offset: number, bytes: Uint8Array, end: boolean): void {
    this.#byte(end ? STREAM_END : STREAM);
    this.#varint(stream);
    this.#varint(offset);
    this.#varint(bytes.length);
    copyInto(this.#bytes, this.#at, bytes);
    this.#at += bytes.length;
  }

  window(stream: number, limit: number): boolean {
    if (1 + varintLength(stream) + varintLength(limit) > this.room) return false;
    this.#byte(WINDOW);
    this.#varint(stream);
    this.#varint(limit);
    return true;
  }

  ping(): void {
    this.#byte(PING);
  }

  close(code: number): void {
    this.#byte(CLOSE);
    this.#byte(code);
  }

  /** Fills up to `length` bytes in all. Nothing may be written after. */
  pad(length: number): void {
    this.#bytes.fill(PADDING, this.#at, length);
    this.#at = Math.max(this.#at, length);
  }

  #byte(value: number): void {
    this.#bytes[this.#at++] = value;
  }

  #varint(value: number): void {
    const size = varintLength(value);
    let rest = value;
    for (let i = size - 1; i >= 0; i--) {
      this.#bytes[this.#at + i] = rest % 256;
      rest = Math.floor(rest / 256);
    }
    this.#bytes[this.#at] = (this.#bytes[this.#at] as number) | (Math.log2(size) << 6);
    this.#at += size;
  }
}

/** @throws SealttyError `peer-misbehaved`: the packet is authentic, so the peer itself broke the rules. */
export function readPacketFrames(plaintext: Uint8Array): PacketFrame[] {
  const frames: PacketFrame[] = [];
  const reader: Reader = new Reader(plaintext, "Packet");
  while (reader.remaining > 0) {
    const type = reader.u8();
    switch (type) {
      case PADDING:
        if (!isZero(reader.rest())) reader.fail("has padding that is not zero");
        break;
      case ACK:
        frames.push({ type: "ack", ranges: readAckRanges(reader) });
        break;
      case STREAM:
      case STREAM_END: {
        const stream = reader.varint();
        const offset = reader.varint();
        const bytes = reader.bytes(reader.varint());
        if (offset + bytes.length > 2 ** 48) reader.fail("reaches beyond the longest stream");
        frames.push({ type: "stream", stream, offset, bytes, end: type === STREAM_END });
        break;
      }
      case WINDOW:
        frames.push({ type: "window", stream: reader.varint(), limit: reader.varint() });
        break;
      case PING:
        frames.push({ type: "ping" });
        break;
      case CLOSE:
        frames.push({ type: "close", code: reader.u8() });
        break;
      default:
        reader.fail("holds a frame of unknown type");
    }
  }
  return frames;
}

function readAckRanges(reader: Reader): AckRange[] {
  const count = reader.u8();
  if (count === 0 || count > MAX_ACK_RANGES) reader.fail("acknowledges an impossible number of ranges");
  const ranges: AckRange[] = [];
  let last = reader.varint();
  for (let i = 0; i < count; i++) {
    if (i > 0) last = (ranges[i - 1] as AckRange).first - reader.varint() - 2;
    const first = last - reader.varint();
    if (first < 0) reader.fail("acknowledges numbers below zero");
    ranges.push({ first, last });
  }
  return ranges;
}

// Frames towards the guest: kind, length and number in 15 bits, so that 24 bytes are 13 events of 19 bits. docs/vnc-modem.md §4.

import { concat, u16, u32, u8 } from "../bytes.ts";
import { crc32 } from "../frames/crc32.ts";
import { BitReader, BitWriter, type Symbol, type SymbolWidth } from "./bits.ts";

export const MAX_UP_PAYLOAD = 64;
const ACK = 0;
const DATA = 1;
const RESET = 2;
const HEAD_BITS = 15;
const ACK_BITS = 17;
const RESET_BITS = 50;
/** Of a number, as much as goes over the wire. */
export const NUMBER_MODULUS = 128;
export const ACK_MODULUS = 256;

export type UpFrame =
  | { readonly kind: "ack"; readonly ack: number }
  | { readonly kind: "data"; readonly number: number; readonly ack: number; readonly payload: Uint8Array }
  | { readonly kind: "reset"; readonly epoch: number };

/** What every sum covers without being sent: whose frame it is. */
export interface UpContext {
  readonly nonce: Uint8Array;
  readonly epoch: number;
}

function ackSum({ nonce, epoch }: UpContext, ack: number): number {
  return crc32(concat(nonce, u8(ACK), u16(epoch), u8(ack))) & 0x7f;
}

function dataSum({ nonce, epoch }: UpContext, number: number, ack: number, payload: Uint8Array): number {
  return crc32(concat(nonce, u8(DATA), u16(epoch), u16(number), u8(ack), payload));
}

function resetSum(nonce: Uint8Array, epoch: number): number {
  return crc32(concat(nonce, u8(RESET), u16(epoch)));
}

/** @param frame - numbers whole; at most 64 bytes of payload, at least one. */
export function encodeUp(frame: UpFrame, context: UpContext, width: SymbolWidth): Symbol[] {
  const bits = new BitWriter();
  switch (frame.kind) {
    case "ack": {
      const ack = frame.ack % ACK_MODULUS;
      return bits.put(ACK, 2).put(ack, 8).put(ackSum(context, ack), 7).symbols(width);
    }
    case "reset":
      return bits
        .put(RESET, 2)
        .put(frame.epoch, 16)
        .put(resetSum(context.nonce, frame.epoch), 32)
        .symbols(width);
    case "data": {
      const number = frame.number & 0xffff;
      const ack = frame.ack % ACK_MODULUS;
      return bits
        .put(DATA, 2)
        .put(frame.payload.length - 1, 6)
        .put(number % NUMBER_MODULUS, 7)
        .put(ack, 8)
        .bytes(frame.payload)
        .bytes(u32(dataSum(context, number, ack, frame.payload)))
        .symbols(width);
    }
  }
}

/** `undefined` while one is under way; `spoiled`: it ended before its time, or its sum is wrong. */
export type UpEvent = UpFrame | { readonly kind: "spoiled" };

/** Puts symbols together again. A lost, merged or foreign one costs the frame it is in, and the next start begins anew. */
export class UpDecoder {
  readonly #width: SymbolWidth;
  #bits: BitReader | undefined; // undefined between frames

  constructor(width: SymbolWidth) {
    this.#width = width;
  }

  /**
   * @param expected - number of the frame that should be next, whole: of what came only the lowest 7 bits are known.
   * @returns what this symbol completed, in order.
   */
  push(symbol: Symbol, context: UpContext, expected: number): UpEvent[] {
    const events: UpEvent[] = [];
    if (symbol.start) {
      if (this.#bits !== undefined) events.push({ kind: "spoiled" });
      this.#bits = new BitReader();
    }
    if (this.#bits === undefined) return events;
    this.#bits.push(symbol.value, symbol.start ? this.#width.start : this.#width.bits);
    const whole = this.#whole(this.#bits);
    if (whole === undefined || this.#bits.length < whole) return events;
    events.push(read(this.#bits, context, expected));
    this.#bits = undefined;
    return events;
  }

  /** The device told of a gap. @returns whether a frame was under way. */
  drop(): boolean {
    const had = this.#bits !== undefined;
    this.#bits = undefined;
    return had;
  }

  /** Bits of the frame under way, once that is known. */
  #whole(bits: BitReader): number | undefined {
    if (bits.length < 2) return undefined;
    bits.rewind();
    const kind = bits.take(2);
    if (kind === ACK) return ACK_BITS;
    if (kind === RESET) return RESET_BITS;
    if (kind !== DATA) return 0; // nothing of the kind: spoiled at once
    if (bits.length < HEAD_BITS) return undefined;
    return HEAD_BITS + 8 * (1 + bits.take(6) + 1 + 4);
  }
}

function read(bits: BitReader, context: UpContext, expected: number): UpEvent {
  const spoiled = { kind: "spoiled" } as const;
  bits.rewind();
  switch (bits.take(2)) {
    case ACK: {
      const ack = bits.take(8);
      return bits.take(7) === ackSum(context, ack) ? { kind: "ack", ack } : spoiled;
    }
    case RESET: {
      const epoch = bits.take(16);
      return bits.take(32) === resetSum(context.nonce, epoch) ? { kind: "reset", epoch } : spoiled;
    }
    case DATA: {
      const length = bits.take(6) + 1;
      const number = nearest(bits.take(7), expected);
      const ack = bits.take(8);
      const payload = bits.bytes(length);
      return bits.take(32) === dataSum(context, number, ack, payload)
        ? { kind: "data", number, ack, payload }
        : spoiled;
    }
    default:
      return spoiled;
  }
}

/** The number (modulo 2^16) next to `expected`, before or behind it, that ends in these 7 bits. */
function nearest(low: number, expected: number): number {
  const ahead = (low - expected + NUMBER_MODULUS * 1024) % NUMBER_MODULUS;
  return (expected + (ahead < NUMBER_MODULUS / 2 ? ahead : ahead - NUMBER_MODULUS)) & 0xffff;
}

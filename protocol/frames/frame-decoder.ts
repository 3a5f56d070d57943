// Frames out of a hostile byte stream: COBS and armour both decoded at once, everything else is host noise.

import { copyInto } from "../bytes.ts";
import { MAX_ARMOUR_LINE, MAX_FRAME_BODY, MAX_NOISE_KEPT } from "../limits.ts";
import { isArmourCharacter, ARMOUR_MARK, readArmourLine } from "./armour.ts";
import { cobsDecode, cobsDecodeInto, maxCobsLength } from "./cobs.ts";
import { crc32 } from "./crc32.ts";
import { FRAME_PACKET, FRAME_RAW, frameHead, readRaw } from "./frame-body.ts";
import type { FrameEncoding } from "./frame-encoder.ts";

export interface DecodedFrame {
  readonly body: Uint8Array;
  readonly encoding: FrameEncoding;
}
export interface Decoded {
  readonly frames: readonly DecodedFrame[];
  /** At most MAX_NOISE_KEPT bytes, the newest of this call. Hostile: show it escaped or not at all. */
  readonly noise: Uint8Array;
}

const MAX_SEGMENT = maxCobsLength(MAX_FRAME_BODY + 4);
/** What most pipes ever need: a frame of the usual length. */
const SHORT_SEGMENT = 20 * 1024;
/** What one read of a socket brings, and what was left of a frame before it. */
const LENT_BLOCK = 64 * 1024 + MAX_SEGMENT;
/** A raw body of which nothing came for so long is given up, ms: its sender had it whole when it began. */
const RAW_SILENCE = 500;
const NOTHING = new Uint8Array(0);
const TILDE = ARMOUR_MARK[0] as number;
const LF = 0x0a;
const CR = 0x0d;

/** How far a search for the mark may go on from a byte that stands where the mark's last one would: Horspool (1980). */
const MARK_SHIFT = new Uint8Array(256).fill(ARMOUR_MARK.length);
ARMOUR_MARK.subarray(0, -1).forEach((byte, i) => (MARK_SHIFT[byte] = ARMOUR_MARK.length - 1 - i));

/** Where the armour's mark stands whole in `piece` from `from` on, or begins at its end; -1: nowhere. */
function markIn(piece: Uint8Array, from: number): number {
  const last = ARMOUR_MARK.length - 1;
  let at = from;
  while (at + last < piece.length) {
    const byte = piece[at + last] as number;
    if (byte === ARMOUR_MARK[last] && beginsMark(piece, at)) return at;
    at += MARK_SHIFT[byte] as number;
  }
  for (; at < piece.length; at++) if (beginsMark(piece, at)) return at;
  return -1;
}

function beginsMark(piece: Uint8Array, at: number): boolean {
  for (let i = 0; i < ARMOUR_MARK.length && at + i < piece.length; i++)
    if (piece[at + i] !== ARMOUR_MARK[i]) return false;
  return true;
}

export class FrameDecoder {
  // Bytes since the last 0x00, or since the last armoured line: a COBS body under way, or noise.
  #segment = new Uint8Array(0); // SHORT_SEGMENT, then MAX_SEGMENT bytes: whole frames of a chunk need none
  #length = 0;
  #overflowed = false; // the segment under way is too long for a frame: it is noise up to its next zero
  readonly #line = new Uint8Array(MAX_ARMOUR_LINE + 1);
  #lineLength = 0; // 0: no armoured line under way
  #frames: DecodedFrame[] = [];
  // Twice what is kept, so that making room is rare: a host may send its noise in pieces of one byte.
  readonly #noise = new Uint8Array(2 * MAX_NOISE_KEPT);
  #noiseLength = 0; // of this call
  #noiseBytes = 0;
  readonly #checksum: (bytes: Uint8Array) => number;
  readonly #lends: boolean;
  readonly #takesRaw: boolean;
  #heardAt = 0; // when the latest chunk came
  #decoded = new Uint8Array(0); // what this call decoded so far, where bodies are lent
  #decodedLength = 0;
  #raw: { readonly id: number; readonly length: number } | undefined; // a raw body is under way: its bytes gather in the segment
  #spare: Uint8Array<ArrayBuffer> | undefined; // a segment, while the other one is lent

  /**
   * @param checksum - CRC-32; native where the runtime has it. @param bodies - "lends": those of binary frames are there until
   * the next `push`, which spares their reader most of what it allocates. @param takesRaw - false where binary frames are not
   * taken: nothing that one of them announces is either.
   */
  constructor(
    checksum: (bytes: Uint8Array) => number = crc32,
    bodies: "gives" | "lends" = "gives",
    takesRaw = true,
  ) {
    this.#checksum = checksum;
    this.#lends = bodies === "lends";
    this.#takesRaw = takesRaw;
  }

  /** Noise seen since the start, bytes. */
  get noiseBytes(): number {
    return this.#noiseBytes;
  }

  /**
   * Takes one chunk of the stream, which may be lent on. Never throws; holds a few bounded buffers between calls.
   * @param now - ms, of a clock that goes on; without one as if no time went by.
   */
  push(chunk: Uint8Array, now = 0): Decoded {
    this.#frames = [];
    this.#noiseLength = 0;
    this.#decodedLength = 0;
    let at = 0;
    if (this.#raw !== undefined && (now - this.#heardAt >= RAW_SILENCE || this.#beginsAnew(chunk)))
      this.#endRaw();
    this.#heardAt = now;
    while (at < chunk.length) {
      if (this.#raw !== undefined) {
        at = this.#takeRaw(this.#raw, chunk, at);
        continue;
      }
      const zero = chunk.indexOf(0, at);
      // The usual case: the zero that begins a frame, right behind the one that ended another.
      if (zero === at && this.#length === 0 && !this.#overflowed) {
        this.#lineLength = 0;
        at++;
        continue;
      }
      const end = zero < 0 ? chunk.length : zero;
      const piece = chunk.subarray(at, end);
      // The usual case costs no copy: a whole frame inside one chunk.
      const whole =
        zero >= 0 && this.#length === 0 && !this.#overflowed && piece.length > 0
          ? this.#checkedBody(piece)
          : undefined;
      if (whole !== undefined) {
        this.#lineLength = 0;
        this.#found(whole);
      } else {
        this.#takePiece(piece);
        if (zero >= 0) this.#endSegment();
      }
      at = end + 1;
    }
    return { frames: this.#frames, noise: this.#newestNoise() };
  }

  #takePiece(piece: Uint8Array): void {
    let at = 0;
    while (at < piece.length) {
      if (this.#lineLength === 0) {
        const mark = markIn(piece, at);
        if (mark < 0) return this.#append(piece.subarray(at));
        this.#append(piece.subarray(at, mark + 1));
        this.#line[0] = TILDE;
        this.#lineLength = 1;
        at = mark + 1;
        continue;
      }
      at = this.#takeLine(piece, at);
    }
  }

  /** Goes on with the armoured line under way. @returns the index behind what it took. */
  #takeLine(piece: Uint8Array, from: number): number {
    let at = from;
    while (at < piece.length) {
      const byte = piece[at] as number;
      const position = this.#lineLength;
      const expected =
        position < ARMOUR_MARK.length ? byte === ARMOUR_MARK[position] : isArmourCharacter(byte);
      if (expected && position < MAX_ARMOUR_LINE) {
        this.#line[this.#lineLength++] = byte;
        at++;
        continue;
      }
      // The line is over: either ended by a line end, or it never was one (the byte is looked at again then).
      this.#append(piece.subarray(from, at));
      this.#lineLength = 0;
      if (byte === LF || byte === CR) {
        const body = this.#bodyUnderCrc(readArmourLine(this.#line.subarray(0, position)));
        if (body !== undefined) {
          this.#give(body, "armour");
          if (!this.#overflowed) this.#length -= position; // the line itself is no noise
          if (this.#length > 0) this.#addNoise(this.#segment.subarray(0, this.#length));
          this.#length = 0;
        }
      }
      return at;
    }
    this.#append(piece.subarray(from, at));
    return at;
  }

  #append(bytes: Uint8Array): void {
    if (this.#overflowed) return this.#addNoise(bytes);
    if (this.#length + bytes.length > MAX_SEGMENT) {
      this.#addNoise(this.#segment.subarray(0, this.#length));
      this.#addNoise(bytes);
      this.#length = 0;
      this.#overflowed = true;
      return;
    }
    this.#gather(bytes);
  }

  /** Two lengths, whatever the stream states and sends. */
  #gather(bytes: Uint8Array): void {
    const length = this.#length + bytes.length;
    if (length > this.#segment.length) {
      const longer = new Uint8Array(length > SHORT_SEGMENT ? MAX_SEGMENT : SHORT_SEGMENT);
      copyInto(longer, 0, this.#segment.subarray(0, this.#length));
      this.#segment = longer;
    }
    copyInto(this.#segment, this.#length, bytes);
    this.#length = length;
  }

  #endSegment(): void {
    const segment = this.#segment.subarray(0, this.#length);
    if (!this.#overflowed && segment.length > 0) {
      const body = this.#checkedBody(segment);
      if (body !== undefined) this.#found(body);
      else this.#addNoise(segment);
    }
    this.#length = 0;
    this.#overflowed = false;
    this.#lineLength = 0;
  }

  #found(body: Uint8Array): void {
    const length = this.#takesRaw ? readRaw(body) : undefined;
    if (length === undefined) this.#give(body, "binary");
    else this.#raw = { id: frameHead(body)?.id ?? 0, length };
  }

  /**
   * RAW is between encoder and decoder, and goes no further: a relay that passed on one that announces nothing to it could have
   * one client's frame swallow another client's, in a guest that has other bounds.
   */
  #give(body: Uint8Array, encoding: FrameEncoding): void {
    if (body[0] !== FRAME_RAW) this.#frames.push({ body, encoding });
  }

  /**
   * The rest of a raw body may never come: its sender was cut off, and another one speaks. A read that begins with a whole frame
   * shows it (that sealed bytes look so has a chance of 2^-40), and so does silence, where reads are shorter than frames.
   */
  #beginsAnew(chunk: Uint8Array): boolean {
    const first = chunk[0] === LF ? 1 : 0;
    if (chunk.length - first >= ARMOUR_MARK.length && beginsMark(chunk, first)) return true;
    if (chunk[0] !== 0) return false;
    const end = chunk.indexOf(0, 1);
    return end > 1 && this.#checkedBody(chunk.subarray(1, end)) !== undefined;
  }

  /** @returns the index behind what it took. */
  #takeRaw(
    { id, length }: { readonly id: number; readonly length: number },
    chunk: Uint8Array,
    from: number,
  ): number {
    const to = Math.min(chunk.length, from + length - this.#length);
    const piece = chunk.subarray(from, to);
    if (piece.length === length) {
      this.#endRaw();
      this.#foundRaw(id, this.#lends ? piece : new Uint8Array(piece));
      return to;
    }
    this.#gather(piece);
    if (this.#length < length) return to;
    const body = this.#segment.subarray(0, length);
    this.#endRaw();
    if (this.#lends) {
      // The next one may begin in this call; a third one cannot: that begins where the second one, a whole one, ended.
      const lent = this.#segment;
      this.#segment = this.#spare ?? new Uint8Array(0);
      this.#spare = lent;
      this.#foundRaw(id, body);
    } else this.#foundRaw(id, new Uint8Array(body));
    return to;
  }

  #endRaw(): void {
    this.#raw = undefined;
    this.#length = 0;
  }

  /** It has no checksum, and needs none where it is what was announced: a packet, which is sealed. */
  #foundRaw(id: number, body: Uint8Array): void {
    const head = frameHead(body);
    if (head?.type === FRAME_PACKET && head.id === id) this.#frames.push({ body, encoding: "binary" });
  }

  #addNoise(bytes: Uint8Array): void {
    if (bytes.every((byte) => byte === LF || byte === CR)) return; // what stands around an armoured line
    this.#noiseBytes += bytes.length;
    const newest = bytes.subarray(Math.max(0, bytes.length - MAX_NOISE_KEPT));
    if (this.#noiseLength + newest.length > this.#noise.length) {
      this.#noise.copyWithin(0, this.#noiseLength - MAX_NOISE_KEPT, this.#noiseLength);
      this.#noiseLength = MAX_NOISE_KEPT;
    }
    this.#noise.set(newest, this.#noiseLength);
    this.#noiseLength += newest.length;
  }

  #newestNoise(): Uint8Array {
    if (this.#noiseLength === 0) return NOTHING;
    return this.#noise.slice(Math.max(0, this.#noiseLength - MAX_NOISE_KEPT), this.#noiseLength);
  }

  #checkedBody(encoded: Uint8Array): Uint8Array | undefined {
    if (encoded.length > MAX_SEGMENT) return undefined;
    return this.#bodyUnderCrc(this.#lends ? this.#decodedHere(encoded) : cobsDecode(encoded));
  }

  /** The same without an array for each frame. Those of one call stand behind each other. */
  #decodedHere(encoded: Uint8Array): Uint8Array | undefined {
    // The bodies so far keep the memory that they are in.
    if (this.#decodedLength + encoded.length > this.#decoded.length) {
      this.#decoded = new Uint8Array(LENT_BLOCK);
      this.#decodedLength = 0;
    }
    const decoded = cobsDecodeInto(encoded, this.#decoded.subarray(this.#decodedLength));
    if (decoded !== undefined) this.#decodedLength += decoded.length;
    return decoded;
  }

  #bodyUnderCrc(checked: Uint8Array | undefined): Uint8Array | undefined {
    if (checked === undefined || checked.length < 5 || checked.length - 4 > MAX_FRAME_BODY) return undefined;
    const end = checked.length - 4;
    const stated =
      (((checked[end] as number) << 24) |
        ((checked[end + 1] as number) << 16) |
        ((checked[end + 2] as number) << 8) |
        (checked[end + 3] as number)) >>>
      0;
    return this.#checksum(checked.subarray(0, end)) === stated ? checked.subarray(0, end) : undefined;
  }
}

// The one picture that a VNC server fills: width × height × 3 bytes, bounded, and which of its rows changed.

import { SealttyError } from "../errors.ts";
import { MAX_RFB_PIXELS, MAX_RFB_SIDE } from "../limits.ts";
import { rfbFault } from "./fault.ts";

/** Bytes of a pixel here, and on the wire. */
const KEPT = 3;
const SENT = 4;

/** `to` is the first row behind it. */
export interface RowRange {
  readonly from: number;
  readonly to: number;
}

export interface Rectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export class Framebuffer {
  #width = 0;
  #height = 0;
  #store = new Uint8Array(0); // may be longer than the picture: a smaller one keeps it
  #changed = new Uint8Array(0); // 1 for each row that changed
  // Of the changed rows the first, and behind the last: looking for them costs no more than they do.
  #first = MAX_RFB_SIDE;
  #behind = 0;

  get width(): number {
    return this.#width;
  }
  get height(): number {
    return this.#height;
  }

  /**
   * Row after row without gaps, a pixel as blue, green, red: as on the wire, and as in the guest's own framebuffer. What the server
   * did not send since the last resize is anything that it sent before. A view, good until the next resize.
   */
  get pixels(): Uint8Array {
    const length = this.#width * this.#height * KEPT;
    if (this.#store.length < length) {
      // Only now, not when a size was announced; at least doubled, so that sizes that grow and grow do not make many.
      const most = MAX_RFB_PIXELS * KEPT;
      this.#store = new Uint8Array(Math.min(most, Math.max(length, 2 * this.#store.length)));
    }
    return this.#store.subarray(0, length);
  }

  /** The bytes of one row, a view as `pixels`. @throws SealttyError `api-misuse` where there is no such row. */
  row(y: number): Uint8Array {
    if (!Number.isInteger(y) || y < 0 || y >= this.#height)
      throw new SealttyError("api-misuse", "A row outside the framebuffer");
    return this.pixels.subarray(y * this.#width * KEPT, (y + 1) * this.#width * KEPT);
  }

  /** Allocates nothing but a flag for each row. @throws SealttyError `transport-lost` where the size cannot be taken. */
  resize(width: number, height: number): void {
    if (width === 0 || height === 0) throw rfbFault("has a screen without any pixels");
    if (width > MAX_RFB_SIDE || height > MAX_RFB_SIDE || width * height > MAX_RFB_PIXELS)
      throw rfbFault(`has a screen of ${width} × ${height} pixels, which is too large`);
    this.takeChanges(); // of the old size
    this.#width = width;
    this.#height = height;
    if (this.#changed.length < height) this.#changed = new Uint8Array(MAX_RFB_SIDE);
  }

  /**
   * @returns what takes the pixels of `rectangle` in pieces of any length, `width * height * 4` bytes in all: blue, green, red and
   * one that is thrown away. @throws SealttyError `transport-lost` where it is not within the picture.
   */
  writer({ x, y, width, height }: Rectangle): (piece: Uint8Array) => void {
    if (x + width > this.#width || y + height > this.#height)
      throw rfbFault("sent a rectangle that is outside its screen");
    const row = width * SENT;
    let written = 0;
    return (piece) => {
      const pixels = this.pixels;
      for (let at = 0; at < piece.length; ) {
        const line = y + Math.floor(written / row);
        const within = written % row;
        const take = Math.min(piece.length - at, row - within);
        const target = (line * this.#width + x) * KEPT;
        copyPixels(piece.subarray(at, at + take), pixels.subarray(target, target + width * KEPT), within);
        this.#mark(line);
        written += take;
        at += take;
      }
    };
  }

  /** The rows that changed since the last call, from the top, neighbours together. */
  takeChanges(): RowRange[] {
    const ranges: RowRange[] = [];
    let from: number | undefined;
    for (let y = this.#first; y < this.#behind; y++) {
      const changed = this.#changed[y] === 1;
      this.#changed[y] = 0;
      if (changed) from ??= y;
      else if (from !== undefined) {
        ranges.push({ from, to: y });
        from = undefined;
      }
    }
    if (from !== undefined) ranges.push({ from, to: this.#behind });
    this.#first = MAX_RFB_SIDE;
    this.#behind = 0;
    return ranges;
  }

  #mark(y: number): void {
    this.#changed[y] = 1;
    if (y < this.#first) this.#first = y;
    if (y >= this.#behind) this.#behind = y + 1;
  }
}

/** @param from - bytes of a row on the wire, beginning with its byte `offset`. @param to - that row here, whole. */
function copyPixels(from: Uint8Array, to: Uint8Array, offset: number): void {
  let at = 0;
  const bytewise = (until: number): void => {
    for (; at < until; at++) {
      const place = offset + at;
      const channel = place % SENT;
      if (channel < KEPT) to[KEPT * Math.floor(place / SENT) + channel] = from[at] as number;
    }
  };
  bytewise(Math.min(from.length, (SENT - (offset % SENT)) % SENT)); // the rest of a pixel that was cut
  let target = KEPT * ((offset + at) / SENT);
  for (; at + SENT <= from.length; at += SENT, target += KEPT) {
    to[target] = from[at] as number;
    to[target + 1] = from[at + 1] as number;
    to[target + 2] = from[at + 2] as number;
  }
  bytewise(from.length);
}

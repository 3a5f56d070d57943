// Bytes to a guest's own framebuffer or text cells. docs/vnc-modem.md §2.

import { PALETTE_CELLS, rowBytes, type ScreenSize } from "./geometry.ts";

const SPACE = 0x20;
/** Lower half block in the fonts of a PC. */
const HALF_BLOCK = 0xdc;
const COLOURS = 16;

/**
 * @returns what a framebuffer or `/dev/vcsa*` holds for these bytes, from the beginning of a row on; ends with the pixel or
 * cell that the last of them is in. 4 bytes a pixel (B, G, R, unused), 2 (565, little-endian), or 2 a cell (character, attribute).
 */
export function encodeRows(size: ScreenSize, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  switch (size.format) {
    case "rgb888":
      return wholePixels(bytes);
    case "rgb565":
      return shortPixels(bytes);
    case "cells8":
      return cells(bytes.length, (i) => [HALF_BLOCK, bytes[i] as number]);
    case "cells4": {
      // An odd last cell of a row stays out: a byte is never on two rows.
      const perRow = rowBytes(size) * 2;
      const nibble = (n: number): number => ((bytes[n >>> 1] as number) >>> (n % 2 === 0 ? 4 : 0)) & 15;
      if (perRow === size.width) return cells(bytes.length * 2, (i) => [SPACE, nibble(i) << 4]);
      const lastRow = Math.max(0, Math.ceil(bytes.length / rowBytes(size)) - 1);
      return cells(bytes.length * 2 + lastRow, (i) => {
        const column = i % size.width;
        return column === perRow
          ? [SPACE, 0]
          : [SPACE, nibble(Math.floor(i / size.width) * perRow + column) << 4];
      });
    }
  }
}

/** What stands in front of a beacon on cells: each colour once, in order. @returns 32 bytes */
export function paletteCells(): Uint8Array<ArrayBuffer> {
  return cells(PALETTE_CELLS, (i) => [SPACE, (i % COLOURS) << 4]);
}

function wholePixels(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const pixels = new Uint8Array(Math.ceil(bytes.length / 3) * 4);
  for (let i = 0; i < bytes.length; i++) pixels[((i / 3) | 0) * 4 + (i % 3)] = bytes[i] as number;
  return pixels;
}

function shortPixels(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const pixels = new Uint8Array(Math.ceil(bytes.length / 2) * 2);
  for (let i = 0; i < bytes.length; i++) pixels[i ^ 1] = bytes[i] as number;
  return pixels;
}

function cells(count: number, cell: (i: number) => readonly [number, number]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count * 2);
  for (let i = 0; i < count; i++) bytes.set(cell(i), i * 2);
  return bytes;
}

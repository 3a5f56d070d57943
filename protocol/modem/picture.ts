// The client's eye: a picture to bytes, and where in it a beacon is. docs/vnc-modem.md §2. Everything here comes from the host.

import { type Beacon, BEACON_BYTES, decodeBeacon } from "./blocks.ts";
import {
  BEACON_ROW,
  isCells,
  PALETTE_CELLS,
  pictureWidth,
  rowBytes,
  type ScreenFormat,
  type ScreenSize,
} from "./geometry.ts";

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** `width * height * 3`: blue, green, red of each pixel, row after row. */
  readonly pixels: Uint8Array;
}

/** Sizes of a text cell, pixels, as consoles have them: most usual first. */
export const CELL_SIZES: readonly (readonly [number, number])[] = [
  [9, 16],
  [8, 16],
  [8, 14],
  [8, 8],
  [9, 14],
  [10, 18],
  [12, 24],
  [16, 32],
];
/** Widths that a screen may have had before somebody scaled its picture. */
const USUAL_WIDTHS = [320, 640, 720, 800, 1024, 1152, 1280, 1366, 1440, 1600, 1680, 1920, 2560, 3840];

/** How bytes are read out of a picture of one geometry. */
export class View {
  readonly size: ScreenSize;
  readonly #cell: readonly [number, number];
  readonly #palette: ReadonlyMap<number, number>;

  constructor(
    size: ScreenSize,
    cell: readonly [number, number] = [1, 1],
    palette: ReadonlyMap<number, number> = new Map(),
  ) {
    this.size = size;
    this.#cell = cell;
    this.#palette = palette;
  }

  /**
   * @param length - may go over the ends of rows.
   * @param skip - cells or pixels of the first row to leave out.
   * @returns undefined where the picture does not reach so far, or a cell's colour is none of the palette.
   */
  bytes(picture: Picture, row: number, length: number, skip = 0): Uint8Array<ArrayBuffer> | undefined {
    const bytes = new Uint8Array(length);
    const perRow = rowBytes(this.size);
    for (let at = 0, y = row; at < length; y++) {
      const count = Math.min(length - at, perRow);
      if (!this.#row(picture, y, skip, bytes.subarray(at, at + count))) return undefined;
      at += count;
    }
    return bytes;
  }

  #row(picture: Picture, y: number, skip: number, into: Uint8Array): boolean {
    const { format } = this.size;
    const [cellWidth, cellHeight] = this.#cell;
    if ((y + 1) * cellHeight > picture.height) return false;
    const units = Math.ceil((into.length * UNITS[format][0]) / UNITS[format][1]);
    if ((skip + units) * cellWidth > picture.width) return false;
    const { pixels, width } = picture;
    if (isCells(format)) return this.#cells(picture, y, skip, into);
    let from = (y * width + skip) * 3;
    if (format === "rgb888") {
      into.set(pixels.subarray(from, from + into.length));
      return true;
    }
    for (let i = 0; i < into.length; i += 2, from += 3) {
      // The display spread 5, 6 and 5 bits over 8 each: the highest are what was drawn.
      const short =
        (((pixels[from + 2] as number) >>> 3) << 11) |
        (((pixels[from + 1] as number) >>> 2) << 5) |
        ((pixels[from] as number) >>> 3);
      into[i] = short >>> 8;
      if (i + 1 < into.length) into[i + 1] = short;
    }
    return true;
  }

  #cells(picture: Picture, y: number, skip: number, into: Uint8Array): boolean {
    const halves = this.size.format === "cells8";
    const [cellWidth, cellHeight] = this.#cell;
    const upper = y * cellHeight + (cellHeight >>> 2);
    const lower = y * cellHeight + ((cellHeight * 3) >>> 2);
    for (let i = 0; i < into.length; i++) {
      const cell = skip + (halves ? i : i * 2);
      const x = cell * cellWidth + (cellWidth >>> 1);
      const high = this.#palette.get(colourAt(picture, x, upper));
      const low = this.#palette.get(
        halves ? colourAt(picture, x, lower) : colourAt(picture, x + cellWidth, upper),
      );
      if (high === undefined || low === undefined) return false;
      into[i] = high * 16 + low;
    }
    return true;
  }
}

/** Pixels or cells, for so many bytes. */
const UNITS: Readonly<Record<ScreenFormat, readonly [number, number]>> = {
  rgb888: [1, 3],
  rgb565: [1, 2],
  cells4: [2, 1],
  cells8: [1, 1],
};

function colourAt({ pixels, width }: Picture, x: number, y: number): number {
  const at = (y * width + x) * 3;
  return ((pixels[at] as number) << 16) | ((pixels[at + 1] as number) << 8) | (pixels[at + 2] as number);
}

/**
 * What a look at a picture found. `scaled`: a beacon that is larger or smaller than it was drawn; `cut`: one of a screen that
 * is not this picture. Neither carries anything, and a person can be told why.
 */
export type Sight =
  | { readonly kind: "nothing" | "scaled" | "cut" }
  | { readonly kind: "beacon"; readonly beacon: Beacon; readonly view: View };

export function lookForBeacon(picture: Picture): Sight {
  const pixels = beaconInPixels(picture);
  if (pixels !== undefined) {
    const { width, height } = pixels.size;
    const whole =
      picture.height === height && (picture.width === width || picture.width === pictureWidth(width));
    return whole ? { kind: "beacon", beacon: pixels, view: new View(pixels.size) } : { kind: "cut" };
  }
  let cut = false;
  for (const cell of CELL_SIZES) {
    const found = beaconInCells(picture, cell);
    if (found?.kind === "beacon") return found;
    cut ||= found !== undefined; // or it was read as if its cells were higher
  }
  if (cut) return { kind: "cut" };
  return { kind: isScaled(picture) ? "scaled" : "nothing" };
}

/** Of one unit of height: a row of pixels. */
function beaconInPixels(picture: Picture): Beacon | undefined {
  for (const format of ["rgb888", "rgb565"] as const) {
    const view = new View({ format, width: picture.width, height: picture.height });
    const bytes = view.bytes(picture, BEACON_ROW, BEACON_BYTES);
    const beacon = bytes === undefined ? undefined : decodeBeacon(bytes);
    if (beacon?.size.format === format) return beacon;
  }
  return undefined;
}

function beaconInCells(picture: Picture, cell: readonly [number, number]): Sight | undefined {
  const [cellWidth, cellHeight] = cell;
  const width = Math.floor(picture.width / cellWidth);
  const height = Math.floor(picture.height / cellHeight);
  if (width < PALETTE_CELLS || height < 1) return undefined;
  const palette = new Map<number, number>();
  for (let i = 0; i < PALETTE_CELLS; i++)
    palette.set(colourAt(picture, i * cellWidth + (cellWidth >>> 1), cellHeight >>> 2), i);
  if (palette.size < PALETTE_CELLS) return undefined;
  for (const format of ["cells8", "cells4"] as const) {
    const view = new View({ format, width, height }, cell, palette);
    const bytes = view.bytes(picture, BEACON_ROW, BEACON_BYTES, PALETTE_CELLS);
    const beacon = bytes === undefined ? undefined : decodeBeacon(bytes);
    if (beacon?.size.format !== format) continue;
    // The picture is a multiple of 16 pixels wide, a console need not be.
    const whole =
      beacon.size.height === height &&
      beacon.size.width <= width &&
      pictureWidth(beacon.size.width * cellWidth) >= picture.width - cellWidth;
    return whole ? { kind: "beacon", beacon, view: new View(beacon.size, cell, palette) } : { kind: "cut" };
  }
  return undefined;
}

/** Whether a beacon's row shows once every so manieth pixel is looked at. Smoothed pictures show none. */
function isScaled(picture: Picture): boolean {
  return USUAL_WIDTHS.some((width) => {
    if (width === picture.width) return false;
    const step = picture.width / width;
    const needed = BEACON_BYTES / 2; // pixels of the longer form
    if (needed * step > picture.width || step / 2 >= picture.height) return false;
    const row = new Uint8Array(needed * 3);
    for (let i = 0; i < needed; i++) {
      const from = (Math.floor(step / 2) * picture.width + Math.floor((i + 0.5) * step)) * 3;
      row.set(picture.pixels.subarray(from, from + 3), i * 3);
    }
    return beaconInPixels({ width: needed, height: 1, pixels: row }) !== undefined;
  });
}

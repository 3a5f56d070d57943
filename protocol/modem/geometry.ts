// Where on a screen the modem's bytes are: areas, slots, pixel formats. docs/vnc-modem.md §1.

/**
 * How bytes become colours: three in each pixel of 32 bits, as they are in memory; two in each of 16 (565); or text cells, whose
 * colours are the console's sixteen: one of them in a cell (a space), or two (a lower half block).
 */
export type ScreenFormat = "rgb888" | "rgb565" | "cells4" | "cells8";

export interface ScreenSize {
  readonly format: ScreenFormat;
  /** Pixels, or cells. */
  readonly width: number;
  readonly height: number;
}

/** Byte of the beacon for each format. */
export const FORMAT_CODES: Readonly<Record<ScreenFormat, number>> = {
  rgb888: 1,
  rgb565: 2,
  cells4: 3,
  cells8: 4,
};

/** Cells in front of the beacon, one for each colour in order: who reads cells learns the palette from them. */
export const PALETTE_CELLS = 16;
export const BEACON_ROW = 0;
export const STATUS_ROW = 1;
/** Slots of a ring; fewer where the screen is too low. */
const MAX_SLOTS = 32;
/** Bytes of a slot on text cells, at least: a slot's header is 16 of them. */
const SMALL_SLOT = 160;
const PIXEL_SLOTS_TOP = 8;
const CELL_SLOTS_TOP = 2;
/** Rows below the slots, for words to whoever looks at the plain picture. */
const NOTICE_PIXEL_ROWS = 64;
const NOTICE_CELL_ROWS = 3;

export interface SlotLayout {
  readonly top: number;
  readonly rowsPerSlot: number;
  readonly slots: number;
}

/** Whole bytes that a row carries. */
export function rowBytes({ format, width }: ScreenSize): number {
  if (format === "rgb888") return width * 3;
  if (format === "rgb565") return width * 2;
  return format === "cells8" ? width : width >>> 1;
}

export function slotBytes(size: ScreenSize, layout: SlotLayout): number {
  return rowBytes(size) * layout.rowsPerSlot;
}

export function isCells(format: ScreenFormat): boolean {
  return format === "cells4" || format === "cells8";
}

/** @returns undefined where the screen is too small for a beacon, or for two slots and the words below them. */
export function layoutFor(size: ScreenSize): SlotLayout | undefined {
  const cells = isCells(size.format);
  if (size.width < (cells ? 80 : 320) || size.width > 0xffff || size.height > 0xffff) return undefined;
  const top = cells ? CELL_SLOTS_TOP : PIXEL_SLOTS_TOP;
  const rowsPerSlot = Math.max(1, Math.ceil(SMALL_SLOT / rowBytes(size)));
  const room = size.height - top - (cells ? NOTICE_CELL_ROWS : NOTICE_PIXEL_ROWS);
  const slots = Math.min(MAX_SLOTS, Math.floor(room / rowsPerSlot));
  return slots < 2 ? undefined : { top, rowsPerSlot, slots };
}

/** Whether a beacon's layout fits onto its screen, above the status and each slot behind the other. */
export function isPossible(size: ScreenSize, layout: SlotLayout): boolean {
  return (
    layout.top > STATUS_ROW &&
    layout.rowsPerSlot >= 1 &&
    layout.slots >= 2 &&
    layout.slots <= MAX_SLOTS &&
    layout.top + layout.rowsPerSlot * layout.slots <= size.height &&
    slotBytes(size, layout) >= SMALL_SLOT &&
    slotBytes(size, layout) <= 0xffff
  );
}

/** QEMU's picture is so wide for a screen of `width` pixels, and pointer positions are parts of that. */
export function pictureWidth(width: number): number {
  return Math.ceil(width / 16) * 16;
}

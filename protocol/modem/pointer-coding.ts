// Symbols as pointer events. docs/vnc-modem.md §5.
// A pointer's position says most; the left button of an absolute one is a clock, since equal events never reach the guest.

import type { Symbol, SymbolWidth } from "./bits.ts";
import type { InputStep } from "./input-events.ts";

export const LEFT = 1;
export const MIDDLE = 2;
export const RIGHT = 4;
/** A device's full scale: QEMU sends floor(x * 32767 / width). */
const FULL_SCALE = 32767;
/** Until the guest has read all that is under way, ms. */
const SETTLE = 40;

export interface Surface {
  /** Pixels of the picture that the client sees. */
  readonly width: number;
  readonly height: number;
}

/** A symbol as events, and events that make both ends begin anew. Has a state: the one for one device. */
export interface SymbolSender {
  readonly width: SymbolWidth;
  events(symbol: Symbol): InputStep["events"];
  /** After a loss the two ends may differ about what is pressed. */
  resync(): InputStep[];
  /** Nothing stays pressed: for when nobody will send any more. */
  release(): InputStep["events"];
  /** An event that says nothing, and takes somebody else's motion upon it while those before it wait. */
  guard?(): InputStep["events"];
}

const log2 = (value: number): number => 31 - Math.clz32(value);

export function absoluteWidth({ width, height }: Surface): SymbolWidth {
  const bits = log2(width) + log2(height);
  return { start: bits, bits };
}

export class AbsoluteSender implements SymbolSender {
  readonly width: SymbolWidth;
  readonly #rows: number; // 2 ** bits of y
  #clock = false;
  #middle = false;
  #last = { x: 0, y: 0 };

  constructor(surface: Surface) {
    this.width = absoluteWidth(surface);
    this.#rows = 2 ** log2(surface.height);
  }

  events({ start, value }: Symbol): InputStep["events"] {
    this.#clock = !this.#clock;
    if (start) this.#middle = false; // all three at once are a resync
    this.#last = { x: Math.floor(value / this.#rows), y: value % this.#rows };
    return [{ kind: "pointer", ...this.#last, mask: this.#mask() | (start ? RIGHT : 0) }];
  }

  guard(): InputStep["events"] {
    this.#middle = !this.#middle;
    return [{ kind: "pointer", ...this.#last, mask: this.#mask() }];
  }

  release(): InputStep["events"] {
    return [{ kind: "pointer", ...this.#last, mask: 0 }];
  }

  #mask(): number {
    return (this.#clock ? LEFT : 0) | (this.#middle ? MIDDLE : 0);
  }

  /** QEMU sends changes of buttons only: pressing and releasing each makes it say all of them. */
  resync(): InputStep[] {
    this.#clock = false;
    this.#middle = false;
    const at = (mask: number): InputStep => ({
      events: [{ kind: "pointer", x: 0, y: 0, mask }],
      rest: SETTLE,
    });
    return [at(LEFT | MIDDLE | RIGHT), at(0)];
  }
}

/** @param x,y - as the device reports them. @returns the symbol's value, or undefined for a position that no symbol has. */
export function absoluteValue(x: number, y: number, { width, height }: Surface): number | undefined {
  const column = Math.ceil((x * width) / FULL_SCALE);
  const row = Math.ceil((y * height) / FULL_SCALE);
  const rows = 2 ** log2(height);
  if (column < 0 || row < 0 || row >= rows || column >= 2 ** log2(width)) return undefined;
  return column * rows + row;
}

/** A mouse's motion is one of 223 × 223 but no motion at all; buttons are the lowest three bits. */
const SIDE = 223;
const REACH = (SIDE - 1) / 2;
const NO_MOTION = REACH * SIDE + REACH;
/** Motions of all but a frame's first symbol; those of the first are above. */
const MOTIONS = 2 ** 15;
const START_MOTIONS = 2 ** 14;
export const RELATIVE_WIDTH: SymbolWidth = { start: 17, bits: 18 };

export class RelativeSender implements SymbolSender {
  readonly width = RELATIVE_WIDTH;

  events({ start, value }: Symbol): InputStep["events"] {
    const plain = Math.floor(value / 8) + (start ? MOTIONS : 0);
    const index = plain < NO_MOTION ? plain : plain + 1;
    const dx = (index % SIDE) - REACH;
    const dy = Math.floor(index / SIDE) - REACH;
    return [{ kind: "pointer", x: 0x7fff + dx, y: 0x7fff + dy, mask: value % 8 }];
  }

  /** Packets hold all there is; a pause lets the guest tell where one begins. */
  resync(): InputStep[] {
    return [{ events: [], rest: SETTLE }];
  }

  release(): InputStep["events"] {
    return [{ kind: "pointer", x: 0x7fff, y: 0x7fff, mask: 0 }];
  }
}

/** @param dx,dy - right and down. @param buttons - an RFB mask. @returns undefined where no symbol has this motion. */
export function relativeSymbol(dx: number, dy: number, buttons: number): Symbol | undefined {
  if (Math.abs(dx) > REACH || Math.abs(dy) > REACH) return undefined;
  const index = (dy + REACH) * SIDE + dx + REACH;
  if (index === NO_MOTION) return undefined;
  const plain = index < NO_MOTION ? index : index - 1;
  if (plain >= MOTIONS + START_MOTIONS) return undefined;
  const start = plain >= MOTIONS;
  return { start, value: (start ? plain - MOTIONS : plain) * 8 + (buttons & 7) };
}

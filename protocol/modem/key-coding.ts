// Symbols as keys: 64 of them, each pressed where it is up and released where it is down. docs/vnc-modem.md §6.
// No lock key, no modifier, no SysRq, Print or Pause, no power key: whatever is sent, no combination of these does anything
// to a machine but type.

import type { Symbol, SymbolWidth } from "./bits.ts";
import type { InputEvent, InputStep } from "./input-events.ts";
import type { SymbolSender } from "./pointer-coding.ts";

/** Codes of scan code set 1, which are Linux's as well. */
const DIGITS = range(2, 11);
const LETTERS = [...range(16, 25), ...range(30, 38), ...range(44, 50)];
/** - = [ ] ; ' ` \ , . / */
const PUNCTUATION = [12, 13, 26, 27, 39, 40, 41, 43, 51, 52, 53];
const FUNCTION_KEYS = range(59, 68);
const KEYPAD = [71, 72, 73, 75, 76, 77, 79];
export const SAFE_KEYS: readonly number[] = [
  ...DIGITS,
  ...LETTERS,
  ...PUNCTUATION,
  ...FUNCTION_KEYS,
  ...KEYPAD,
];
/** Keypad 2: a frame begins. */
export const START_KEY = 80;
export const KEY_WIDTH: SymbolWidth = { start: 0, bits: 6 };
const SETTLE = 40;

const indexes = new Map(SAFE_KEYS.map((code, index) => [code, index]));

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** @returns undefined for a key that says nothing. */
export function keySymbol(code: number): Symbol | undefined {
  if (code === START_KEY) return { start: true, value: 0 };
  const value = indexes.get(code);
  return value === undefined ? undefined : { start: false, value };
}

const codeOf = ({ start, value }: Symbol): number => (start ? START_KEY : (SAFE_KEYS[value] as number));

const press = (code: number, down: boolean): InputEvent => ({ kind: "key", code, down });

/** Each change of a key is a symbol: 6 bits in one event. */
export class ToggleSender implements SymbolSender {
  readonly width = KEY_WIDTH;
  readonly #down = new Set<number>();
  readonly #every: number;

  /** @param every - ms between two events. */
  constructor(every: number) {
    this.#every = every;
  }

  events(symbol: Symbol): InputStep["events"] {
    const code = codeOf(symbol);
    const down = !this.#down.delete(code);
    if (down) this.#down.add(code);
    return [press(code, down)];
  }

  release(): InputStep["events"] {
    const events = [...this.#down].map((code) => press(code, false));
    this.#down.clear();
    return events;
  }

  /** Each is up at both ends after it was pressed and released, whatever either of them thought. */
  resync(): InputStep[] {
    this.#down.clear();
    return [...SAFE_KEYS, START_KEY].flatMap((code) =>
      [true, false].map((down) => ({ events: [press(code, down)], rest: this.#every })),
    );
  }
}

/** For a keyboard that reports at most six keys at once: each symbol is a key pressed and released. */
export class TapSender implements SymbolSender {
  readonly width = KEY_WIDTH;

  events(symbol: Symbol): InputStep["events"] {
    const code = codeOf(symbol);
    return [press(code, true), press(code, false)];
  }

  resync(): InputStep[] {
    return [{ events: [], rest: SETTLE }];
  }

  release(): InputStep["events"] {
    return [];
  }
}

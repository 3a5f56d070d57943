// The screen that a session's output makes, kept by a terminal without a display.

import { Unicode11Addon } from "@xterm/addon-unicode11";
import headless from "@xterm/headless";
import { concat, utf8 } from "../../protocol/bytes.ts";
import { MAX_SCREEN_BYTES, MAX_SCREEN_LINES } from "../../protocol/limits.ts";
import {
  erasesPastTheEnd,
  EscapeGuard,
  REPEATING_FINALS,
  repeatsTooOften,
} from "../../protocol/terminal/escape-guard.ts";
import { plainRun } from "./plain-run.ts";
import { type ScreenText, type SeenModes, screenText } from "./screen-text.ts";
import { charsetDesignators, coreOf, type CoreCell } from "./terminal-core.ts";

/** Cells of a screen with everything above it: 12 bytes each, so 48 MB. 390 columns still have all of MAX_SCREEN_LINES. */
export const MAX_SCREEN_CELLS = 4_000_000;
/** Kept beyond MAX_SCREEN_LINES: a screen that gets higher, as a larger window makes it, takes its lines from those above. */
const SPARE_LINES = 200;
/** Of these the screen itself may have so many, twice: there is another one for full-screen programs. */
export const MAX_VISIBLE_CELLS = 1_000_000;
/** Bytes of a snapshot that are for modes and an unfinished sequence: MAX_OPEN_STRING in UTF-8, tab stops, colours, a title. */
const STATE_BYTES = 640 * 1024;
/** Parsed in one go (UTF-16 units). */
const PIECE = 16 * 1024;

const designators = charsetDesignators();

export interface Snapshot extends Omit<ScreenText, "text"> {
  readonly columns: number;
  readonly rows: number;
  /** For a terminal that was reset: at most MAX_SCREEN_BYTES. */
  readonly text: Uint8Array<ArrayBuffer>;
}

export class ScreenState {
  readonly terminal: InstanceType<typeof headless.Terminal>;
  readonly #cell: CoreCell;
  readonly #guard: EscapeGuard;
  readonly #colours = new Map<number, readonly [number, number, number]>();
  #cursorBlink: boolean | undefined;

  /** @param columns, rows - at most MAX_VISIBLE_CELLS of them. */
  constructor(columns: number, rows: number) {
    this.terminal = new headless.Terminal({
      cols: columns,
      rows,
      scrollback: scrollbackOf(columns, rows),
      allowProposedApi: true, // unicode11
      logLevel: "off",
    });
    this.terminal.loadAddon(new Unicode11Addon()); // the widths that the page has
    this.terminal.unicode.activeVersion = "11";
    this.#cell = this.terminal.buffer.active.getNullCell() as unknown as CoreCell;
    this.#guard = new EscapeGuard(() => ({ columns: this.terminal.cols, rows: this.terminal.rows }));
    const { parser } = this.terminal;
    for (const final of REPEATING_FINALS)
      parser.registerCsiHandler({ final }, (parameters) => repeatsTooOften(parameters));
    for (const id of [{ final: "J" }, { prefix: "?", final: "J" }]) {
      parser.registerCsiHandler(id, (parameters) =>
        erasesPastTheEnd(parameters, this.terminal.buffer.active, this.terminal.cols),
      );
    }
    // Links cost a search for each character that is printed, and any length: they do not come back.
    parser.registerOscHandler(8, () => true);
    for (const final of ["h", "l"] as const) {
      parser.registerCsiHandler({ prefix: "?", final }, (parameters) => {
        if (parameters.includes(12)) this.#cursorBlink = final === "h";
        return false;
      });
    }
    coreOf(this.terminal)._inputHandler.onColor((events) => {
      for (const { type, index, color } of events) {
        if (type === 1 && index !== undefined && color !== undefined) this.#colours.set(index, color);
        if (type === 2 && index === undefined) this.#forgetPalette();
        if (type === 2 && index !== undefined) this.#colours.delete(index);
      }
    });
  }

  feed(output: Uint8Array): void {
    const core = coreOf(this.terminal);
    const text = this.#guard.filter(output);
    for (let at = 0; at < text.length; at += PIECE) core.writeSync(text.slice(at, at + PIECE));
  }

  /** The same for all that waits. @param went - called after each piece. */
  feedAll(pieces: readonly Uint8Array[], went: () => void): void {
    let skipped = 0;
    if (pieces.length > 1 && this.#isPlain) {
      const held = this.terminal.rows + (this.terminal.options.scrollback ?? 0);
      const run = plainRun(Buffer.concat(pieces), this.terminal.rows + held);
      skipped = run.length;
      coreOf(this.terminal).writeSync(run.instead);
    }
    for (const piece of pieces) {
      if (skipped < piece.length) this.feed(piece.subarray(skipped));
      skipped = Math.max(0, skipped - piece.length);
      went();
    }
  }

  resize(columns: number, rows: number): void {
    // What there is room for first: a wider terminal makes every line longer.
    const scrollback = scrollbackOf(Math.max(columns, this.terminal.cols), rows);
    if (scrollback < scrollbackOf(this.terminal.cols, this.terminal.rows))
      this.terminal.options.scrollback = scrollback;
    this.terminal.resize(columns, rows);
    this.terminal.options.scrollback = scrollbackOf(columns, rows);
  }

  /** @param wanted - lines above the screen. */
  snapshot(wanted: number, limit = MAX_SCREEN_BYTES): Snapshot {
    const seen: SeenModes = { cursorBlink: this.#cursorBlink, colours: this.#colours, designators };
    const { cols: columns, rows } = this.terminal;
    const size = { wanted, limit: Math.max(0, limit - STATE_BYTES) };
    const { text, lines, cut } = screenText(coreOf(this.terminal), seen, this.#cell, size);
    return { columns, rows, lines, cut, text: concat(utf8(text), this.#guard.open) };
  }

  /** Nothing is switched on that makes printing do more than fill lines from the top down. */
  get #isPlain(): boolean {
    const { buffers, coreService, rows } = coreOf(this.terminal);
    const { normal, active } = buffers;
    return (
      active === normal &&
      normal.scrollTop === 0 &&
      normal.scrollBottom === rows - 1 &&
      coreService.decPrivateModes.wraparound &&
      !coreService.modes.insertMode &&
      this.#guard.open.length === 0
    );
  }

  #forgetPalette(): void {
    for (const index of [...this.#colours.keys()]) if (index < 256) this.#colours.delete(index);
  }
}

function scrollbackOf(columns: number, rows: number): number {
  return Math.max(0, Math.min(MAX_SCREEN_LINES + SPARE_LINES, Math.floor(MAX_SCREEN_CELLS / columns) - rows));
}

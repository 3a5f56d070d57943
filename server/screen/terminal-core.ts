// What of xterm.js's inside the screen's keeper reads: its public interface hides scroll regions, saved cursors, charsets
// and more. The package is pinned to one version, and test/server/screen-state.test.ts notices when it changes.

import headless, { type Terminal } from "@xterm/headless";

/** A cell's looks, as bits: xterm.js, common/buffer/Constants.ts. */
export interface CoreLooks {
  readonly fg: number;
  readonly bg: number;
  readonly extended: { readonly underlineStyle: number; readonly underlineColor: number };
}

export interface CoreCell extends CoreLooks {
  getChars(): string;
  getWidth(): number;
}

export interface CoreLine {
  readonly length: number;
  readonly isWrapped: boolean;
  loadCell(column: number, into: CoreCell): CoreCell;
}

/** Compared by identity: each is one object of the library's, and ASCII is none. */
export type CoreCharset = object | undefined;

export interface CoreBuffer {
  readonly lines: { readonly length: number; get(index: number): CoreLine | undefined };
  /** Index of the screen's first line. */
  readonly ybase: number;
  readonly x: number; // as many as there are columns: the next character wraps
  readonly y: number;
  readonly scrollTop: number;
  readonly scrollBottom: number;
  readonly tabs: Readonly<Record<number, boolean | undefined>>;
  readonly savedX: number;
  readonly savedY: number; // an index, like ybase
  readonly savedCurAttrData: CoreLooks;
  readonly savedCharset: CoreCharset;
}

export interface TerminalCore {
  readonly cols: number;
  readonly rows: number;
  readonly buffers: { readonly normal: CoreBuffer; readonly alt: CoreBuffer; readonly active: CoreBuffer };
  readonly options: { readonly convertEol: boolean };
  readonly coreService: {
    readonly isCursorHidden: boolean;
    readonly modes: { readonly insertMode: boolean };
    readonly decPrivateModes: {
      readonly applicationCursorKeys: boolean;
      readonly applicationKeypad: boolean;
      readonly bracketedPasteMode: boolean;
      readonly cursorBlink: boolean | undefined;
      readonly cursorStyle: "block" | "underline" | "bar" | undefined;
      readonly origin: boolean;
      readonly reverseWraparound: boolean;
      readonly sendFocus: boolean;
      readonly wraparound: boolean;
    };
  };
  readonly coreMouseService: { readonly activeProtocol: string; readonly activeEncoding: string };
  readonly _charsetService: {
    readonly charset: CoreCharset;
    readonly glevel: number;
    readonly _charsets: readonly CoreCharset[];
  };
  readonly _inputHandler: {
    readonly _curAttrData: CoreLooks;
    readonly _windowTitle: string;
    onColor(listener: (event: readonly ColourEvent[]) => void): unknown;
  };
  /** Parses all of it before it returns. */
  writeSync(data: string): void;
}

/** Type 0 asks, 1 sets, 2 puts one back (all without an index). 256 to 258: foreground, background, cursor. */
export interface ColourEvent {
  readonly type: number;
  readonly index?: number;
  readonly color?: readonly [number, number, number];
}

export function coreOf(terminal: Terminal): TerminalCore {
  return (terminal as unknown as { readonly _core: TerminalCore })._core;
}

const DESIGNATORS = ["0", "A", "4", "C", "5", "R", "Q", "K", "Y", "E", "6", "Z", "H", "7", "="];

/** The final byte that designates each charset. */
export function charsetDesignators(): ReadonlyMap<CoreCharset, string> {
  const core = coreOf(new headless.Terminal({ cols: 2, rows: 1, logLevel: "off" }));
  const designators = new Map<CoreCharset, string>();
  for (const designator of DESIGNATORS) {
    core.writeSync(`\x1b(B\x1b(${designator}`);
    const charset = core._charsetService._charsets[0];
    if (charset !== undefined && !designators.has(charset)) designators.set(charset, designator);
  }
  return designators;
}

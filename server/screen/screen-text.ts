// A terminal's state as text that brings a freshly reset terminal of the same size into the same state.
//
// Not with @xterm/addon-serialize: it loses underline styles, protected cells, scroll regions, saved cursors, charsets and
// tab stops, mistakes bold for dim, and cannot be told how much text may come out.

import type {
  CoreBuffer,
  CoreCell,
  CoreCharset,
  CoreLine,
  CoreLooks,
  TerminalCore,
} from "./terminal-core.ts";

const ESC = "\x1b";
const CSI = "\x1b[";
const PLAIN = `${CSI}m`;
/** What one erased cell in front of a wrap leaves behind: wrap with plain looks, step back, erase. */
const WRAP = ` \b${CSI}X`;
/** UTF-16 units of a title that come back. */
const MAX_TITLE = 1024;

// Bits of `fg` and `bg`: xterm.js, common/buffer/Constants.ts.
const COLOUR_MODE = 0x3000000;
const RGB = 0xffffff;
const PALETTE_16 = 0x1000000;
const PALETTE_256 = 0x2000000;
const UNDERLINE = 0x10000000;
const EXTENDED = 0x10000000;
const PROTECTED = 0x20000000;
const FG_FLAGS = [
  [0x8000000, 1],
  [0x20000000, 5],
  [0x4000000, 7],
  [0x40000000, 8],
  [0x80000000, 9],
] as const;
const BG_FLAGS = [
  [0x8000000, 2],
  [0x4000000, 3],
  [0x40000000, 53],
] as const;

/** Saving a cursor saves no style and colour of an underline. */
const SAVED_UNDERLINE = { underlineStyle: 1, underlineColor: 0 };

/** Modes that no part of xterm.js keeps: seen as they went by. */
export interface SeenModes {
  /** DECSET 12; undefined: never said. */
  readonly cursorBlink: boolean | undefined;
  /** Colours that were changed: 0 to 255, then foreground, background, cursor. */
  readonly colours: ReadonlyMap<number, readonly [number, number, number]>;
  readonly designators: ReadonlyMap<CoreCharset, string>;
}

export interface ScreenText {
  readonly text: string;
  /** Lines above the screen that it holds. */
  readonly lines: number;
  /** Lines that were wanted and did not fit: the oldest. */
  readonly cut: number;
}

/**
 * @param wanted - lines above the screen. @param limit - UTF-8 bytes of all lines; what the modes need comes on top, about
 *   20 bytes for each column. @param cell - a cell of the library's to read into.
 */
export function screenText(
  core: TerminalCore,
  seen: SeenModes,
  cell: CoreCell,
  { wanted, limit }: { readonly wanted: number; readonly limit: number },
): ScreenText {
  const { normal, alt, active } = core.buffers;
  const writer = new LineWriter(cell);
  const budget = { left: limit };
  const altLines = active === alt ? writer.lines(alt, 0, budget) : undefined; // seen first, cut last
  const first = Math.max(0, normal.ybase - wanted);
  const normalLines = writer.lines(normal, first, budget);
  const lines = Math.max(0, normal.ybase - normalLines.from);
  const texts = [normalLines.text];
  const place = new StateWriter(core, seen, writer);
  if (altLines === undefined) {
    if (place.hasOwnState(alt)) texts.push(`${CSI}?1047h`, place.kept(alt), `${CSI}?1047l`);
    texts.push(place.kept(normal));
  } else {
    texts.push(place.kept(normal), `${CSI}${normal.y + 1};${Math.min(normal.x, core.cols - 1) + 1}H`);
    texts.push(`${CSI}?1047h${CSI}H`, altLines.text, place.kept(alt));
  }
  texts.push(place.live());
  return {
    text: texts.join(""),
    lines,
    cut: normalLines.from - first + (altLines?.from ?? 0),
  };
}

/** Lines, each of which begins and ends with plain looks, so that any of them can be left out. */
class LineWriter {
  readonly #cell: CoreCell;

  constructor(cell: CoreCell) {
    this.#cell = cell;
  }

  /** @returns `from`: index of the first line that is more than blank for want of budget. */
  lines(buffer: CoreBuffer, first: number, budget: { left: number }): { text: string; from: number } {
    const texts: string[] = [];
    let from = buffer.lines.length;
    for (let index = buffer.lines.length - 1; index >= first; index--) {
      const line = buffer.lines.get(index);
      if (line === undefined) break;
      const next = index + 1 < buffer.lines.length ? buffer.lines.get(index + 1) : undefined; // the list is a ring
      const text = this.#line(line) + (next === undefined ? "" : this.#between(line, next));
      budget.left -= Buffer.byteLength(text);
      if (budget.left < 0) break;
      texts.push(text);
      from = index;
    }
    budget.left = Math.max(0, budget.left);
    // Lines of the screen that are too much stand blank, so that all others stand where they belong.
    const blank = Math.max(0, from - buffer.ybase);
    return { text: "\r\n".repeat(blank) + texts.reverse().join(""), from };
  }

  /** Leaves the cursor behind the last cell that is not blank; behind the last column the next character wraps. */
  #line(line: CoreLine): string {
    const end = this.#end(line);
    let text = "";
    let looks = PLAIN;
    const use = (wanted: string): void => {
      if (wanted !== looks) text += wanted;
      looks = wanted;
    };
    for (let column = 0; column < end; ) {
      const cell = line.loadCell(column, this.#cell);
      if (isErased(cell)) {
        const { bg } = cell; // read now: there is one cell for all
        const background = looksText(cell);
        let run = 1;
        while (column + run < end && this.#erasedLike(line, column + run, bg)) run++;
        if (bg !== 0) {
          use(background);
          text += `${CSI}${run}X`;
        }
        column += run;
        if (column < line.length) text += `${CSI}${run}C`;
        continue;
      }
      const chars = cell.getChars();
      const width = cell.getWidth();
      use(looksText(cell));
      if (width === 2 && this.#isWide(line, column)) {
        text += chars;
        column += 2;
        continue;
      }
      if (width === 0 && chars !== "") text += looks; // a mark of its own: a sequence before it keeps it from joining
      text += width === 2 || chars === "" ? " " : chars;
      column++;
    }
    if (looks !== PLAIN) text += PLAIN;
    return text;
  }

  #between(line: CoreLine, next: CoreLine): string {
    if (!next.isWrapped) return "\r\n";
    const last = line.loadCell(line.length - 1, this.#cell);
    if (!isErased(last)) {
      const first = next.loadCell(0, this.#cell);
      return first.getChars() !== "" && (first.bg & COLOUR_MODE) === 0 && first.getWidth() > 0 ? "" : WRAP;
    }
    const erase = last.bg === 0 ? `${CSI}X` : `${looksText(last)}${CSI}X${PLAIN}`;
    return `${CSI}${line.length}G ${WRAP}${CSI}A${CSI}${line.length}G${erase}\r${CSI}B`;
  }

  /** Text that puts the cursor behind the last column of a line, where it stands waiting to wrap. */
  lastCell(line: CoreLine, row: number): string {
    const last = line.length - 1;
    const wide = last > 0 && this.#isWide(line, last - 1);
    const cell = line.loadCell(wide ? last - 1 : last, this.#cell);
    const chars = cell.getWidth() === 2 && !wide ? "" : cell.getChars();
    const column = wide ? last : last + 1;
    return `${CSI}${row};${column}H${looksText(cell)}${chars === "" ? " " : chars}${PLAIN}`;
  }

  #end(line: CoreLine): number {
    let end = line.length;
    while (end > 0 && this.#erasedLike(line, end - 1, 0)) end--;
    return end;
  }

  #erasedLike(line: CoreLine, column: number, bg: number): boolean {
    const cell = line.loadCell(column, this.#cell);
    return isErased(cell) && cell.bg === bg;
  }

  /** A wide character with both its halves: insertions and deletions can leave one of them. */
  #isWide(line: CoreLine, column: number): boolean {
    if (column + 1 >= line.length) return false;
    const second = line.loadCell(column + 1, this.#cell);
    if (second.getWidth() !== 0 || second.getChars() !== "") return false;
    return line.loadCell(column, this.#cell).getWidth() === 2;
  }
}

/** Modes and everything else beside the cells. */
class StateWriter {
  readonly #core: TerminalCore;
  readonly #seen: SeenModes;
  readonly #lines: LineWriter;

  constructor(core: TerminalCore, seen: SeenModes, lines: LineWriter) {
    this.#core = core;
    this.#seen = seen;
    this.#lines = lines;
  }

  hasOwnState(buffer: CoreBuffer): boolean {
    return this.kept(buffer) !== "";
  }

  /** What each of the two screens has of its own: tab stops, scroll region, saved cursor. Moves the cursor. */
  kept(buffer: CoreBuffer): string {
    return this.#tabs(buffer) + this.#region(buffer) + this.#savedCursor(buffer);
  }

  /** What there is once; ends with the cursor where it stands. */
  live(): string {
    const { coreService, coreMouseService, options, _charsetService, _inputHandler } = this.#core;
    const { decPrivateModes: modes } = coreService;
    const { active } = this.#core.buffers;
    let text = "";
    for (const [index, [red, green, blue]] of this.#seen.colours) {
      const which = index < 256 ? `4;${index}` : String(index - 256 + 10);
      text += `${ESC}]${which};rgb:${hex(red)}/${hex(green)}/${hex(blue)}${ESC}\\`;
    }
    if (_inputHandler._windowTitle)
      text += `${ESC}]2;${_inputHandler._windowTitle.slice(0, MAX_TITLE)}${ESC}\\`;
    if (modes.origin) text += `${CSI}?6h`;
    text += this.#cursor(active, active.x, active.y, modes.origin ? active.scrollTop : 0);
    // From here on nothing moves the cursor or prints.
    const { charset, glevel, _charsets } = _charsetService;
    for (const [level, intermediate] of ["(", ")", "*", "+"].entries()) {
      // Restoring a cursor can put another one in force than is designated.
      const designator = this.#seen.designators.get(level === glevel ? charset : _charsets[level]);
      if (designator !== undefined) text += `${ESC}${intermediate}${designator}`;
    }
    text += ["", "\x0e", `${ESC}n`, `${ESC}o`][glevel] ?? "";
    const looks = looksText(_inputHandler._curAttrData, true);
    if (looks !== PLAIN) text += looks;
    if (coreService.modes.insertMode) text += `${CSI}4h`;
    if (options.convertEol) text += `${CSI}20h`;
    if (modes.applicationCursorKeys) text += `${CSI}?1h`;
    if (!modes.wraparound) text += `${CSI}?7l`;
    if (modes.reverseWraparound) text += `${CSI}?45h`;
    if (modes.applicationKeypad) text += `${CSI}?66h`;
    if (modes.sendFocus) text += `${CSI}?1004h`;
    if (modes.bracketedPasteMode) text += `${CSI}?2004h`;
    const mouse = { X10: 9, VT200: 1000, DRAG: 1002, ANY: 1003 }[coreMouseService.activeProtocol];
    if (mouse !== undefined) text += `${CSI}?${mouse}h`;
    const encoding = { SGR: 1006, SGR_PIXELS: 1016 }[coreMouseService.activeEncoding];
    if (encoding !== undefined) text += `${CSI}?${encoding}h`;
    if (this.#seen.cursorBlink !== undefined) text += `${CSI}?12${this.#seen.cursorBlink ? "h" : "l"}`;
    if (modes.cursorStyle !== undefined) {
      const style = { block: 1, underline: 3, bar: 5 }[modes.cursorStyle];
      text += `${CSI}${modes.cursorBlink === true ? style : style + 1} q`;
    }
    if (coreService.isCursorHidden) text += `${CSI}?25l`;
    return text;
  }

  #tabs({ tabs }: CoreBuffer): string {
    const columns = [...Array(this.#core.cols).keys()];
    if (columns.every((column) => (tabs[column] === true) === (column % 8 === 0))) return "";
    const stops = columns.filter((column) => tabs[column] === true);
    return `${CSI}3g${stops.map((column) => `${CSI}${column + 1}G${ESC}H`).join("")}\r`;
  }

  #region({ scrollTop, scrollBottom }: CoreBuffer): string {
    if (scrollTop === 0 && scrollBottom === this.#core.rows - 1) return "";
    return `${CSI}${scrollTop + 1};${scrollBottom + 1}r`;
  }

  #savedCursor(buffer: CoreBuffer): string {
    const row = Math.min(this.#core.rows - 1, Math.max(0, buffer.savedY - buffer.ybase));
    const designator = this.#seen.designators.get(buffer.savedCharset);
    const { fg, bg } = buffer.savedCurAttrData;
    const looks = looksText({ fg, bg, extended: SAVED_UNDERLINE });
    if (buffer.savedX === 0 && row === 0 && designator === undefined && looks === PLAIN) return "";
    const charset = designator === undefined ? ["", ""] : [`${ESC}(${designator}`, `${ESC}(B`];
    return `${this.#cursor(buffer, buffer.savedX, row, 0)}${looks}${charset[0]}${ESC}7${charset[1]}${PLAIN}`;
  }

  /** @param top - the row that counts as the first one. */
  #cursor(buffer: CoreBuffer, x: number, y: number, top: number): string {
    const row = Math.max(0, y - top) + 1;
    if (x < this.#core.cols) return `${CSI}${row};${x + 1}H`;
    const line = buffer.lines.get(buffer.ybase + y);
    // The other screen has no lines while it is not shown: what is printed there now goes as well.
    return line === undefined ? `${CSI}${row};${this.#core.cols}H ` : this.#lines.lastCell(line, row);
  }
}

/** Nothing was printed there since it was erased, with a background or without. */
function isErased(cell: CoreCell): boolean {
  return (
    cell.getChars() === "" && cell.getWidth() === 1 && cell.fg === 0 && (cell.bg & ~(COLOUR_MODE | RGB)) === 0
  );
}

/**
 * From any looks to these: the whole of them, because a difference depends on what was before.
 * @param toCome - of what will be printed: the colour of an underline that is yet to be switched on, too.
 */
function looksText({ fg, bg, extended }: CoreLooks, toCome = false): string {
  const parameters: string[] = [];
  for (const [bit, parameter] of FG_FLAGS) if ((fg & bit) !== 0) parameters.push(String(parameter));
  for (const [bit, parameter] of BG_FLAGS) if ((bg & bit) !== 0) parameters.push(String(parameter));
  const isExtended = (bg & EXTENDED) !== 0; // else a cell has that of the cell that was read before it
  const style = (fg & UNDERLINE) === 0 ? 0 : isExtended ? extended.underlineStyle : 1;
  if (style !== 0) parameters.push(style === 1 ? "4" : `4:${style}`);
  parameters.push(...colour(fg, 30), ...colour(bg, 40));
  const under = extended.underlineColor & (COLOUR_MODE | RGB);
  if (under !== 0 && ((isExtended && style !== 0) || toCome)) parameters.push(underlineColour(under));
  const guarded = (bg & PROTECTED) === 0 ? "" : `${CSI}1"q`; // SGR 0 takes it away
  return parameters.length === 0 ? `${PLAIN}${guarded}` : `${CSI}0;${parameters.join(";")}m${guarded}`;
}

function underlineColour(bits: number): string {
  if (bits === (COLOUR_MODE | RGB)) return "59"; // what xterm.js makes of it: white, and other terminals the text's own
  if ((bits & COLOUR_MODE) === PALETTE_256) return `58:5:${bits & 0xff}`;
  return `58:2::${(bits >>> 16) & 0xff}:${(bits >>> 8) & 0xff}:${bits & 0xff}`;
}

/** @param base - 30: foreground, 40: background. */
function colour(bits: number, base: 30 | 40): string[] {
  const value = bits & RGB;
  switch (bits & COLOUR_MODE) {
    case 0:
      return [];
    case PALETTE_16:
      return [String((value & 8) === 0 ? base + (value & 7) : base + 60 + (value & 7))];
    case PALETTE_256:
      return [`${base + 8};5;${value & 0xff}`];
    default:
      return [`${base + 8};2;${(value >>> 16) & 0xff};${(value >>> 8) & 0xff};${value & 0xff}`];
  }
}

function hex(byte: number): string {
  return (byte & 0xff).toString(16).padStart(2, "0");
}

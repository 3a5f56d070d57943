// Which terminal output may reach xterm.js? Everything but what hangs it, floods it, or hides in string sequences.
//
// xterm.js 6.0.0 runs `CSI 2147483647 L` (12 bytes) as two thousand million line inserts, and keeps 10 MB strings.
// The guard decodes the bytes itself and hands text on, so that it and xterm.js can't disagree about where a
// character, and so a sequence, begins: invalid UTF-8, byte order marks and 8-bit controls are settled here.

import { concat, utf8 } from "../bytes.ts";

/** An OSC or DCS string longer than this (UTF-16 units) is cancelled whole: nothing acts on a part of one. */
export const MAX_STRING_SEQUENCE = 1024 * 1024;
/** No parameter is larger: cursor addressing beyond any screen still works. */
export const MAX_CSI_PARAMETER = 65_535;
/** A control sequence with more parameter bytes than this is dropped. */
export const MAX_CSI_LENGTH = 256;
/** Of a string that has not ended so much is remembered, so that another terminal can go on within it (UTF-16 units). */
export const MAX_OPEN_STRING = 64 * 1024;
/** Second line of defence, inside xterm.js: a repeating sequence above this is swallowed. */
export const MAX_REPEAT = 10_000;
/** Sequences whose handler loops once per unit of the first parameter. */
export const REPEATING_FINALS = ["I", "L", "M", "S", "T", "Z", "b"] as const;

const ESC = "\x1b";
const CANCEL = "\x18";
const IN_GROUND = /[\x1b\x80-\x9f\ufeff]/g;
const IN_STRING = /[\x07\x18\x1a\x1b\x80-\x9f\ufeff]/g;

/** What programs send most, whole in one piece: nothing in it is to be bounded. None of REPEATING_FINALS ends it. */
const HARMLESS_CSI = /\x1b\[\??(?:[0-9]{0,4};){0,16}[0-9]{0,4}[@A-HJKN-RU-Yac-z]/y;

type State =
  | "ground"
  | "escape" // after ESC, intermediates included; nothing of it is out yet
  | "csi" // held back until the final byte
  | "csi-dropped"
  | "string" // OSC or DCS, passed on and counted
  | "string-dropped";

export class EscapeGuard {
  readonly #screen: () => { columns: number; rows: number };
  readonly #stringLimit: number;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #state: State = "ground";
  #held = "";
  #bellEnds = false; // BEL ends an OSC, but is data in a DCS
  #stringLength = 0;
  #string = ""; // its beginning, up to MAX_OPEN_STRING
  #partial = new Uint8Array(0); // bytes of a character that has not ended

  /** @param screen - asked at each repeating sequence: more repetitions than the screen has lines or columns change nothing. */
  constructor(screen: () => { columns: number; rows: number }, stringLimit = MAX_STRING_SEQUENCE) {
    this.#screen = screen;
    this.#stringLimit = stringLimit;
  }

  /** Text for `Terminal.write`. A sequence or character that is not complete yet waits for the next call. */
  filter(bytes: Uint8Array): string {
    this.#partial = unfinishedCharacter(concat(this.#partial, bytes.subarray(-4)));
    return this.#filterText(this.#decoder.decode(bytes, { stream: true }));
  }

  /**
   * What leads from a fresh guard's state to this one's: the beginning of a sequence or character that has not ended. A
   * string that is too long to be remembered, or is dropped, becomes one that nothing acts on and that ends in the same place.
   */
  get open(): Uint8Array {
    return concat(utf8(this.#openText()), this.#partial);
  }

  #openText(): string {
    switch (this.#state) {
      case "ground":
        return "";
      case "escape":
      case "csi":
        return this.#held;
      case "csi-dropped":
        return `${ESC}[!0`; // no terminal knows one like it
      case "string":
        if (this.#stringLength <= MAX_OPEN_STRING)
          return `${ESC}${this.#bellEnds ? "]" : "P"}${this.#string}`;
        return this.#bellEnds ? `${ESC}]7777;` : `${ESC}_`;
      case "string-dropped":
        return this.#bellEnds ? `${ESC}]7777;` : `${ESC}_`;
    }
  }

  #filterText(text: string): string {
    let out = "";
    let at = 0;
    while (at < text.length) {
      if (this.#state === "ground" || this.#state === "string" || this.#state === "string-dropped") {
        const stop = nextMatch(this.#state === "ground" ? IN_GROUND : IN_STRING, text, at);
        out += this.#passRun(text.slice(at, stop));
        at = stop;
        if (at >= text.length) break;
        if (this.#state === "ground") {
          HARMLESS_CSI.lastIndex = at;
          const [sequence] = HARMLESS_CSI.exec(text) ?? [];
          if (sequence !== undefined) {
            out += sequence;
            at += sequence.length;
            continue;
          }
        }
      }
      out += this.#step(text.charAt(at++));
    }
    return out;
  }

  /** A run that holds nothing this state has to look at. */
  #passRun(run: string): string {
    if (this.#state === "string-dropped") return "";
    if (this.#state === "ground") return run;
    this.#stringLength += run.length;
    if (this.#stringLength <= MAX_OPEN_STRING) this.#string += run;
    if (this.#stringLength <= this.#stringLimit) return run;
    this.#state = "string-dropped";
    return CANCEL;
  }

  #step(char: string): string {
    const code = char.charCodeAt(0);
    if (code === 0xfeff) return ""; // xterm.js leaves it out as well, in the middle of a number too
    if (code >= 0x80 && code <= 0x9f) {
      // An 8-bit control is ESC and a letter: one spelling from here on.
      return this.#step(ESC) + this.#step(String.fromCharCode(code - 0x40));
    }
    if (char === ESC) {
      // Begins a sequence in every state, and ends or abandons what was open.
      const ended = this.#state === "string" ? `${ESC}\\` : "";
      this.#state = "escape";
      this.#held = ESC;
      return ended;
    }
    if (code === 0x18 || code === 0x1a) {
      const silent = this.#state === "string-dropped";
      this.#enterGround();
      return silent ? "" : char;
    }
    switch (this.#state) {
      case "ground":
        return char;
      case "escape":
        return this.#stepEscape(char, code);
      case "csi":
        return this.#stepCsi(char, code);
      case "csi-dropped":
        if (code < 0x20) return char; // controls act inside a sequence as well
        if (code >= 0x40 && code <= 0x7e) this.#enterGround();
        return "";
      case "string":
        if (char === "\x07" && this.#bellEnds) {
          this.#enterGround();
          return char;
        }
        return this.#passRun(char);
      case "string-dropped":
        if (char === "\x07" && this.#bellEnds) this.#enterGround();
        return "";
    }
  }

  #stepEscape(char: string, code: number): string {
    if (code < 0x20) return char;
    if (code === 0x7f) return "";
    if (code >= 0x20 && code <= 0x2f) {
      if (this.#held.length < 4) this.#held += char;
      return "";
    }
    if (this.#held === ESC) {
      if (char === "[") {
        this.#state = "csi";
        this.#held = `${ESC}[`;
        return "";
      }
      if (char === "]" || char === "P") {
        this.#state = "string";
        this.#bellEnds = char === "]";
        this.#stringLength = 0;
        this.#string = "";
        this.#held = "";
        return ESC + char;
      }
      if (char === "X" || char === "^" || char === "_") {
        this.#state = "string-dropped"; // SOS, PM, APC: no terminal we feed acts on them
        this.#bellEnds = false;
        this.#held = "";
        return "";
      }
    }
    const sequence = this.#held;
    this.#enterGround();
    return code <= 0x7e ? sequence + char : char;
  }

  #stepCsi(char: string, code: number): string {
    if (code < 0x20) return char;
    if (code === 0x7f) return "";
    if (code >= 0x20 && code <= 0x3f) {
      this.#held += char;
      if (this.#held.length > MAX_CSI_LENGTH) {
        this.#state = "csi-dropped";
        this.#held = "";
      }
      return "";
    }
    const held = this.#held;
    this.#enterGround();
    return code <= 0x7e ? this.#boundedCsi(held, char) : "";
  }

  #boundedCsi(held: string, final: string): string {
    const parts = /^([<-?]?)([0-9:;]*)([ -/]*)$/.exec(held.slice(2));
    if (parts === null) return ""; // xterm.js ignores it too
    const [, prefix = "", parameters = "", intermediates = ""] = parts;
    const limit = prefix === "" && intermediates === "" ? this.#repeatLimit(final) : undefined;
    let first = true;
    const bounded = parameters.replace(/[0-9]+|[:;]/g, (token) => {
      if (token === ";" || token === ":") {
        first = false;
        return token;
      }
      const most = first && limit !== undefined ? limit : MAX_CSI_PARAMETER;
      return Number(token) > most ? String(most) : token;
    });
    return `${ESC}[${prefix}${bounded}${intermediates}${final}`;
  }

  #repeatLimit(final: string): number | undefined {
    const { columns, rows } = this.#screen();
    if (final === "L" || final === "M" || final === "S" || final === "T") return rows;
    if (final === "I" || final === "Z" || final === "b") return columns;
    return undefined;
  }

  #enterGround(): void {
    this.#state = "ground";
    this.#held = "";
    this.#string = ""; // it may be a secret on its way to the clipboard
  }
}

/** @returns the bytes at the end that begin a character and do not end it, as UTF-8 decoders see it: at most three. */
function unfinishedCharacter(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const first = bytes[bytes.length - back] as number;
    if (first >= 0x80 && first <= 0xbf) continue;
    const tail = bytes.slice(bytes.length - back);
    // Whether it can still become a character: a streaming decoder keeps just that, and shows nothing of it.
    const kept =
      first >= 0xc2 && first <= 0xf4 && new TextDecoder("utf-8").decode(tail, { stream: true }) === "";
    return kept ? tail : new Uint8Array(0);
  }
  return new Uint8Array(0);
}

function nextMatch(pattern: RegExp, text: string, from: number): number {
  pattern.lastIndex = from;
  const match = pattern.exec(text);
  return match === null ? text.length : match.index;
}

/** For `registerCsiHandler`: true where the sequence must be swallowed. */
export function repeatsTooOften(parameters: readonly (number | number[])[]): boolean {
  return parameters.flat().some((parameter) => parameter > MAX_REPEAT);
}

/**
 * For the handlers of `CSI J` and `CSI ? J`: true where the sequence must be swallowed. xterm.js 6.0.0 throws at an erasure up
 * to the very last cell of a buffer, and then never takes output again.
 * @param buffer - the active one; `length` in lines, `cursorY` from the screen's first.
 */
export function erasesPastTheEnd(
  parameters: readonly (number | number[])[],
  buffer: { readonly cursorX: number; readonly cursorY: number; readonly length: number },
  columns: number,
): boolean {
  return parameters[0] === 1 && buffer.cursorX >= columns - 1 && buffer.cursorY + 1 >= buffer.length;
}

/**
 * What a session may leave switched on: mouse reports, focus reports, bracketed paste, colours, an open string or
 * link. Written when the session is over; leaving the other screen is apart, because on the first one it moves the cursor.
 */
export const RESET_AFTER_SESSION = [
  "\x18", // whatever sequence was open
  "\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l\x1b[?2004l",
  "\x1b[?2026l",
  "\x1b[!p",
  "\x1b[0m\x1b]8;;\x1b\\",
  "\x1b[?25l", // nothing is typed here any more
].join("");
/** What a reset leaves changed: the palette, then text, background and cursor. */
export const RESET_COLOURS = "\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\";
export const LEAVE_OTHER_SCREEN = "\x1b[?1049l";

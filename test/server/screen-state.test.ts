// A screen that a random script made, as a snapshot, in a fresh terminal: cells, cursor and modes are the same, and stay it.

import { describe, expect, test } from "vitest";
import { utf8 } from "../../protocol/bytes.ts";
import { MAX_SCREEN_BYTES, MAX_SCREEN_LINES } from "../../protocol/limits.ts";
import { MAX_OPEN_STRING } from "../../protocol/terminal/escape-guard.ts";
import { plainRun } from "../../server/screen/plain-run.ts";
import { MAX_SCREEN_CELLS, ScreenState } from "../../server/screen/screen-state.ts";
import { charsetDesignators, type CoreBuffer, coreOf } from "../../server/screen/terminal-core.ts";
import { seeded, type Seeded, testSeed } from "../support/seeded.ts";

// Of `bg` and of `fg`: xterm.js, common/buffer/Constants.ts.
const EXTENDED = 0x10000000;
const UNDERLINE = 0x10000000;
const names = charsetDesignators();

/** Everything that can be seen of a terminal, or will be. */
function stateOf({ terminal }: ScreenState, from = 0) {
  const core = coreOf(terminal);
  const { normal, alt, active } = core.buffers;
  const { coreService, coreMouseService, _charsetService, _inputHandler } = core;
  const { charset, glevel, _charsets } = _charsetService;
  const named = (which: object | undefined) => names.get(which) ?? "B";
  return {
    size: [core.cols, core.rows],
    alternate: active === alt,
    // Where rows count from the region's top, the first movement takes a cursor outside of it inside.
    cursor: [Math.min(active.x, core.cols), coreService.decPrivateModes.origin ? within(active) : active.y],
    normal: screenOf(terminal, normal, from),
    alt: active === alt ? screenOf(terminal, alt, 0) : ownState(alt, core.cols),
    charsets: [0, 1, 2, 3].map((level) => named(level === glevel ? charset : _charsets[level])),
    glevel,
    looks: looks(_inputHandler._curAttrData, true),
    title: _inputHandler._windowTitle ?? "",
    modes: { ...coreService.decPrivateModes, ...coreService.modes, synchronizedOutput: false },
    newLine: core.options.convertEol,
    hidden: coreService.isCursorHidden,
    mouse: [coreMouseService.activeProtocol, coreMouseService.activeEncoding],
  };
}

/** Nothing shows these, no sequence makes them anew, and only a later oddity would: docs/limits.md §6. */
function hasHiddenState({ terminal }: ScreenState): boolean {
  const { buffers, coreService, _charsetService, _inputHandler } = coreOf(terminal);
  const { charset, glevel, _charsets } = _charsetService;
  const { active } = buffers;
  // A line that goes on from one that is gone; a charset that a restored cursor brought and nobody designated.
  if (active.lines.get(0)?.isWrapped === true || charset !== _charsets[glevel]) return true;
  // Origin mode that the other screen left on, and a cursor outside of the region: no sequence puts it there.
  if (coreService.decPrivateModes.origin && within(active) !== active.y) return true;
  // The library saves half of an underline with a cursor, and restores the other half of another one.
  const { fg, bg, extended } = _inputHandler._curAttrData;
  const underlined = (fg & UNDERLINE) !== 0;
  if (underlined !== ((bg & EXTENDED) !== 0) || (underlined && extended.underlineStyle === 0)) return true;
  return [buffers.normal, buffers.alt].some(
    ({ savedCurAttrData: saved }) => (saved.fg & UNDERLINE) !== 0 || (saved.bg & EXTENDED) !== 0,
  );
}

function within({ y, scrollTop, scrollBottom }: CoreBuffer): number {
  return Math.min(scrollBottom, Math.max(scrollTop, y));
}

type Looks = { fg: number; bg: number; extended: { underlineStyle: number; underlineColor: number } };

/** @param toCome - of what will be printed: the colour of an underline that is off counts as well. */
function looks({ fg, bg, extended }: Looks, toCome = false) {
  const own = (bg & EXTENDED) !== 0;
  const style = (fg & UNDERLINE) === 0 ? 0 : own ? extended.underlineStyle : 1;
  const flags = style === 0 ? fg & ~UNDERLINE : fg; // a style of none is no underline
  const under = (own && style !== 0) || toCome ? colour(extended.underlineColor & 0x3ffffff) : 0;
  return [colour(flags), colour(bg & ~EXTENDED), style, under].join(" ");
}

/** A palette's number leaves bits of an RGB colour standing that was there before. */
function colour(bits: number): number {
  const mode = bits & 0x3000000;
  return (mode === 0x1000000 || mode === 0x2000000 ? bits & ~0xffff00 : bits) >>> 0;
}

function ownState(buffer: CoreBuffer, columns: number) {
  return {
    tabs: [...Array(columns).keys()].filter((column) => buffer.tabs[column] === true),
    region: [buffer.scrollTop, buffer.scrollBottom],
    saved: [
      Math.min(buffer.savedX, columns),
      Math.max(0, buffer.savedY - buffer.ybase),
      // The saved looks' underline style is the library's own muddle: it saves all but that.
      colour(buffer.savedCurAttrData.fg),
      colour(buffer.savedCurAttrData.bg & ~EXTENDED),
      names.get(buffer.savedCharset) ?? "B",
    ],
  };
}

function screenOf(terminal: ScreenState["terminal"], buffer: CoreBuffer, from: number) {
  const cell = terminal.buffer.active.getNullCell() as unknown as Parameters<
    NonNullable<ReturnType<CoreBuffer["lines"]["get"]>>["loadCell"]
  >[1];
  const lines: string[] = [];
  for (let index = from; index < buffer.lines.length; index++) {
    const line = buffer.lines.get(index);
    if (line === undefined) throw new Error(`no line ${index}`);
    const widths = [...Array(line.length).keys()].map((column) => line.loadCell(column, cell).getWidth());
    const chars = widths.map((_, column) => line.loadCell(column, cell).getChars());
    let text = index > from && line.isWrapped ? "+" : " ";
    for (const [column, width] of widths.entries()) {
      const whole = width === 2 && widths[column + 1] === 0 && chars[column + 1] === "";
      const half = width === 0 && chars[column] === "" && widths[column - 1] === 2;
      // Erased, printed as a space, or half of a wide character that was overwritten: all of them look blank.
      const shown = half ? "" : width === 2 && !whole ? " " : chars[column] || " ";
      text += `${shown}{${looks(line.loadCell(column, cell))}}`;
    }
    lines.push(text);
  }
  return { lines, ...ownState(buffer, terminal.cols) };
}

function copyOf(state: ScreenState, wanted = MAX_SCREEN_LINES, limit = MAX_SCREEN_BYTES) {
  const snapshot = state.snapshot(wanted, limit);
  const copy = new ScreenState(snapshot.columns, snapshot.rows);
  copy.feed(snapshot.text);
  return { snapshot, copy };
}

/** Lines that a state has above those that come back. */
function spareOf({ terminal }: ScreenState): number {
  return Math.max(0, coreOf(terminal).buffers.normal.ybase - MAX_SCREEN_LINES);
}

/** One step of a program that does whatever terminals can. */
function step(random: Seeded, columns: number, rows: number): string {
  const column = () => 1 + random.below(columns + 1);
  const row = () => 1 + random.below(rows + 1);
  const few = () => 1 + random.below(4);
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)] as T;
  const onOff = () => (random.chance(0.6) ? "h" : "l");
  const makers: (() => string)[] = [
    () =>
      pick([
        "word ",
        "x",
        "a longer run of text ",
        "-".repeat(columns),
        "äöü",
        "漢字",
        "e\u0301",
        "👍",
        "\u0301",
      ]),
    () => pick(["\r\n", "\n", "\r", "\t", "\b", "\x1bM", "\x1bD", "\x1bE"]),
    () => "line of text\r\n".repeat(few()),
    () => `\x1b[${row()};${column()}H`,
    () => `\x1b[${few()}${pick("ABCDEFGdIZ@PLMSTXb`ae".split(""))}`,
    () =>
      `\x1b[${pick(["", "0", "1", "2"])}${pick(["J", "K", "?J", "?K"].map((t) => t))}`.replace(
        /\[(\d?)\?/,
        "[?$1",
      ),
    () =>
      `\x1b[${pick(["0", "1", "2", "3", "4", "4:3", "4:5", "5", "7", "8", "9", "21", "22", "24", "27", "53", "55"])}m`,
    () =>
      `\x1b[${pick(["31", "97", "38;5;3", "38;5;200", "38;2;1;2;3", "39", "44", "101", "48;5;7", "48;2;9;8;7", "49"])}m`,
    () => `\x1b[${pick(["58:2::1:2:3", "58:5:9", "59"])}m`,
    () => `\x1b[${pick(["", "0"])}m`,
    () => `\x1b[${pick(["0", "1", "2"])}"q`,
    () => `\x1b[${row()};${row()}r`,
    () => "\x1b[r",
    () => pick(["\x1b7", "\x1b8", "\x1b[s", "\x1b[u"]),
    () => pick(["\x1b(0", "\x1b(B", "\x1b)0", "\x1b*A", "\x1b+4", "\x0e", "\x0f", "\x1bn", "\x1bo"]),
    () => pick(["\x1bH", "\x1b[g", "\x1b[3g"]),
    () => `\x1b[?${pick([1, 5, 6, 7, 12, 25, 45, 66, 1004, 2004])}${onOff()}`,
    () => `\x1b[?${pick([9, 1000, 1002, 1003, 1006, 1016])}${onOff()}`,
    () => `\x1b[${pick([4, 20])}${onOff()}`,
    () => `\x1b[?${pick([47, 1047, 1048, 1049])}${onOff()}`,
    () => `\x1b[${random.below(7)} q`,
    () => `\x1b]2;title ${random.below(100)}\x07`,
    () => pick(["\x1b=", "\x1b>"]),
    () => (random.chance(0.1) ? pick(["\x1b[!p", "\x1bc", "\x1b#8"]) : ""),
  ];
  return pick(makers)();
}

test("random scripts: the copy is equal, and after the same further output it still is", () => {
  const first = testSeed();
  let went = 0; // on after the snapshot
  for (let round = 0; round < 300; round++) {
    const random = seeded(first + round);
    const columns = 2 + random.below(30);
    const rows = 2 + random.below(8);
    const original = new ScreenState(columns, rows);
    let script = "";
    for (let steps = random.below(120); steps > 0; steps--) script += step(random, columns, rows);
    original.feed(utf8(script));
    const { copy, snapshot } = copyOf(original);
    const about = `SEALTTY_TEST_SEED=${first + round}\n${JSON.stringify(script)}\n${JSON.stringify(Buffer.from(snapshot.text).toString())}`;
    expect(stateOf(copy), about).toEqual(stateOf(original));
    expect(snapshot.cut, about).toBe(0);
    if (hasHiddenState(original)) continue;
    went++;
    // A character right behind a snapshot has none to join: so a sequence that does nothing comes first.
    let more = "\x1b[?9999h";
    for (let steps = random.below(40); steps > 0; steps--) more += step(random, columns, rows);
    original.feed(utf8(more));
    copy.feed(utf8(more));
    expect(stateOf(copy), `${about}\n${JSON.stringify(more)}`).toEqual(stateOf(original));
  }
  expect(went).toBeGreaterThan(20);
});

describe("what @xterm/addon-serialize loses, each by itself", () => {
  test.each([
    ["SGR mouse", "\x1b[?1002h\x1b[?1006h"],
    ["pixel mouse", "\x1b[?1003h\x1b[?1016h"],
    ["X10 mouse", "\x1b[?9h"],
    ["bracketed paste", "\x1b[?2004h"],
    ["application cursor keys and keypad", "\x1b[?1h\x1b="],
    ["focus reports", "\x1b[?1004h"],
    ["cursor hidden", "\x1b[?25l"],
    ["cursor style", "\x1b[5 q"],
    ["steady cursor", "\x1b[4 q"],
    ["scroll region, cursor in it", "a\r\nb\r\nc\r\nd\x1b[2;4r\x1b[3;2H"],
    ["origin mode in a region", "\x1b[2;4r\x1b[?6h\x1b[2;3Hx"],
    ["no wrapping", "\x1b[?7lxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"],
    ["reverse wrapping, insert mode, new line mode", "\x1b[?45h\x1b[4h\x1b[20h"],
    ["line drawing", "\x1b)0\x0eqqq"],
    ["three charsets", "\x1b(A\x1b*0\x1bn"],
    ["tab stops", "\x1b[3g\x1b[1;4H\x1bH\x1b[1;11H\x1bH\r"],
    ["title", "\x1b]0;a title\x07"],
    ["current looks", "\x1b[1;2;3;4:3;58:2::1:2:3;9;53;38;5;200;48;2;1;2;3mx"],
    ["protected cells", '\x1b[1"qkeep\x1b[0"qlose'],
    ["saved cursor with looks and charset", "\x1b[2;5H\x1b[31m\x1b(0\x1b7\x1b(B\x1b[m\x1b[4;1H"],
    ["saved cursor that waits to wrap", `${"x".repeat(20)}\x1b7\x1b[4;1Hy`],
    ["cursor that waits to wrap", `${"x".repeat(19)}漢\x1b[1;20Hy`],
    ["alternate screen", "shell$ vi\x1b[?1049h\x1b[2J\x1b[1;1Hfile\x1b[5;1H-- INSERT --\x1b[2;3H"],
    ["alternate screen with a region of its own", "\x1b[2;3r\x1b[?1049h\x1b[1;4r\x1b[44m\x1b[2J"],
    ["saved cursor of the other screen", "\x1b[?47h\x1b[3;3H\x1b7\x1b[?47l"],
    ["background to the line's end", "\x1b[44mblue\x1b[K\r\n\x1b[mplain"],
    ["wrapped lines, also behind an erased cell", `${"abc".repeat(15)}\x1b[1;20H\x1b[K\x1b[2;1H\x1b[X`],
  ])("%s", (_name, script) => {
    const original = new ScreenState(20, 5);
    original.feed(utf8(script));
    const { copy } = copyOf(original);
    expect(stateOf(copy)).toEqual(stateOf(original));
    expect(stateOf(copy)).not.toEqual(stateOf(new ScreenState(20, 5)));
  });

  test("colours of the palette, of the text, background and cursor, and what was put back", () => {
    const original = new ScreenState(20, 5);
    original.feed(
      utf8("\x1b]4;1;#112233;7;rgb:44/55/66\x07\x1b]10;#010203\x07\x1b]12;#0a0b0c\x07\x1b]104;7\x07"),
    );
    const text = Buffer.from(copyOf(original).snapshot.text).toString();
    expect(text).toContain("\x1b]4;1;rgb:11/22/33\x1b\\\x1b]10;rgb:01/02/03\x1b\\\x1b]12;rgb:0a/0b/0c\x1b\\");
    expect(text).not.toContain("]4;7");
    original.feed(utf8("\x1b]104\x07\x1b]110\x07"));
    expect(Buffer.from(original.snapshot(0).text).toString()).not.toMatch(/\]4;|\]10;/);
  });

  test("DECSET 12, which no part of the library keeps", () => {
    const original = new ScreenState(20, 5);
    expect(Buffer.from(original.snapshot(0).text).toString()).not.toContain("?12");
    original.feed(utf8("\x1b[?12l"));
    expect(Buffer.from(original.snapshot(0).text).toString()).toContain("\x1b[?12l");
    original.feed(utf8("\x1b[?1;12h"));
    expect(Buffer.from(original.snapshot(0).text).toString()).toContain("\x1b[?12h");
  });
});

test.each([
  ["a character", "漢字", 1],
  ["a character of four bytes", "👍", 3],
  ["a colour", "\x1b[38;5;200mx", 7],
  ["an escape", "\x1b7", 1],
  ["a title", "\x1b]2;a long title\x07x", 9],
  ["a title that ends otherwise", "\x1b]2;a long title\x1b\\x", 17],
  ["a question of the terminal's", "\x1bP$qm\x1b\\x", 4],
  ["a string nobody knows", "\x1b_what\x1b\\x", 4],
  ["a title too long to be remembered", `\x1b]2;${"t".repeat(MAX_OPEN_STRING)}\x07x`, MAX_OPEN_STRING + 2],
  ["parameters without end", `\x1b[${"1;".repeat(200)}mx`, 350],
])("a snapshot in the middle of %s goes on in the middle", (_name, text, at) => {
  const bytes = utf8(text);
  const original = new ScreenState(20, 5);
  original.feed(utf8("\x1b]2;before\x07\x1b[31m"));
  original.feed(bytes.subarray(0, at));
  const { copy } = copyOf(original);
  for (const state of [original, copy]) state.feed(bytes.subarray(at));
  const seen = stateOf(copy);
  // Of a string that is not remembered whole nothing is done at all.
  if (at > MAX_OPEN_STRING) expect({ ...seen, title: "" }).toEqual({ ...stateOf(original), title: "" });
  else expect(seen).toEqual(stateOf(original));
});

test("10,000 lines come back; of more the newest; of too much text the oldest lines are cut, and counted", () => {
  const state = new ScreenState(80, 24);
  for (let at = 1; at <= 20_000; at += 1000)
    state.feed(utf8(Array.from({ length: 1000 }, (_, index) => `line ${at + index}\r\n`).join("")));
  const { snapshot, copy } = copyOf(state);
  expect(snapshot).toMatchObject({ columns: 80, rows: 24, lines: MAX_SCREEN_LINES, cut: 0 });
  expect(stateOf(copy)).toEqual(stateOf(state, spareOf(state)));
  const text = Buffer.from(snapshot.text).toString();
  expect(text.startsWith(`line ${20_000 - MAX_SCREEN_LINES - 22}\r\n`)).toBe(true);

  expect(state.snapshot(3)).toMatchObject({ lines: 3, cut: 0 });
  const some = copyOf(state, MAX_SCREEN_LINES, 700 * 1024);
  expect(some.snapshot.text.length).toBeLessThanOrEqual(700 * 1024);
  expect(some.snapshot.cut).toBeGreaterThan(0);
  expect(some.snapshot.lines + some.snapshot.cut).toBe(MAX_SCREEN_LINES);
  expect(stateOf(some.copy)).toEqual(stateOf(state, spareOf(state) + some.snapshot.cut));

  state.resize(80, 60); // a larger window takes its lines from above, and there are more
  expect(state.snapshot(MAX_SCREEN_LINES)).toMatchObject({ rows: 60, lines: MAX_SCREEN_LINES, cut: 0 });
});

test("a screen that is too much by itself keeps its newest lines, where they stand", () => {
  const state = new ScreenState(40, 6);
  state.feed(utf8("\x1b[?1049hone\r\ntwo\r\nthree\r\nfour\r\nfive\r\nsix"));
  const { snapshot, copy } = copyOf(state, 10, 640 * 1024 + 15);
  expect(snapshot.cut).toBeGreaterThan(0);
  const shown = [0, 1, 2, 3, 4, 5].map((row) =>
    copy.terminal.buffer.active.getLine(row)?.translateToString(true),
  );
  expect(shown.slice(0, 3)).toEqual(["", "", ""]);
  expect(shown[5]).toBe("six");
});

test("size: wider screens have less above them, and lines come back when it is narrower", () => {
  const state = new ScreenState(80, 24);
  state.feed(utf8("line\r\n".repeat(12_000)));
  state.resize(4000, 100);
  expect(state.terminal.buffer.active.length * 4000).toBeLessThanOrEqual(MAX_SCREEN_CELLS);
  expect(state.snapshot(MAX_SCREEN_LINES).lines).toBeGreaterThan(800);
  state.resize(30, 10);
  state.feed(utf8("line\r\n".repeat(12_000)));
  const { snapshot, copy } = copyOf(state);
  expect(snapshot).toMatchObject({ columns: 30, rows: 10, lines: MAX_SCREEN_LINES });
  expect(stateOf(copy)).toEqual(stateOf(state, spareOf(state)));
});

function looksStep(random: Seeded): string {
  const looks = [
    "\x1b[m",
    "\x1b[0;44m",
    "\x1b[31m",
    "\x1b[4:3;58:5:9m",
    "\x1b[7m",
    "\x1b[49m",
    "\x1b[0m",
    "\x1b[27;24m",
  ];
  return looks[random.below(looks.length)] as string;
}

test("plain text that nobody will see any more need not be parsed, and the screen is the same", () => {
  const seed = testSeed();
  const random = seeded(seed);
  for (let round = 0; round < 6; round++) {
    const columns = 300 + random.below(700); // with wide screens few lines are held, and a short text is a flood
    const script =
      round < 2 ? "\x1b[31mred" : Array.from({ length: 40 }, () => step(random, columns, 500)).join("");
    const eager = new ScreenState(columns, 900);
    const lazy = new ScreenState(columns, 900);
    for (const state of [eager, lazy]) state.feed(utf8(script));
    let flood = "";
    for (let line = 0; line < 16_000; line++)
      flood += `${line}${random.chance(0.3) ? "\tö漢 text" : ""}${random.chance(0.1) ? looksStep(random) : ""}\r\n`;
    flood += random.chance(0.5) ? "the end" : "\x1b[1mand more\r\n\x1b[2;2Hx";
    const bytes = utf8(flood);
    const pieces = [bytes.subarray(0, 10_000), bytes.subarray(10_000, 30_000), bytes.subarray(30_000)];
    for (const piece of pieces) eager.feed(piece);
    const held = eager.terminal.options.scrollback ?? 0;
    expect(plainRun(Buffer.from(flood), held + 1800).length).toBeGreaterThan(0);
    let done = 0;
    lazy.feedAll(pieces, () => done++);
    expect(done).toBe(3);
    const texts = [eager, lazy].map((state) => Buffer.from(state.snapshot(MAX_SCREEN_LINES).text).toString());
    expect(
      texts[1] === texts[0],
      `SEALTTY_TEST_SEED=${seed}, round ${round}\n${JSON.stringify(script)}`,
    ).toBe(true);
  }
});

test("where a flood may be left out: behind whole lines, as many as are held, and before anything that is not plain", () => {
  const text = Buffer.from("1\r\n2\r\n3\r\n4\r\n5\r\n6\x1b[H\r\n7\r\n");
  expect(plainRun(text, 2).length).toBe(9); // 4 and 5 are left
  expect(plainRun(text, 4).length).toBe(3);
  expect(plainRun(text, 5).length).toBe(0);
  expect(plainRun(Buffer.from("1\n2\n3\n4\n"), 2).length).toBe(0); // where the column is, nobody knows
  expect(plainRun(Buffer.from("\x071\r\n2\r\n"), 0).length).toBe(0);
  expect(plainRun(Buffer.alloc(0), 0).length).toBe(0);
  // The looks that the left out part leaves, from the last time that all were put back.
  const colours = Buffer.from("\x1b[1m1\x1b[0;31m2\x1b[4m\r\n\x1b[7m3\r\n4");
  expect(plainRun(colours, 0)).toEqual({ length: 26, instead: "\x1b[0;31m\x1b[4m\x1b[7m\r" });
  expect(plainRun(colours, 1)).toEqual({ length: 19, instead: "\x1b[0;31m\x1b[4m\r" });
  expect(plainRun(Buffer.from(`${"\x1b[31mx".repeat(1001)}\r\n`), 0).length).toBe(0);
  expect(plainRun(Buffer.from(`${"\x1b[31mx".repeat(1001)}\x1b[m\r\n`), 0).length).toBe(6011);
});

test("known hangs and throws of the library end at once", () => {
  const state = new ScreenState(80, 24);
  for (const final of "LMSTIZb") state.feed(utf8(`x\x1b[2147483647${final}\x1b[10001:5${final}`));
  state.feed(utf8("\x1b[24;80Hx\x1b[1J\x1b[?1J still here"));
  expect(
    state.terminal.buffer.active.getLine(state.terminal.buffer.active.baseY + 23)?.translateToString(true),
  ).toContain("still here");
});

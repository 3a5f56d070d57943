// The guard in front of xterm.js: what it bounds, what it leaves alone, and that chunk edges change nothing.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  erasesPastTheEnd,
  EscapeGuard,
  MAX_STRING_SEQUENCE,
  REPEATING_FINALS,
  repeatsTooOften,
} from "../../protocol/terminal/escape-guard.ts";
import { utf8 } from "../../protocol/bytes.ts";

const SCREEN = { columns: 80, rows: 24 };
const guard = (limit?: number) => new EscapeGuard(() => SCREEN, limit);
const filter = (text: string) => guard().filter(utf8(text));

describe("repeating sequences", () => {
  test.each([
    ["\x1b[2147483647L", "\x1b[24L"],
    ["\x1b[2147483647M", "\x1b[24M"],
    ["\x1b[99999999999999999999S", "\x1b[24S"],
    ["\x1b[25T", "\x1b[24T"],
    ["\x1b[2147483647I", "\x1b[80I"],
    ["\x1b[2147483647Z", "\x1b[80Z"],
    ["a\x1b[2147483647b", "a\x1b[80b"],
    ["\x1b[0000000000000000099b", "\x1b[80b"],
    ["\u009b2147483647L", "\x1b[24L"], // 8-bit introducer
    ["\x1b[2147\ufeff483647L", "\x1b[24L"], // xterm.js leaves byte order marks out as well
    ["\x1b[2147\x7f483647L", "\x1b[24L"],
    ["\x1b[2147\r\n483647L", "\r\n\x1b[24L"], // controls inside act at once
    ["\x1b[1\x1b[2147483647L", "\x1b[24L"],
    ["\x1b[2147483647:5L", "\x1b[24:5L"],
    ["\x1b[5L\x1b[3b", "\x1b[5L\x1b[3b"],
  ])("%j becomes %j", (sequence, expected) => {
    expect(filter(sequence)).toBe(expected);
  });

  test("a byte that is not UTF-8 inside the number breaks the sequence off; it can't hide in it", () => {
    const bytes = Uint8Array.of(
      0x1b,
      0x5b,
      0x32,
      0x31,
      0x34,
      0x80,
      0x37,
      0x34,
      0x38,
      0x33,
      0x36,
      0x34,
      0x37,
      0x4c,
    );
    expect(guard().filter(bytes)).not.toContain("\x1b");
  });

  test("other sequences keep their parameters, up to a bound", () => {
    for (const same of [
      "\x1b[9999;9999H",
      "\x1b[38;2;1;2;3m",
      "\x1b[38:2::1:2:3m",
      "\x1b[?1049h",
      "\x1b[!p",
      "\x1b[ q",
      "\x1b[>0c",
      "\x1b[?25$p",
    ]) {
      expect(filter(same)).toBe(same);
    }
    expect(filter("\x1b[999999999C")).toBe("\x1b[65535C");
  });

  test("a sequence of endless parameters is dropped whole", () => {
    expect(filter(`\x1b[${"1;".repeat(500)}Lx`)).toBe("x");
  });

  test("the second line of defence looks at every parameter", () => {
    expect(repeatsTooOften([1, [2, 10_001]])).toBe(true);
    expect(repeatsTooOften([10_000])).toBe(false);
  });
});

describe("string sequences", () => {
  test.each([
    ["\x1b]0;title\x07", "\x1b]0;title\x07"],
    ["\x1b]8;;https://x\x1b\\link", "\x1b]8;;https://x\x1b\\\x1b\\link"], // a second ST does nothing
    ["\u009d0;t\u009c.", "\x1b]0;t\x1b\\\x1b\\."],
    ["\x1bP$qm\x1b\\", "\x1bP$qm\x1b\\\x1b\\"],
    ["\x1b_Ga=T;AAAA\x1b\\text", "\x1b\\text"], // APC, PM, SOS: swallowed
    ["\x1b^pm\x07still\x1b\\text", "\x1b\\text"],
    ["\x1b]0;cut\x18x", "\x1b]0;cut\x18x"],
  ])("%j becomes %j", (sequence, expected) => {
    expect(filter(sequence)).toBe(expected);
  });

  test("above the limit it is cancelled, and nothing of it comes after", () => {
    expect(guard(10).filter(utf8(`\x1b]0;${"x".repeat(50)}\x07ok`))).toBe("\x1b]\x18ok");
    const bounded = guard();
    let out = "";
    const chunk = utf8("x".repeat(64 * 1024));
    out += bounded.filter(utf8("\x1b]52;c;"));
    for (let i = 0; i < 320; i++) out += bounded.filter(chunk); // 20 MiB
    out += bounded.filter(utf8("\x07after"));
    expect(out.length).toBeLessThan(MAX_STRING_SEQUENCE + 64);
    expect(out.endsWith("\x18after")).toBe(true);
  });
});

const pieces = fc.oneof(
  fc.constantFrom(
    "\x1b",
    "\x1b[",
    "\u009b",
    "\x1b]",
    "\x1bP",
    "\x1b_",
    "\x07",
    "\x18",
    "\x1a",
    "\x1b\\",
    "\ufeff",
    "\r\n",
    ";",
    "?",
    "!",
    " ",
    "é",
    "漢",
    "😀",
    "\x7f",
  ),
  fc.constantFrom("L", "M", "S", "T", "I", "Z", "b", "m", "H", "h", "p", "0", "9"),
  fc.nat().map(String),
  fc.string(),
);
const hostile = fc.array(pieces, { maxLength: 60 }).map((parts) => parts.join(""));

test("whatever comes: bounded repeats, no 8-bit control, no byte order mark, and chunk edges change nothing", () => {
  fc.assert(
    fc.property(hostile, fc.array(fc.nat({ max: 40 }), { maxLength: 40 }), (text, sizes) => {
      const bytes = utf8(text);
      const whole = guard().filter(bytes);
      const chunked = guard();
      let joined = "";
      let at = 0;
      for (const size of sizes) {
        joined += chunked.filter(bytes.subarray(at, at + size));
        at += size;
      }
      joined += chunked.filter(bytes.subarray(at));
      expect(joined).toBe(whole);
      // oxlint-disable-next-line no-control-regex
      expect(whole).not.toMatch(/[\x80-\x9f\ufeff]/);
      const finals = REPEATING_FINALS.join("");
      for (const [, number] of whole.matchAll(new RegExp(`\\x1b\\[([0-9]+)[0-9;:]*[${finals}]`, "g"))) {
        expect(Number(number)).toBeLessThanOrEqual(80);
      }
    }),
    { numRuns: 3000 },
  );
});

test("what is open leads a fresh guard to the same place, wherever it is cut", () => {
  const text = fc.array(
    fc.constantFrom(
      "a",
      "漢",
      "👍",
      "\x1b",
      "[",
      "]",
      "P",
      "_",
      "?",
      "1",
      ";",
      "m",
      "L",
      "\x07",
      "\\",
      "\x18",
      "\n",
      "\u009b",
      "!",
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(text, fc.nat(120), (parts, cut) => {
      const bytes = utf8(parts.join(""));
      const whole = guard();
      whole.filter(bytes.subarray(0, cut));
      const fresh = guard();
      // A string's beginning was given to the terminal before: only what follows is compared.
      const again = fresh.filter(whole.open);
      expect(again === "" || /^\x1b[\]P]/.test(again), JSON.stringify(again)).toBe(true);
      const rest = bytes.subarray(cut);
      expect(fresh.filter(rest)).toBe(whole.filter(rest));
      expect(fresh.open).toEqual(whole.open);
    }),
  );
});

test("an erasure up to the last cell, which xterm.js cannot do, is known; others are not touched", () => {
  const corner = { cursorX: 79, cursorY: 23, length: 24 };
  expect(erasesPastTheEnd([1], corner, 80)).toBe(true);
  expect(erasesPastTheEnd([1], { ...corner, cursorX: 80 }, 80)).toBe(true);
  for (const parameters of [[0], [2], [3], []]) expect(erasesPastTheEnd(parameters, corner, 80)).toBe(false);
  expect(erasesPastTheEnd([1], { ...corner, cursorX: 78 }, 80)).toBe(false);
  expect(erasesPastTheEnd([1], { ...corner, cursorY: 22 }, 80)).toBe(false);
  expect(erasesPastTheEnd([1], { ...corner, length: 25 }, 80)).toBe(false); // lines above it: there is one behind
});

test("arbitrary bytes never throw, and plain text passes unchanged", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
      expect(guard().filter(bytes)).toBeTypeOf("string");
    }),
    { numRuns: 2000 },
  );
  const text = "käse 漢字 😀 e\u0301\r\n\ttab";
  expect(filter(text)).toBe(text);
});

test("eight megabytes of ordinary output pass quickly", () => {
  const line = utf8(`${"\x1b[32mok\x1b[0m some ordinary output of a build".repeat(3)}\r\n`);
  const block = new Uint8Array(line.length * 500);
  for (let at = 0; at < block.length; at += line.length) block.set(line, at);
  const one = guard();
  const start = performance.now();
  for (let bytes = 0; bytes < 8_000_000; bytes += block.length) one.filter(block);
  expect(performance.now() - start).toBeLessThan(40_000);
});

// What a paste may carry into the guest.

import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  joinedInOneLine,
  LONG_PASTE,
  MAX_PASTE,
  pasteInput,
  pastePreview,
  reviewPaste,
} from "../../client/paste-guard.ts";

test.each([
  ["ls -l", "ls -l", []],
  ["a\tb", "a\tb", []],
  ["one\ntwo", "one\rtwo", ["several-lines"]],
  ["one\r\ntwo\r\n", "one\rtwo\r", ["several-lines"]],
  ["end\n", "end\r", ["several-lines"]],
  ["x\x1b[201~\rrm -rf x\r", "x\rrm -rf x\r", ["several-lines", "control-characters"]],
  ["\x9b201~x", "x", ["control-characters"]],
  ["\x1b[2\x1b[201~01~x", "␛[201~x", ["control-characters"]], // taking one out must not make another
  ["a\x03b\x00c\x7fd\u0085e", "abcde", ["control-characters"]],
  ["\x1b]0;t\x07", "␛]0;t", ["control-characters"]],
  ["\u202egnp.exe", "\u202egnp.exe", ["hidden-characters"]],
  ["x\u{e0041}y", "x\u{e0041}y", ["hidden-characters"]],
])("%j is cleaned to %j, asking for %j", (clipboard, text, reasons) => {
  const review = reviewPaste(clipboard);
  expect(review?.text).toBe(text);
  expect(review?.reasons).toEqual(reasons);
});

test("length: asked about above 5 KB, nothing above 1 MiB", () => {
  expect(reviewPaste("x".repeat(LONG_PASTE))?.reasons).toEqual([]);
  expect(reviewPaste("x".repeat(LONG_PASTE + 1))?.reasons).toEqual(["long"]);
  expect(reviewPaste("é".repeat(LONG_PASTE / 2 + 1))?.reasons).toEqual(["long"]);
  expect(reviewPaste("x".repeat(MAX_PASTE + 1))).toBeUndefined();
  expect(reviewPaste("é".repeat(MAX_PASTE))).toBeUndefined();
  expect(reviewPaste("")).toBeUndefined();
});

test("lines are counted as a person counts them", () => {
  expect(reviewPaste("a\nb\nc")?.lines).toBe(3);
  expect(reviewPaste("a\nb\n")?.lines).toBe(2);
  expect(reviewPaste("\n")?.lines).toBe(1);
});

test("whatever is pasted: no control character but TAB and CR gets in, and the bracket ends once, at the end", () => {
  const part = fc.oneof(
    fc.constantFrom(
      "\x1b",
      "\x1b[201~",
      "\x1b[200~",
      "\x9b201~",
      "[201~",
      "\x1b[20",
      "1~",
      "\n",
      "\r\n",
      "\x00",
      "\u202e",
    ),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 30 }), (parts) => {
      const review = reviewPaste(parts.join(""));
      if (review === undefined) return;
      for (const each of [review, joinedInOneLine(review)]) {
        // oxlint-disable-next-line no-control-regex
        expect(each.text).not.toMatch(/[\x00-\x08\x0a-\x0c\x0e-\x1f\x7f-\x9f]/);
        const sent = pasteInput(each, true);
        expect(sent.startsWith("\x1b[200~")).toBe(true);
        expect(sent.indexOf("\x1b[201~")).toBe(sent.length - 6);
        expect(pasteInput(each, false)).toBe(each.text);
      }
      expect(joinedInOneLine(review).text).not.toContain("\r");
    }),
    { numRuns: 3000 },
  );
});

test("the preview spells out what can't be seen, and is bounded", () => {
  const review = reviewPaste(`a\u202eb\nc${"x".repeat(10_000)}`);
  if (review === undefined) throw new Error("no review");
  const preview = pastePreview(review, 100);
  expect(preview).toContain("a⟨U+202E⟩b⏎\nc");
  expect(preview).toContain("more characters");
  expect(preview.length).toBeLessThan(300);
});

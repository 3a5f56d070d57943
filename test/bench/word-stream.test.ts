// The soak's judge: what it calls whole is whole, and what is wrong it finds and names.
import { expect, test } from "vitest";
import { WordChecker, WordSource } from "../../bench/soak/word-stream.ts";
import { concat } from "../../protocol/bytes.ts";
import { seeded, testSeed } from "../support/seeded.ts";

const seed = testSeed();
const WORDS = 5000;
const stream = (): Uint8Array => new WordSource(seed).take(WORDS);

function judge(...parts: readonly Uint8Array[]) {
  const checker = new WordChecker(seed);
  for (const part of parts) checker.push(part);
  return checker.verdict;
}
const GOOD = { whole: WORDS * 4, lost: 0, doubled: 0, reordered: 0, foreign: 0 };

test(`a whole stream in pieces of any size, with its end (seed ${seed})`, () => {
  const random = seeded(seed);
  const source = new WordSource(seed);
  const all = concat(source.take(WORDS / 2), source.take(WORDS / 2), source.end());
  expect(source.length).toBe(WORDS * 4);
  const checker = new WordChecker(seed);
  for (let at = 0; at < all.length; ) {
    const size = 1 + random.below(50);
    expect(checker.ended).toBe(false);
    checker.push(all.subarray(at, at + size));
    at += size;
  }
  expect(checker.ended).toBe(true);
  expect(checker.verdict).toEqual(GOOD);
});

test("words that are missing, doubled, late or another stream's are counted as what they are", () => {
  const all = stream();
  const [a, b, c, d] = [0, 4000, 8000, 12_000].map((at) => all.subarray(at, at + 4000)) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];
  expect(judge(a, c, d)).toMatchObject({ whole: 12_000, lost: 4000, doubled: 0, reordered: 0 });
  expect(judge(a, b, b, c)).toMatchObject({ whole: 12_000, lost: 0, doubled: 4000, reordered: 0 });
  expect(judge(a, c, b, d)).toMatchObject({ lost: 0, doubled: 0, reordered: 4000, foreign: 0 });
  const another = new WordSource(seed + 1).take(100);
  expect(judge(a, another, b).foreign).toBeGreaterThan(300);
});

test.each([1, 2, 3])("%i bytes missing anywhere never look whole", (missing) => {
  const random = seeded(seed);
  const all = stream();
  for (let i = 0; i < 50; i++) {
    const at = random.below(all.length - missing);
    const verdict = judge(all.subarray(0, at), all.subarray(at + missing));
    expect(verdict.whole).toBeLessThan(GOOD.whole);
    expect(verdict.lost + verdict.foreign).toBeGreaterThan(0);
  }
});

// A machine that stood still is noticed by its RTC; one whose clocks run side by side never is.
import { expect, test } from "vitest";
import { watchForRestores } from "../../server/restore-watch.ts";
import { ManualClock } from "../support/clocks.ts";

const START = 1_750_000_000;

/** @param stopped - seconds by which the RTC runs ahead of the machine's clock, at a time of that clock (ms). */
function watched(stopped: (ms: number) => number | undefined) {
  const clock = new ManualClock();
  const jumps: number[] = [];
  const stop = watchForRestores({
    clock,
    onJump: (seconds) => jumps.push(seconds),
    readRtc() {
      const ahead = stopped(clock.now());
      return ahead === undefined ? undefined : START + Math.floor(clock.now() / 1000 + ahead);
    },
  });
  return { clock, jumps, stop };
}

test.each<[string, (ms: number) => number | undefined, number[]]>([
  ["nothing happens", () => 0, []],
  ["no RTC", () => undefined, []],
  ["the RTC drifts by a tenth", (ms) => ms / 10_000, []],
  ["the host corrects its clock by two seconds", (ms) => (ms > 5000 ? 2 : 0), []],
  ["paused for a minute", (ms) => (ms > 5000 ? 60 : 0), [60]],
  ["restored from a snapshot of yesterday", (ms) => (ms > 5000 ? 86_400 : 0), [86_400]],
  ["set back, and again", (ms) => (ms > 9000 ? -20 : ms > 5000 ? -10 : 0), [-10, -10]],
  ["the RTC goes away and comes back", (ms) => (ms > 5000 && ms < 9000 ? undefined : ms / 1000), []],
])("%s", (_name, stopped, expected) => {
  const { clock, jumps, stop } = watched(stopped);
  for (let i = 0; i < 60; i++) clock.advance(1000);
  stop();
  expect(jumps).toEqual(expected);
});

test("the watch ends", () => {
  let reads = 0;
  const { clock, stop } = watched(() => reads++ * 100);
  stop();
  const before = reads;
  clock.advance(60_000);
  expect(reads).toBe(before);
});

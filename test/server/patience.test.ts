// Another process that does not answer: so many seconds of one's own, and not of a machine that was stopped meanwhile.

import { expect, test } from "vitest";
import type { Clock } from "../../protocol/clock.ts";
import { answersWithin, doneWithin } from "../../server/monitor/patience.ts";

/** Its only timer is run by hand, however much later than it was due. */
function lateClock() {
  let [now, due] = [0, undefined as (() => void) | undefined];
  const clock: Clock = {
    now: () => now,
    soon: (run) => queueMicrotask(run),
    after(_ms, run) {
      due = run;
      return () => {
        due = undefined;
      };
    },
  };
  const run = async (laterMs: number): Promise<void> => {
    now += laterMs;
    const ran = due;
    due = undefined;
    ran?.();
    await new Promise(setImmediate);
  };
  return { clock, run, isWaiting: () => due !== undefined };
}

test("a machine that stood still for a day is no process that hangs; one that does not answer while this one runs is", async () => {
  const { clock, run } = lateClock();
  let answers: boolean | undefined;
  void answersWithin(clock, 10, new Promise(() => {})).then((said) => {
    answers = said;
  });
  await run(86_400_000);
  for (let i = 0; i < 8; i++) await run(1000);
  expect(answers).toBeUndefined();
  await run(1000);
  expect(answers).toBe(false);
});

test.each([
  ["an answer", () => Promise.resolve(1)],
  ["a failure", () => Promise.reject(new Error("no"))],
])("%s is one, and no timer stays", async (_what, work: () => Promise<unknown>) => {
  for (const within of [answersWithin, doneWithin]) {
    const { clock, isWaiting } = lateClock();
    expect(await within(clock, 10, work())).toBe(true);
    expect(isWaiting()).toBe(false);
  }
});

test("by the clock alone a limit is over once it has passed", async () => {
  const { clock, run } = lateClock();
  const done = doneWithin(clock, 10, new Promise(() => {}));
  await run(10);
  expect(await done).toBe(false);
});

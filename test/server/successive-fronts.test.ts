// One front after the other: sessions that are kept do not end because fronts do, however often and for whatever reason.

import { expect, test, vi } from "vitest";
import { SealttyError } from "../../protocol/errors.ts";
import type { Log } from "../../server/log.ts";
import { type Front, successiveFronts } from "../../server/monitor/successive-fronts.ts";
import { ManualClock } from "../support/clocks.ts";

const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} };
const ENDED = new SealttyError("transport-lost", "ended");
/** All that is due has run, some awaits further. */
const settled = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
};

function fronts(start: (count: number) => Front) {
  const clock = new ManualClock();
  let [started, worthIt, over, errors] = [0, true, false, 0];
  const lasting = successiveFronts(dead(), {
    clock,
    log: { ...quiet, error: () => void errors++ },
    start: () => start(++started),
    isWorthIt: () => worthIt,
  });
  void lasting.then(() => {
    over = true;
  });
  return {
    lasting,
    started: () => started,
    isOver: () => over,
    /** How often something was an error. */
    said: () => errors,
    pass: async (seconds: number): Promise<void> => {
      await settled();
      for (let i = 0; i < seconds * 4; i++) {
        clock.advance(250);
        await settled();
      }
    },
    nobodyKeepsASession: () => {
      worthIt = false;
    },
  };
}

/** It never serves. */
const dead = (): Front => ({
  ready: new Promise(() => {}),
  lost: Promise.resolve(ENDED),
  end: () => Promise.resolve(),
});

test("fronts that crash one after the other: five more at once, then one in half a minute, and never none", async () => {
  const { started, isOver, pass, nobodyKeepsASession, lasting } = fronts(dead);
  await pass(0);
  expect(started()).toBe(5);
  await pass(29);
  expect(started()).toBe(5);
  await pass(62);
  expect([started(), isOver()]).toEqual([8, false]);
  nobodyKeepsASession();
  await pass(1);
  expect(await lasting).toBe(ENDED);
  expect(started()).toBe(8);
});

test("a device that is gone, or no process to be had: tried again, and served once it is back", async () => {
  let ended = (): void => {};
  const lost = new Promise<SealttyError>((resolve) => {
    ended = () => resolve(ENDED);
  });
  const { started, isOver, pass } = fronts((count) => {
    if (count === 1) throw Object.assign(new Error("spawn"), { code: "EAGAIN" });
    if (count < 7) return dead();
    return { ...dead(), ready: Promise.resolve(undefined), lost: count === 7 ? lost : new Promise(() => {}) };
  });
  await pass(65);
  expect([started(), isOver()]).toEqual([7, false]);
  await pass(120);
  expect(started()).toBe(7); // it serves
  ended();
  await pass(1);
  expect([started(), isOver()]).toEqual([8, false]);
});

test("a front that the kernel does not end: none beside it, sessions go on meanwhile, and once it is gone the next one serves", async () => {
  let end = (): void => {};
  const stuck = new Promise<void>((resolve) => {
    end = resolve;
  });
  const { started, isOver, pass, said, nobodyKeepsASession } = fronts(() => ({
    ...dead(),
    end: () => stuck,
  }));
  await pass(9);
  expect([started(), isOver(), said()]).toEqual([1, false, 0]);
  await pass(180);
  expect([started(), isOver(), said()]).toEqual([1, false, 3]);
  end();
  await pass(1);
  expect([started() > 1, isOver()]).toEqual([true, false]);
  nobodyKeepsASession();
  await pass(1);
  expect(isOver()).toBe(true);
});

test("to wait for one that never ends, however long, leaves nothing behind in memory", async () => {
  const never = new Promise<void>(() => {});
  const asked = vi.spyOn(never, "then");
  const { pass } = fronts(() => ({ ...dead(), end: () => never }));
  await pass(15);
  const before = asked.mock.calls.length;
  await pass(60);
  expect(asked.mock.calls.length).toBe(before);
});

test("a front that the kernel does not end, and nobody keeps a session any more: the end", async () => {
  const { started, isOver, pass, nobodyKeepsASession } = fronts(() => ({
    ...dead(),
    end: () => new Promise(() => {}),
  }));
  await pass(15);
  nobodyKeepsASession();
  await pass(1);
  expect([started(), isOver()]).toEqual([1, true]);
});

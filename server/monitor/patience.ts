// Waits for another process of this machine: one that hangs is found out, and one of a machine that the host stopped is not taken for it.
// That holds for a machine that is stopped as a whole. A host that runs the processor this process is on, and not the one that the
// other is on, makes the other look hung.

import type { Clock } from "../../protocol/clock.ts";

const TICK = 1000; // ms

/**
 * @param seconds - in which this process ran itself: while the host has the whole machine stopped, however long, at most one passes.
 * @returns false where it was neither done nor failed by then.
 */
export async function answersWithin(clock: Clock, seconds: number, work: Promise<unknown>): Promise<boolean> {
  let cancel = (): void => {};
  const tooLong = new Promise<boolean>((resolve) => {
    const wait = (left: number): void => {
      cancel = clock.after(TICK, () => (left > 1 ? wait(left - 1) : resolve(false)));
    };
    wait(seconds);
  });
  return await first(work, tooLong, () => cancel());
}

/**
 * By the clock alone, for what a machine that stood still may as well be given up after.
 * @param limit - ms. @returns false where it was neither done nor failed by then.
 */
export async function doneWithin(clock: Clock, limit: number, work: Promise<unknown>): Promise<boolean> {
  let cancel = (): void => {};
  const tooLong = new Promise<boolean>((resolve) => {
    cancel = clock.after(limit, () => resolve(false));
  });
  return await first(work, tooLong, cancel);
}

async function first(
  work: Promise<unknown>,
  tooLong: Promise<boolean>,
  cancel: () => void,
): Promise<boolean> {
  const done = work.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([done, tooLong]);
  } finally {
    cancel();
  }
}

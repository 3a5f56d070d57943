// The clock of every Node program of ours: monotonic time and the event loop's own timers.

import type { Clock } from "../protocol/clock.ts";

/** setTimeout's limit; a longer delay would fire at once. */
const LONGEST_DELAY = 2 ** 31 - 1;

export const nodeClock: Clock = {
  now: () => performance.now(),
  after(delay, callback) {
    const timer = setTimeout(callback, Math.min(Math.ceil(delay), LONGEST_DELAY));
    return () => clearTimeout(timer);
  },
  soon(callback) {
    setImmediate(callback);
  },
};

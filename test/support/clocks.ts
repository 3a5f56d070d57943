// Clocks for tests: the machine's, one that runs faster, and one that stands until told.

import type { Clock } from "../../protocol/clock.ts";

/** Protocol time runs `factor` times as fast as real time: a hostile pipe's retransmissions take no minutes. */
export function fastClock(factor: number): Clock {
  const start = performance.now();
  return {
    now: () => (performance.now() - start) * factor,
    after(delay, callback) {
      const timer = setTimeout(callback, delay / factor);
      return () => clearTimeout(timer);
    },
    soon: (callback) => void setImmediate(callback),
  };
}

/** Stands still; `advance` runs what falls due, in order. */
export class ManualClock implements Clock {
  #now = 0;
  #timers: { at: number; callback: () => void }[] = [];
  /** Timers that ran so far. */
  fired = 0;

  now(): number {
    return this.#now;
  }
  after(delay: number, callback: () => void): () => void {
    const timer = { at: this.#now + delay, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }
  soon(callback: () => void): void {
    queueMicrotask(callback);
  }
  /** How many are pending. */
  get timers(): number {
    return this.#timers.length;
  }
  advance(by: number): void {
    const until = this.#now + by;
    for (;;) {
      const due = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== due);
      this.#now = Math.max(this.#now, due.at);
      this.fired++;
      due.callback();
    }
    this.#now = until;
  }
}

/** Time passes on these, a little at each turn of the event loop. @param ms - at once. @returns what ends that. */
export function passTime(clocks: readonly ManualClock[], ms: number): () => Promise<void> {
  let running = true;
  const passing = (async () => {
    while (running) {
      await new Promise((resolve) => setImmediate(resolve));
      for (const clock of clocks) clock.advance(ms);
    }
  })();
  return () => {
    running = false;
    return passing;
  };
}

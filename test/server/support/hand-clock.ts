// Time that passes only when someone waits for it, and then at once.

import type { Clock } from "../../../protocol/clock.ts";

export class HandClock implements Clock {
  time = 0;
  now(): number {
    return this.time;
  }
  after(delay: number, callback: () => void): () => void {
    this.time += delay;
    queueMicrotask(callback);
    return () => {};
  }
  soon(callback: () => void): void {
    queueMicrotask(callback);
  }
}

/** Time that moves by hand: timers fire when a test says so. */
export class SteppedClock implements Clock {
  time = 0;
  readonly #timers = new Set<{ at: number; callback: () => void }>();
  now(): number {
    return this.time;
  }
  after(delay: number, callback: () => void): () => void {
    const timer = { at: this.time + delay, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }
  soon(callback: () => void): void {
    queueMicrotask(callback);
  }
  get waiting(): number {
    return this.#timers.size;
  }
  /** Lets everything that is ready run before and after each timer. */
  async pass(delay: number): Promise<void> {
    const end = this.time + delay;
    for (;;) {
      await new Promise((done) => setImmediate(done));
      const next = [...this.#timers].sort((a, b) => a.at - b.at)[0];
      if (next === undefined || next.at > end) break;
      this.#timers.delete(next);
      this.time = Math.max(this.time, next.at);
      next.callback();
    }
    this.time = end;
    await new Promise((done) => setImmediate(done));
  }
}

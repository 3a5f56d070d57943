// One timer that follows a changing deadline.

import type { Clock } from "../clock.ts";

export class Deadline {
  readonly #clock: Clock;
  readonly #due: () => void;
  #at: number | undefined;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, due: () => void) {
    this.#clock = clock;
    this.#due = due;
  }

  /** Moves the deadline; a later one than the timer's is left to the timer, which then looks again: most never fire. */
  set(at: number | undefined): void {
    const armedFor = this.#cancel === undefined ? undefined : this.#at;
    if (at === undefined || (armedFor !== undefined && armedFor <= at)) return;
    this.#cancel?.();
    this.#at = at;
    this.#cancel = this.#clock.after(Math.max(0, at - this.#clock.now()), () => {
      this.#cancel = undefined;
      this.#due();
    });
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}

// When a refusal may go out: on a beat that starts with the check of a user's key. Counted from the check's end, it would tell
// whoever has a clock how long that took, and so whether there is such a user.

import type { Clock } from "../clock.ts";

export class RefusalTime {
  readonly #clock: Clock;
  readonly #every: number;
  #waiting: (() => void) | undefined;
  #cancel: () => void;

  /** The beat starts now. @param every - ms. To be ended by `next` or `stop`. */
  constructor(clock: Clock, every: number) {
    this.#clock = clock;
    this.#every = every;
    this.#cancel = clock.after(every, () => this.#beat());
  }

  /** Calls `go` at the next beat, once. */
  next(go: () => void): void {
    this.#waiting = go;
  }

  /** Nobody is refused. */
  stop(): void {
    this.#cancel();
  }

  #beat(): void {
    if (this.#waiting !== undefined) this.#waiting();
    else this.#cancel = this.#clock.after(this.#every, () => this.#beat());
  }
}

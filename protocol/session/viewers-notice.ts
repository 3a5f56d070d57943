// When an attachment is told who else is attached: the latest state always, yet not as often as others come and go. Whoever
// attaches over and over would otherwise fill the control stream of everyone at the session, which goes before what they type.

import type { Clock } from "../clock.ts";

/** From one VIEWERS of an attachment to its next, ms. */
const VIEWERS_EVERY = 500;

export class ViewersNotice {
  readonly #clock: Clock;
  readonly #tell: () => boolean;
  #due = false; // something is different from what was told
  #cancelWaiting: (() => void) | undefined; // no more is told before
  #soon = false;
  #stopped = false;

  /** Tells for the first time at once. @param tell - @returns whether it could: else it is asked again later. */
  constructor(clock: Clock, tell: () => boolean) {
    this.#clock = clock;
    this.#tell = tell;
    this.#try();
  }

  /** A change after a quiet time is told at once; what changes in the same turn, together. */
  changed(): void {
    this.#due = true;
    if (this.#soon || this.#stopped || this.#cancelWaiting !== undefined) return;
    this.#soon = true;
    this.#clock.soon(() => {
      this.#soon = false;
      this.#try();
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelWaiting?.();
  }

  #try(): void {
    if (this.#stopped) return;
    this.#due = !this.#tell();
    this.#cancelWaiting = this.#clock.after(VIEWERS_EVERY, () => {
      this.#cancelWaiting = undefined;
      if (this.#due) this.#try();
    });
  }
}

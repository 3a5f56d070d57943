// Requests to a piece of hardware that must not be hurried: one at a time, a pause between, and longer ones after failures.

import type { Clock } from "../../protocol/clock.ts";
import { Mutex } from "./mutex.ts";
import { unavailable, reasonOf } from "./unavailable.ts";

const FIRST_BACK_OFF_MS = 2000;
const LONGEST_BACK_OFF_MS = 60_000;

/**
 * A security processor that is asked too often is throttled by its host, and a throttled one may lose its key until the
 * next boot; so after a failure nobody asks again for a while, and whoever wants to is told at once why.
 */
export class Pacer {
  readonly #clock: Clock;
  readonly #interval: number;
  readonly #mutex = new Mutex();
  #nextStart = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #lastFailure: unknown;
  #quietUntil = Number.NEGATIVE_INFINITY;

  /** @param interval - milliseconds from the start of one request to that of the next, at least. */
  constructor(clock: Clock, interval: number) {
    this.#clock = clock;
    this.#interval = interval;
  }

  /** Runs `task` alone; its own `turn` is to be awaited before each single request. @throws SealttyError `evidence-unavailable`. */
  run<T>(task: (turn: () => Promise<void>) => Promise<T>): Promise<T> {
    return this.#mutex.run(async () => {
      const quiet = this.#quietUntil - this.#clock.now();
      if (quiet > 0) {
        throw unavailable(
          `The hardware is left alone for ${Math.ceil(quiet / 1000)} s after a failure: ${reasonOf(this.#lastFailure)}`,
          "Try again then.",
          this.#lastFailure,
        );
      }
      try {
        const result = await task(() => this.#turn());
        this.#failures = 0;
        return result;
      } catch (error) {
        const pause = Math.min(FIRST_BACK_OFF_MS * 2 ** this.#failures, LONGEST_BACK_OFF_MS);
        this.#failures++;
        this.#lastFailure = error;
        this.#quietUntil = this.#clock.now() + pause;
        throw error;
      }
    });
  }

  async #turn(): Promise<void> {
    const wait = this.#nextStart - this.#clock.now();
    if (wait > 0) await new Promise<void>((resolve) => void this.#clock.after(wait, resolve));
    this.#nextStart = this.#clock.now() + this.#interval;
  }
}

// How often a guest checks a user's key, over all connections: each check reads a file and computes two signatures at most, and
// anybody can ask.

import type { Clock } from "../clock.ts";
import { TokenBucket } from "./token-bucket.ts";

/** Ms between two looks at who waits. */
const LOOK_AGAIN = 50;

/** A turn for each; the newest goes first, so that nobody stands behind attempts that others began and left. */
export class AuthTurns {
  readonly #clock: Clock;
  readonly #bucket: TokenBucket;
  /** Newest last; one for each connection at most. */
  #waiting: { readonly gone: () => boolean; readonly go: () => void }[] = [];
  #looking = false;

  constructor(clock: Clock, perSecond: number, burst: number) {
    this.#clock = clock;
    this.#bucket = new TokenBucket(perSecond, burst);
  }

  /** @param gone - nobody wants the turn any more: it is given to another, and this stays pending. */
  take(gone: () => boolean): Promise<void> {
    return new Promise((go) => {
      this.#waiting = [...this.#waiting.filter((each) => !each.gone()), { gone, go }];
      if (!this.#looking) this.#look();
    });
  }

  #look(): void {
    this.#looking = false;
    for (let next = this.#waiting.pop(); next !== undefined; next = this.#waiting.pop()) {
      if (next.gone()) continue;
      if (this.#bucket.take(this.#clock.now())) next.go();
      else {
        this.#waiting.push(next);
        this.#looking = true;
        this.#clock.after(LOOK_AGAIN, () => this.#look());
        return;
      }
    }
  }
}

// How many signals go to programs: so many for each share of them, and a few that no other program's flood takes away.

import type { Clock } from "../../protocol/clock.ts";
import { TokenBucket } from "../../protocol/session/token-bucket.ts";

/** Of one share's programs together (shareOwner): each may cost a look at every process, and one of the user's that sends it. */
const SIGNALS_PER_SECOND = 50;
/** Of hang-ups more may come, where many connections end together: these are not dropped. */
const SIGNALS_AT_ONCE = 100;
/** Shares of which is known how many signals they may send; that which sent none for longest goes. */
const MAX_SENDERS = 1024;

/** Besides, of one program whose share is strangers' together: nobody presses keys faster for long. */
const OWN_PER_SECOND = 1;
const OWN_AT_ONCE = 5;

export interface SignalSender {
  /** As `shareOwner` says it. */
  readonly owner: string;
  /** A program's own; undefined where all of the share's are one user's. */
  readonly own: TokenBucket | undefined;
}

/** For a program that somebody without a key has opened: what others without one send does not drop its signals. */
export function ownSignals(): TokenBucket {
  return new TokenBucket(OWN_PER_SECOND, OWN_AT_ONCE);
}

export class SignalShares {
  readonly #clock: Pick<Clock, "now">;
  /** By the share's owner; in order of use. */
  readonly #shares = new Map<string, TokenBucket>();

  constructor(clock: Pick<Clock, "now">) {
    this.#clock = clock;
  }

  /** @returns whether one more may be sent. The program's own come first, so that a share is left to who needs more. */
  mayCost({ owner, own }: SignalSender): boolean {
    const now = this.#clock.now();
    if (own?.take(now) === true) return true;
    const share = this.#shares.get(owner) ?? new TokenBucket(SIGNALS_PER_SECOND, SIGNALS_AT_ONCE);
    this.#shares.delete(owner);
    this.#shares.set(owner, share);
    const [oldest] = this.#shares.keys();
    if (this.#shares.size > MAX_SENDERS && oldest !== undefined) this.#shares.delete(oldest);
    return share.take(now);
  }
}

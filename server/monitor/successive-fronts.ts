// One front after the other: where one ends, and sessions are kept elsewhere, another one is started. docs/decisions/0030

import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { TokenBucket } from "../../protocol/session/token-bucket.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import type { Log } from "../log.ts";
import { doneWithin } from "./patience.ts";

/** Started at once, one after the other; then one in half a minute: whoever makes each of them crash gets few tries. */
const FRONTS_AT_ONCE = 5;
const FRONTS_PER_SECOND = 1 / 30;
/** How often it is looked whether the next may be started, or is of no use any more, ms. */
const LOOK_EVERY = 250;
/** A killed one is gone by then, unless the kernel cannot end it yet: with its device still open no other could serve. Ms. */
const END_WITHIN_MS = 10_000;
/** How often that is said again, ms. */
const SAY_EVERY = 60_000;

export interface Front {
  /** It serves. */
  readonly ready: Promise<undefined>;
  /** It will not, or not any more. */
  readonly lost: Promise<SealttyError>;
  /** Kills it, with what it started itself. Resolves once that is gone. */
  end(): Promise<void>;
}

export interface SuccessiveFrontsOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** @throws whatever starting a process does. */
  readonly start: () => Front;
  /** Sessions are kept elsewhere, and sealttyd is not being stopped: for them another front is worth it. */
  readonly isWorthIt: () => boolean;
}

/** @returns why there will be no other front: nobody has a session for it. */
export async function successiveFronts(
  first: Front,
  { clock, log, start, isWorthIt }: SuccessiveFrontsOptions,
): Promise<SealttyError> {
  const starts = new TokenBucket(FRONTS_PER_SECOND, FRONTS_AT_ONCE);
  const aMoment = (): Promise<void> => new Promise((resolve) => void clock.after(LOOK_EVERY, resolve));
  let front: Front | undefined = first;
  let reason = await first.lost;
  /** @returns false: no other one is worth it any more. */
  const hasEnded = async (end: Promise<void>): Promise<boolean> => {
    let over = false;
    void end.then(() => {
      over = true;
    });
    if (await doneWithin(clock, END_WITHIN_MS, end)) return true;
    let said: number | undefined;
    while (!over && isWorthIt()) {
      if (said === undefined || clock.now() - said >= SAY_EVERY) {
        said = clock.now();
        log.error("THE KERNEL DOES NOT END A HALF THAT IT WAS TOLD TO END: no other one serves until it has");
      }
      await aMoment(); // not doneWithin: each call of it would leave something at a promise that may never be kept
    }
    return over;
  };
  for (;;) {
    if (!isWorthIt()) return reason;
    const told = { cause: reason.message };
    log.warn(
      "the half that talks to the host ended: another one is started, sessions that are kept go on",
      told,
    );
    if (front !== undefined && !(await hasEnded(front.end()))) return reason;
    while (isWorthIt() && !starts.take(clock.now())) await aMoment();
    if (!isWorthIt()) return reason;
    try {
      front = start();
    } catch (error) {
      front = undefined; // no memory, no process or no screen, for now
      const cause = error instanceof SealttyError ? error.message : (errorCode(error) ?? "unknown error");
      reason = new SealttyError(
        "transport-lost",
        `The half that talks to the host cannot be started: ${cause}`,
      );
      continue;
    }
    // A device that the host took away is one that it may bring back: then this one is lost, and the next tries again.
    const failed: SealttyError | undefined = await Promise.race([front.ready, front.lost]);
    if (failed === undefined) log.info("the half that talks to the host serves again");
    reason = await front.lost;
  }
}

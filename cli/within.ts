// Waiting for something, and not for ever.

import type { Clock } from "../protocol/clock.ts";

/** Resolves once `what` is settled, whichever way, or that time is over. @param limit - ms. */
export async function within(
  clock: Pick<Clock, "after">,
  limit: number,
  what: Promise<unknown>,
): Promise<void> {
  let off = (): void => {};
  const patience = new Promise<void>((resolve) => {
    off = clock.after(limit, resolve);
  });
  const settled = (): void => {};
  await Promise.race([what.then(settled, settled), patience]);
  off();
}

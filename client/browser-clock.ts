// The protocol's clock in a browser: in a page, and in a worker.

import type { Clock } from "../protocol/clock.ts";

export function ownTimer(delay: number, callback: () => void): () => void {
  const timer = setTimeout(callback, delay);
  return () => clearTimeout(timer);
}

/**
 * `soon` goes through a message channel: unlike a timer it is not held back to 4 ms, nor slowed in a hidden tab.
 * @param after - a page that must keep its time while it is hidden has its timers elsewhere: worker-timers.ts.
 */
export function browserClock(after: Clock["after"] = ownTimer): Clock {
  const waiting: (() => void)[] = [];
  const channel = new MessageChannel();
  channel.port1.addEventListener("message", () => waiting.shift()?.());
  channel.port1.start();
  return {
    now: () => performance.now(),
    after,
    soon(callback) {
      waiting.push(callback);
      channel.port2.postMessage(null);
    },
  };
}

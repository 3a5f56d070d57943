// The protocol's clock in a browser.

import type { Clock } from "../protocol/clock.ts";

/** What this file needs of https://www.w3.org/TR/trusted-types/, which the types of the DOM do not have. */
interface TrustedTypes {
  readonly defaultPolicy: unknown;
  createPolicy(name: string, rules: { createScriptURL(address: string): string | null }): unknown;
}

/** Timers of a worker, which a hidden tab does not slow; undefined where there is none to be had. */
function workerTimers(): Clock["after"] | undefined {
  let worker: Worker;
  try {
    allowTimerWorker();
    worker = new Worker(new URL("./timer-worker.ts", import.meta.url), { type: "module" });
  } catch {
    return undefined;
  }
  const waiting = new Map<number, { readonly at: number; readonly callback: () => void }>();
  let newest = 0;
  const fire = (id: number): void => {
    const timer = waiting.get(id);
    waiting.delete(id);
    timer?.callback();
  };
  worker.addEventListener("message", ({ data }: MessageEvent<number>) => fire(data));
  // It did not load: what waits for it goes on with the page's own timers, and no sooner.
  let failed = false;
  worker.addEventListener("error", () => {
    failed = true;
    for (const [id, { at }] of waiting) setTimeout(() => fire(id), Math.max(0, at - performance.now()));
  });
  return (delay, callback) => {
    if (failed) return pageTimer(delay, callback);
    const id = ++newest;
    waiting.set(id, { at: performance.now() + delay, callback });
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker is no window
    worker.postMessage({ id, delay });
    return () => {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker is no window
      if (waiting.delete(id)) worker.postMessage({ id });
    };
  };
}

/**
 * The page's headers forbid loading scripts by address, workers included, but for what a policy named `default` lets pass,
 * which can be made once: this worker's, from where the page itself came.
 */
function allowTimerWorker(): void {
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
  if (trustedTypes === undefined || trustedTypes.defaultPolicy !== null) return; // no such rules here, or made before
  trustedTypes.createPolicy("default", {
    createScriptURL(address) {
      const url = new URL(address, location.href);
      const own =
        url.origin === location.origin && /^\/(assets\/)?timer-worker-[\w-]+\.js$/.test(url.pathname);
      return own ? url.href : null;
    },
  });
}

/** The page's own, which a hidden tab slows. */
export function pageTimer(delay: number, callback: () => void): () => void {
  const timer = setTimeout(callback, delay);
  return () => clearTimeout(timer);
}

/** `soon` goes through a message channel: unlike a timer it is not held back to 4 ms, nor slowed in a hidden tab. */
export function browserClock(): Clock {
  const waiting: (() => void)[] = [];
  const channel = new MessageChannel();
  channel.port1.addEventListener("message", () => waiting.shift()?.());
  channel.port1.start();
  return {
    now: () => performance.now(),
    after: workerTimers() ?? pageTimer,
    soon(callback) {
      waiting.push(callback);
      channel.port2.postMessage(null);
    },
  };
}

// Time as the protocol sees it: injected, so that tests can run it by hand.

export interface Clock {
  /** Milliseconds since an arbitrary start; never goes back. */
  now(): number;
  /** Calls `callback` once after at least `delay` ms. @returns a function that cancels it. */
  after(delay: number, callback: () => void): () => void;
  /** Calls `callback` once, as soon as the events already waiting were handled. */
  soon(callback: () => void): void;
}

/** @returns undefined where none of them is a time. */
export function earliest(...times: readonly (number | undefined)[]): number | undefined {
  let first: number | undefined;
  for (const time of times) if (time !== undefined && (first === undefined || time < first)) first = time;
  return first;
}

// Being told to stop, by whoever asked for something.

/** What is needed of an AbortSignal, which Node and browsers have each of their own. */
export interface AbortLike {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: "abort", listener: () => void, options?: { once: boolean }): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/** Calls `fail` with the signal's reason, at once where it was aborted before. @returns what takes it off again. */
export function onAbort(signal: AbortLike | undefined, fail: (reason: unknown) => void): () => void {
  if (signal === undefined) return () => {};
  const aborted = (): void => fail(signal.reason);
  if (signal.aborted) aborted();
  else signal.addEventListener("abort", aborted, { once: true });
  return () => signal.removeEventListener("abort", aborted);
}

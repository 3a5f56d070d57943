// A promise that somebody else settles.

import type { SealttyError } from "../errors.ts";

export interface Waiter<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: SealttyError): void;
}

/** A promise and its two ends; a failure nobody waits for is no unhandled rejection. */
export function waiter<T>(): Waiter<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: SealttyError) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}

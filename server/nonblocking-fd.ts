// Non-blocking reads and writes on a file descriptor, and a bounded queue of writes.
// Never through libuv's streams for writing: on a pty master it spins while the kernel's buffer is full, on a virtio
// port it spins while the host is away. Never through its threads: a blocked one keeps the process from exiting.

import fs from "node:fs";
import { SealttyError } from "../protocol/errors.ts";
import type { Clock } from "../protocol/clock.ts";

const RETRY_MIN_MS = 1;
const RETRY_MAX_MS = 50;

/** EAGAIN comes as an exception; collecting its stack is most of what it costs. */
function withoutStack<T>(action: () => T): T {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    return action();
  } finally {
    Error.stackTraceLimit = limit;
  }
}

function isAgain(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "EAGAIN" || code === "EINTR";
}

/** @returns how many bytes were read, 0 at the end, or "again". @throws the system's error. */
export function readNow(fd: number, into: Uint8Array, from: number): number | "again" {
  return withoutStack(() => {
    try {
      return fs.readSync(fd, into, from, into.length - from, null);
    } catch (error) {
      if (isAgain(error)) return "again";
      throw error;
    }
  });
}

/** @returns how many bytes were written: 0 means try again later. @throws the system's error. */
export function writeNow(fd: number, bytes: Uint8Array, from: number): number {
  return withoutStack(() => {
    try {
      return fs.writeSync(fd, bytes, from, bytes.length - from, null);
    } catch (error) {
      if (isAgain(error)) return 0;
      throw error;
    }
  });
}

export interface FdWriterOptions {
  readonly clock: Clock;
  /** Bytes that may wait; a write above it is refused. */
  readonly limit: number;
  /** Milliseconds without progress after which all that waits is thrown away; absent: wait for ever. */
  readonly dropAfter?: number;
  /** The system's error of a failed write; everything that waits was thrown away. */
  readonly onError: (error: unknown) => void;
}

interface Waiting {
  readonly bytes: Uint8Array;
  at: number;
  readonly done: () => void;
}

/** Writes in order, whenever the descriptor takes something. Does not own the descriptor. */
export class FdWriter {
  readonly #fd: number;
  readonly #options: FdWriterOptions;
  readonly #queue: Waiting[] = [];
  #queuedBytes = 0;
  #retryDelay = RETRY_MIN_MS;
  #cancelRetry: (() => void) | undefined;
  #lastProgress = 0;
  #closed = false;

  constructor(fd: number, options: FdWriterOptions) {
    this.#fd = fd;
    this.#options = options;
  }

  /** Bytes accepted by write() and not yet by the descriptor. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /**
   * Resolves once the descriptor took all of `bytes`, or they were thrown away: by `dropAfter`, an error or stop().
   * Refers to `bytes` until then.
   * @throws SealttyError `limit-exceeded` where more than `limit` would wait: the caller did not await.
   */
  write(bytes: Uint8Array): Promise<void> {
    if (this.#closed || bytes.length === 0) return Promise.resolve();
    let at = 0;
    if (this.#queue.length === 0) {
      this.#lastProgress = this.#options.clock.now();
      try {
        at = writeNow(this.#fd, bytes, 0);
      } catch (error) {
        this.#options.onError(error);
        return Promise.resolve();
      }
      if (at > 0) this.#retryDelay = RETRY_MIN_MS;
      if (at === bytes.length) return Promise.resolve();
    }
    const rest = bytes.length - at;
    if (this.#queuedBytes > 0 && this.#queuedBytes + rest > this.#options.limit) {
      return Promise.reject(
        new SealttyError("limit-exceeded", `More than ${this.#options.limit} bytes wait to be written`),
      );
    }
    return new Promise((done) => {
      this.#queue.push({ bytes, at, done });
      this.#queuedBytes += rest;
      this.#retryLater();
    });
  }

  /** Throws away what waits and resolves its promises. The writer stays usable. */
  drop(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.#queuedBytes = 0;
    for (const waiting of this.#queue.splice(0)) waiting.done();
  }

  /** Nothing is written any more; what waits is thrown away. Call it before the descriptor is closed. */
  stop(): void {
    this.#closed = true;
    this.drop();
  }

  #retryLater(): void {
    this.#cancelRetry ??= this.#options.clock.after(this.#retryDelay, () => {
      this.#cancelRetry = undefined;
      this.#flush();
    });
  }

  #flush(): void {
    const { clock, dropAfter, onError } = this.#options;
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      let written: number;
      try {
        written = writeNow(this.#fd, first.bytes, first.at);
      } catch (error) {
        this.drop();
        onError(error);
        return;
      }
      first.at += written;
      this.#queuedBytes -= written;
      if (written > 0) {
        this.#lastProgress = clock.now();
        this.#retryDelay = RETRY_MIN_MS;
      }
      if (first.at < first.bytes.length) {
        if (written > 0) continue; // ask once more: only a refusal says that it is full
        if (dropAfter !== undefined && clock.now() - this.#lastProgress >= dropAfter) {
          this.drop();
          return;
        }
        this.#retryDelay = Math.min(this.#retryDelay * 2, RETRY_MAX_MS);
        this.#retryLater();
        return;
      }
      this.#queue.shift();
      first.done();
    }
  }
}

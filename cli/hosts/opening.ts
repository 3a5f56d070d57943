// The words that some hosts exchange on a pipe before it carries the console: read bounded, what comes behind them kept.

import type { Clock } from "../../protocol/clock.ts";
import { concat } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Pipe } from "../../protocol/pipe.ts";

/** A pipe whose first bytes are read by hand; `rest` is for whoever carries on. */
export class Opening {
  readonly #pipe: Pipe;
  readonly #incoming: AsyncIterator<Uint8Array>;
  #waiting = new Uint8Array(0);
  /** How the pipe failed before an answer was whole, where it did. */
  failure: unknown;

  constructor(pipe: Pipe) {
    this.#pipe = pipe;
    this.#incoming = pipe.incoming[Symbol.asyncIterator]();
  }

  /**
   * @param taken - how many of the bytes so far the answer has; undefined while it is not whole.
   * @param limit - bytes that an answer may have. @param timeout - milliseconds.
   * @returns the answer; undefined where the pipe ended or failed, the limit was reached or the time ran out. The pipe is
   * closed then.
   */
  async answer(
    taken: (bytes: Uint8Array) => number | undefined,
    limit: number,
    timeout: number,
    clock: Clock,
  ): Promise<Uint8Array | undefined> {
    const cancel = clock.after(timeout, () => void this.#pipe.close());
    try {
      for (;;) {
        const length = taken(this.#waiting);
        if (length !== undefined && length <= limit) {
          const answer = this.#waiting.slice(0, length);
          this.#waiting = this.#waiting.slice(length);
          return answer;
        }
        if (length !== undefined || this.#waiting.length > limit) break;
        const next = await this.#incoming.next();
        if (next.done === true) break;
        this.#waiting = concat(this.#waiting, next.value);
      }
    } catch (error) {
      this.failure = error;
    } finally {
      cancel();
    }
    await this.#pipe.close();
    return undefined;
  }

  /** What came behind the answers, and then all that comes. */
  async *rest(): AsyncGenerator<Uint8Array> {
    if (this.#waiting.length > 0) yield this.#waiting;
    for (;;) {
      const next = await this.#incoming.next();
      if (next.done === true) return;
      yield next.value;
    }
  }
}

/** For `answer`: a line, its LF included. */
export function lineEnd(bytes: Uint8Array): number | undefined {
  const end = bytes.indexOf(0x0a);
  return end < 0 ? undefined : end + 1;
}

export function openingFailed(what: string, why: string, next: string, cause?: unknown): SealttyError {
  return new SealttyError("transport-lost", `${what} did not open the console: ${why}. ${next}`, {
    ...(cause === undefined ? {} : { cause }),
  });
}

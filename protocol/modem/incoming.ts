// What came and was not read yet, as a pipe gives it. It has no bound of its own: who fills it asks `held` first.

import { SealttyError } from "../errors.ts";

export class Incoming {
  readonly #chunks: Uint8Array[] = [];
  #held = 0;
  #ended = false;
  #failure: SealttyError | undefined;
  #wake: () => void = () => {};
  readonly #taken: () => void;

  /** @param taken - called after a chunk was read: there is room again. */
  constructor(taken: () => void = () => {}) {
    this.#taken = taken;
  }

  /** Bytes that wait for the reader. */
  get held(): number {
    return this.#held;
  }

  /** @param chunk - kept. */
  push(chunk: Uint8Array): void {
    if (this.#ended || chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    this.#wake();
  }

  /** Idempotent. @param failure - thrown to the reader once it has read the rest. */
  end(failure?: SealttyError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#failure = failure;
    this.#wake();
  }

  async *read(): AsyncGenerator<Uint8Array, void> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#held -= chunk.length;
        this.#taken();
        yield chunk;
      } else if (this.#ended) {
        if (this.#failure !== undefined) throw this.#failure;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}

/** Bytes on their way out, cut as the link wants them, and who waits until there are fewer. */
export class Outgoing {
  readonly #chunks: Uint8Array[] = [];
  #length = 0;
  #waiting: (() => void)[] = [];

  get length(): number {
    return this.#length;
  }

  /** Keeps a copy. */
  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk.slice());
    this.#length += chunk.length;
  }

  /** @returns at most so many of the first bytes. */
  take(most: number): Uint8Array<ArrayBuffer> {
    const taken = new Uint8Array(Math.min(most, this.#length));
    for (let at = 0; at < taken.length; ) {
      const first = this.#chunks[0] as Uint8Array;
      const part = first.subarray(0, taken.length - at);
      taken.set(part, at);
      at += part.length;
      if (part.length === first.length) this.#chunks.shift();
      else this.#chunks[0] = first.subarray(part.length);
    }
    this.#length -= taken.length;
    this.#wake();
    return taken;
  }

  clear(): void {
    this.#chunks.length = 0;
    this.#length = 0;
    this.#wake();
  }

  /** Resolves at the next change. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

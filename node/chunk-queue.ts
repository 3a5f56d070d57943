// Between a device that delivers bytes and the one reader of a Pipe: bounded, pausing the source when full.

type Next = IteratorResult<Uint8Array, undefined>;

export class ChunkQueue implements AsyncIterable<Uint8Array> {
  readonly #limit: number;
  readonly #chunks: Uint8Array[] = [];
  readonly #onRoom: () => void;
  #bytes = 0;
  #full = false;
  #ended = false;
  #error: Error | undefined;
  #reader: { resolve(next: Next): void; reject(error: Error): void } | undefined; // it waits: nothing is held

  /** @param limit - bytes above which push() says so. @param onRoom - called once there is room again after that. */
  constructor(limit: number, onRoom: () => void) {
    this.#limit = limit;
    this.#onRoom = onRoom;
  }

  /** @param chunk - owned by the queue. @returns false where the source must pause until `onRoom`. */
  push(chunk: Uint8Array): boolean {
    if (this.#ended || chunk.length === 0) return !this.#full;
    const reader = this.#reader;
    if (reader !== undefined) {
      this.#reader = undefined;
      reader.resolve({ done: false, value: chunk });
      return true;
    }
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes >= this.#limit) this.#full = true;
    return !this.#full;
  }

  /** @param error - thrown to the reader after the chunks before it. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#tellEnd();
  }

  /** Ends at once: chunks not yet read are thrown away. */
  discard(): void {
    this.#chunks.length = 0;
    this.#bytes = 0;
    this.#error = undefined;
    this.#ended = true;
    this.#tellEnd();
  }

  /** By hand: a generator takes several turns through promises for each chunk, and a keystroke is a chunk. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    return { next: () => this.#next() };
  }

  #next(): Promise<Next> {
    const chunk = this.#chunks.shift();
    if (chunk === undefined) {
      return new Promise((resolve, reject) => {
        this.#reader = { resolve, reject };
        if (this.#ended) this.#tellEnd();
      });
    }
    this.#bytes -= chunk.length;
    if (this.#full && this.#bytes <= this.#limit / 2) {
      this.#full = false;
      this.#onRoom();
    }
    return Promise.resolve({ done: false, value: chunk });
  }

  /** An error is told once. */
  #tellEnd(): void {
    const reader = this.#reader;
    if (reader === undefined) return;
    this.#reader = undefined;
    const error = this.#error;
    this.#error = undefined;
    if (error === undefined) reader.resolve({ done: true, value: undefined });
    else reader.reject(error);
  }
}

// Between a device that delivers bytes and the one reader of a Pipe: bounded, pausing the source when full.

export class ChunkQueue implements AsyncIterable<Uint8Array> {
  readonly #limit: number;
  readonly #chunks: Uint8Array[] = [];
  readonly #onRoom: () => void;
  #bytes = 0;
  #full = false;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  /** @param limit - bytes above which push() says so. @param onRoom - called once there is room again after that. */
  constructor(limit: number, onRoom: () => void) {
    this.#limit = limit;
    this.#onRoom = onRoom;
  }

  /** @param chunk - owned by the queue. @returns false where the source must pause until `onRoom`. */
  push(chunk: Uint8Array): boolean {
    if (this.#ended || chunk.length === 0) return !this.#full;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes >= this.#limit) this.#full = true;
    this.#wake?.();
    return !this.#full;
  }

  /** @param error - thrown to the reader after the chunks before it. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }

  /** Ends at once: chunks not yet read are thrown away. */
  discard(): void {
    this.#chunks.length = 0;
    this.#bytes = 0;
    this.#error = undefined;
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#bytes -= chunk.length;
        if (this.#full && this.#bytes <= this.#limit / 2) {
          this.#full = false;
          this.#onRoom();
        }
        yield chunk;
      } else if (this.#ended) {
        if (this.#error !== undefined) throw this.#error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    }
  }
}

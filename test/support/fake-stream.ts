// A stream of the guest's that says what a test pushes.

import type { ReceiveStream } from "../../protocol/session/channel-api.ts";

export class FakeStream implements ReceiveStream {
  readonly #chunks: Uint8Array[] = [];
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  /** Bytes that were given back. */
  credit = 0;

  push(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.#wake?.();
  }
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }
  fail(error: Error): void {
    this.#error = error;
    this.#wake?.();
  }
  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) return chunk;
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
  consumed(length: number): void {
    this.credit += length;
  }
}

// A readable stream of Node's, read when asked: nothing is taken from its source beyond its own buffer until then.

import type { Readable } from "node:stream";
import { SealttyError } from "../protocol/errors.ts";

export class PullReader {
  readonly #stream: Readable;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  /** Takes the stream's errors, too. */
  constructor(stream: Readable) {
    this.#stream = stream;
    const wake = (): void => this.#wake?.();
    const end = (): void => {
      this.#ended = true;
      wake();
    };
    if (stream.destroyed || stream.readableEnded) this.#ended = true;
    stream.on("readable", wake);
    stream.once("end", end);
    stream.once("close", end);
    stream.on("error", (error) => {
      this.#error ??= error;
      end();
    });
  }

  /** The next bytes; undefined at the end. One read at a time. @throws the stream's error where it broke before its end. */
  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      const chunk = this.#stream.read() as Uint8Array | null;
      if (chunk !== null) return chunk;
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return undefined;
      if (this.#wake !== undefined) throw new SealttyError("api-misuse", "Two reads of one stream at a time");
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}

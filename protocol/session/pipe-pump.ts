// Frames into a pipe, one at a time, made only when the pipe takes more: what waits, waits where it can still be re-ordered.

import { type OutgoingFrame, encodeFrame } from "../frames/frame-encoder.ts";
import type { Pipe } from "../pipe.ts";

export class PipePump {
  readonly #pipe: Pipe;
  readonly #source: () => OutgoingFrame | undefined;
  readonly #checksum: (bytes: Uint8Array) => number;
  #running = false;
  #drained: (() => void)[] = []; // to be told when it no longer runs
  #stopped = false;

  /** @param source - the next frame to send; undefined where none is due. */
  constructor(pipe: Pipe, checksum: (bytes: Uint8Array) => number, source: () => OutgoingFrame | undefined) {
    this.#checksum = checksum;
    this.#pipe = pipe;
    this.#source = source;
  }

  /** Something may be due. Cheap to call often. */
  wake(): void {
    if (this.#running || this.#stopped) return;
    this.#running = true;
    let first: OutgoingFrame | undefined;
    try {
      first = this.#source();
    } finally {
      if (first === undefined) this.#rest();
    }
    if (first !== undefined) void this.#run(first);
  }

  /** Resolves once the pipe has taken all that is due. */
  drained(): Promise<void> {
    return this.#running ? new Promise((resolve) => this.#drained.push(resolve)) : Promise.resolve();
  }

  stop(): void {
    this.#stopped = true;
  }

  async #run(first: OutgoingFrame): Promise<void> {
    try {
      let frame: OutgoingFrame | undefined = first;
      while (frame !== undefined) {
        const bytes = encodeFrame(frame.body, frame.encoding, this.#checksum, frame.oneLength);
        try {
          await this.#pipe.send(bytes);
        } catch {
          this.#stopped = true; // the reader of the same pipe reports why
        }
        frame = this.#stopped ? undefined : this.#source();
      }
    } finally {
      this.#rest();
    }
  }

  #rest(): void {
    this.#running = false;
    if (this.#drained.length > 0) for (const tell of this.#drained.splice(0)) tell();
  }
}

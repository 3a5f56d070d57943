// Frames into a pipe, one at a time, made only when the pipe takes more: what waits, waits where it can still be re-ordered.

import {
  MAX_BINARY_FRAME,
  type OutgoingFrame,
  encodeBinaryFrameInto,
  encodeRawFrameInto,
  encodeFrame,
} from "../frames/frame-encoder.ts";
import { RAW_ABOVE } from "../limits.ts";
import type { Pipe } from "../pipe.ts";

export class PipePump {
  readonly #pipe: Pipe;
  readonly #source: () => OutgoingFrame | undefined;
  readonly #checksum: (bytes: Uint8Array) => number;
  #running = false;
  #drained: (() => void)[] = []; // to be told when it no longer runs
  #stopped = false;
  readonly #gathers: () => number;
  #gathered = new Uint8Array(0);
  #left: OutgoingFrame | undefined; // the source gave it, and it goes in a chunk of its own

  /**
   * @param source - the next frame to send; undefined where none is due.
   * @param gathers - bytes of the frames that go into one chunk now; 0: one frame in each.
   */
  constructor(
    pipe: Pipe,
    checksum: (bytes: Uint8Array) => number,
    source: () => OutgoingFrame | undefined,
    gathers: () => number = () => pipe.gathers ?? 0,
  ) {
    this.#checksum = checksum;
    this.#pipe = pipe;
    this.#source = source;
    this.#gathers = gathers;
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
        const bytes = this.#chunk(frame);
        try {
          await this.#pipe.send(bytes);
        } catch {
          this.#stopped = true; // the reader of the same pipe reports why
        }
        frame = this.#stopped ? undefined : this.#next();
      }
    } finally {
      this.#rest();
    }
  }

  #next(): OutgoingFrame | undefined {
    const left = this.#left;
    this.#left = undefined;
    return left ?? this.#source();
  }

  /** A write for each frame wakes the peer for each. @returns this frame and what is due behind it, until the next call. */
  #chunk(first: OutgoingFrame): Uint8Array {
    const most = this.#gathers();
    if (most === 0 || !mayGather(first))
      return encodeFrame(first.body, first.encoding, this.#checksum, first.oneLength);
    if (this.#gathered.length < most + MAX_BINARY_FRAME)
      this.#gathered = new Uint8Array(most + MAX_BINARY_FRAME);
    let length = 0;
    let frame: OutgoingFrame | undefined = first;
    while (frame !== undefined && mayGather(frame)) {
      const encodeInto = frame.body.length > RAW_ABOVE ? encodeRawFrameInto : encodeBinaryFrameInto;
      length = encodeInto(this.#gathered, length, frame.body, this.#checksum);
      frame = length < most ? this.#source() : undefined;
    }
    this.#left = frame;
    return this.#gathered.subarray(0, length);
  }

  #rest(): void {
    this.#running = false;
    if (this.#drained.length > 0) for (const tell of this.#drained.splice(0)) tell();
  }
}

/** Slots (docs/protocol.md §5.6) stay as they are, one by one. */
function mayGather({ encoding, oneLength }: OutgoingFrame): boolean {
  return encoding === "binary" && oneLength !== true;
}

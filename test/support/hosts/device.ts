// The guest's character device as every stand-in has it: one guest at one end, and the host, which lets at most one client in.

import type { Pipe } from "../../../protocol/pipe.ts";
import { memoryPipes } from "../memory-pipe.ts";

/** Serves its guest for as long as the test runs, whatever clients come and go. */
export class StandInDevice {
  /** Every byte that the host wrote towards the guest: what a quirk did to it can be looked at. */
  readonly toGuest: Uint8Array[] = [];
  bytesToGuest = 0;
  bytesToHost = 0;
  /** Who is attached; without one, output goes to `detached`. */
  onOutput: ((bytes: Uint8Array) => void) | undefined;
  /** Output while nobody is attached: lost, unless a stand-in keeps it. */
  detached: (bytes: Uint8Array) => void = () => undefined;
  readonly #hostEnd: Pipe;
  #writing: Promise<void> = Promise.resolve();

  /** @param serve - the guest, given its end. It may end with an error: that is the pipe's end. */
  constructor(serve: (pipe: Pipe) => Promise<unknown>) {
    const pipes = memoryPipes();
    this.#hostEnd = pipes.client;
    void serve(pipes.guest).catch(() => undefined);
    void this.#read();
  }

  /** Resolves once the guest's end has taken it. */
  write(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return this.#writing;
    const copy = bytes.slice();
    this.toGuest.push(copy);
    this.bytesToGuest += copy.length;
    this.#writing = this.#writing.then(() => this.#hostEnd.send(copy)).catch(() => undefined);
    return this.#writing;
  }

  /** All that was written towards the guest, joined. */
  get written(): Buffer {
    return Buffer.concat(this.toGuest);
  }

  close(): Promise<void> {
    return this.#hostEnd.close();
  }

  async #read(): Promise<void> {
    for await (const chunk of this.#hostEnd.incoming) {
      this.bytesToHost += chunk.length;
      (this.onOutput ?? this.detached)(chunk);
    }
  }
}

/** A guest for controls: keeps what reaches it, and says what a test tells it to. */
export class PlainGuest {
  readonly received: Uint8Array[] = [];
  readonly #waiting: (() => void)[] = [];
  #pipe: Pipe | undefined;

  readonly serve = async (pipe: Pipe): Promise<void> => {
    this.#pipe = pipe;
    for await (const chunk of pipe.incoming) {
      this.received.push(chunk.slice());
      for (const wake of this.#waiting.splice(0)) wake();
    }
  };

  get bytes(): Buffer {
    return Buffer.concat(this.received);
  }

  async say(bytes: Uint8Array): Promise<void> {
    await this.#pipe?.send(bytes);
  }

  /** Resolves once `length` bytes came in all. */
  async until(length: number): Promise<Buffer> {
    while (this.bytes.length < length) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.bytes;
  }
}

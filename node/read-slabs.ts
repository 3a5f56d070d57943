// What sockets are read into: long blocks, each used up before the next one is made. By itself Node makes 64 KiB for each read and
// gives back what was too much, which costs more than the read.

import type { OnReadOpts } from "node:net";

const SLAB = 256 * 1024;
/** Room for one read. */
const MIN_ROOM = 64 * 1024;
/** Where reads begin: kernels copy slowly to just above the page offset that they copy from (protocol/bytes.ts, `copyInto`). */
const ALIGNMENT = 64;
/** Long arrays begin 16 bytes into a page. */
const FIRST = ALIGNMENT - 16;

/** For one socket: goes into its options when it is made. */
export class ReadSlabs {
  #slab = new Uint8Array(0);
  #at = 0;
  /** Gets each chunk, for good. @returns false where the socket is to be paused. */
  onChunk: (chunk: Uint8Array) => boolean = () => false;

  readonly onread: OnReadOpts = {
    buffer: () => this.#room(),
    callback: (length, buffer) => {
      this.#at += Math.ceil(length / ALIGNMENT) * ALIGNMENT;
      return this.onChunk(buffer.subarray(0, length));
    },
  };

  #room(): Uint8Array {
    if (this.#slab.length - this.#at < MIN_ROOM) {
      this.#slab = new Uint8Array(Buffer.allocUnsafeSlow(SLAB).buffer); // nobody gets more of it than was read
      this.#at = FIRST;
    }
    return this.#slab.subarray(this.#at);
  }
}

// Bytes by absolute offset in a ring that grows to what is held, up to its owner's limit.

import { copyInto } from "../bytes.ts";

const FIRST_CAPACITY = 4096;

export class ByteRing {
  #bytes = new Uint8Array(0);
  #start = 0; // offset of the oldest byte held
  #end = 0;
  #most = 0; // bytes held at once since it was empty

  get start(): number {
    return this.#start;
  }
  get end(): number {
    return this.#end;
  }

  append(bytes: Uint8Array): void {
    const held = this.#end - this.#start + bytes.length;
    this.#reserve(held);
    this.#most = Math.max(this.#most, held);
    const capacity = this.#bytes.length;
    const at = this.#end % capacity;
    const first = Math.min(bytes.length, capacity - at);
    copyInto(this.#bytes, at, first === bytes.length ? bytes : bytes.subarray(0, first));
    if (first < bytes.length) copyInto(this.#bytes, 0, bytes.subarray(first));
    this.#end += bytes.length;
  }

  /** Up to `length` bytes from `offset` on: a view that the next append may change; shorter where the ring wraps. */
  view(offset: number, length: number): Uint8Array {
    const capacity = this.#bytes.length;
    const at = offset % capacity;
    return this.#bytes.subarray(at, at + Math.min(length, this.#end - offset, capacity - at));
  }

  /** Forgets everything below `offset`. */
  dropBelow(offset: number): void {
    this.#start = Math.min(this.#end, Math.max(this.#start, offset));
    if (this.#start < this.#end) return;
    // A flood empties it again and again: the memory goes back once it was hardly used between two times.
    if (this.#bytes.length > 64 * FIRST_CAPACITY && this.#most <= this.#bytes.length / 8)
      this.#bytes = new Uint8Array(0);
    this.#most = 0;
  }

  /** What is held is forgotten, but not how much it was: zeros stand in its place. */
  blank(): void {
    this.#bytes.fill(0);
  }

  /** The memory is given back, too: whoever wipes may keep the ring itself. */
  wipe(): void {
    this.#bytes.fill(0);
    this.#bytes = new Uint8Array(0);
    this.#start = this.#end;
  }

  #reserve(needed: number): void {
    if (needed <= this.#bytes.length) return;
    let capacity = Math.max(FIRST_CAPACITY, this.#bytes.length);
    while (capacity < needed) capacity *= 2;
    const grown = new Uint8Array(capacity);
    for (let offset = this.#start; offset < this.#end; ) {
      const part = this.view(offset, this.#end - offset);
      const at = offset % capacity;
      const fitting = part.subarray(0, capacity - at);
      copyInto(grown, at, fitting);
      offset += fitting.length;
    }
    this.#bytes.fill(0); // may hold a password
    this.#bytes = grown;
  }
}

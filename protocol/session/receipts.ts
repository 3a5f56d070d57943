// The guest's half of pacing: while a client asks for it, says after each read of the pipe how many bytes have arrived.
// docs/protocol.md §3.2. Nothing of it is authentic: whoever forges it can make a client slow, or make it send too fast,
// and then what it sends is lost and comes again. It is one small frame for each read, whatever was asked.

import { connectionIdOf, readPace, RECEIPT_MODULUS, receiptBody } from "../frames/frame-body.ts";
import type { FrameEncoding } from "../frames/frame-encoder.ts";

/** A PACE is good for this long, ms; a client that still wants receipts says so again. */
const PACE_LASTS = 5000;

export class Receipts {
  #count = 0;
  #due = false;
  #asked: { id: Uint8Array; mark: number; encoding: FrameEncoding; until: number } | undefined;

  /** The newest PACE counts. @throws SealttyError `peer-misbehaved` where it is none. */
  ask(body: Uint8Array, encoding: FrameEncoding, now: number): void {
    const { mark } = readPace(body);
    this.#asked = { id: connectionIdOf(body).slice(), mark, encoding, until: now + PACE_LASTS };
  }

  /** Whether somebody paces this pipe: long frames towards the client would hold receipts back. */
  active(now: number): boolean {
    if (this.#asked !== undefined && now >= this.#asked.until) this.#asked = undefined;
    return this.#asked !== undefined;
  }

  /** Bytes were read from the pipe, and the frames in them handled. @returns whether a receipt is due. */
  read(length: number, now: number): boolean {
    this.#count = (this.#count + length) % RECEIPT_MODULUS;
    this.#due = this.active(now);
    return this.#due;
  }

  /** What was read since the last one is told as one: a pipe that takes nothing piles nothing up. */
  next(): { body: Uint8Array; encoding: FrameEncoding } | undefined {
    if (!this.#due || this.#asked === undefined) return undefined;
    this.#due = false;
    const { id, mark, encoding } = this.#asked;
    return { body: receiptBody(id, mark, this.#count), encoding };
  }
}

// The guest's half of pacing: while a client asks for it, says after each read of the pipe how many bytes have arrived,
// and their sum. docs/protocol.md §3.2. Nothing of it is authentic: whoever forges it can make a client slow, or make it send too fast,
// and then what it sends is lost and comes again. It is one small frame for each read at most, whatever was asked.

import { equalBytes } from "../bytes.ts";
import type { Clock } from "../clock.ts";
import { connectionIdOf, readPace, RECEIPT_MODULUS, receiptBody } from "../frames/frame-body.ts";
import type { FrameEncoding } from "../frames/frame-encoder.ts";
import { continueSum, EMPTY_SUM } from "../frames/running-sum.ts";

/** A PACE is good for this long, ms; a client that still wants receipts says so again. */
const PACE_LASTS = 5000;
/** And while bytes go on coming until then. */
const PACE_LASTS_AT_MOST = 60_000;
/** Fewer bytes than this are told a moment later, ms, with those that come meanwhile: some hosts hand over single ones. */
const RECEIPT_BYTES = 8;
const RECEIPT_DELAY = 2;

export class Receipts {
  readonly #clock: Clock;
  readonly #wake: () => void;
  #count = 0;
  #sum = EMPTY_SUM; // of what was read while somebody asked
  #told = 0;
  #waiting = false; // a timer runs
  #due = false;
  #asked: { id: Uint8Array; mark: number; encoding: FrameEncoding; until: number; last: number } | undefined;

  /** @param wake - `next` has something. */
  constructor(clock: Clock, wake: () => void) {
    this.#clock = clock;
    this.#wake = wake;
  }

  /** The newest PACE counts; mark 0 ends what the same client asked for. @throws SealttyError `peer-misbehaved` where it is none. */
  ask(body: Uint8Array, encoding: FrameEncoding): void {
    const { mark } = readPace(body);
    if (mark === 0) {
      if (this.#asked !== undefined && equalBytes(this.#asked.id, connectionIdOf(body))) this.#forget();
      return;
    }
    const now = this.#clock.now();
    const until = now + PACE_LASTS;
    this.#asked = { id: connectionIdOf(body).slice(), mark, encoding, until, last: now + PACE_LASTS_AT_MOST };
  }

  /** Whether somebody paces this pipe: long frames towards the client would hold receipts back. */
  get active(): boolean {
    if (this.#asked !== undefined && this.#clock.now() >= this.#asked.until) this.#forget();
    return this.#asked !== undefined;
  }

  /** Bytes were read from the pipe, and the frames in them handled. */
  read(bytes: Uint8Array): void {
    this.#count = (this.#count + bytes.length) % RECEIPT_MODULUS;
    if (!this.active || this.#asked === undefined) return;
    // A frame in small bursts may take longer than a PACE is good for, and nothing can be said again within it.
    this.#asked.until = Math.min(this.#asked.last, this.#clock.now() + PACE_LASTS);
    this.#sum = continueSum(this.#sum, bytes);
    if (this.#waiting) return;
    if ((this.#count - this.#told + RECEIPT_MODULUS) % RECEIPT_MODULUS >= RECEIPT_BYTES) return this.#tell();
    this.#waiting = true;
    this.#clock.after(RECEIPT_DELAY, () => {
      this.#waiting = false;
      this.#tell();
    });
  }

  #forget(): void {
    this.#asked = undefined;
    this.#due = false; // it would be told to the next one that asks, too early
  }

  #tell(): void {
    this.#due = true;
    this.#wake();
  }

  /** What was read since the last one is told as one: a pipe that takes nothing piles nothing up. */
  next(): { body: Uint8Array; encoding: FrameEncoding } | undefined {
    if (!this.#due || this.#asked === undefined) return undefined;
    this.#due = false;
    this.#told = this.#count;
    const { id, mark, encoding } = this.#asked;
    return { body: receiptBody(id, { mark, count: this.#count, sum: this.#sum }), encoding };
  }
}

// One direction of a stream at its receiver: bytes by offset, delivered once and in order, under a credit limit.

import { SealttyError } from "../errors.ts";
import { MAX_STREAM_PIECES } from "../limits.ts";

const GATHER_BELOW = 512;
const BLOCK = 4096;

interface Piece {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export class Reassembly {
  #window: number;
  readonly #ready: Uint8Array[] = [];
  #block: Uint8Array | undefined; // of the last chunk in `ready`, while small pieces are gathered there
  #blockUsed = 0;
  #waiting: Piece[] = []; // above a gap, by offset, not overlapping
  #delivered = 0; // offset behind the last byte in `ready`
  #consumed = 0;
  #limit: number; // credit given to the peer
  #length: number | undefined; // of the whole stream, once its end was seen

  /** @param window - bytes the peer may be ahead of what was consumed. */
  constructor(window: number) {
    this.#window = window;
    this.#limit = window;
  }

  /** The credit to advertise. */
  get limit(): number {
    return this.#limit;
  }
  get ended(): boolean {
    return this.#length !== undefined && this.#delivered === this.#length;
  }
  /** Ended, and every byte was taken by `shift`. */
  get drained(): boolean {
    return this.ended && this.#ready.length === 0;
  }

  /**
   * @returns false where the bytes could not be kept (too many pieces wait): then their packet must stay unacknowledged.
   * @throws SealttyError `peer-misbehaved` beyond the credit, or where the stream's length changes.
   */
  push(offset: number, bytes: Uint8Array, end: boolean): boolean {
    const to = offset + bytes.length;
    if (to > this.#limit) throw new SealttyError("peer-misbehaved", "Stream data beyond the credit given");
    if (end) {
      if (this.#length !== undefined && this.#length !== to)
        throw new SealttyError("peer-misbehaved", "Stream ends at two places");
      this.#length = to;
    }
    if (this.#length !== undefined && to > this.#length)
      throw new SealttyError("peer-misbehaved", "Stream data behind its end");
    if (to <= this.#delivered) return true;
    if (offset > this.#delivered) return this.#wait(offset, bytes);
    this.#deliver(offset, bytes);
    if (this.#waiting.length > 0) this.#closeGap();
    return true;
  }

  /** Whether `shift` has a chunk. */
  get ready(): boolean {
    return this.#ready.length > 0;
  }

  /** The next chunk in order, owned by the caller; undefined where none is ready. */
  shift(): Uint8Array | undefined {
    if (this.#ready.length === 1) this.#block = undefined; // it goes to the caller: no more may be gathered into it
    return this.#ready.shift();
  }

  /** From now on the peer may be further ahead; what is consumed next tells it. */
  widen(window: number): void {
    this.#window = Math.max(this.#window, window);
  }

  /** @returns whether the credit grew enough to be worth telling the peer. */
  consume(length: number): boolean {
    this.#consumed = Math.min(this.#delivered, this.#consumed + length);
    const limit = this.#consumed + this.#window;
    if (limit - this.#limit < this.#window / 4) return false;
    this.#limit = limit;
    return true;
  }

  #deliver(offset: number, bytes: Uint8Array): void {
    const fresh = bytes.subarray(this.#delivered - offset);
    if (fresh.length === 0) return;
    // A view keeps its whole packet alive, and an array of its own costs far more than a byte: small pieces that nobody
    // has taken yet are gathered, or a peer could make one byte of credit hold hundreds.
    if (fresh.length <= GATHER_BELOW && this.#ready.length > 0) this.#gather(fresh);
    else {
      this.#block = undefined; // it is no longer the last
      this.#ready.push(fresh.length * 2 < fresh.buffer.byteLength ? fresh.slice() : fresh);
    }
    this.#delivered += fresh.length;
  }

  #gather(piece: Uint8Array): void {
    if (this.#block === undefined || this.#blockUsed + piece.length > BLOCK) {
      this.#block = new Uint8Array(BLOCK);
      this.#blockUsed = 0;
      this.#ready.push(this.#block);
    }
    this.#block.set(piece, this.#blockUsed);
    this.#blockUsed += piece.length;
    this.#ready[this.#ready.length - 1] = this.#block.subarray(0, this.#blockUsed);
  }

  #closeGap(): void {
    let count = 0;
    for (const piece of this.#waiting) {
      if (piece.offset > this.#delivered) break;
      if (piece.offset + piece.bytes.length > this.#delivered) this.#deliver(piece.offset, piece.bytes);
      count++;
    }
    this.#waiting.splice(0, count);
  }

  #wait(offset: number, bytes: Uint8Array): boolean {
    let from = offset;
    const to = offset + bytes.length;
    let i = 0;
    // Cut the newcomer to what no piece covers; a peer that sends other bytes for the same offset hurts only itself.
    while (i < this.#waiting.length && from < to) {
      const piece = this.#waiting[i] as Piece;
      const pieceEnd = piece.offset + piece.bytes.length;
      if (pieceEnd <= from) {
        i++;
      } else if (piece.offset >= to) {
        break;
      } else {
        const gap = bytes.subarray(from - offset, Math.max(from, piece.offset) - offset);
        if (gap.length > 0 && !this.#insert(i++, from, gap)) return false;
        from = pieceEnd;
        i++;
      }
    }
    return from >= to || this.#insert(i, from, bytes.subarray(from - offset));
  }

  /** A copy, because a view would keep its whole packet alive. */
  #insert(index: number, offset: number, bytes: Uint8Array): boolean {
    if (this.#waiting.length >= MAX_STREAM_PIECES) return false;
    this.#waiting.splice(index, 0, { offset, bytes: bytes.slice() });
    return true;
  }
}

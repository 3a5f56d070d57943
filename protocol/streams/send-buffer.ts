// One direction of a stream at its sender: bytes are kept until they were acknowledged, and sent again where lost.

import { ByteRing } from "./byte-ring.ts";
import { OffsetRanges } from "./offset-ranges.ts";

export class SendBuffer {
  readonly #ring = new ByteRing();
  readonly #lost = new OffsetRanges();
  readonly #arrived = new OffsetRanges(); // above the ring's start
  #sent = 0; // offset of the first byte never sent
  #limit = 0; // the peer's credit: no byte at or above it may be sent
  #ended = false;
  #endSent = false;
  #endArrived = false;

  /** Bytes written and not yet acknowledged. */
  get held(): number {
    return this.#ring.end - this.#ring.start;
  }
  /** Bytes written and never sent. */
  get unsent(): number {
    return this.#ring.end - this.#sent;
  }
  /** Every byte and the end have arrived. */
  get finished(): boolean {
    return this.#endArrived && this.held === 0;
  }
  /** The peer's credit. */
  get limit(): number {
    return this.#limit;
  }
  get ended(): boolean {
    return this.#ended;
  }
  /** Bytes ever written. */
  get written(): number {
    return this.#ring.end;
  }
  /** Bytes that may be sent now: lost ones, and new ones under credit. */
  get sendable(): number {
    return Math.max(0, Math.min(this.#ring.end, this.#limit) - this.#sent) + this.#lostBytes;
  }
  /** Bytes written and not on their way. */
  get backlog(): number {
    return this.unsent + this.#lostBytes;
  }
  get #lostBytes(): number {
    let bytes = 0;
    for (const { from, to } of this.#lost.all) bytes += to - from;
    return bytes;
  }

  write(bytes: Uint8Array): void {
    this.#ring.append(bytes);
  }

  end(): void {
    this.#ended = true;
  }

  /** The peer's credit only ever grows: an old WINDOW frame that comes late changes nothing. */
  allow(limit: number): void {
    this.#limit = Math.max(this.#limit, limit);
  }

  get hasWork(): boolean {
    if (this.#lost.first !== undefined) return true;
    if (this.#sent < Math.min(this.#ring.end, this.#limit)) return true;
    return this.#ended && !this.#endSent && this.#sent === this.#ring.end;
  }

  /** The next bytes to put into a packet: lost ones first. @returns undefined where nothing is to be sent. */
  take(room: number): { offset: number; bytes: Uint8Array; end: boolean } | undefined {
    if (room < 1 || !this.hasWork) return undefined;
    const lost = this.#lost.first;
    let offset: number;
    let bytes: Uint8Array;
    if (lost !== undefined) {
      offset = lost.from;
      bytes = this.#ring.view(offset, Math.min(room, lost.to - offset));
      this.#lost.remove(offset, offset + bytes.length);
    } else {
      offset = this.#sent;
      const length = Math.min(room, Math.min(this.#ring.end, this.#limit) - offset);
      bytes = length > 0 ? this.#ring.view(offset, length) : new Uint8Array(0);
      this.#sent += bytes.length;
    }
    const end = this.#ended && offset + bytes.length === this.#ring.end;
    if (end) this.#endSent = true;
    return { offset, bytes, end };
  }

  onArrived(offset: number, length: number, end: boolean): void {
    if (end) this.#endArrived = true;
    // The usual case: in order, and nothing was lost.
    if (offset <= this.#ring.start && this.#arrived.first === undefined && this.#lost.first === undefined)
      return this.#ring.dropBelow(offset + length);
    this.#arrived.add(Math.max(offset, this.#ring.start), offset + length);
    this.#lost.remove(offset, offset + length);
    const start = this.#arrived.coveredFrom(this.#ring.start);
    this.#arrived.remove(this.#ring.start, start);
    this.#ring.dropBelow(start);
  }

  onLost(offset: number, length: number, end: boolean): void {
    if (end && !this.#endArrived) this.#endSent = false;
    const from = Math.max(offset, this.#ring.start);
    const to = offset + length;
    this.#lost.add(from, to);
    // What arrived by another packet meanwhile. Only here: beside it nothing is lost anew, and there may be thousands of holes.
    for (const arrived of this.#arrived.overlapping(from, to)) this.#lost.remove(arrived.from, arrived.to);
  }

  /** For the last bytes of a stream that were a secret: what has not arrived never leaves (again), zeros and the end do. */
  blank(): void {
    this.#ring.blank();
    this.#ended = true;
  }

  wipe(): void {
    this.#ring.wipe();
    this.#sent = this.#ring.end;
  }
}

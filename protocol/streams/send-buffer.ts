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
    this.#arrived.add(Math.max(offset, this.#ring.start), offset + length);
    this.#lost.remove(offset, offset + length);
    const start = this.#arrived.coveredFrom(this.#ring.start);
    this.#arrived.remove(this.#ring.start, start);
    this.#ring.dropBelow(start);
  }

  onLost(offset: number, length: number, end: boolean): void {
    if (end && !this.#endArrived) this.#endSent = false;
    this.#lost.add(Math.max(offset, this.#ring.start), offset + length);
    for (const { from, to } of this.#arrived.all) this.#lost.remove(from, to); // arrived by another packet meanwhile
  }

  wipe(): void {
    this.#ring.wipe();
    this.#sent = this.#ring.end;
  }
}

// What to acknowledge, and when an acknowledgement must go out. docs/protocol.md §5.4

import type { PacketWriter } from "./packet-frames.ts";
import { ReceivedNumbers } from "./received-numbers.ts";
import { MAX_ACK_DELAY } from "./recovery.ts";

/** Packets that ask for an acknowledgement, received before one is sent without delay. */
const ACK_EVERY = 4;

export class DueAck {
  readonly #received = new ReceivedNumbers();
  #waiting = 0; // packets that ask for one, received since the last went out
  #at: number | undefined; // when one must go out
  #toldAt = Number.NEGATIVE_INFINITY; // up to here the owner was told that one is due

  /** The highest number received, -1 before the first. */
  get newest(): number {
    return this.#received.ranges[0]?.last ?? -1;
  }

  isDue(now: number): boolean {
    return this.#at !== undefined && this.#at <= now;
  }

  /** One that is due and was told waits for the pipe alone: a pipe that takes nothing must not keep a timer running. */
  get deadline(): number | undefined {
    return this.isDue(this.#toldAt) ? undefined : this.#at;
  }
  told(now: number): void {
    this.#toldAt = now;
  }

  /** @param ends - it has the CLOSE: whoever takes it will not be here any more to answer later. */
  received(number: number, asksForAck: boolean, now: number, ends = false): void {
    const outOfOrder = this.#received.add(number);
    if (!asksForAck) return;
    this.#waiting++;
    if (ends || outOfOrder || this.#waiting >= ACK_EVERY) this.#at = now;
    else this.#at ??= now + MAX_ACK_DELAY;
  }

  /** @param atMost - bytes that it may take. */
  write(writer: PacketWriter, atMost?: number): void {
    if (!writer.ack(this.#received.ranges, atMost)) return;
    this.#waiting = 0;
    this.#at = undefined;
  }
}

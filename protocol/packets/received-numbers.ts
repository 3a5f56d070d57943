// Which packets to acknowledge: closed ranges, newest first, bounded.

import { MAX_ACK_RANGES } from "../limits.ts";
import type { AckRange } from "./packet-frames.ts";

export class ReceivedNumbers {
  #ranges: { first: number; last: number }[] = [];

  get ranges(): readonly AckRange[] {
    return this.#ranges;
  }

  /** @returns whether `number` came out of order: then the acknowledgement should go at once. */
  add(number: number): boolean {
    const ranges = this.#ranges;
    const newest = ranges[0];
    if (newest !== undefined && number === newest.last + 1) {
      newest.last = number; // the usual case
      return false;
    }
    let i = 0;
    while (i < ranges.length && (ranges[i] as AckRange).first > number + 1) i++;
    const here = ranges[i];
    if (here !== undefined && number >= here.first - 1 && number <= here.last + 1) {
      here.first = Math.min(here.first, number);
      here.last = Math.max(here.last, number);
      const older = ranges[i + 1];
      if (older !== undefined && older.last + 1 >= here.first) {
        here.first = Math.min(here.first, older.first);
        ranges.splice(i + 1, 1);
      }
    } else {
      ranges.splice(i, 0, { first: number, last: number });
    }
    // Ranges that fell out are packets whose content the peer may send once more: harmless.
    if (ranges.length > MAX_ACK_RANGES) ranges.length = MAX_ACK_RANGES;
    return newest !== undefined;
  }
}

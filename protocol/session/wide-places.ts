// Which channels of a connection have more credit than all take for granted. What waits for readers that stop must stay little.

import { MAX_WIDE_CHANNELS } from "../limits.ts";

export class WidePlaces {
  readonly #channels = new Set<number>();

  /** @returns whether the channel has a place; one that was free is taken. */
  admit(channel: number): boolean {
    if (this.#channels.size < MAX_WIDE_CHANNELS) this.#channels.add(channel);
    return this.#channels.has(channel);
  }

  leave(channel: number): void {
    this.#channels.delete(channel);
  }
}

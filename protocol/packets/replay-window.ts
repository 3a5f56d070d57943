// Which packet numbers were seen: a sliding bitmap, and the full number behind 32 bits of it. docs/protocol.md §5.2

import { MAX_PACKETS, REPLAY_WINDOW } from "../limits.ts";

export class ReplayWindow {
  readonly #seen = new Uint8Array(REPLAY_WINDOW); // one flag a number, at number % REPLAY_WINDOW
  readonly #marks = new Uint32Array(REPLAY_WINDOW); // 32 bits of each seen packet's tag, at number % REPLAY_WINDOW
  #next = 0; // one above the highest number seen

  /** Only before the first mark: for a receiver that begins at a later number. */
  startAt(number: number): void {
    this.#next = number;
  }

  /** @returns the number with these low 32 bits that is nearest to the one expected next (as RFC 9000 §A.3). */
  nearest(low: number): number {
    const span = 2 ** 32;
    const candidate = this.#next - (this.#next % span) + low;
    if (candidate + span / 2 <= this.#next && candidate + span < MAX_PACKETS) return candidate + span;
    if (candidate > this.#next + span / 2 && candidate >= span) return candidate - span;
    return candidate;
  }

  isNew(number: number): boolean {
    if (number >= this.#next) return number < MAX_PACKETS;
    return number >= this.#next - REPLAY_WINDOW && this.#seen[number % REPLAY_WINDOW] === 0;
  }

  /** Whether a packet with this number was seen, with another tag: a repeat of the same packet has the same one. */
  sawAnother(number: number, tag: number): boolean {
    if (number >= this.#next || number < this.#next - REPLAY_WINDOW) return false;
    const at = number % REPLAY_WINDOW;
    return this.#seen[at] === 1 && this.#marks[at] !== tag;
  }

  /** @param number - `isNew`, and its packet opened. @param tag - 32 bits of its tag. */
  mark(number: number, tag: number): void {
    if (number >= this.#next) {
      const fresh = number - this.#next;
      if (fresh >= REPLAY_WINDOW) this.#seen.fill(0);
      else for (let i = this.#next; i < number; i++) this.#seen[i % REPLAY_WINDOW] = 0;
      this.#next = number + 1;
    }
    this.#seen[number % REPLAY_WINDOW] = 1;
    this.#marks[number % REPLAY_WINDOW] = tag;
  }
}

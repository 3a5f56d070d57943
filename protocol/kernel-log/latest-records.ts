// The latest of what a guest sends, as it came: so many, and no more bytes than this side is ready to hold.

/** Bytes of records, unless said otherwise: 100,000 of them could be 800 MiB. */
export const MAX_HELD = 16 * 1024 * 1024;

export class LatestRecords<Entry> {
  readonly #count: number;
  readonly #sizeOf: (entry: Entry) => number;
  readonly #limit: number;
  #entries: (Entry | undefined)[] = [];
  /** Those before it are gone. */
  #first = 0;
  #size = 0;
  #seen = 0;

  /** @param count - how many are wished for. @param sizeOf - in bytes. @param limit - of all that are held. */
  constructor(count: number, sizeOf: (entry: Entry) => number, limit = MAX_HELD) {
    this.#count = count;
    this.#sizeOf = sizeOf;
    this.#limit = limit;
  }

  push(entry: Entry): void {
    this.#seen++;
    this.#entries.push(entry);
    this.#size += this.#sizeOf(entry);
    while (this.length > this.#count || this.#size > this.#limit) this.#dropOldest();
  }

  /** How many were wished for, came, and are gone because all together were too large. */
  get tooMany(): number {
    return Math.min(this.#seen, this.#count) - this.length;
  }

  /** From the oldest on. */
  held(): Entry[] {
    return this.#entries.filter((entry) => entry !== undefined);
  }

  /** How many are held. */
  get length(): number {
    return this.#entries.length - this.#first;
  }

  #dropOldest(): void {
    const oldest = this.#entries[this.#first];
    if (oldest !== undefined) this.#size -= this.#sizeOf(oldest);
    this.#entries[this.#first] = undefined;
    this.#first++;
    if (this.#first <= this.length) return; // the whole list moves: now and then, not for each
    this.#entries = this.#entries.slice(this.#first);
    this.#first = 0;
  }
}

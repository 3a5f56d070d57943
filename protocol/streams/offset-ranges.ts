// A set of half-open offset ranges, ascending, merged.

export interface OffsetRange {
  readonly from: number;
  readonly to: number;
}

export class OffsetRanges {
  readonly #ranges: OffsetRange[] = [];

  get first(): OffsetRange | undefined {
    return this.#ranges[0];
  }
  get all(): readonly OffsetRange[] {
    return this.#ranges;
  }

  add(from: number, to: number): void {
    if (from >= to) return;
    const ranges = this.#ranges;
    const low = this.#firstReaching(from);
    let high = low;
    let start = from;
    let end = to;
    while (high < ranges.length && (ranges[high] as OffsetRange).from <= to) {
      start = Math.min(start, (ranges[high] as OffsetRange).from);
      end = Math.max(end, (ranges[high] as OffsetRange).to);
      high++;
    }
    ranges.splice(low, high - low, { from: start, to: end });
  }

  remove(from: number, to: number): void {
    const cut = this.overlapping(from, to);
    const [first, last] = [cut[0], cut.at(-1)];
    if (first === undefined || last === undefined) return;
    const kept: OffsetRange[] = [];
    if (first.from < from) kept.push({ from: first.from, to: from });
    if (last.to > to) kept.push({ from: to, to: last.to });
    this.#ranges.splice(this.#firstReaching(from + 1), cut.length, ...kept);
  }

  /** @returns the ranges that share an offset with `from` … `to`: no more than those are looked at. */
  overlapping(from: number, to: number): readonly OffsetRange[] {
    if (from >= to) return [];
    const low = this.#firstReaching(from + 1);
    let high = low;
    while (high < this.#ranges.length && (this.#ranges[high] as OffsetRange).from < to) high++;
    return this.#ranges.slice(low, high);
  }

  /** @returns where the range that starts at or before `offset` and reaches beyond it ends, else `offset`. */
  coveredFrom(offset: number): number {
    const range = this.#ranges[this.#firstReaching(offset + 1)];
    return range === undefined || range.from > offset ? offset : range.to;
  }

  /** Index of the first range whose end is at or above `offset`: a peer chooses how many ranges there are, so not one by one. */
  #firstReaching(offset: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranges[middle] as OffsetRange).to < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

// A set of half-open offset ranges, ascending, merged.

export interface OffsetRange {
  readonly from: number;
  readonly to: number;
}

export class OffsetRanges {
  #ranges: OffsetRange[] = [];

  get first(): OffsetRange | undefined {
    return this.#ranges[0];
  }
  get all(): readonly OffsetRange[] {
    return this.#ranges;
  }

  add(from: number, to: number): void {
    if (from >= to) return;
    const ranges = this.#ranges;
    let low = 0;
    while (low < ranges.length && (ranges[low] as OffsetRange).to < from) low++;
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
    if (from >= to || this.#ranges.length === 0) return;
    const kept: OffsetRange[] = [];
    for (const range of this.#ranges) {
      if (range.from < from) kept.push({ from: range.from, to: Math.min(range.to, from) });
      if (range.to > to) kept.push({ from: Math.max(range.from, to), to: range.to });
      else if (range.from >= to) kept.push(range);
    }
    this.#ranges = kept.filter((range) => range.from < range.to);
  }

  /** @returns where the range that starts at or before `offset` and reaches beyond it ends, else `offset`. */
  coveredFrom(offset: number): number {
    const range = this.#ranges.find(({ from, to }) => from <= offset && to > offset);
    return range === undefined ? offset : range.to;
  }
}

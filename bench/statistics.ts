// Medians and percentiles, and how figures are printed.

const ascending = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);

/** @param share - 0 to 1. The nearest value at or above that share (no interpolation). NaN for no values. */
export function percentile(values: readonly number[], share: number): number {
  const index = Math.max(0, Math.ceil(values.length * share) - 1);
  return ascending(values)[index] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = ascending(values);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Three significant digits, and never an exponent. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(value >= 1 ? 2 : 3);
}

// When something signed is good, and how a time is told. Times are milliseconds since 1970, UTC.

/** @param skew - tolerated at both ends. */
export function isWithin(from: number, until: number, now: number, skew: number): boolean {
  return from <= now + skew && now - skew <= until;
}

/** `2025-06-19T10:16:03Z`, to the second. */
export function timeWords(time: number): string {
  return `${new Date(time).toISOString().slice(0, 19)}Z`;
}

// A fetched piece of collateral whose signature held: what file it becomes, and which of two is the better.

/** Bytes of a file, and what they say about themselves. Times in milliseconds since 1970. */
export interface Piece {
  /** File name, without directory. */
  readonly name: string;
  /** For people: "TCB info of FMSPC 50806f000000". */
  readonly what: string;
  readonly bytes: Uint8Array;
  readonly from: number;
  readonly until: number;
  /**
   * Reads another file of the same name. @returns how it ranks against this one's `rank`, higher is better and the first
   * difference decides; undefined where it is something else or damaged, and may be replaced.
   */
  rankOf(bytes: Uint8Array): readonly number[] | undefined;
  readonly rank: readonly number[];
}

/** @returns true where `old` ranks above `fresh`. */
export function isBetter(old: readonly number[], fresh: readonly number[]): boolean {
  for (const [i, value] of fresh.entries()) {
    const other = old[i] ?? Number.NEGATIVE_INFINITY;
    if (other !== value) return other > value;
  }
  return false;
}

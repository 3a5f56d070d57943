// What is different between two looks at a guest: for re-attestation, and beside what was seen before.

import type { ClaimedValue } from "./verified-guest.ts";

export interface ClaimedChange {
  readonly name: string;
  readonly words: string;
  /** Undefined: it was not there. */
  readonly before: string | undefined;
  readonly after: string | undefined;
  readonly scope: ClaimedValue["scope"];
}

/** @returns every value that one look has and the other has not, or has otherwise; in the order of `after`, gone ones last. */
export function changesBetween(
  before: readonly ClaimedValue[],
  after: readonly ClaimedValue[],
): ClaimedChange[] {
  const old = new Map(before.map((value) => [value.name, value]));
  const now = new Set(after.map((value) => value.name));
  const changed = after
    .filter((value) => old.get(value.name)?.value !== value.value)
    .map(({ name, words, value, scope }) => ({
      name,
      words,
      before: old.get(name)?.value,
      after: value,
      scope,
    }));
  const gone = before
    .filter((value) => !now.has(value.name))
    .map(({ name, words, value, scope }) => ({ name, words, before: value, after: undefined, scope }));
  return [...changed, ...gone];
}

// What a host can compute of recorded traces, and how well that tells two kinds of them apart.

import type { Seeded } from "./seeded.ts";

export interface Passed {
  readonly at: number; // ms since the trace began
  readonly length: number; // bytes
}
export interface HostTrace {
  readonly "to-guest": readonly Passed[];
  readonly "to-client": readonly Passed[];
}
/** One trace of each kind, taken one right after the other: what the machine did meanwhile it did to both. */
export type TracePair = readonly [HostTrace, HostTrace];

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
const deviation = (values: readonly number[]): number => {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)));
};

/** @param slot - ms between two slots of a grid that the host guesses. */
export function featuresOf(trace: HostTrace, slot: number): Record<string, number> {
  const features: Record<string, number> = {};
  for (const direction of ["to-guest", "to-client"] as const) {
    const passed = trace[direction];
    const gaps = passed.slice(1).map(({ at }, i) => at - (passed[i] as Passed).at);
    features[`${direction}: packets`] = passed.length;
    features[`${direction}: bytes`] = passed.reduce((sum, { length }) => sum + length, 0);
    features[`${direction}: lengths`] = new Set(passed.map(({ length }) => length)).size;
    features[`${direction}: gaps, deviation`] = deviation(gaps);
    features[`${direction}: gaps, longest`] = Math.max(0, ...gaps);
    features[`${direction}: gaps, shortest`] = Math.min(1000, ...gaps);
    features[`${direction}: off the grid`] = offGrid(passed, slot);
  }
  const answers = trace["to-client"];
  const lags = trace["to-guest"].flatMap(({ at }) => answers.find((answer) => answer.at >= at)?.at ?? []);
  features["lag between directions"] = mean(lags) - mean(trace["to-guest"].map(({ at }) => at));
  return features;
}

/** How far packets lie from the grid that fits them best, ms in the mean. */
function offGrid(passed: readonly Passed[], slot: number): number {
  const angles = passed.map(({ at }) => (2 * Math.PI * at) / slot);
  const middle = Math.atan2(mean(angles.map(Math.sin)), mean(angles.map(Math.cos)));
  return mean(
    angles.map((angle) => {
      const turn = (angle - middle) / (2 * Math.PI);
      return Math.abs(turn - Math.round(turn)) * slot;
    }),
  );
}

/** Pairs as rows of numbers, by kind. */
type Sample = readonly (readonly [readonly number[], readonly number[]])[];

/** Each value's rank among all, equal ones sharing the mean of theirs, from 1. */
function ranksOf(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => (values[a] as number) - (values[b] as number));
  const ranks: number[] = values.map(() => 0);
  for (let from = 0; from < order.length; ) {
    let to = from + 1;
    while (to < order.length && values[order[to] as number] === values[order[from] as number]) to++;
    for (let i = from; i < to; i++) ranks[order[i] as number] = (from + 1 + to) / 2;
    from = to;
  }
  return ranks;
}

/** The area under the curve, folded: 0.5 tells nothing apart, 1 everything, whichever kind is the higher. */
const folded = (rankSumOfOnes: number, count: number): number => {
  const area = (rankSumOfOnes - (count * (count + 1)) / 2) / count ** 2;
  return Math.max(area, 1 - area);
};

/** Naive Bayes over all features, trained on one half of the pairs and asked about the other, both ways round. */
function classified(sample: Sample, swapped: readonly boolean[]): number {
  const width = sample[0]?.[0].length ?? 0;
  const scores: [number[], number[]] = [[], []];
  for (const half of [0, 1]) {
    const trained = sample.flatMap((pair, i) =>
      i % 2 === half ? [{ pair, swap: swapped[i] === true }] : [],
    );
    const model = Array.from({ length: width }, (_, f) => {
      const values = ([0, 1] as const).map((kind) =>
        trained.map(({ pair, swap }) => pair[swap ? 1 - kind : kind]?.[f] as number),
      );
      const spread = Math.max(1e-6, deviation(values.flat()));
      return values.map((of) => ({ middle: mean(of), sd: Math.max(0.05 * spread, deviation(of)) }));
    });
    sample.forEach((pair, i) => {
      if (i % 2 === half) return;
      for (const kind of [0, 1] as const) {
        const row = pair[swapped[i] === true ? 1 - kind : kind] as readonly number[];
        let score = 0;
        model.forEach((kinds, f) => {
          const [zero, one] = kinds.map(
            ({ middle, sd }) => -(((row[f] as number) - middle) ** 2) / (2 * sd * sd) - Math.log(sd),
          );
          score += (one as number) - (zero as number);
        });
        scores[kind].push(score);
      }
    });
  }
  const ranks = ranksOf(scores.flat());
  return folded(
    ranks.slice(scores[0].length).reduce((sum, rank) => sum + rank, 0),
    scores[1].length,
  );
}

export interface Separation {
  /** Of each feature, and of a classifier over all of them. */
  readonly areas: ReadonlyMap<string, number>;
  /** 0.5 + 3σ of an area that tells nothing apart. */
  readonly bound: number;
  /**
   * How often labels drawn anew give one of `names` an area as large as the largest of them has: the labels of a pair are
   * swapped or not, so it holds for any load of the machine, and for features that depend on each other.
   */
  chance(names: readonly string[], random: Seeded): number;
}

const RELABELLINGS = 1999;

/** @param slot - as for `featuresOf`. */
export function separationOf(pairs: readonly TracePair[], slot: number): Separation {
  const features = pairs.map(([zero, one]) => [featuresOf(zero, slot), featuresOf(one, slot)] as const);
  const names = Object.keys(features[0]?.[0] ?? {});
  const sample: Sample = features.map(([zero, one]) => [
    names.map((name) => zero[name] as number),
    names.map((name) => one[name] as number),
  ]);
  const count = pairs.length;
  const ranks = names.map((_, f) => ranksOf(sample.flatMap((pair) => pair.map((row) => row[f] as number))));
  const areasOf = (swapped: readonly boolean[], wanted: readonly string[]): Map<string, number> => {
    const areas = new Map<string, number>();
    names.forEach((name, f) => {
      if (!wanted.includes(name)) return;
      let ones = 0;
      for (let i = 0; i < count; i++) ones += ranks[f]?.[2 * i + (swapped[i] === true ? 0 : 1)] as number;
      areas.set(name, folded(ones, count));
    });
    if (wanted.includes("classifier")) areas.set("classifier", classified(sample, swapped));
    return areas;
  };
  const asTheyAre = areasOf([], [...names, "classifier"]);
  return {
    areas: asTheyAre,
    bound: 0.5 + 3 * Math.sqrt((2 * count + 1) / (12 * count * count)),
    chance(wanted, random) {
      const found = Math.max(...wanted.map((name) => asTheyAre.get(name) as number));
      let asLarge = 1; // the labels as they are, too
      for (let i = 0; i < RELABELLINGS; i++) {
        const swapped = Array.from({ length: count }, () => random.below(2) === 1);
        if (Math.max(...areasOf(swapped, wanted).values()) >= found - 1e-12) asLarge++;
      }
      return asLarge / (RELABELLINGS + 1);
    },
  };
}

/** The chance that of `a + b` fair coins the fewer are min(a, b) or less, or the more as many. */
export function chanceOfSplit(a: number, b: number): number {
  const all = a + b;
  let ways = 1;
  let below = 0;
  for (let k = 0; k <= Math.min(a, b); k++) {
    below += ways / 2 ** all;
    ways = (ways * (all - k)) / (k + 1);
  }
  return Math.min(1, 2 * below);
}

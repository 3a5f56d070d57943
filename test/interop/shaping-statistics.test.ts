// On the machine's own clock: what a host can measure of a shaped connection does not tell two passwords apart.
// The same measurements of a connection that is not shaped do, so the test would notice. About a minute.

import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import type { ShapingProfile } from "../../protocol/packets/shaping.ts";
import type { Channel, Guest } from "../../protocol/session/api.ts";
import { connect } from "../../protocol/session/connect.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { seeded, type Seeded, testSeed } from "../support/seeded.ts";
import { clientOptions, FakeProcess, testGuest } from "../support/session.ts";

const TRACES = 64; // a class
const LANES = 8; // sessions at once
const WINDOW = 2400; // ms of one trace

type Direction = "to-guest" | "to-client";
interface Passed {
  readonly at: number;
  readonly length: number;
}
type Trace = Readonly<Record<Direction, readonly Passed[]>>;
/** 0: 8 keys without an echo. 1: 20 keys, faster, with one. */
type Kind = 0 | 1;

class Lane {
  readonly #noted: Record<Direction, Passed[]> = { "to-guest": [], "to-client": [] };
  readonly #process = new FakeProcess();
  #guest!: Guest;
  #channel!: Channel;

  static async open(shaping: ShapingProfile | undefined): Promise<Lane> {
    const lane = new Lane();
    const { endpoint } = testGuest(nodeClock, {}, () => lane.#process);
    const pipes = memoryPipes((chunk, deliver, direction) => {
      lane.#noted[direction].push({ at: performance.now(), length: chunk.length });
      deliver(chunk);
    });
    void endpoint.servePipe(pipes.guest).catch(() => undefined);
    const options = clientOptions(nodeClock, async () => pipes.client);
    const attested = await connect(shaping === undefined ? options : { ...options, shaping });
    lane.#guest = await attested.authenticate({ method: "none", user: "root" });
    lane.#channel = await lane.#guest.openChannel({ kind: "login", term: "xterm", columns: 80, rows: 24 });
    void lane.#read().catch(() => undefined);
    return lane;
  }

  async trace(kind: Kind, random: Seeded): Promise<Trace> {
    this.#process.onInput = kind === 0 ? () => {} : (bytes) => this.#process.print(bytes.slice());
    this.#noted["to-guest"].length = 0;
    this.#noted["to-client"].length = 0;
    const start = performance.now();
    for (let key = 0; key < (kind === 0 ? 8 : 20); key++) {
      await sleep((kind === 0 ? 80 : 50) + random.below(kind === 0 ? 120 : 90));
      await this.#channel.write(Uint8Array.of(97 + random.below(26)));
    }
    await sleep(Math.max(0, WINDOW - (performance.now() - start)));
    const within = (direction: Direction) =>
      this.#noted[direction]
        .filter(({ at }) => at - start < WINDOW)
        .map(({ at, length }) => ({ at: at - start, length }));
    const trace = { "to-guest": within("to-guest"), "to-client": within("to-client") };
    await sleep(150 + random.below(40)); // the next one begins anywhere on the grid
    return trace;
  }

  close(): Promise<void> {
    return this.#guest.close();
  }

  async #read(): Promise<void> {
    for (;;) {
      const bytes = await this.#channel.stdout.read();
      if (bytes === undefined) return;
      this.#channel.stdout.consumed(bytes.length);
    }
  }
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
const deviation = (values: readonly number[]): number => {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)));
};

/** What a host computes of a trace. */
function featuresOf(trace: Trace): Record<string, number> {
  const features: Record<string, number> = {};
  for (const direction of ["to-guest", "to-client"] as const) {
    const passed = trace[direction];
    const gaps = passed.slice(1).map(({ at }, i) => at - (passed[i] as Passed).at);
    features[`${direction}: packets`] = passed.length;
    features[`${direction}: bytes`] = passed.reduce((sum, { length }) => sum + length, 0);
    features[`${direction}: lengths`] = new Set(passed.map(({ length }) => length)).size;
    features[`${direction}: gaps, deviation`] = deviation(gaps);
    features[`${direction}: gaps, longest`] = Math.max(0, ...gaps);
  }
  const answers = trace["to-client"];
  const lags = trace["to-guest"].flatMap(({ at }) => answers.find((answer) => answer.at >= at)?.at ?? []);
  features["lag between directions"] = mean(lags) - mean(trace["to-guest"].map(({ at }) => at));
  return features;
}

type Sample = readonly (readonly Record<string, number>[])[]; // by kind

async function sample(shaping: ShapingProfile | undefined, random: Seeded): Promise<Sample> {
  const kinds: Kind[] = Array.from({ length: 2 * TRACES }, (_, i) => (i % 2) as Kind);
  for (let i = kinds.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [kinds[i], kinds[j]] = [kinds[j] as Kind, kinds[i] as Kind];
  }
  const found: Record<string, number>[][] = [[], []];
  await Promise.all(
    Array.from({ length: LANES }, async () => {
      const lane = await Lane.open(shaping);
      await sleep(300);
      for (let kind = kinds.pop(); kind !== undefined; kind = kinds.pop())
        found[kind]?.push(featuresOf(await lane.trace(kind, random)));
      await lane.close();
    }),
  );
  return found;
}

/** The chance that a random one of `ones` is above a random one of `zeros`; equal ones count half. */
function areaUnderCurve(zeros: readonly number[], ones: readonly number[]): number {
  let above = 0;
  for (const one of ones) for (const zero of zeros) above += one > zero ? 1 : one === zero ? 0.5 : 0;
  return above / (zeros.length * ones.length);
}

/** Naive Bayes over all features, trained on one half and asked about the other, both ways round. */
function classified(found: Sample): number {
  const names = Object.keys(found[0]?.[0] ?? {});
  const scores: number[][] = [[], []];
  for (const half of [0, 1]) {
    const trained = found.map((traces) => traces.filter((_, i) => i % 2 === half));
    const model = names.map((name) => trained.map((traces) => traces.map((trace) => trace[name] as number)));
    for (const kind of [0, 1] as const) {
      for (const trace of (found[kind] ?? []).filter((_, i) => i % 2 !== half)) {
        let score = 0;
        names.forEach((name, f) => {
          const [zeros = [], ones = []] = model[f] ?? [];
          const spread = Math.max(1e-6, deviation([...zeros, ...ones]));
          const logOf = (values: readonly number[]): number => {
            const sd = Math.max(0.05 * spread, deviation(values));
            return -(((trace[name] as number) - mean(values)) ** 2) / (2 * sd * sd) - Math.log(sd);
          };
          score += logOf(ones) - logOf(zeros);
        });
        scores[kind]?.push(score);
      }
    }
  }
  return areaUnderCurve(scores[0] ?? [], scores[1] ?? []);
}

/** How well each feature, and all together, tell the kinds apart: 0.5 not at all, 1 always. */
function separations(found: Sample): Map<string, number> {
  const result = new Map<string, number>();
  for (const name of Object.keys(found[0]?.[0] ?? {})) {
    const [zeros, ones] = found.map((traces) => traces.map((trace) => trace[name] as number));
    const area = areaUnderCurve(zeros ?? [], ones ?? []);
    result.set(name, Math.max(area, 1 - area));
  }
  result.set("classifier", classified(found));
  return result;
}

function table(title: string, values: ReadonlyMap<string, number>): string {
  return [title, ...[...values].map(([name, value]) => `  ${name.padEnd(32)} ${value.toFixed(3)}`)].join(
    "\n",
  );
}

test("two passwords of different length, rhythm and echo: adaptive hides what no shaping shows", {
  timeout: 300_000,
}, async () => {
  const seed = testSeed();
  const random = seeded(seed);
  const sigma = Math.sqrt((2 * TRACES + 1) / (12 * TRACES * TRACES));
  const bound = 0.5 + 3 * sigma;
  process.stdout.write(`seed ${seed}, ${TRACES} traces a class, bound ${bound.toFixed(3)}\n`);

  const control = separations(await sample(undefined, random));
  process.stdout.write(`${table("AUC without shaping", control)}\n`);
  expect(Math.max(...control.values())).toBeGreaterThanOrEqual(0.95);
  expect(control.get("classifier")).toBeGreaterThanOrEqual(0.95);

  const shaped = separations(await sample("adaptive", random));
  process.stdout.write(`${table("AUC with adaptive", shaped)}\n`);
  let over = [...shaped].filter(([, area]) => area > bound).map(([name]) => name);
  if (over.length > 0) {
    // One in 370 is beyond 3 sigma by chance, and there are twelve of them: whatever is must be so in a new sample, too.
    const again = separations(await sample("adaptive", random));
    process.stdout.write(`${table(`AUC with adaptive, again for ${over.join(", ")}`, again)}\n`);
    over = over.filter((name) => (again.get(name) as number) > bound);
  }
  expect(over).toEqual([]);
});

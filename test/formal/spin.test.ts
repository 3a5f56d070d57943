// The SPIN models: each search gives what formal/expected-spin.json says, and the models belong to the code they name.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";

interface Expectation {
  readonly model: string;
  readonly defines: readonly string[];
  readonly claim: string;
  readonly expected: string;
  readonly full?: boolean;
}
interface Outcome {
  readonly name: string;
  readonly result: string;
  readonly states: number;
}
interface Runner {
  readonly expectations: Readonly<Record<string, Expectation>>;
  missingTools(): readonly string[];
  resultOf(output: string): { result: string; states: number; megabytes: number };
  checkAll(names: readonly string[], onEach: (outcome: Outcome) => void): Promise<readonly Outcome[]>;
  lineOf(outcome: Outcome): string;
}

const folder = new URL("../../formal/", import.meta.url);
const runner = (await import(/* @vite-ignore */ fileURLToPath(new URL("run-spin.mjs", folder)))) as Runner;
const { expectations } = runner;
const names = Object.keys(expectations);
const usual = names.filter((name) => expectations[name]?.full !== true);
const models = readdirSync(folder).filter((file) => file.endsWith(".pml"));
const read = (file: string): string => readFileSync(new URL(file, folder), "utf8");

describe("searches", () => {
  const outcomes = new Map<string, Outcome>();
  beforeAll(async () => {
    const missing = runner.missingTools();
    if (missing.length > 0)
      throw new Error(`Not installed: ${missing.join(", ")}. Run: node scripts/packages.mjs formal`);
    await runner.checkAll(usual, (outcome) => {
      outcomes.set(outcome.name, outcome);
      process.stdout.write(`${runner.lineOf(outcome)}\n`);
    });
  }, 900_000);

  test.each(usual)("%s", (name) => {
    expect(outcomes.get(name)?.result).toBe(expectations[name]?.expected);
    expect(outcomes.get(name)?.states).toBeGreaterThan(0);
  });
});

describe.each(models)("%s", (file) => {
  const text = read(file);

  test("each mistake that it can have is expected to be found, and it is searched without any", () => {
    const planted = new Set([...text.matchAll(/\bBUG_[A-Z_]+\b/g)].map(([name]) => name));
    const own = Object.values(expectations).filter(({ model }) => model === file);
    const bug = (name: string): boolean => name.startsWith("BUG_");
    const tried = own.flatMap(({ defines }) => defines.filter(bug));
    planted.delete("BUG_");
    expect(new Set(tried)).toEqual(planted);
    expect(planted.size).toBeGreaterThan(3);
    for (const { defines, expected } of own) {
      if (defines.some(bug)) expect(expected).not.toBe("holds");
    }
    expect(own.some(({ defines, expected }) => !defines.some(bug) && expected === "holds")).toBe(true);
  });

  test("the files of the code that it names are there", () => {
    const named = [...text.matchAll(/\bprotocol\/[\w/-]+\.ts\b/g)].map(([name]) => name);
    expect(named.length).toBeGreaterThan(1);
    for (const name of named) expect([name, existsSync(new URL(`../${name}`, folder))]).toEqual([name, true]);
  });
});

describe("resultOf() takes for an answer", () => {
  const full =
    "State-vector 100 byte, depth reached 9, errors: 0\n     1234 states, stored\n   12.5\ttotal actual memory usage\n";
  test("a complete search", () => {
    expect(runner.resultOf(full)).toEqual({ result: "holds", states: 1234, megabytes: 12.5 });
  });
  test.each([
    ["pan:1: assertion violated  !((seen&(1<<n))) (at depth 37)", "assertion violated !((seen&(1<<n)))"],
    ["pan:1: acceptance cycle (at depth 11)", "acceptance cycle"],
    ["pan:1: invalid end state (at depth 45)", "invalid end state"],
  ])("%s", (line, result) => {
    expect(runner.resultOf(`${line}\n${full.replace("errors: 0", "errors: 1")}`).result).toBe(result);
  });
  test.each([
    ["one that was too deep", `error: max search depth too small\n${full}`],
    ["one that ran out of memory", `pan: reached -DMEMLIM bound\n${full}`],
    ["one that was killed", "Depth= 1031 States= 1e+06\nkilled by SIGKILL"],
    ["nothing", ""],
  ])("but not %s", (_what, output) => {
    expect(runner.resultOf(output).result).toMatch(/^not finished/);
  });
});

// Runs the SPIN models and compares each result with expected-spin.json: `node formal/run-spin.mjs [--full] [name …]`.
// Exit 0: all as expected. Exit 1: one differs, was not finished within its time and memory, or a tool is missing.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const TOOLS = ["spin", "cc"];
const AT_ONCE = 2;
const MEGABYTES = 400; // for one search; two run at once
const SECONDS = 600; // for one search: far above what it takes, for machines that do other things, too
const DEPTH = 400_000;

export const expectations = JSON.parse(readFileSync(new URL("expected-spin.json", import.meta.url), "utf8"));

/** @returns the tools that are not on the PATH. */
export function missingTools() {
  return TOOLS.filter((tool) => spawnSync(tool, [tool === "spin" ? "-V" : "--version"]).error !== undefined);
}

/**
 * What pan's output says.
 * @param {string} output
 * @returns {{ result: string, states: number, megabytes: number }} result: "holds" only after a complete search; else the
 *   violation as pan words it, without the place; else "not finished: …".
 */
export function resultOf(output) {
  const number = (pattern) => Number(pattern.exec(output)?.[1] ?? Number.NaN);
  const violation = /^pan:\d+: (assertion violated .+?|acceptance cycle|[a-z ]+) \(at depth \d+\)$/m.exec(
    output,
  );
  const errors = number(/errors: (\d+)$/m);
  const cut = /max search depth too small|reached -DMEMLIM bound|out of memory|Search not completed/.exec(
    output,
  );
  let result;
  if (violation !== null) result = violation[1].replace(/ +/g, " ");
  else if (errors === 0 && cut === null) result = "holds";
  else result = `not finished: ${cut?.[0] ?? output.slice(-300).trim()}`;
  return {
    result,
    states: number(/^\s*(\d+) states, stored/m),
    megabytes: number(/^\s*([\d.]+)\s+total actual memory usage/m),
  };
}

function execute(command, args, cwd) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    const timer = setTimeout(() => child.kill("SIGKILL"), SECONDS * 1000);
    const add = (text) => (output += text);
    child.stdout.setEncoding("utf8").on("data", add);
    child.stderr.setEncoding("utf8").on("data", add);
    child.on("error", (error) => add(error.message));
    child.on("close", (status, signal) => {
      clearTimeout(timer);
      resolve({ ok: status === 0, output: signal === null ? output : `${output}\nkilled by ${signal}` });
    });
  });
}

/**
 * @param {string} name - a key of expected-spin.json.
 * @returns {Promise<{ name: string, result: string, states: number, megabytes: number, seconds: number }>} of the search alone.
 */
export async function check(name) {
  const { model, defines, check: kind, fair } = expectations[name];
  const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-spin-"));
  const failed = (step, output) => ({
    name,
    result: `not finished: ${step}: ${output.slice(-1000).trim()}`,
    states: Number.NaN,
    megabytes: Number.NaN,
    seconds: Number.NaN,
  });
  try {
    const source = fileURLToPath(new URL(model, import.meta.url));
    const made = await execute("spin", ["-a", ...defines.map((define) => `-D${define}`), source], directory);
    if (!made.ok) return failed("spin", made.output);
    // Progress is an LTL formula over infinite runs; safety is the assertions, for which deadlocks are no matter.
    const options = kind === "progress" ? (fair ? ["-DNFAIR=3"] : []) : ["-DSAFETY", "-DNOCLAIM"];
    const compiled = await execute(
      "cc",
      ["-O0", "-w", `-DMEMLIM=${MEGABYTES}`, ...options, "-o", "pan", "pan.c"],
      directory,
    );
    if (!compiled.ok) return failed("cc", compiled.output);
    const started = performance.now();
    const search = kind === "progress" ? (fair ? ["-a", "-f"] : ["-a"]) : ["-E"];
    const { output } = await execute("./pan", [...search, `-m${DEPTH}`, "-w20"], directory);
    return { name, ...resultOf(output), seconds: (performance.now() - started) / 1000 };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * Several checks, two at a time.
 * @param {readonly string[]} names
 * @param {(outcome: Awaited<ReturnType<typeof check>>) => void} [onEach]
 */
export async function checkAll(names, onEach = () => {}) {
  const rest = [...names];
  const outcomes = [];
  const work = async () => {
    for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
      const outcome = await check(name);
      outcomes.push(outcome);
      onEach(outcome);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return outcomes;
}

/** @returns one line for people. */
export function lineOf({ name, result, states, megabytes, seconds }) {
  const { expected, claim } = expectations[name];
  const right = result === expected;
  return (
    `${right ? "ok   " : "WRONG"} ${name}: ${result}${right ? "" : `, expected ${expected}`} ` +
    `(${states} states, ${seconds.toFixed(1)} s, ${megabytes.toFixed(0)} MB)\n        ${claim}`
  );
}

async function main(args) {
  const missing = missingTools();
  if (missing.length > 0) {
    console.error(`Not installed: ${missing.join(", ")}. Run: node scripts/packages.mjs formal`);
    return 1;
  }
  const full = args.includes("--full");
  const chosen = args.filter((arg) => arg !== "--full");
  const unknown = chosen.filter((name) => expectations[name] === undefined);
  if (unknown.length > 0) {
    console.error(`Not in expected-spin.json: ${unknown.join(" ")}`);
    return 1;
  }
  const usual = Object.keys(expectations).filter((name) => full || expectations[name].full !== true);
  const started = performance.now();
  const outcomes = await checkAll(chosen.length > 0 ? chosen : usual, (outcome) =>
    console.log(lineOf(outcome)),
  );
  const wrong = outcomes.filter(({ name, result }) => result !== expectations[name].expected).length;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(
    `${outcomes.length - wrong} as expected, ${wrong} not, in ${seconds} s with the compiler's time`,
  );
  return wrong === 0 ? 0 : 1;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  process.exitCode = await main(process.argv.slice(2));

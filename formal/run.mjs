// Runs the ProVerif models and compares each answer with expected.json: `node formal/run.mjs [--require] [model …]`.
// Exit 0: all as expected, or ProVerif is not installed (said); with --require that is 1. Exit 1: an answer differs.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";

const MINUTES = 10; // for one model; the design notes measured at most 15 s for models of this kind

/** What identifies a query within its file, in our spelling and in ProVerif's (which renames variables). */
export function fingerprint(query) {
  return [...query.matchAll(/\b(event|attacker)\w*\(\s*(?:new\s+)?(\w+)/g)]
    .map(([, kind, name]) => `${kind}(${name})`)
    .join(" ==> ");
}

/** @returns Map of fingerprint → "true" | "false" | "cannot be proved", from the summary that ends ProVerif's output. */
export function answersOf(output) {
  const summary = output.slice(output.lastIndexOf("Verification summary:") + 1 || output.length);
  const answers = new Map();
  for (const [, query, answer] of summary.matchAll(
    /^Query (.+?) (?:is (true|false)|cannot be proved)\.\s*$/gm,
  ))
    answers.set(fingerprint(query), answer ?? "cannot be proved");
  return answers;
}

function main(args) {
  const required = args.includes("--require");
  const chosen = args.filter((arg) => arg !== "--require");
  if (spawnSync("proverif", ["-help"]).error !== undefined) {
    console.log("proverif is not installed: models not run");
    return required ? 1 : 0;
  }
  const expected = JSON.parse(readFileSync(new URL("expected.json", import.meta.url), "utf8"));
  const unknown = chosen.filter((file) => expected[file] === undefined);
  if (unknown.length > 0) {
    console.error(`Not in expected.json: ${unknown.join(" ")}`);
    return 1;
  }
  let wrong = 0;
  for (const file of chosen.length > 0 ? chosen : Object.keys(expected)) {
    const started = performance.now();
    const run = spawnSync("proverif", [fileURLToPath(new URL(file, import.meta.url))], {
      encoding: "utf8",
      timeout: MINUTES * 60_000,
      maxBuffer: 256 * 1024 * 1024,
    });
    const answers = answersOf(run.stdout ?? "");
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(`${file} (${seconds} s)`);
    for (const [query, wanted] of Object.entries(expected[file])) {
      const found = answers.get(fingerprint(query)) ?? "no answer";
      const right = found === String(wanted);
      if (!right) wrong++;
      console.log(`  ${right ? "ok   " : "WRONG"} ${query}: ${found}${right ? "" : `, expected ${wanted}`}`);
    }
    if (answers.size === 0) console.log(`${run.error?.message ?? ""}\n${(run.stdout ?? "").slice(-2000)}`);
  }
  console.log(wrong === 0 ? "All models as expected" : `${wrong} answers not as expected`);
  return wrong === 0 ? 0 : 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href)
  process.exitCode = main(process.argv.slice(2));

// Runs every evidence case below a directory through the project's verifiers and compares the verdicts with what is expected.
//   node scripts/verify-cases.mjs DIRECTORY [--json]      DIRECTORY/<kind>/<case>/expected.json
// Exit status 1 where a verdict differs, or a case could not be run.

import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { runnerImport } from "vite";
import { ScriptError, projectRoot, runScript } from "./lib/run.mjs";

function casesIn(directory) {
  if (!existsSync(directory)) throw new ScriptError(`No such directory: ${directory}`);
  const below = (parent) =>
    readdirSync(parent, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => path.join(parent, entry.name))
      .sort();
  const found = below(directory)
    .flatMap(below)
    .filter((each) => existsSync(path.join(each, "expected.json")));
  if (found.length === 0) throw new ScriptError(`No ${path.join(directory, "*/*/expected.json")}`);
  return found;
}

async function runOne(runCase, directory) {
  const { expected } = JSON.parse(readFileSync(path.join(directory, "expected.json"), "utf8"));
  try {
    const result = await runCase(directory);
    return { ...result, expected, agrees: result.verdict === expected };
  } catch (error) {
    // The case makes no sense, or a verifier broke: no verdict at all.
    const name = directory.split(path.sep).slice(-2).join("/");
    return { name, expected, verdict: "error", sentence: error.message, others: [], agrees: false };
  }
}

function table(rows) {
  const lines = [
    ["", "case", "expected", "found", "check", "sentence"],
    ...rows.map((row) => [
      row.agrees ? "" : "DIFFERS",
      row.name,
      row.expected,
      row.verdict,
      row.check ?? "",
      row.sentence ?? "",
    ]),
  ];
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  return lines
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i]))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

await runScript(async () => {
  const { values, positionals } = parseArgs({
    options: { json: { type: "boolean", default: false } },
    allowPositionals: true,
  });
  if (positionals.length !== 1) throw new ScriptError("node scripts/verify-cases.mjs DIRECTORY [--json]");
  const directories = casesIn(path.resolve(positionals[0]));
  const { module } = await runnerImport(path.join(projectRoot, "test/support/evidence-case.ts"), {
    root: projectRoot,
    configFile: false,
    logLevel: "error",
  });
  const rows = [];
  for (const directory of directories) rows.push(await runOne(module.runCase, directory));
  const differing = rows.filter((row) => !row.agrees);
  if (values.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else process.stdout.write(`${table(rows)}\n`);
  process.stderr.write(
    `${rows.length} cases: ${rows.length - differing.length} agree, ${differing.length} differ\n`,
  );
  return differing.length === 0 ? 0 : 1;
});

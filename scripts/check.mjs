// `npm run check`: format, lint with types, types, and the repository's own rules; a line for each with its time.

import { ensureNodeModules, runTool } from "./lib/install.mjs";
import { runScript, secondsSince } from "./lib/run.mjs";
import { repositoryChecks } from "./lib/repository-checks.mjs";

const tool =
  (name, ...args) =>
  async () => {
    const { status, stdout, stderr } = await runTool(name, args);
    return status === 0 ? [] : [`${stdout}${stderr}`.trimEnd()];
  };

/** Longest first, so that two at a time end together. */
const steps = {
  lint: tool("oxlint", "--type-aware", "--format=unix"),
  "types of test": tool("tsc", "-p", "test"),
  "types of server, relay, cli, node, bench": tool("tsc", "-p", "."),
  "types of client": tool("tsc", "-p", "client"),
  "types of protocol": tool("tsc", "-p", "protocol"),
  format: tool("biome", "format", "--reporter=summary", "."),
  ...Object.fromEntries(Object.entries(repositoryChecks).map(([name, check]) => [name, async () => check()])),
};

async function runStep(name, step) {
  const start = performance.now();
  let complaints;
  try {
    complaints = await step();
  } catch (error) {
    complaints = [error.stack];
  }
  process.stdout.write(`${complaints.length === 0 ? "ok    " : "FAILED"} ${name} (${secondsSince(start)})\n`);
  for (const complaint of complaints) process.stdout.write(`${complaint.replaceAll(/^/gm, "    ")}\n`);
  return complaints.length === 0;
}

await runScript(async () => {
  await ensureNodeModules();
  const queue = Object.entries(steps);
  let good = true;
  const worker = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift())
      good = (await runStep(...next)) && good;
  };
  await Promise.all([worker(), worker()]);
  return good ? 0 : 1;
});

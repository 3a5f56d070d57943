// `npm start`: installs what is missing, builds what is stale, then runs the demonstration. usage, below, says the options.

import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { build, parts } from "./build.mjs";
import { ensureNodeModules } from "./lib/install.mjs";
import { projectRoot, ScriptError } from "./lib/run.mjs";

const usage = `npm start -- [--port PORT] [--no-open] [--json] [--verbose] [--quiet]
A guest with simulated evidence, a nosy host and the console page, on this machine. Ctrl-C ends everything.
  --port PORT      port of the page on localhost; default 8743, 0 for any
  --no-open        print the link, start no browser
  --json           machine-readable: JSON lines for events and errors
  --verbose, -v    say more; twice: stack traces
  --quiet, -q      say only errors and security warnings
`;

const sources = [
  "protocol",
  "node",
  "cli",
  "client",
  "server",
  "relay",
  "vite.config.ts",
  "package-lock.json",
];

/** Newest change under a file or directory, milliseconds since 1970. A directory's own time tells of removed files. */
function newestChange(name) {
  const file = path.join(projectRoot, name);
  const status = statSync(file);
  if (!status.isDirectory()) return status.mtimeMs;
  const inside = readdirSync(file).map((entry) => newestChange(path.join(name, entry)));
  return Math.max(status.mtimeMs, ...inside);
}

function outputOf(part) {
  const outputs = { page: "page/index.html", api: "lib/sealtty.js" };
  return path.join(projectRoot, "dist", outputs[part] ?? `bin/${part}.js`);
}

async function main() {
  await ensureNodeModules();
  const changed = Math.max(...sources.map(newestChange));
  const stale = Object.keys(parts).filter((part) => {
    const output = outputOf(part);
    return !existsSync(output) || statSync(output).mtimeMs < changed;
  });
  if (stale.length > 0) await build(stale);
}

if (process.argv.slice(2).some((argument) => argument === "--help" || argument === "-h")) {
  process.stdout.write(usage);
  process.exit(0);
}
try {
  await main();
} catch (error) {
  process.stderr.write(`${error instanceof ScriptError ? error.message : error.stack}\n`);
  process.exit(1);
}
// In this process: nothing stands between the terminal's signals and the demonstration.
const program = path.join(projectRoot, "dist/bin/sealtty.js");
process.argv = [process.argv[0], program, "demo", ...process.argv.slice(2)];
await import(pathToFileURL(program).href);

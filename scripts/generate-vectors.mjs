// Writes the project's own vectors, test/vectors/*.json, from test/vectors/generate.ts. Run it when the protocol changes
// on purpose, and say so in the commit: a changed vector is a changed protocol.

import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

const folder = new URL("../test/vectors/", import.meta.url);
const root = fileURLToPath(new URL("..", import.meta.url));
const { module } = await runnerImport(fileURLToPath(new URL("generate.ts", folder)), {
  root,
  configFile: false,
  logLevel: "error",
});
for (const [file, make] of Object.entries(module.vectorFiles)) {
  writeFileSync(new URL(file, folder), `${JSON.stringify(make(), null, 2)}\n`);
  console.log(`test/vectors/${file}`);
}

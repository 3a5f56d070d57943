// `npm run bench`: builds, then runs dist/bench/bench.js (bench/main.ts) in a process of its own. docs/benchmarks.md
//   npm run bench -- [--quick] [--no-vm] [--json | --markdown] [--no-build]
//   npm run bench -- --shaping [--quick] [--json]      what shaping costs, and nothing else: two minutes
//   npm run bench -- --profile DIRECTORY [--quick]     where sealttyd's and the client's time goes

import { spawn } from "node:child_process";
import path from "node:path";
import { mustRun, projectRoot, run, runScript } from "./lib/run.mjs";

const script = (name) => path.join(projectRoot, "scripts", name);
const say = (text) => process.stderr.write(text); // stdout is for the figures

/** With the settings of the programs in dist/bin, so that the client measured is the client shipped. */
async function buildBench() {
  const { build } = await import("vite");
  await build({
    configFile: path.join(projectRoot, "vite.config.ts"),
    mode: "sealttyd",
    logLevel: "warn",
    build: {
      ssr: "bench/main.ts",
      outDir: path.join(projectRoot, "dist/bench"),
      rolldownOptions: {
        external: ["@lydell/node-pty"], // raw, as people use it, with its native addon
        output: { entryFileNames: "bench.js" },
      },
    },
  });
}

await runScript(async () => {
  const given = process.argv.slice(2);
  const args = given.filter((argument) => argument !== "--no-build");
  if (args.length === given.length && !args.includes("--shaping")) {
    say(await mustRun(process.execPath, [script("build.mjs"), "page", "sealttyd"]));
    // What cannot be installed is left out of the comparison, and the table says so.
    const groups = args.includes("--no-vm") ? ["ssh"] : ["ssh", "vm"];
    const { stdout, stderr } = await run(process.execPath, [script("packages.mjs"), ...groups]);
    say(stdout + stderr);
  }
  await buildBench();
  const child = spawn(process.execPath, [path.join(projectRoot, "dist/bench/bench.js"), ...args], {
    stdio: "inherit",
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill("SIGTERM"));
  return new Promise((resolve) => {
    child.on("error", () => resolve(1));
    child.on("close", (status) => resolve(status ?? 1));
  });
});

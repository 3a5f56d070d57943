// `npm run bench`: builds, then runs dist/bench/bench.js (bench/main.ts) in a process of its own. docs/benchmarks.md

import { spawn } from "node:child_process";
import path from "node:path";
import { mustRun, projectRoot, run, runScript } from "./lib/run.mjs";
import { optionsAreFine } from "./lib/usage.mjs";

const usage = `npm run bench -- [OPTIONS]
Speed and memory beside OpenSSH and others on this machine. docs/benchmarks.md says how it is measured.
  --quick              fewer and shorter rounds
  --no-vm              without the virtual machine
  --json               the figures as JSON
  --markdown           puts the table into docs/benchmarks.md
  --exec               programs without a terminal, beside ssh, and nothing else: a minute
  --files              cp beside scp and rsync, and nothing else: two minutes, and 3 GB in the temporary directory
  --vnc                through QEMU's VNC, for each screen and input device, and nothing else: ten minutes
  --shaping            what shaping costs, and nothing else: two minutes
  --profile DIRECTORY  where sealttyd's and the client's time goes, and nothing else
  --no-build           measures what is built
`;
const flag = { type: "boolean" };
/** Those of bench/main.ts, and --no-build. */
const options = {
  quick: flag,
  "no-vm": flag,
  json: flag,
  markdown: flag,
  shaping: flag,
  exec: flag,
  files: flag,
  vnc: flag,
  profile: { type: "string" },
  "no-build": flag,
};

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
  if (!optionsAreFine("npm run bench", options, usage)) return 0;
  const given = process.argv.slice(2);
  const args = given.filter((argument) => argument !== "--no-build");
  if (args.length === given.length && !args.includes("--shaping")) {
    say(await mustRun(process.execPath, [script("build.mjs"), "page", "sealtty", "sealttyd"]));
    // What cannot be installed is left out of the comparison, and the table says so.
    const groups = args.includes("--no-vm") ? ["ssh", "copy"] : ["ssh", "copy", "vm"];
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

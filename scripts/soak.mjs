// `npm run soak`: builds, then runs dist/bench/soak.js (bench/soak/main.ts) in a process of its own. docs/soak.md

import { spawn } from "node:child_process";
import path from "node:path";
import { mustRun, projectRoot, run, runScript } from "./lib/run.mjs";
import { optionsAreFine } from "./lib/usage.mjs";

const usage = `npm run soak -- [OPTIONS]
Forced disconnects, lost frames, memory over minutes: about eight minutes. docs/soak.md says what each figure means.
  --minutes N      minutes of the memory run; default 2
  --disconnects N  forced disconnects; default 1000
  --paste MB       megabytes pasted into vim; default 10, 0: none
  --seed N         repeats the choices of an earlier run
  --short          few and small of everything, always with the same seed, no paste: what the tests run
  --no-peers       without OpenSSH, ttyd and mosh beside it
  --markdown       puts the table at the end of docs/soak.md as well
  --no-build       measures what is built
`;
const value = { type: "string" };
const flag = { type: "boolean" };
/** Those of bench/soak/main.ts, and --no-build. */
const options = {
  minutes: value,
  disconnects: value,
  paste: value,
  seed: value,
  short: flag,
  "no-peers": flag,
  markdown: flag,
  "no-build": flag,
};

const script = (name) => path.join(projectRoot, "scripts", name);
const say = (text) => process.stderr.write(text); // stdout is for the figures

/** As scripts/bench.mjs does: the client measured is the client shipped. */
async function buildSoak() {
  const { build } = await import("vite");
  for (const [source, name] of [
    ["bench/soak/main.ts", "soak.js"],
    ["bench/soak/peer.ts", "peer.js"],
  ]) {
    await build({
      configFile: path.join(projectRoot, "vite.config.ts"),
      mode: "sealttyd",
      logLevel: "warn",
      build: {
        ssr: source,
        outDir: path.join(projectRoot, "dist/bench"),
        emptyOutDir: false,
        rolldownOptions: { external: ["@lydell/node-pty"], output: { entryFileNames: name } },
      },
    });
  }
}

await runScript(async () => {
  if (!optionsAreFine("npm run soak", options, usage)) return 0;
  const given = process.argv.slice(2);
  const args = given.filter((argument) => argument !== "--no-build");
  if (args.length === given.length)
    say(await mustRun(process.execPath, [script("build.mjs"), "sealttyd", "sealtty-relay"]));
  if (!args.includes("--no-peers")) {
    // What cannot be installed is left out of the comparison, and the table says so.
    const { stdout, stderr } = await run(process.execPath, [script("packages.mjs"), "ssh", "soak"]);
    say(stdout + stderr);
  }
  await buildSoak();
  const child = spawn(process.execPath, [path.join(projectRoot, "dist/bench/soak.js"), ...args], {
    stdio: "inherit",
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill("SIGTERM"));
  return new Promise((resolve) => {
    child.on("error", () => resolve(1));
    child.on("close", (status) => resolve(status ?? 1));
  });
});

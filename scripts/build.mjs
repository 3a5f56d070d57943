// `npm run build`: dist/page and the programs of dist/bin. vite.config.ts says how.
//   node scripts/build.mjs [NAME…]     page, sealtty, sealttyd, sealtty-relay; all without arguments;
//   sealttyd brings sealttyd-screen and sealttyd-connect along

import { copyFileSync, existsSync } from "node:fs";
import path from "node:path";
import { buildNative, hasCompiler, nativeHelpers } from "./build-native.mjs";
import { ensureNodeModules } from "./lib/install.mjs";
import { isMain, projectRoot, replaceFile, runScript, ScriptError, secondsSince } from "./lib/run.mjs";

/** What each part is built from, so that one that isn't there is named. */
export const parts = {
  page: "client/index.html",
  sealtty: "cli/main.ts",
  sealttyd: "server/main.ts",
  "sealttyd-screen": "server/screen/worker.ts", // a thread of it
  "sealttyd-connect": "server/streams/user-socket.ts", // a program that it starts as a user
  "sealtty-relay": "relay/main.ts",
};

const ofSealttyd = ["sealttyd-screen", "sealttyd-connect"];

/** For guests with older kernels only: a machine without a compiler is told, and builds the rest. */
async function buildNativeIfPossible() {
  const names = nativeHelpers.join(" and ");
  if (process.platform === "linux" && (await hasCompiler())) {
    await buildNative();
    process.stdout.write(`built ${names}\n`);
  } else {
    process.stdout.write(
      `${names} are not built: that needs Linux and a C compiler (Debian: gcc, libc6-dev)\n`,
    );
  }
}

/** sealttyd's one native part goes beside it: copy both, and node, into a guest. @param {string} [directory] */
export async function copyPtyAddon(directory = path.join(projectRoot, "dist/bin")) {
  const addon = `node_modules/@lydell/node-pty-${process.platform}-${process.arch}/pty.node`;
  await replaceFile(path.join(directory, "pty.node"), (unfinished) =>
    copyFileSync(path.join(projectRoot, addon), unfinished),
  );
}

/** @param {readonly string[]} [names] - of `parts`; all without. */
export async function build(names = Object.keys(parts)) {
  const { build: viteBuild } = await import("vite");
  const wanted = names.flatMap((name) => (name === "sealttyd" ? [name, ...ofSealttyd] : [name]));
  for (const name of new Set(wanted)) {
    if (!(name in parts)) throw new ScriptError(`No part ${name}. Parts: ${Object.keys(parts).join(" ")}`);
    if (!existsSync(path.join(projectRoot, parts[name]))) throw new ScriptError(`${parts[name]} is missing`);
    const start = performance.now();
    await viteBuild({
      configFile: path.join(projectRoot, "vite.config.ts"),
      mode: name,
      logLevel: "warn",
    });
    if (name === "sealttyd") await copyPtyAddon();
    process.stdout.write(`built ${name} in ${secondsSince(start)}\n`);
    if (name === "sealttyd") await buildNativeIfPossible();
  }
}

if (isMain(import.meta)) {
  await runScript(async () => {
    await ensureNodeModules();
    const names = process.argv.slice(2);
    await build(names.length > 0 ? names : undefined);
  });
}

// The one native program of sealttyd, for guests whose kernel has no configfs-tsm (before 6.7). Needs a C compiler.
//   node scripts/build-native.mjs [--if-possible]     with it, a machine without a compiler is told and is no failure

import { mkdirSync } from "node:fs";
import path from "node:path";
import { isMain, mustRun, projectRoot, run, runScript, ScriptError } from "./lib/run.mjs";

export const sevGuestHelper = "sev-guest-report";
const source = path.join(projectRoot, "server/native/sev-guest-report.c");
const strict = [
  "-std=c11",
  "-D_GNU_SOURCE",
  "-O2",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-fstack-protector-strong",
];

/** @returns whether there is a C compiler. */
export async function hasCompiler() {
  return (await run("cc", ["--version"]).catch(() => ({ status: 127 }))).status === 0;
}

/**
 * @param {{ output?: string, isStatic?: boolean }} [options] - static by default: an initramfs need not have libc.
 * @returns the program's path
 */
export async function buildNative({
  output = path.join(projectRoot, "dist/bin", sevGuestHelper),
  isStatic = true,
} = {}) {
  mkdirSync(path.dirname(output), { recursive: true });
  await mustRun("cc", [...strict, ...(isStatic ? ["-static"] : []), "-o", output, source]);
  return output;
}

if (isMain(import.meta)) {
  await runScript(async () => {
    if (process.platform !== "linux" || !(await hasCompiler())) {
      const needed = "It needs Linux and a C compiler (Debian: gcc and libc6-dev)";
      if (!process.argv.includes("--if-possible")) throw new ScriptError(`${sevGuestHelper}: ${needed}.`);
      process.stdout.write(
        `${sevGuestHelper} is not built: ${needed}; only guests with old kernels use it.\n`,
      );
      return;
    }
    process.stdout.write(`built ${path.relative(projectRoot, await buildNative())}\n`);
  });
}

// The native programs: sealttyd's for what Node has no call for, sealtty's one that does not wait for Node. Needs a C compiler.
//   node scripts/build-native.mjs [--if-possible]     with it, a machine without a compiler is told and is no failure

import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { isMain, mustRun, projectRoot, replaceFile, run, runScript, ScriptError } from "./lib/run.mjs";

/**
 * For SEV-SNP guests whose kernel has no configfs-tsm (before 6.7), TDX guests without measurements in /sys (6.16), sessions by
 * PAM, a sandbox, and consoles on a screen. That for PAM loads libpam when it runs, so it cannot be static; a guest that has PAM has a libc.
 */
export const nativeHelpers = [
  "sev-guest-report",
  "tdx-report",
  "sealtty-session",
  "sealtty-confine",
  "sealtty-display",
];
const loadsLibraries = new Set(["sealtty-session"]);
const strict = [
  "-std=c11",
  "-D_GNU_SOURCE",
  "-O2",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-fstack-protector-strong",
  "-U_FORTIFY_SOURCE",
  "-D_FORTIFY_SOURCE=2",
];
const dynamic = ["-fPIE", "-pie", "-Wl,-z,relro,-z,now"];

/** What is done over a kept connection, without Node's start; on the owner's machine. */
export const launcher = "sealtty-exec";

/** @returns whether there is a C compiler. */
export async function hasCompiler() {
  return (await run("cc", ["--version"])).status === 0;
}

/** @param {{ directory?: string, isStatic?: boolean }} [options] - static by default: an initramfs need not have libc. */
export async function buildNative({ directory = path.join(projectRoot, "dist/bin"), isStatic = true } = {}) {
  for (const name of nativeHelpers) {
    const linking = [
      ...(isStatic && !loadsLibraries.has(name) ? ["-static"] : dynamic),
      "-ldl", // its own library before glibc 2.34
    ];
    await compile(path.join("server/native", `${name}.c`), path.join(directory, name), linking);
  }
}

/** @param {string} [directory] */
export async function buildLauncher(directory = path.join(projectRoot, "dist/bin")) {
  const { version } = JSON.parse(readFileSync(path.join(projectRoot, "package.json"), "utf8"));
  const target = path.join(directory, launcher);
  const source = `cli/native/${launcher}.c`;
  const define = `-DSEALTTY_VERSION="${version}"`;
  if (process.platform === "linux" && (await hasCompiler())) {
    // Static, there is less to do before it begins; not every compiler has the libraries for it.
    try {
      return await compile(source, target, ["-static", define]);
    } catch {
      if (await canCompile()) return compile(source, target, [...dynamic, define]);
    }
    process.stdout.write(`${launcher} cannot be compiled here (no libc6-dev?): it becomes a script\n`);
  }
  await replaceFile(target, (unfinished) => {
    writeFileSync(
      unfinished,
      '#!/bin/sh\nexec node "$(dirname "$(readlink -f "$0")")/sealtty.js" exec --master "$@"\n',
      { mode: 0o755 },
    );
  });
}

/** Whether there is what any program needs: else it is not the source's fault. */
async function canCompile() {
  const program = ["-x", "c", "-fsyntax-only", "-"];
  return (await run("cc", program, { input: "#include <stdio.h>\n" })).status === 0;
}

/** @param {string} source @param {string} target @param {readonly string[]} more */
async function compile(source, target, more) {
  await replaceFile(target, (unfinished) =>
    mustRun("cc", [...strict, "-o", unfinished, path.join(projectRoot, source), ...more]),
  );
}

if (isMain(import.meta)) {
  await runScript(async () => {
    const names = nativeHelpers.join(", ");
    if (process.platform !== "linux" || !(await hasCompiler())) {
      const needed = "that needs Linux and a C compiler (Debian: gcc and libc6-dev)";
      if (!process.argv.includes("--if-possible")) throw new ScriptError(`Cannot build ${names}: ${needed}.`);
      process.stdout.write(
        `${names} are not built: ${needed}; guests with older kernels use them, sessions by PAM, and the sandbox.\n`,
      );
      return;
    }
    await buildNative();
    process.stdout.write(`built ${names}\n`);
  });
}

// npm packages: installed exactly as package-lock.json says, and only when they are not there already.

import { readFile } from "node:fs/promises";
import path from "node:path";
import { mustRun, projectRoot, run, ScriptError } from "./run.mjs";

async function readJson(file) {
  try {
    return JSON.parse(await readFile(path.join(projectRoot, file), "utf8"));
  } catch {
    return undefined;
  }
}

/** Compares contents, not times: a git checkout renews the time of a lockfile that did not change. */
async function installedAsLocked() {
  const wanted = await readJson("package-lock.json");
  const found = await readJson("node_modules/.package-lock.json"); // npm's own record of what it installed
  if (wanted === undefined || found === undefined) return false;
  return Object.entries(wanted.packages).every(([name, entry]) => {
    if (name === "" || entry.link) return true;
    const there = found.packages[name];
    return there === undefined ? entry.optional === true : there.integrity === entry.integrity;
  });
}

/**
 * Installs unless node_modules is what package-lock.json asks for. `npm install --no-save` takes the locked versions and
 * hashes as `npm ci` does, but does not refuse a lockfile that leaves out other systems' optional binaries: a registry
 * mirror may not carry those. What is there afterwards is compared with the lockfile.
 */
export async function ensureNodeModules() {
  if (await installedAsLocked()) return;
  process.stdout.write("Installing the npm packages of package-lock.json\n");
  await mustRun("npm", ["install", "--no-save"], { show: true });
  if (!(await installedAsLocked())) {
    throw new ScriptError(
      "npm installed something else than package-lock.json asks for. Remove node_modules and try again.",
    );
  }
}

/** Runs a program of node_modules/.bin. */
export const runTool = (name, args, options) =>
  run(path.join(projectRoot, "node_modules", ".bin", name), args, options);

// npm packages: installed exactly as package-lock.json says, and only when they are not there already.

import { readFile } from "node:fs/promises";
import path from "node:path";
import { mustRun, projectRoot, run } from "./run.mjs";

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

/** Runs `npm ci` unless node_modules is what package-lock.json asks for. */
export async function ensureNodeModules() {
  if (await installedAsLocked()) return;
  process.stdout.write("Installing the npm packages of package-lock.json\n");
  await mustRun("npm", ["ci"], { show: true });
}

/** Runs a program of node_modules/.bin. */
export const runTool = (name, args, options) =>
  run(path.join(projectRoot, "node_modules", ".bin", name), args, options);

// A root of Debian's with its real cloud-init, for tests: made once, by mmdebstrap and as root, and kept under .cache/.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { cacheDirectory, mustRun, ScriptError } from "./run.mjs";
import { ensurePackages, refreshPackageLists } from "../packages.mjs";

const FORMAT = 1; // raise it when what is done here changes
const SUITE = "bookworm";
const PACKAGES = ["cloud-init", "systemd", "login", "passwd", "openssh-server"];
const LEFT_OUT = ["man", "doc", "locale"];
const SOURCES = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];

/** @returns {Promise<string>} its directory, which several tests may read at once, and none writes into. */
export async function cloudInitRoot() {
  const key = createHash("sha256")
    .update(JSON.stringify([FORMAT, SUITE, PACKAGES]))
    .digest("hex")
    .slice(0, 16);
  const target = path.join(cacheDirectory, "cloud-init", `root-${key}`);
  if (existsSync(target)) return target;
  await ensurePackages(["debian"]);
  await refreshPackageLists();
  const sources = SOURCES.find((file) => existsSync(file));
  if (sources === undefined) throw new ScriptError("apt has no sources of Debian here");
  mkdirSync(path.dirname(target), { recursive: true });
  const unfinished = mkdtempSync(`${target}.unfinished-`);
  try {
    await mustRun("mmdebstrap", [
      "--mode=root",
      "--variant=minbase",
      `--include=${PACKAGES.join(",")}`,
      ...LEFT_OUT.map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`),
      SUITE,
      path.join(unfinished, "root"),
      sources,
    ]);
    renameSync(path.join(unfinished, "root"), target);
  } catch (error) {
    if (!existsSync(target)) throw error; // else another run finished it first
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return target;
}

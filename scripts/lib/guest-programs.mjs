// Programs of this machine that a test guest may have beside busybox: Debian's sshd, rsync and Python, each with the libraries
// it needs. They are what ssh, rsync and ansible want to find at the other end.

import { cpSync, existsSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import { mustRun, ScriptError } from "./run.mjs";

const PROGRAMS = ["/usr/sbin/sshd", "/usr/bin/rsync", "/usr/bin/python3"];
/** Parts of Python's own library that nothing in a guest imports. */
const UNUSED =
  /^(?:__pycache__|dist-packages|test|idlelib|lib2to3|tkinter|turtledemo|ensurepip|pydoc_data|venv|config-.*|EXTERNALLY-MANAGED)$/;

/**
 * @param {string} file - a program, addon or library.
 * @returns {Promise<string[]>} paths of the shared libraries that it needs, the loader among them.
 */
export async function librariesOf(file) {
  const output = await mustRun("ldd", [file]);
  return [...output.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((match) => match[1]);
}

const filesBelow = (directory) =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));

/** Compiled, without its sources: in an emulated machine compiling takes seconds at each start. */
async function pythonLibrary(python, scratch) {
  const script = 'import sysconfig; print(sysconfig.get_path("stdlib"))';
  const library = (await mustRun(python, ["-I", "-c", script])).trim();
  cpSync(library, scratch, { recursive: true, filter: (file) => !UNUSED.test(path.basename(file)) });
  await mustRun(python, [
    "-I",
    "-m",
    "compileall",
    "-q",
    "-b",
    "--invalidation-mode",
    "unchecked-hash",
    scratch,
  ]);
  return filesBelow(scratch)
    .filter((file) => /\.(?:pyc|so)$/.test(file))
    .map((file) => ({ file, name: path.join(library, path.relative(scratch, file)) }));
}

/** What decides about the archive: a package that is upgraded makes another one. */
export function guestProgramVersions() {
  return PROGRAMS.map((program) => {
    if (!existsSync(program))
      throw new ScriptError(`${program} is missing: run node scripts/packages.mjs remote`);
    const { size, mtimeMs } = statSync(program);
    return [realpathSync(program), size, mtimeMs];
  });
}

/**
 * @param {string} scratch - a directory that is not there yet, for Python's library.
 * @returns {Promise<Record<string, { data: Buffer, mode: number } | { link: string }>>} entries of an image, by absolute path.
 */
export async function guestProgramEntries(scratch) {
  const entries = {};
  const libraries = new Set();
  const add = async (name, file) => {
    entries[name] = { data: readFileSync(file), mode: 0o755 };
    if (!name.endsWith(".pyc")) for (const library of await librariesOf(file)) libraries.add(library);
  };
  for (const program of PROGRAMS) {
    const file = realpathSync(program);
    if (file !== program) entries[program] = { link: file };
    await add(file, file);
  }
  for (const { name, file } of await pythonLibrary("/usr/bin/python3", scratch)) await add(name, file);
  for (const library of libraries) entries[library] = { data: readFileSync(library), mode: 0o755 };
  return entries;
}

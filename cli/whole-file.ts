// Writing a file whole or not at all.

import { randomBytes } from "node:crypto";
import { chmod, lstat, mkdir, open, realpath, rename, stat, unlink } from "node:fs/promises";
import path from "node:path";
import { errorCode } from "../node/socket-pipe.ts";

/**
 * @param replace - an existing file gives way, and its permissions stay; else it must not be there (EEXIST).
 * @throws Error: Node's own, with `code`; nothing of the new file is left then.
 */
export async function writeWholeFile(
  file: string,
  content: string | Uint8Array,
  replace: boolean,
): Promise<void> {
  if (replace) await replaceFile(file, content, { mode: 0o644, keepsMode: true, sync: true });
  else await writeNewFile(file, content, 0o644, true);
}

/**
 * A memory aid of the user's alone, and its directory with it: two commands may write one at once, and one of them counts.
 * @throws as `writeWholeFile`.
 */
export async function keepOwnFile(file: string, content: string): Promise<void> {
  await makeDirectories(path.dirname(file), 0o700);
  await replaceFile(file, content, { mode: 0o600, keepsMode: false, sync: false });
}

/**
 * With those above it. Node's own `recursive` tries for ever where one cannot be made and the system says that it is not there, as
 * below /proc and an automounter's directory. @throws Error: Node's own, with `code`.
 */
export async function makeDirectories(directory: string, mode: number): Promise<void> {
  const above = path.dirname(directory);
  try {
    await makeDirectory(directory, mode);
  } catch (error) {
    if (errorCode(error) !== "ENOENT" || above === directory) throw error;
    await makeDirectories(above, mode);
    await makeDirectory(directory, mode);
  }
}

/** It may be there already. */
async function makeDirectory(directory: string, mode: number): Promise<void> {
  try {
    await mkdir(directory, { mode });
  } catch (error) {
    if (errorCode(error) !== "EEXIST" || !(await stat(directory)).isDirectory()) throw error;
  }
}

interface How {
  readonly mode: number;
  /** An existing file's permissions stay. */
  readonly keepsMode: boolean;
  /** Onto the disk, before it has its name. */
  readonly sync: boolean;
}

/** In place of a file that may be there. @throws as `writeWholeFile`. */
export async function replaceFile(name: string, content: string | Uint8Array, how: How): Promise<void> {
  await refuseDevice(name);
  const file = await behindLink(name);
  const old = how.keepsMode ? await stat(file).catch(() => undefined) : undefined;
  const fresh = `${file}.${randomBytes(8).toString("hex")}.new`;
  await writeNewFile(fresh, content, old === undefined ? how.mode : 0o600, how.sync);
  try {
    if (old !== undefined) await chmod(fresh, old.mode & 0o7777);
    await rename(fresh, file);
  } catch (error) {
    await unlink(fresh).catch(() => undefined);
    throw error;
  }
}

/** By root's hand a name of /dev would be a file's from then on. */
async function refuseDevice(file: string): Promise<void> {
  const found = await stat(file).catch(() => undefined); // through links, as /dev/stdout is one
  if (found === undefined || found.isFile() || found.isDirectory()) return;
  const what = "a device, pipe or socket";
  throw Object.assign(new Error(`${file} is ${what}`), { code: what });
}

/** A link of ours, or of the system's, stays one, as /dev/stdout has to. Another's gives way: it may lead anywhere. */
async function behindLink(name: string): Promise<string> {
  const found = await lstat(name).catch(() => undefined);
  if (found?.isSymbolicLink() !== true || (found.uid !== 0 && found.uid !== process.getuid?.())) return name;
  try {
    return await realpath(name);
  } catch {
    const what = "a link that leads nowhere";
    throw Object.assign(new Error(`${name} is ${what}`), { code: what });
  }
}

async function writeNewFile(
  file: string,
  content: string | Uint8Array,
  mode: number,
  sync: boolean,
): Promise<void> {
  const handle = await open(file, "wx", mode);
  try {
    try {
      await handle.writeFile(content);
      if (sync) await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    await unlink(file).catch(() => undefined);
    throw error;
  }
}

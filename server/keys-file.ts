// A file of keys, opened by a daemon that may read everything, at a path where a user may put whatever they like: only what is
// a regular file, and only where nobody but its owners could have put it (sshd_config(5): StrictModes).

import { constants } from "node:fs";
import { type FileHandle, lstat, open, readlink } from "node:fs/promises";
import type { Stats } from "node:fs";
import { readAtMost } from "../node/bounded-file.ts";
import { errorCode } from "../node/socket-pipe.ts";

const { O_DIRECTORY, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
/** Linux's: names a directory without the right to list it. Node has no name for it. */
const O_PATH = 0o10_000_000;
const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;
const MAX_LINKS = 16;

/**
 * From the root on each directory is held open and looked at, so that nobody exchanges one behind what was found.
 * @param file - an absolute path. @param owners - of the file and of every directory on the way, user ids. Nobody else may be able
 * to write there, but into a directory with the sticky bit, where nobody takes another's file away.
 * @returns all of it. @throws Error: Node's own, or one that says what is wrong.
 */
export async function readKeysFile(
  file: string,
  owners: ReadonlySet<number>,
  limit: number,
): Promise<Uint8Array> {
  const ways = partsOf(file);
  let above = await openDirectory("/");
  try {
    requireOwned(await above.stat(), owners, "/");
    for (let links = 0; ; ) {
      const name = ways.shift();
      if (name === undefined) throw new Error("not a regular file");
      const at = `/proc/self/fd/${above.fd}/${name}`;
      const found = await lstat(at).catch((cause: unknown) => {
        throw errorCode(cause) === "ENOENT" ? new Error(`there is no ${name}`, { cause }) : cause;
      });
      const next = found.isSymbolicLink() ? await linkTarget(at, found, name) : undefined;
      if (next !== undefined) {
        if (++links > MAX_LINKS) throw new Error("too many symbolic links");
        ways.unshift(...partsOf(next));
        if (next.startsWith("/")) above = await instead(above, openDirectory("/"));
        continue;
      }
      requireOwned(found, owners, name);
      if (ways.length === 0) return await readRegular(at, found, limit);
      above = await instead(above, openDirectory(at));
      requireOwned(await above.stat(), owners, name);
    }
  } finally {
    await above.close();
  }
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

function openDirectory(path: string): Promise<FileHandle> {
  return open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW);
}

/** One directory is held at a time. */
async function instead(old: FileHandle, opening: Promise<FileHandle>): Promise<FileHandle> {
  const next = await opening;
  await old.close();
  return next;
}

/** Links of the administrator's are part of the system; a user's could lead to files whose mere reading does something. */
async function linkTarget(at: string, { uid }: Stats, name: string): Promise<string> {
  if (uid !== 0 && uid !== process.geteuid?.())
    throw new Error(`${shown(name)} is a symbolic link of user ${uid}`);
  return await readlink(at);
}

function requireOwned(stats: Stats, owners: ReadonlySet<number>, name: string): void {
  const { uid, mode } = stats;
  if (!owners.has(uid)) throw new Error(`${shown(name)} belongs to user ${uid}`);
  const shared = stats.isDirectory() && (mode & STICKY) !== 0;
  if ((mode & OTHERS_WRITE) !== 0 && !shared)
    throw new Error(`${shown(name)} can be written by others (chmod go-w)`);
}

/** @param found - as it was looked at: a device is not even opened, for that alone can do something. */
async function readRegular(at: string, found: Stats, limit: number): Promise<Uint8Array> {
  if (!found.isFile()) throw new Error("not a regular file");
  const handle = await open(at, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  try {
    const { ino, dev } = await handle.stat();
    if (ino !== found.ino || dev !== found.dev) throw new Error("the file was exchanged while it was opened");
    const bytes = await readAtMost(handle, limit + 1);
    if (bytes.length > limit) throw new Error("file too large");
    return bytes;
  } finally {
    await handle.close();
  }
}

/** A component of the configured path, or of an administrator's link. */
function shown(name: string): string {
  return name === "/" ? "the root directory" : name;
}

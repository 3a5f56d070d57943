// A directory as the root of a system: a running one's "/", or that of an image. Links in it are followed as that system would,
// so that none leads out of it; what is no regular file is not opened.

import fs from "node:fs";
import path from "node:path";
import { errorCode } from "../node/socket-pipe.ts";
import { escapeText } from "./log.ts";

const { O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;
const MAX_FILE = 4 * 1024 * 1024;
const MAX_LINKS = 40;

/** What errors of these codes say is that there is nothing; a process may be gone in between (ESRCH). */
const ABSENT = new Set(["ENOENT", "ENOTDIR", "ESRCH"]);

export function saysAbsent(error: unknown): boolean {
  const code = errorCode(error);
  return code !== undefined && ABSENT.has(code);
}

/** What errors of these codes say is that somebody with more rights could. */
export function saysForbidden(error: unknown): boolean {
  return ["EACCES", "EPERM"].includes(errorCode(error) ?? "");
}

/** @returns where `root` really is. @throws Error whose message says, for people, why it is no directory to look into. */
export function realRoot(root: string): string {
  const named = escapeText(root);
  let real: string;
  try {
    real = fs.realpathSync(root);
    if (fs.statSync(real).isDirectory()) return real;
  } catch (cause) {
    const why = saysAbsent(cause)
      ? `There is no directory ${named}`
      : saysForbidden(cause)
        ? `${named} may not be looked into: run it as root`
        : `${named} cannot be looked into: ${errorCode(cause) ?? "unknown error"}`;
    throw new Error(why, { cause });
  }
  throw new Error(`${named} is not a directory`);
}

/** `--root DIR`, as it can be pasted into a shell. */
export function rootOption(root: string): string {
  const word = /^[\w@%+=:,./-]+$/.test(root) ? root : `'${root.replaceAll("'", "'\\''")}'`;
  return `--root ${word}`;
}

/**
 * @param root - a directory's real path. @param file - absolute, as in the system below it.
 * @param followLast - whether a link in the last place is followed.
 * @param onPlace - called for each place on the way, "/" and links themselves among them, as the system below it names them.
 * @returns the same place for this process, with no link on the way. @throws Error with `code` ELOOP, or Node's own.
 */
export function locateBelow(
  root: string,
  file: string,
  followLast = true,
  onPlace: (place: string) => void = () => {},
): string {
  const ways = partsOf(file);
  let here: string[] = [];
  onPlace("/");
  for (let links = 0; ; ) {
    const name = ways.shift();
    if (name === undefined) return path.join(root, ...here);
    if (name === "..") {
      here.pop();
      continue;
    }
    const at = path.join(root, ...here, name);
    onPlace(path.join("/", ...here, name));
    const target = followLast || ways.length > 0 ? linkAt(at) : undefined;
    if (target === undefined) {
      here.push(name);
      continue;
    }
    if (++links > MAX_LINKS) throw Object.assign(new Error("too many links"), { code: "ELOOP" });
    if (target.startsWith("/")) here = [];
    ways.unshift(...partsOf(target));
  }
}

/** @param at - no link. @throws Error: Node's own, or one that says what is wrong. */
export function readRegular(at: string): Buffer {
  const fd = fs.openSync(at, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  try {
    const stats = fs.fstatSync(fd);
    if (!stats.isFile()) throw new Error("not a regular file");
    const parts: Buffer[] = [];
    // Its size is a hint: /proc says of its files that they are empty.
    const chunk = Math.min(MAX_FILE, Math.max(stats.size + 1, 4096));
    for (let length = 0; ; ) {
      const part = Buffer.alloc(chunk);
      const count = fs.readSync(fd, part, 0, part.length, null);
      if (count === 0) return Buffer.concat(parts);
      length += count;
      if (length > MAX_FILE) throw new Error(`more than ${MAX_FILE} bytes`);
      parts.push(part.subarray(0, count));
    }
  } finally {
    fs.closeSync(fd);
  }
}

function partsOf(file: string): string[] {
  return file.split("/").filter((part) => part !== "" && part !== ".");
}

function linkAt(at: string): string | undefined {
  try {
    return fs.lstatSync(at).isSymbolicLink() ? fs.readlinkSync(at) : undefined;
  } catch (error) {
    if (saysAbsent(error)) return undefined; // whoever uses the place finds out
    throw error;
  }
}

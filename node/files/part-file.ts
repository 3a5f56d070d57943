// A file on its way: under a hidden name beside its final one, until all of it is there. docs/files.md

import { createHash, type Hash, randomBytes } from "node:crypto";
import fs from "node:fs";
import type { Stats } from "node:fs";
import { MAX_FILES_NAME } from "../../protocol/limits.ts";
import { errorCode } from "../socket-pipe.ts";
import type { Directory } from "./directory.ts";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = fs.constants;
const PART = ".sealtty-part";
const HASH_AT_ONCE = 1024 * 1024;

/** Where an entry is to be: its directory, which is held open, and its final name there. */
export interface InDirectory {
  readonly directory: Directory;
  readonly name: Buffer;
}

export interface PartFile {
  readonly directory: Directory;
  readonly name: Buffer; // the final one
  readonly partName: Buffer;
  readonly fd: number;
  /** What is there under the final name. */
  readonly before: Stats | undefined;
  hash: Hash;
  length: number;
  written: number; // from here on is a hole
}

/** Bytes that are there already; whether they are those of the finished file. */
export interface Offered {
  readonly length: number;
  readonly finished: boolean;
  readonly hash: Hash;
}

/** @param resume - under the name that is found again. @throws Node's own error. */
export function createPart(
  { directory, name }: InDirectory,
  before: Stats | undefined,
  resume: boolean,
): PartFile {
  const unique = resume ? undefined : randomBytes(6).toString("hex");
  const own = partName(name, unique);
  const at = directory.at(own);
  if (unique === undefined) remove(at); // an older one that is not to be gone on with
  const fd = fs.openSync(at, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  return { directory, name, partName: own, fd, before, hash: createHash("sha256"), length: 0, written: 0 };
}

/** What there is of the file: unfinished, or finished and as long as it shall be. */
export async function resumablePart(
  place: InDirectory,
  size: number,
  before: Stats | undefined,
): Promise<{ part?: PartFile; offered: Offered } | undefined> {
  const { directory, name } = place;
  const own = partName(name, undefined);
  const at = directory.at(own);
  if (fs.lstatSync(at, { throwIfNoEntry: false })?.isFile() === true) {
    const fd = fs.openSync(at, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    const stats = fs.fstatSync(fd);
    // One that somebody else left there, or that has a second name elsewhere, is not to be written into.
    const ours = stats.isFile() && stats.nlink === 1 && stats.uid === (process.geteuid?.() ?? stats.uid);
    if (ours && stats.size > 0 && stats.size <= size) {
      const { size: length } = stats;
      const hash = await hashOf(fd, length);
      return {
        part: { directory, name, partName: own, fd, before, hash, length, written: length },
        offered: { length, finished: false, hash: hash.copy() },
      };
    }
    fs.closeSync(fd);
    return undefined;
  }
  if (before?.isFile() !== true || before.size !== size) return undefined;
  const fd = fs.openSync(directory.at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    if (!fs.fstatSync(fd).isFile()) return undefined;
    return { offered: { length: size, finished: true, hash: await hashOf(fd, size) } };
  } finally {
    fs.closeSync(fd);
  }
}

/** Closes it. @param keep - it stays, to be gone on with, where it has any content. */
export function leavePart({ directory, partName: own, fd, length }: PartFile, keep: boolean): void {
  try {
    const at = directory.at(own);
    // By now another copy of the same file may have its own there.
    if ((!keep || length === 0) && isNameOf(at, fd)) fs.unlinkSync(at);
  } catch {
    // Its directory is gone, or nothing may be removed from it: then nothing more can be done.
  }
  fs.closeSync(fd);
}

/** @param unique - absent: the one that is found again. */
export function partName(name: Buffer, unique: string | undefined): Buffer {
  const tail = `${unique === undefined ? "" : `.${unique}`}${PART}`;
  if (1 + name.length + tail.length <= MAX_FILES_NAME)
    return Buffer.from(Buffer.concat([DOT, name, Buffer.from(tail)]));
  const digest = createHash("sha256").update(name).digest("hex");
  return Buffer.from(`.${digest}${tail}`);
}
const DOT = Buffer.from(".");

/** @throws Node's own error, but none where there is nothing. */
function remove(at: Buffer): void {
  try {
    fs.unlinkSync(at);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
}

/** Whether what is open is what has the name. */
export function isNameOf(at: Buffer, fd: number): boolean {
  const named = fs.lstatSync(at, { throwIfNoEntry: false });
  const held = fs.fstatSync(fd);
  return named?.ino === held.ino && named.dev === held.dev;
}

async function hashOf(fd: number, length: number): Promise<Hash> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(HASH_AT_ONCE);
  for (let at = 0; at < length; ) {
    const got = fs.readSync(fd, buffer, 0, Math.min(buffer.length, length - at), at);
    if (got === 0) break;
    hash.update(buffer.subarray(0, got));
    at += got;
    await new Promise((resolve) => setImmediate(resolve));
  }
  return hash;
}

// What goes into a file on its way, and how it gets its final name.

import fs from "node:fs";
import type { Stats } from "node:fs";
import { equalBytes } from "../../protocol/bytes.ts";
import type { FileAttributes } from "../../protocol/files/messages.ts";
import { setTimes } from "./attributes.ts";
import { isNameOf, type PartFile } from "./part-file.ts";
import { FileTrouble, misbehaved } from "./trouble.ts";

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;
const ZEROS = Buffer.alloc(64 * 1024);
const YIELD_EVERY = 16 * 1024 * 1024;

export interface Finish {
  /** As the source has them. */
  readonly attributes: FileAttributes;
  /** They are kept, times included; else a file that was there keeps its mode, and another one gets it less `umask`. */
  readonly preserve: boolean;
  readonly umask: number;
}

/** @param size - that was announced. @throws SealttyError where more comes; Node's own error. */
export function appendBytes(part: PartFile, bytes: Uint8Array, size: number | undefined): void {
  requireRoom(part, bytes.length, size);
  part.hash.update(bytes);
  for (let at = 0; at < bytes.length; )
    at += fs.writeSync(part.fd, bytes, at, bytes.length - at, part.length + at);
  part.length += bytes.length;
  part.written = part.length;
}

/**
 * A hole of any length is a few bytes of the source's: hashing it must hold nobody up. What is there grows by it afterwards.
 * @param goesOn - asked now and then. @throws as `appendBytes`.
 */
export async function hashHole(
  part: PartFile,
  length: number,
  size: number | undefined,
  goesOn: () => boolean,
): Promise<void> {
  requireRoom(part, length, size);
  for (let at = 0; at < length; at += ZEROS.length) {
    part.hash.update(ZEROS.subarray(0, Math.min(ZEROS.length, length - at)));
    if (at % YIELD_EVERY !== 0) continue;
    await new Promise((resolve) => setImmediate(resolve));
    if (!goesOn()) return;
  }
}

/**
 * All of it is there: it gets its final name, and is closed.
 * @param digest - that the source says it has. @returns its own. @throws FileTrouble, Node's own error: then it is open still.
 */
export function finishPart(part: PartFile, digest: Uint8Array, how: Finish): Buffer {
  const { directory, name, fd, before } = part;
  if (part.written < part.length || fs.fstatSync(fd).size !== part.length) fs.ftruncateSync(fd, part.length);
  const own = part.hash.digest();
  if (!equalBytes(own, digest)) throw new FileTrouble("wrong-digest");
  if (before?.isFile() === true && process.geteuid?.() === 0) fs.fchownSync(fd, before.uid, before.gid); // as if written in place
  fs.fchmodSync(fd, finalMode(before, how));
  if (how.preserve) setTimes(fd, how.attributes);
  const at = directory.at(part.partName);
  if (!isNameOf(at, fd)) throw new FileTrouble("busy");
  fs.renameSync(at, directory.at(name));
  fs.closeSync(fd);
  return own;
}

function finalMode(before: Stats | undefined, { attributes: { mode }, preserve, umask }: Finish): number {
  if (preserve) return mode;
  return before?.isFile() === true ? before.mode & 0o777 : mode & ~umask;
}

/** What is to be there is: its mode and times are made those of the source. @throws Node's own error. */
export function keepFinished({ directory, name }: PartFile, attributes: FileAttributes): void {
  const fd = fs.openSync(directory.at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    fs.fchmodSync(fd, attributes.mode);
    setTimes(fd, attributes);
  } finally {
    fs.closeSync(fd);
  }
}

/** @throws SealttyError where more comes than was announced. */
function requireRoom({ length }: PartFile, more: number, size: number | undefined): void {
  if (size !== undefined && length + more > size) throw misbehaved("sent more of a file than it announced");
  if (length + more > Number.MAX_SAFE_INTEGER) throw new FileTrouble("too-large");
}

// A directory that is held open, so that what is done in it is done in that very directory, whatever its path has become.
// Node has no openat(); Linux's /proc/self/fd/N is one: the kernel goes from the descriptor on, not from the path.

import fs from "node:fs";
import type { Dirent } from "node:fs";

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = fs.constants;
const DESCRIPTORS = "/proc/self/fd";
/** Entries read at once: a directory of a million is never held whole. */
const READ_AHEAD = 256;

export interface Entry {
  readonly name: Buffer;
  readonly kind: "file" | "directory" | "link" | "unknown" | "special";
}

export class Directory {
  readonly fd: number;
  readonly #path: Buffer;
  readonly #held: boolean; // else by its path, which is looked at before each use

  private constructor(fd: number, path: Buffer, descriptors: string) {
    this.fd = fd;
    this.#held = isThere(`${descriptors}/${fd}`, fd);
    this.#path = this.#held ? Buffer.from(`${descriptors}/${fd}`) : path;
  }

  /**
   * @param follow - whether the last component may be a symbolic link. @param descriptors - for tests of machines without /proc.
   * @throws Node's own error.
   */
  static open(path: Buffer, follow: boolean, descriptors = DESCRIPTORS): Directory {
    return new Directory(
      fs.openSync(path, O_RDONLY | O_DIRECTORY | (follow ? 0 : O_NOFOLLOW)),
      path,
      descriptors,
    );
  }

  /** One below, which is no symbolic link. @throws Node's own error: ENOTDIR or ELOOP where it is something else. */
  openBelow(name: Buffer, descriptors = DESCRIPTORS): Directory {
    return Directory.open(this.at(name), false, descriptors);
  }

  /** Where a file of this directory is, for Node's functions. @param name - one component. @throws Error `EBUSY`. */
  at(name: Buffer): Buffer {
    this.#look();
    return Buffer.concat([this.#path, Buffer.from("/"), name]);
  }

  /** In the order of the file system; while it is being read. @throws Node's own error. */
  *entries(): Generator<Entry> {
    this.#look();
    // Node's types know no "buffer" here, its code does: names need not be UTF-8.
    const options = { encoding: "buffer" as BufferEncoding, bufferSize: READ_AHEAD };
    const directory = fs.opendirSync(this.#path, options);
    try {
      for (;;) {
        const entry = directory.readSync() as Dirent<Buffer> | null;
        if (entry === null) return;
        yield { name: entry.name, kind: kindOf(entry) };
      }
    } finally {
      directory.closeSync();
    }
  }

  close(): void {
    fs.closeSync(this.fd);
  }

  /** Without /proc somebody who may write above could put another directory here between this and the use. */
  #look(): void {
    if (this.#held || isThere(this.#path, this.fd)) return;
    throw Object.assign(new Error("EBUSY: another directory took this one's place"), { code: "EBUSY" });
  }
}

function isThere(path: string | Buffer, fd: number): boolean {
  const there = fs.statSync(path, { throwIfNoEntry: false });
  const held = fs.fstatSync(fd);
  return there !== undefined && there.dev === held.dev && there.ino === held.ino;
}

function kindOf(entry: Dirent<Buffer>): Entry["kind"] {
  if (entry.isFile()) return "file";
  if (entry.isDirectory()) return "directory";
  if (entry.isSymbolicLink()) return "link";
  if (entry.isFIFO() || entry.isSocket() || entry.isBlockDevice() || entry.isCharacterDevice())
    return "special";
  return "unknown"; // some file systems do not say
}

// Standard input and output of this process, where Node's own lose bytes without a word.

import { createReadStream, fstatSync, writeSync } from "node:fs";
import { Writable } from "node:stream";
import type { TerminalInput, TerminalOutput } from "./services.ts";

/** Node's is empty where a disk or a directory is: a disk would be copied as nothing, with status 0. */
export function standardInput(): TerminalInput {
  const status = fstatSync(0);
  const unknownToNode = status.isBlockDevice() || status.isDirectory();
  return unknownToNode ? createReadStream("", { fd: 0, autoClose: false }) : process.stdin;
}

/**
 * Node's swallows all that is written to a disk, and of a chunk that a full disk took the beginning of it says that it was
 * written.
 */
export function standardOutput(fd: 1 | 2): TerminalOutput {
  const status = fstatSync(fd);
  if (status.isFile() || status.isBlockDevice()) return wholeWrites(fd);
  return fd === 1 ? process.stdout : process.stderr;
}

/** Writes at once, as Node's does to a file, so that what goes into one by both keeps its order. */
function wholeWrites(fd: number): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      try {
        for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at);
      } catch (error) {
        return done(error as Error);
      }
      done();
    },
  });
}

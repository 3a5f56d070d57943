// Reading a file that may be hostile: never a FIFO or device that holds a thread for ever, never more than a bound.

import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { concat } from "../protocol/bytes.ts";

const CHUNK = 64 * 1024;

/** @returns all of a regular file of at most `limit` bytes. @throws Error: Node's own, or one that says what is wrong. */
export async function readBoundedFile(file: string, limit: number): Promise<Uint8Array> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    if (!(await handle.stat()).isFile()) throw new Error("not a regular file");
    const bytes = await readAtMost(handle, limit + 1);
    if (bytes.length > limit) throw new Error("file too large");
    return bytes;
  } finally {
    await handle.close();
  }
}

/** To the end, or `most` bytes of it: whoever has a bound asks for one byte more, whatever size the file claims. */
export async function readAtMost(handle: FileHandle, most: number): Promise<Uint8Array> {
  const { size } = await handle.stat(); // a hint only: a file may grow, and those of /proc say 0
  const buffer = new Uint8Array(Math.min(most, Math.max(size + 1, CHUNK)));
  const parts: Uint8Array[] = [];
  let length = 0;
  while (length < most) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, most - length), null);
    if (bytesRead === 0) break;
    length += bytesRead;
    parts.push(buffer.slice(0, bytesRead));
  }
  const [first, ...more] = parts;
  return first !== undefined && more.length === 0 ? first : concat(...parts); // images need no second copy
}

// Reading a file that may be hostile: never a FIFO or device that holds a thread for ever, never more than a bound.

import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { concat } from "../protocol/bytes.ts";

/** @returns all of a regular file of at most `limit` bytes. @throws Error: Node's own, or one that says what is wrong. */
export async function readBoundedFile(file: string, limit: number): Promise<Uint8Array> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new Error("not a regular file");
    // One byte more shows a file that is too large, whatever size it claims: it may grow, and those of /proc say 0.
    const bytes = new Uint8Array(Math.min(limit, Math.max(stat.size, 64 * 1024)) + 1);
    const parts: Uint8Array[] = [];
    let length = 0;
    for (;;) {
      const { bytesRead } = await handle.read(bytes, 0, Math.min(bytes.length, limit + 1 - length), null);
      if (bytesRead === 0) break;
      length += bytesRead;
      if (length > limit) throw new Error("file too large");
      parts.push(bytes.slice(0, bytesRead));
    }
    return concat(...parts);
  } finally {
    await handle.close();
  }
}

// How much there is to copy, where that is soon known: for the time that is left.

import fs from "node:fs";
import { MAX_FILES_DEPTH } from "../../protocol/limits.ts";
import { Directory } from "./directory.ts";

/** Entries and milliseconds after which nobody waits for a sum any more. */
const MOST_ENTRIES = 50_000;
const LONGEST_MS = 1000;

export interface FilesTotal {
  files: number;
  bytes: number;
}

/** Links within trees are not followed. What cannot be read counts as nothing. @returns undefined where it takes too long. */
export function countFiles(paths: readonly Buffer[], recursive: boolean): FilesTotal | undefined {
  const total: FilesTotal = { files: 0, bytes: 0 };
  const until = performance.now() + LONGEST_MS;
  let entries = 0;
  const add = (at: Buffer, depth: number): boolean => {
    if (++entries > MOST_ENTRIES || performance.now() > until) return false;
    try {
      const stats = depth === 0 ? fs.statSync(at) : fs.lstatSync(at);
      if (stats.isFile()) {
        total.files++;
        total.bytes += stats.size;
      }
      if (!stats.isDirectory() || !recursive || depth >= MAX_FILES_DEPTH) return true;
      const directory = Directory.open(at, depth === 0);
      try {
        for (const { name } of directory.entries()) if (!add(directory.at(name), depth + 1)) return false;
      } finally {
        directory.close();
      }
    } catch {
      // The copy itself tells what is wrong there.
    }
    return true;
  };
  return paths.every((path) => add(path, 0)) ? total : undefined;
}

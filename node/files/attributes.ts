// Modes and times, between a file system and the wire.

import fs from "node:fs";
import type { Stats } from "node:fs";
import { type FileAttributes, type FileTime, FILES_MODE_MASK } from "../../protocol/files/messages.ts";

export function attributesOf({ mode, atimeMs, mtimeMs }: Stats): FileAttributes {
  return { mode: mode & FILES_MODE_MASK, accessed: timeOf(atimeMs), modified: timeOf(mtimeMs) };
}

/** @param ms - since 1970, with fractions: Node has microseconds of it. */
function timeOf(ms: number): FileTime {
  if (!(ms > 0)) return { seconds: 0, nanoseconds: 0 };
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanoseconds: Math.min(Math.round((ms - seconds * 1000) * 1000) * 1000, 999_999_000) };
}

export function secondsOf({ seconds, nanoseconds }: FileTime): number {
  return seconds + nanoseconds / 1e9;
}

/** Of what is open. @throws Node's own error. */
export function setTimes(fd: number, { accessed, modified }: FileAttributes): void {
  fs.futimesSync(fd, secondsOf(accessed), secondsOf(modified));
}

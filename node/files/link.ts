// A symbolic link, put where it belongs at one stroke: under another name first, which is then its own.

import { randomBytes } from "node:crypto";
import fs from "node:fs";
import type { FileAttributes } from "../../protocol/files/messages.ts";
import { secondsOf } from "./attributes.ts";
import { type InDirectory, partName } from "./part-file.ts";
import { replaceable } from "./target.ts";
import { FileTrouble } from "./trouble.ts";

/** @param attributes - whose times it gets; absent: those of now. @throws FileTrouble, or Node's own error. */
export function putLink(
  place: InDirectory,
  target: Uint8Array,
  attributes: FileAttributes | undefined,
): void {
  const { directory, name } = place;
  if (name.length === 0) throw new FileTrouble("in-the-way");
  const final = directory.at(name);
  if (replaceable(final)?.isDirectory() === true) throw new FileTrouble("in-the-way");
  const fresh = directory.at(partName(name, randomBytes(6).toString("hex")));
  fs.symlinkSync(Buffer.from(target), fresh);
  try {
    if (attributes !== undefined)
      fs.lutimesSync(fresh, secondsOf(attributes.accessed), secondsOf(attributes.modified));
    fs.renameSync(fresh, final);
  } catch (error) {
    removeQuietly(fresh);
    throw error;
  }
}

function removeQuietly(at: Buffer): void {
  try {
    fs.unlinkSync(at);
  } catch {
    // Its directory is gone, or nothing may be removed from it: then nothing more can be done.
  }
}

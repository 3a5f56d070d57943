// Where a copy goes: the directory that is held open, and what stands in the way of an entry there.

import fs from "node:fs";
import type { Stats } from "node:fs";
import path from "node:path";
import { isFileName, type LinkRule } from "../../protocol/files/messages.ts";
import { Directory } from "./directory.ts";
import { FileTrouble } from "./trouble.ts";

const SLASH = Buffer.from("/");

export interface TargetOptions {
  readonly target: Buffer;
  /** What each source is called below a target that is a directory; empty: its content goes into the target itself. */
  readonly names: readonly Buffer[];
  /** The source's. Where it follows none, the target itself is not followed either. */
  readonly links: LinkRule;
  readonly intoDirectory: boolean;
}

/** @throws FileTrouble, or Node's own error. */
export function openTarget({ target, names, links, intoDirectory }: TargetOptions): {
  readonly directory: Directory;
  readonly name: Buffer | undefined;
} {
  const named = target.length === 0 ? Buffer.from(".") : target;
  const asked = intoDirectory || names.length > 1 || named.at(-1) === 0x2f;
  // A copy that takes links as links may have put one here the last time: it is replaced, and leads nobody anywhere.
  if (links === "never" && !asked && isLink(named)) {
    if (fs.statSync(named, { throwIfNoEntry: false })?.isDirectory() === true) throw new FileTrouble("loop");
    return openAbove(named);
  }
  const there = fs.statSync(named, { throwIfNoEntry: false });
  if (there?.isDirectory() === true) return { directory: Directory.open(named, true), name: undefined };
  if (there === undefined && isLink(named)) throw new FileTrouble("dangling-link");
  if (asked) {
    if (names.length > 1 && there !== undefined) throw new FileTrouble("two-sources");
    throw new FileTrouble(there === undefined ? "not-found" : "not-directory");
  }
  if (there !== undefined && !there.isFile()) throw new FileTrouble("special");
  // A link that was named is followed, as with cp: what it leads to is replaced, not the link.
  return openAbove(there === undefined ? named : fs.realpathSync(named, { encoding: "buffer" }));
}

/** The directory that the last component is in. @throws FileTrouble, or Node's own error. */
function openAbove(at: Buffer): { readonly directory: Directory; readonly name: Buffer } {
  const cut = at.lastIndexOf(SLASH);
  const name = at.subarray(cut + 1);
  if (!isFileName(name)) throw new FileTrouble("not-found"); // ".." of something that is not there
  const above = cut < 0 ? Buffer.from(".") : cut === 0 ? SLASH : at.subarray(0, cut);
  return { directory: Directory.open(above, true), name: Buffer.from(name) };
}

function isLink(at: Buffer): boolean {
  return fs.lstatSync(at, { throwIfNoEntry: false })?.isSymbolicLink() === true;
}

/** What is there and may be replaced, or a directory. @throws FileTrouble, Node's own error. */
export function replaceable(at: Buffer): Stats | undefined {
  const there = fs.lstatSync(at, { throwIfNoEntry: false });
  if (there === undefined || there.isFile() || there.isSymbolicLink() || there.isDirectory()) return there;
  throw new FileTrouble("in-the-way");
}

export function shownBelow(target: Buffer, name: Buffer): Buffer {
  if (name.length === 0) return target;
  return Buffer.from(path.posix.join(target.toString("latin1"), name.toString("latin1")), "latin1");
}

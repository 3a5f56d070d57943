// What goes wrong with one file, as a code for the other end and words for people.

import { SealttyError } from "../../protocol/errors.ts";
import type { TroubleName } from "../../protocol/files/messages.ts";
import { errorCode } from "../socket-pipe.ts";

/** Something that was not copied. Its path is told beside it. */
export class FileTrouble extends Error {
  override readonly name = "FileTrouble";
  readonly code: TroubleName;

  constructor(code: TroubleName, options?: ErrorOptions) {
    super(code, options);
    this.code = code;
  }

  /** No other file would fare better. */
  get fatal(): boolean {
    return this.code === "no-space" || this.code === "read-only";
  }
}

const CODES: Readonly<Record<string, TroubleName>> = {
  ENOENT: "not-found",
  EACCES: "no-permission",
  EPERM: "no-permission",
  EISDIR: "is-directory",
  ENOTDIR: "not-directory",
  EEXIST: "in-the-way",
  ENOTEMPTY: "in-the-way",
  ENOSPC: "no-space",
  EDQUOT: "no-space",
  EROFS: "read-only",
  ENXIO: "special",
  ENODEV: "special",
  ENAMETOOLONG: "too-long",
  ELOOP: "loop",
  EBUSY: "busy",
  ETXTBSY: "busy",
  EFBIG: "too-large",
};

/** @param error - of a call to the file system. @throws it, where it is none. */
export function troubleOf(error: unknown): FileTrouble {
  if (error instanceof FileTrouble) return error;
  const code = errorCode(error);
  if (code === undefined || !(error instanceof Error) || !("syscall" in error || code === "EBUSY"))
    throw error;
  return new FileTrouble(CODES[code] ?? "read-or-write", { cause: error });
}

/** Which end of a copy had it. */
export type CopyEnd = "source" | "target";

/** Behind a path and a colon. */
export function troubleWords(code: TroubleName, end: CopyEnd): string {
  return code === "is-directory" ? IS_DIRECTORY[end] : WORDS[code];
}

const IS_DIRECTORY: Readonly<Record<CopyEnd, string>> = {
  source: "is a directory: -r (recursive) copies it",
  target: "is a directory, and takes no file's place",
};

const WORDS: Readonly<Record<Exclude<TroubleName, "is-directory">, string>> = {
  "not-found": "there is no such file or directory",
  "no-permission": "no permission",
  "not-directory": "is no directory",
  "in-the-way": "something else is there, which is not replaced",
  "no-space": "no space is left (or the quota is used up)",
  "read-only": "the file system is read-only",
  special: "is a device, pipe or socket: only files, directories and links are copied",
  "too-long": "the name or path is too long",
  loop: "leads in a circle, or is a symbolic link where none is followed",
  changed: "became shorter while it was being read",
  "wrong-digest": "what arrived has another SHA-256 than what was sent",
  "read-or-write": "cannot be read or written",
  "too-deep": "lies too deep: at most 256 directories below each other",
  "two-sources": "is no directory, and there is more than one source for it",
  "dangling-link": "is a symbolic link that leads nowhere",
  version: "the other end speaks another version",
  busy: "somebody else put something in its place meanwhile",
  "too-large": "is larger than a file may be there",
};

/** The other end of the copy did what none of its kind does. @param problem - goes on from "The other end of the copy". */
export function misbehaved(problem: string): SealttyError {
  return new SealttyError("peer-misbehaved", `The other end of the copy ${problem}`);
}

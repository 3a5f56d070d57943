// Copying files: what two ends say to each other through a channel of kind "files" (its bytes: messages-codec.ts). One end
// is the source, which reads, the other the sink, which writes. A tree is a walk: no entry waits for an answer. docs/protocol.md §8.11

import { MAX_FILES_NAME } from "../limits.ts";

export const FILES_VERSION = 1;
/** Permission bits that are carried: never set-user-id, set-group-id or sticky. */
export const FILES_MODE_MASK = 0o777;
export const FILES_DIGEST_LENGTH = 32;

/** Since 1970, UTC; what is earlier counts as 1970. */
export interface FileTime {
  readonly seconds: number;
  readonly nanoseconds: number; // below 10^9
}

export interface FileAttributes {
  readonly mode: number; // at most FILES_MODE_MASK
  readonly accessed: FileTime;
  readonly modified: FileTime;
}

/** Which symbolic links the source follows: those that were named as sources, none, all. */
export const LINK_RULES = ["named", "never", "always"] as const;
export type LinkRule = (typeof LINK_RULES)[number];

/**
 * Whether a source under this rule has a link to send at all. A guest that sends another wants it to be there the next time:
 * whoever names that path as a target then is led to wherever the link points.
 * @param root - what stands directly behind ROOT: it was named, and so is followed unless nothing is.
 */
export function mayBeLink(links: LinkRule, recursive: boolean, root: boolean): boolean {
  switch (links) {
    case "named":
      return recursive && !root;
    case "never":
      return recursive || root;
    case "always":
      return false;
  }
}

export interface StartFlags {
  readonly recursive: boolean;
  /** Modes and times as they are at the source. */
  readonly preserve: boolean;
  readonly resume: boolean;
  /** The target has to be a directory. */
  readonly intoDirectory: boolean;
  /** The source shall say how much there is, if it can soon. */
  readonly count: boolean;
}
/** In order of their bits. */
export const START_FLAGS = [
  "recursive",
  "preserve",
  "resume",
  "intoDirectory",
  "count",
] as const satisfies readonly (keyof StartFlags)[];

/** Why something was not copied. */
export const TROUBLES = {
  "not-found": 1,
  "no-permission": 2,
  "is-directory": 3, // where a file is wanted, or at the source without `recursive`
  "not-directory": 4,
  "in-the-way": 5, // something there is neither to be replaced nor to be entered
  "no-space": 6,
  "read-only": 7,
  special: 8, // neither file nor directory nor link
  "too-long": 9, // a name or path, for that machine's file system
  loop: 10,
  changed: 11, // while it was read
  "wrong-digest": 12,
  "read-or-write": 13,
  "too-deep": 14,
  "two-sources": 15, // more than one for a target that is no directory
  "dangling-link": 16,
  version: 17,
  busy: 18, // somebody else took its place, or its unfinished file
  "too-large": 19, // for that file system, or the user's limit
} as const;
export type TroubleName = keyof typeof TROUBLES;

export type FilesMessage =
  /** Client → guest, first. The guest's program is the source of `paths`. */
  | {
      readonly type: "start";
      readonly role: "source";
      readonly flags: StartFlags;
      readonly links: LinkRule;
      readonly paths: readonly Uint8Array[];
    }
  /** Or the sink: what each source is called below a target that is a directory, empty: its content goes into the target. */
  | {
      readonly type: "start";
      readonly role: "sink";
      readonly flags: StartFlags;
      /** The source's, so that the sink knows which links there may be. */
      readonly links: LinkRule;
      readonly target: Uint8Array;
      readonly names: readonly Uint8Array[];
    }
  // Source → sink. A name is empty for what stands directly behind ROOT, and nowhere else.
  | { readonly type: "root"; readonly index: number }
  | { readonly type: "directory"; readonly name: Uint8Array; readonly attributes: FileAttributes }
  | {
      readonly type: "file";
      readonly name: Uint8Array;
      readonly attributes: FileAttributes;
      /** Undefined: until its end. */
      readonly size: number | undefined;
      /** Has holes. */
      readonly sparse: boolean;
      /** The source waits for an OFFER or a FROM. */
      readonly asks: boolean;
    }
  | {
      readonly type: "link";
      readonly name: Uint8Array;
      readonly target: Uint8Array;
      readonly attributes: FileAttributes;
    }
  | { readonly type: "up" }
  /** A decoder may hand out one message in several pieces. */
  | { readonly type: "data"; readonly bytes: Uint8Array }
  | { readonly type: "hole"; readonly length: number }
  /** SHA-256 of the whole content, holes as zeros. */
  | { readonly type: "end"; readonly digest: Uint8Array }
  /** The file cannot be sent whole: forget it. */
  | { readonly type: "drop" }
  /** SHA-256 of the first bytes, as many as were offered. */
  | { readonly type: "claim"; readonly digest: Uint8Array }
  | { readonly type: "total"; readonly files: number; readonly bytes: number }
  | { readonly type: "done" }
  // Sink → source.
  | { readonly type: "offer"; readonly length: number }
  /** Where the content goes on; undefined: nothing of it is wanted, the file is over. */
  | { readonly type: "from"; readonly offset: number | undefined }
  | {
      readonly type: "finished";
      readonly files: number;
      readonly directories: number;
      readonly links: number;
      readonly bytes: number;
      readonly failed: number;
    }
  // Both.
  | {
      readonly type: "trouble";
      readonly code: TroubleName;
      /** Nothing more is copied. */
      readonly fatal: boolean;
      /** Which FILE of the connection it is about, counted from 1; 0: another entry. */
      readonly file: number;
      /** For people: never to be opened. */
      readonly path: Uint8Array;
    };

export const FILES_TYPES = {
  start: 1,
  root: 2,
  directory: 3,
  file: 4,
  link: 5,
  up: 6,
  data: 7,
  hole: 8,
  end: 9,
  drop: 10,
  claim: 11,
  total: 12,
  done: 13,
  offer: 14,
  from: 15,
  trouble: 16,
  finished: 17,
} as const satisfies Record<FilesMessage["type"], number>;

const SLASH = 0x2f;
const DOT = 0x2e;

/** Whether it can be the name of something in a directory: any bytes but 0 and "/", and neither "." nor "..". */
export function isFileName(name: Uint8Array): boolean {
  if (name.length === 0 || name.length > MAX_FILES_NAME) return false;
  if (name.includes(0) || name.includes(SLASH)) return false;
  return !(name[0] === DOT && (name.length === 1 || (name.length === 2 && name[1] === DOT)));
}

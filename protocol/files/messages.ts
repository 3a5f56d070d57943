// Copying files: what two ends say to each other through a channel of kind "files". docs/protocol.md §8.11
// One end is the source, which reads, the other the sink, which writes. A tree is a walk: no entry waits for an answer.

import { concat, lv16, type Reader, u16, u32, u64, u8 } from "../bytes.ts";
import {
  MAX_FILES_DATA,
  MAX_FILES_LINK,
  MAX_FILES_NAME,
  MAX_FILES_PATH,
  MAX_FILES_ROOTS,
  MAX_FILES_START,
} from "../limits.ts";

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
const FLAGS = [
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

const FILE_SPARSE = 1;
const FILE_SIZE_UNKNOWN = 2;
const FILE_ASKS = 4;
/** In FROM: nothing is wanted. */
const FROM_NOTHING = 1;

export function encodeFilesMessage(message: FilesMessage): Uint8Array<ArrayBuffer> {
  const body = bodyOf(message);
  return concat(filesHead(message.type, body.length), body);
}

/** u8 type, u24 length. */
export function filesHead(type: FilesMessage["type"], length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(FILES_TYPES[type], length >>> 16, length >>> 8, length);
}

function bodyOf(message: FilesMessage): Uint8Array {
  switch (message.type) {
    case "start":
      return startBody(message);
    case "root":
      return u32(message.index);
    case "directory":
      return concat(lv16(message.name), attributesBody(message.attributes));
    case "file": {
      const { name, attributes, size, sparse, asks } = message;
      const flags =
        (sparse ? FILE_SPARSE : 0) | (size === undefined ? FILE_SIZE_UNKNOWN : 0) | (asks ? FILE_ASKS : 0);
      return concat(lv16(name), attributesBody(attributes), u8(flags), u64(size ?? 0));
    }
    case "link":
      return concat(lv16(message.name), lv16(message.target), attributesBody(message.attributes));
    case "data":
      return message.bytes;
    case "hole":
      return u64(message.length);
    case "end":
    case "claim":
      return message.digest;
    case "total":
      return concat(u64(message.files), u64(message.bytes));
    case "offer":
      return u64(message.length);
    case "from":
      return concat(u8(message.offset === undefined ? FROM_NOTHING : 0), u64(message.offset ?? 0));
    case "finished":
      return concat(
        u64(message.files),
        u64(message.directories),
        u64(message.links),
        u64(message.bytes),
        u64(message.failed),
      );
    case "trouble":
      return concat(
        u8(TROUBLES[message.code]),
        u8(message.fatal ? 1 : 0),
        u64(message.file),
        lv16(message.path.subarray(-MAX_FILES_PATH)),
      );
    case "up":
    case "drop":
    case "done":
      return new Uint8Array(0);
  }
}

function startBody(message: FilesMessage & { readonly type: "start" }): Uint8Array {
  const flags = FLAGS.reduce((bits, name, bit) => bits | (message.flags[name] ? 1 << bit : 0), 0);
  const head = [u8(FILES_VERSION), u8(message.role === "source" ? 0 : 1), u8(flags)];
  head.push(u8(LINK_RULES.indexOf(message.links)));
  if (message.role === "sink") {
    const { target, names } = message;
    return concat(...head, lv16(target), u16(names.length), ...names.map((name) => lv16(name)));
  }
  const { paths } = message;
  return concat(...head, u16(paths.length), ...paths.map((path) => lv16(path)));
}

function attributesBody({ mode, accessed, modified }: FileAttributes): Uint8Array {
  return concat(
    u16(mode),
    u64(accessed.seconds),
    u32(accessed.nanoseconds),
    u64(modified.seconds),
    u32(modified.nanoseconds),
  );
}

/** @param type - not that of DATA, which the decoder hands out by itself. @throws SealttyError `peer-misbehaved`. */
export function readFilesMessage(type: number, reader: Reader): FilesMessage {
  const message = read(type, reader);
  reader.end();
  return message;
}

function read(type: number, reader: Reader): FilesMessage {
  switch (type) {
    case FILES_TYPES.start:
      return readStart(reader);
    case FILES_TYPES.root:
      return { type: "root", index: reader.u32() };
    case FILES_TYPES.directory:
      return { type: "directory", name: readName(reader), attributes: readAttributes(reader) };
    case FILES_TYPES.file: {
      const name = readName(reader);
      const attributes = readAttributes(reader);
      const flags = reader.u8();
      if (flags > (FILE_SPARSE | FILE_SIZE_UNKNOWN | FILE_ASKS)) reader.fail("has an unknown flag");
      const size = reader.u64();
      const known = (flags & FILE_SIZE_UNKNOWN) === 0;
      if (!known && (size !== 0 || (flags & FILE_ASKS) !== 0)) reader.fail("contradicts itself about a size");
      return {
        type: "file",
        name,
        attributes,
        size: known ? size : undefined,
        sparse: (flags & FILE_SPARSE) !== 0,
        asks: (flags & FILE_ASKS) !== 0,
      };
    }
    case FILES_TYPES.link: {
      const name = readName(reader);
      const target = reader.lv16(MAX_FILES_LINK).slice();
      if (target.length === 0 || target.includes(0)) reader.fail("has a link that leads nowhere");
      return { type: "link", name, target, attributes: readAttributes(reader) };
    }
    case FILES_TYPES.up:
      return { type: "up" };
    case FILES_TYPES.hole: {
      const length = reader.u64();
      if (length === 0) reader.fail("has an empty hole");
      return { type: "hole", length };
    }
    case FILES_TYPES.end:
      return { type: "end", digest: reader.bytes(FILES_DIGEST_LENGTH).slice() };
    case FILES_TYPES.drop:
      return { type: "drop" };
    case FILES_TYPES.claim:
      return { type: "claim", digest: reader.bytes(FILES_DIGEST_LENGTH).slice() };
    case FILES_TYPES.total:
      return { type: "total", files: reader.u64(), bytes: reader.u64() };
    case FILES_TYPES.done:
      return { type: "done" };
    case FILES_TYPES.offer: {
      const length = reader.u64();
      if (length === 0) reader.fail("offers nothing");
      return { type: "offer", length };
    }
    case FILES_TYPES.from: {
      const how = reader.u8();
      const offset = reader.u64();
      if (how > FROM_NOTHING || (how === FROM_NOTHING && offset !== 0))
        reader.fail("says not where to go on");
      return { type: "from", offset: how === FROM_NOTHING ? undefined : offset };
    }
    case FILES_TYPES.trouble: {
      const number = reader.u8();
      const code = (Object.keys(TROUBLES) as TroubleName[]).find((name) => TROUBLES[name] === number);
      if (code === undefined) reader.fail("names an unknown trouble");
      const fatal = reader.u8();
      if (fatal > 1) reader.fail("says not whether it is the end");
      const file = reader.u64();
      return { type: "trouble", code, fatal: fatal === 1, file, path: reader.lv16(MAX_FILES_PATH).slice() };
    }
    case FILES_TYPES.finished:
      return {
        type: "finished",
        files: reader.u64(),
        directories: reader.u64(),
        links: reader.u64(),
        bytes: reader.u64(),
        failed: reader.u64(),
      };
    default:
      reader.fail("is of an unknown type");
  }
}

function readStart(reader: Reader): FilesMessage {
  if (reader.u8() !== FILES_VERSION) reader.fail("is of another version");
  const role = reader.u8();
  if (role > 1) reader.fail("asks for an unknown role");
  const bits = reader.u8();
  if (bits >= 1 << FLAGS.length) reader.fail("has an unknown flag");
  const has = (name: (typeof FLAGS)[number]): boolean => (bits & (1 << FLAGS.indexOf(name))) !== 0;
  const flags: StartFlags = {
    recursive: has("recursive"),
    preserve: has("preserve"),
    resume: has("resume"),
    intoDirectory: has("intoDirectory"),
    count: has("count"),
  };
  const links = LINK_RULES[reader.u8()];
  if (links === undefined) reader.fail("has an unknown rule for links");
  const target = role === 1 ? readPath(reader) : undefined;
  const count = reader.u16();
  if (count === 0 || count > MAX_FILES_ROOTS) reader.fail("has an impossible number of sources");
  const names: Uint8Array[] = [];
  for (let i = 0; i < count; i++) names.push(target === undefined ? readPath(reader) : readName(reader));
  if (target === undefined) return { type: "start", role: "source", flags, links, paths: names };
  return { type: "start", role: "sink", flags, links, target, names };
}

function readPath(reader: Reader): Uint8Array {
  const path = reader.lv16(MAX_FILES_PATH).slice();
  if (path.includes(0)) reader.fail("has a zero byte in a path");
  return path;
}

/** One component, or empty. It is a name and never a way: no slash, not "." and not "..". */
function readName(reader: Reader): Uint8Array {
  const name = reader.lv16(MAX_FILES_NAME).slice();
  if (name.length > 0 && !isFileName(name)) reader.fail("has a name that leads elsewhere");
  return name;
}

const SLASH = 0x2f;
const DOT = 0x2e;

/** Whether it can be the name of something in a directory: any bytes but 0 and "/", and neither "." nor "..". */
export function isFileName(name: Uint8Array): boolean {
  if (name.length === 0 || name.length > MAX_FILES_NAME) return false;
  if (name.includes(0) || name.includes(SLASH)) return false;
  return !(name[0] === DOT && (name.length === 1 || (name.length === 2 && name[1] === DOT)));
}

function readAttributes(reader: Reader): FileAttributes {
  const mode = reader.u16();
  if (mode > FILES_MODE_MASK) reader.fail("has a mode with more than permissions");
  return { mode, accessed: readTime(reader), modified: readTime(reader) };
}

function readTime(reader: Reader): FileTime {
  const seconds = reader.u64();
  const nanoseconds = reader.u32();
  if (nanoseconds >= 1e9) reader.fail("has an impossible time");
  return { seconds, nanoseconds };
}

/** Longest body of each message, by its type's number; undefined: no such type. */
export function longestBody(type: number): number | undefined {
  const attributes = 2 + 2 * 12;
  const name = 2 + MAX_FILES_NAME;
  switch (type) {
    case FILES_TYPES.start:
      return MAX_FILES_START;
    case FILES_TYPES.root:
      return 4;
    case FILES_TYPES.directory:
      return name + attributes;
    case FILES_TYPES.file:
      return name + attributes + 9;
    case FILES_TYPES.link:
      return name + 2 + MAX_FILES_LINK + attributes;
    case FILES_TYPES.data:
      return MAX_FILES_DATA;
    case FILES_TYPES.end:
    case FILES_TYPES.claim:
      return FILES_DIGEST_LENGTH;
    case FILES_TYPES.total:
      return 16;
    case FILES_TYPES.hole:
    case FILES_TYPES.offer:
      return 8;
    case FILES_TYPES.from:
      return 9;
    case FILES_TYPES.trouble:
      return 12 + MAX_FILES_PATH;
    case FILES_TYPES.finished:
      return 40;
    case FILES_TYPES.up:
    case FILES_TYPES.drop:
    case FILES_TYPES.done:
      return 0;
    default:
      return undefined;
  }
}

// The bytes of the messages of a copy. docs/protocol.md §8.11

import { concat, lv16, type Reader, u16, u32, u64, u8 } from "../bytes.ts";
import {
  MAX_FILES_DATA,
  MAX_FILES_LINK,
  MAX_FILES_NAME,
  MAX_FILES_PATH,
  MAX_FILES_ROOTS,
  MAX_FILES_START,
} from "../limits.ts";
import {
  type FileAttributes,
  FILES_DIGEST_LENGTH,
  FILES_MODE_MASK,
  FILES_TYPES,
  FILES_VERSION,
  type FilesMessage,
  type FileTime,
  isFileName,
  LINK_RULES,
  START_FLAGS,
  type StartFlags,
  type TroubleName,
  TROUBLES,
} from "./messages.ts";

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
  const flags = START_FLAGS.reduce((bits, name, bit) => bits | (message.flags[name] ? 1 << bit : 0), 0);
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
  if (bits >= 1 << START_FLAGS.length) reader.fail("has an unknown flag");
  const has = (name: (typeof START_FLAGS)[number]): boolean =>
    (bits & (1 << START_FLAGS.indexOf(name))) !== 0;
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

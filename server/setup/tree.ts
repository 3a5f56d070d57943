// Changes to a tree of files that can be taken back exactly: what is made is written down first, with digests, and only what
// is still as it was made is removed.

import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { errorCode } from "../../node/socket-pipe.ts";
import { escapeText } from "../log.ts";
import { locateBelow, readRegular, realRoot, saysAbsent } from "../rooted-path.ts";
import { SetupRefused } from "./choose.ts";
import { RECORD_FILE } from "./places.ts";

export type Made =
  | { readonly kind: "directory"; readonly path: string }
  | { readonly kind: "file"; readonly path: string; readonly sha256: string }
  | { readonly kind: "link"; readonly path: string; readonly target: string };

/** What setup did. */
export interface SetupRecord {
  /** In the order it was made. */
  readonly made: readonly Made[];
  /** Whether setup had systemd start the unit. */
  readonly started: boolean;
}

export interface TakenBack {
  readonly removed: readonly string[];
  /** Not any more what setup made. */
  readonly stays: readonly string[];
}

export const NOTHING_DONE: SetupRecord = { made: [], started: false };

/** Files to write and links to make; paths as the machine has them whose tree it is. */
export type Change =
  | { readonly kind: "file"; readonly path: string; readonly text: string }
  | { readonly kind: "link"; readonly path: string; readonly target: string };

const RECORD_VERSION = 1;
const MAX_RECORD = 64 * 1024;
const PRIVATE_MODE = 0o700;
const DIRECTORY_MODE = 0o755;
const FILE_MODE = 0o644;

export class Tree {
  /** "/", or the real path of the directory that another machine's files are in. */
  readonly root: string;

  /** @throws SetupRefused where `root` is no directory. */
  constructor(root: string) {
    try {
      this.root = realRoot(root);
    } catch (cause) {
      throw new SetupRefused(cause instanceof Error ? cause.message : "unknown error", { cause });
    }
  }

  /** @returns the text of a regular file, links followed; undefined where it is not there. @throws SetupRefused. */
  read(file: string): string | undefined {
    const place = this.#at(file);
    try {
      return readRegular(place).toString("utf8");
    } catch (error) {
      if (saysAbsent(error)) return undefined;
      if (errorCode(error) !== undefined) throw error;
      const why = error instanceof Error ? error.message : "unknown error";
      throw new SetupRefused(`${file} cannot be read: ${why}`, { cause: error });
    }
  }

  /** A link that leads nowhere is there, too. */
  has(file: string): boolean {
    return this.#stats(file) !== undefined;
  }

  /** @returns undefined where it is no symbolic link. */
  linkTarget(file: string): string | undefined {
    return this.#stats(file)?.isSymbolicLink() === true ? fs.readlinkSync(this.#at(file, false)) : undefined;
  }

  /** Whether both are one place in the end, be something there or not. */
  leadsTo(file: string, target: string): boolean {
    return this.#at(file) === this.#at(target);
  }

  /** @throws SetupRefused for one that setup cannot have written. */
  record(): SetupRecord | undefined {
    const text = this.read(RECORD_FILE);
    return text === undefined ? undefined : parseRecord(text);
  }

  /** @param before - what an earlier setup did, whose files may be replaced. */
  apply(changes: readonly Change[], before: SetupRecord, started: boolean): void {
    const added = this.#additions(changes);
    const replaced = new Set(added.map((each) => each.path));
    const made = [...before.made.filter((each) => !replaced.has(each.path)), ...added];
    for (const each of added) if (each.kind === "directory") this.#makeDirectory(each.path);
    // First, so that a setup that is cut short can be taken back.
    this.#write(RECORD_FILE, `${JSON.stringify({ version: RECORD_VERSION, made, started }, null, 2)}\n`);
    for (const change of changes) {
      if (change.kind === "file") this.#write(change.path, change.text);
      else fs.symlinkSync(change.target, this.#at(change.path, false));
    }
  }

  /** Outside of any record: what stays when all else is taken back. @throws SetupRefused where its directory's place is taken. */
  leaveBehind(file: string, text: string): void {
    const missing: string[] = [];
    for (let above = path.dirname(file); !this.#isDirectory(above); above = path.dirname(above))
      missing.unshift(above);
    for (const each of missing) this.#makeDirectory(each);
    this.#write(file, text);
  }

  remove(file: string): void {
    fs.unlinkSync(this.#at(file, false));
  }

  /** Looks where everything would go. @throws SetupRefused where it cannot. */
  requirePlaces(changes: readonly Change[]): void {
    this.#additions(changes);
  }

  /** @param dryRun - only says it. */
  takeBack({ made }: SetupRecord, dryRun: boolean): TakenBack {
    const removed: string[] = [];
    const stays: string[] = [];
    for (const each of made.toReversed()) {
      if (each.kind === "directory" || !this.has(each.path)) continue;
      if (!this.isAsMade(each)) {
        stays.push(each.path);
        continue;
      }
      if (!dryRun) fs.unlinkSync(this.#at(each.path, false));
      removed.push(each.path);
    }
    if (dryRun) return { removed, stays };
    fs.unlinkSync(this.#at(RECORD_FILE, false));
    for (const each of made.toReversed()) if (each.kind === "directory") this.#removeEmpty(each.path);
    return { removed, stays };
  }

  isAsMade(each: Exclude<Made, { readonly kind: "directory" }>): boolean {
    if (each.kind === "link") return this.linkTarget(each.path) === each.target;
    return this.#stats(each.path)?.isFile() === true && digestOf(this.read(each.path) ?? "") === each.sha256;
  }

  /**
   * Where the file is on this machine, with the links that the other one would follow, and so never outside of its files.
   * @throws SetupRefused for links in a ring.
   */
  #at(file: string, followLast = true): string {
    try {
      return locateBelow(this.root, file, followLast);
    } catch (cause) {
      if (errorCode(cause) !== "ELOOP") throw cause;
      throw new SetupRefused(`${file} is behind links that lead round in a ring, or too many`, { cause });
    }
  }

  #stats(file: string): fs.Stats | undefined {
    return statsAt(this.#at(file, false));
  }

  /** @returns false where there is nothing. @throws SetupRefused where there is something else. */
  #isDirectory(directory: string): boolean {
    const found = statsAt(this.#at(directory));
    if (found?.isDirectory() === true) return true;
    if (found !== undefined) throw new SetupRefused(`${directory} is in the way: it is no directory`);
    if (this.has(directory))
      throw new SetupRefused(`${directory} is a link that leads nowhere in ${escapeText(this.root)}`);
    return false;
  }

  /**
   * Everything that `changes` bring with them, in order: directories that are not there, and the record's own.
   * @throws SetupRefused where a directory's place is taken.
   */
  #additions(changes: readonly Change[]): Made[] {
    const directories = new Set<string>();
    for (const file of [RECORD_FILE, ...changes.map((change) => change.path)]) {
      const missing: string[] = [];
      for (let above = path.dirname(file); !this.#isDirectory(above); above = path.dirname(above))
        missing.unshift(above);
      for (const each of missing) directories.add(each);
    }
    return [
      ...[...directories].map((each) => ({ kind: "directory", path: each }) as const),
      ...changes.map((change) =>
        change.kind === "file"
          ? ({ kind: "file", path: change.path, sha256: digestOf(change.text) } as const)
          : ({ kind: "link", path: change.path, target: change.target } as const),
      ),
    ];
  }

  #makeDirectory(directory: string): void {
    const mode = directory === path.dirname(RECORD_FILE) ? PRIVATE_MODE : DIRECTORY_MODE;
    const place = this.#at(directory, false);
    fs.mkdirSync(place);
    fs.chmodSync(place, mode); // whatever the umask is
  }

  /** Whole or not at all: a guest may be cut off at any time. */
  #write(file: string, text: string): void {
    const place = this.#at(file, false);
    const unfinished = `${place}.${randomBytes(6).toString("hex")}`;
    const fd = fs.openSync(unfinished, "wx", FILE_MODE);
    try {
      try {
        fs.writeFileSync(fd, text);
        fs.fchmodSync(fd, FILE_MODE);
        fs.fsyncSync(fd);
      } finally {
        fs.closeSync(fd);
      }
      fs.renameSync(unfinished, place);
    } catch (error) {
      fs.rmSync(unfinished, { force: true });
      throw error;
    }
  }

  #removeEmpty(directory: string): void {
    try {
      fs.rmdirSync(this.#at(directory, false));
    } catch (error) {
      // somebody else's files are in it, or it is gone, or a link now
      if (!["ENOTEMPTY", "EEXIST", "ENOENT", "ENOTDIR"].includes(errorCode(error) ?? "")) throw error;
    }
  }
}

/** @param at - where it is on this machine; a link there is what is looked at. */
function statsAt(at: string): fs.Stats | undefined {
  try {
    return fs.lstatSync(at);
  } catch (error) {
    if (saysAbsent(error)) return undefined;
    throw error;
  }
}

export function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function parseRecord(text: string): SetupRecord {
  const refuse = (cause?: unknown): never => {
    throw new SetupRefused(`${RECORD_FILE} is not as setup writes it: look at what it names, and delete it`, {
      cause,
    });
  };
  if (text.length > MAX_RECORD) refuse();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    return refuse(cause);
  }
  if (!isObject(value) || value["version"] !== RECORD_VERSION || typeof value["started"] !== "boolean")
    return refuse();
  const made = value["made"];
  if (!Array.isArray(made) || !made.every(isMade)) return refuse();
  return { made, started: value["started"] };
}

function isMade(value: unknown): value is Made {
  if (!isObject(value) || typeof value["path"] !== "string" || !isPlainPath(value["path"])) return false;
  switch (value["kind"]) {
    case "directory":
      return true;
    case "file":
      return typeof value["sha256"] === "string";
    case "link":
      return typeof value["target"] === "string";
    default:
      return false;
  }
}

function isPlainPath(file: string): boolean {
  return file.startsWith("/") && path.normalize(file) === file && !file.includes("\0");
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

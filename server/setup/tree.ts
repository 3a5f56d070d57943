// Changes to a tree of files that can be taken back exactly: what is made is written down first, with digests, and only what
// is still as it was made is removed.

import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { errorCode } from "../../node/socket-pipe.ts";
import { escapeText } from "../log.ts";
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
  readonly #root: string;
  readonly #realRoot: string;

  /** @param root - "/", or the directory that another machine's files are in. @throws SetupRefused. */
  constructor(root: string) {
    this.#root = root;
    try {
      this.#realRoot = fs.realpathSync(root);
    } catch (cause) {
      throw new SetupRefused(`There is no directory ${escapeText(root)}`, { cause });
    }
  }

  /**
   * Where the file is on this machine. A link of an image may lead out of it, into this machine's own files.
   * @throws SetupRefused then.
   */
  at(file: string): string {
    const place = path.join(this.#root, file);
    let above = file === "/" ? place : path.dirname(place);
    while (!fs.existsSync(above)) above = path.dirname(above);
    const real = fs.realpathSync(above);
    const inside = this.#realRoot === "/" || real === this.#realRoot || real.startsWith(`${this.#realRoot}/`);
    if (inside) return place;
    throw new SetupRefused(`${escapeText(file)} leads out of ${escapeText(this.#root)}`);
  }

  /** @returns undefined where it is not there. */
  read(file: string): string | undefined {
    try {
      return fs.readFileSync(this.at(file), "utf8");
    } catch (error) {
      if (errorCode(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  /** A link that leads nowhere is there, too. */
  has(file: string): boolean {
    return fs.lstatSync(this.at(file), { throwIfNoEntry: false }) !== undefined;
  }

  /** @returns undefined where it is no symbolic link. */
  linkTarget(file: string): string | undefined {
    const place = this.at(file);
    const found = fs.lstatSync(place, { throwIfNoEntry: false });
    return found?.isSymbolicLink() === true ? fs.readlinkSync(place) : undefined;
  }

  /** @throws SetupRefused for one that setup cannot have written. */
  record(): SetupRecord | undefined {
    const text = this.read(RECORD_FILE);
    return text === undefined ? undefined : parseRecord(text);
  }

  /** Everything that `changes` bring with them, in order: directories that are not there, and the record's own. */
  additions(changes: readonly Change[]): Made[] {
    const directories = new Set<string>();
    for (const file of [RECORD_FILE, ...changes.map((change) => change.path)]) {
      const missing: string[] = [];
      for (let above = path.dirname(file); !fs.existsSync(this.at(above)); above = path.dirname(above))
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

  /** @param before - what an earlier setup did, whose files may be replaced. */
  apply(changes: readonly Change[], before: SetupRecord, started: boolean): void {
    const added = this.additions(changes);
    const replaced = new Set(added.map((each) => each.path));
    const made = [...before.made.filter((each) => !replaced.has(each.path)), ...added];
    for (const each of added) if (each.kind === "directory") this.#makeDirectory(each.path);
    // First, so that a setup that is cut short can be taken back.
    this.#write(RECORD_FILE, `${JSON.stringify({ version: RECORD_VERSION, made, started }, null, 2)}\n`);
    for (const change of changes) {
      if (change.kind === "file") this.#write(change.path, change.text);
      else fs.symlinkSync(change.target, this.at(change.path));
    }
  }

  /** @returns what stays, because it is not any more what setup made. */
  takeBack({ made }: SetupRecord): string[] {
    const stays: string[] = [];
    for (const each of made.toReversed()) {
      if (each.kind === "directory" || !this.has(each.path)) continue;
      if (this.isAsMade(each)) fs.unlinkSync(this.at(each.path));
      else stays.push(each.path);
    }
    fs.unlinkSync(this.at(RECORD_FILE));
    for (const each of made.toReversed()) if (each.kind === "directory") this.#removeEmpty(each.path);
    return stays;
  }

  isAsMade(each: Made): boolean {
    switch (each.kind) {
      case "directory":
        return true;
      case "link":
        return this.linkTarget(each.path) === each.target;
      case "file":
        return (
          this.linkTarget(each.path) === undefined && digestOf(this.read(each.path) ?? "") === each.sha256
        );
    }
  }

  #makeDirectory(directory: string): void {
    const mode = directory === path.dirname(RECORD_FILE) ? PRIVATE_MODE : DIRECTORY_MODE;
    const place = this.at(directory);
    fs.mkdirSync(place);
    fs.chmodSync(place, mode); // whatever the umask is
  }

  /** Whole or not at all: a guest may be cut off at any time. */
  #write(file: string, text: string): void {
    const place = this.at(file);
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
      fs.rmdirSync(this.at(directory));
    } catch (error) {
      // somebody else's files are in it, or it is gone
      if (!["ENOTEMPTY", "EEXIST", "ENOENT"].includes(errorCode(error) ?? "")) throw error;
    }
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

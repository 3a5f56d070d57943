// A directory looked at as if it were the root of a system: a running one's "/", or an image's. No link leads out of it,
// nothing that is no regular file is opened, and what cannot be looked at is remembered rather than taken for absent.

import fs from "node:fs";
import { SealttyError } from "../../protocol/errors.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { locateBelow, readRegular, realRoot, saysAbsent } from "../rooted-path.ts";

const MAX_ENTRIES = 65_536;
/** Bytes of all files together, which are kept. A system has some; who makes an image, or an unencrypted /boot, could have any number. */
const MAX_KEPT = 32 * 1024 * 1024;
const PERMISSIONS = 0o7777;

export interface FileFacts {
  readonly kind: "file" | "directory" | "device" | "link" | "other";
  /** Permissions, with set-user-id, set-group-id and sticky bit. */
  readonly mode: number;
  readonly uid: number;
}

/** Something that could not be looked at. */
export interface Blind {
  readonly where: string;
  readonly reason: string;
}

export class Tree {
  readonly #root: string;
  readonly #blind = new Map<string, string>();
  /** Many checks ask for the same; one look sees one state of it. */
  readonly #texts = new Map<string, string | undefined>();
  #kept = 0; // bytes of these
  readonly #lists = new Map<string, readonly string[]>();

  /** @param root - a directory. @throws SealttyError `bad-config` where it is none. */
  constructor(root: string) {
    try {
      this.#root = realRoot(root);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : "unknown error";
      throw new SealttyError("bad-config", why, { cause });
    }
  }

  /** Where it really is; "/": the running system. */
  get root(): string {
    return this.#root;
  }

  get blind(): readonly Blind[] {
    return [...this.#blind].map(([where, reason]) => ({ where, reason }));
  }

  /** For what a caller found out to be hidden by itself. */
  noteBlind(where: string, reason: string): void {
    this.#blind.set(where, reason);
  }

  /** One line in the place of many. */
  mergeBlind(isOne: (where: string) => boolean, where: string): void {
    for (const [each, reason] of this.#blind) {
      if (!isOne(each)) continue;
      this.#blind.delete(each);
      this.#blind.set(where, reason);
    }
  }

  /** @returns the text of a regular file (links followed), each byte that is no UTF-8 replaced; undefined where there is none. */
  read(file: string): string | undefined {
    if (!this.#texts.has(file))
      this.#texts.set(
        file,
        this.#look(file, () => this.#readText(file)),
      );
    return this.#texts.get(file);
  }

  /** @returns the names in a directory, in order; none where there is no directory. */
  list(directory: string): readonly string[] {
    const known = this.#lists.get(directory);
    if (known !== undefined) return known;
    const names = this.#look(directory, () => fs.readdirSync(this.locate(directory))) ?? [];
    if (names.length > MAX_ENTRIES) this.noteBlind(directory, `more than ${MAX_ENTRIES} entries`);
    const sorted = names.slice(0, MAX_ENTRIES).sort();
    this.#lists.set(directory, sorted);
    return sorted;
  }

  /** @returns where a link points, as it says; undefined where there is no link. */
  link(file: string): string | undefined {
    return this.#look(file, () => {
      const at = this.locate(file, false);
      return fs.lstatSync(at).isSymbolicLink() ? fs.readlinkSync(at) : undefined;
    });
  }

  /** Of what is there. @param followLast - whether a link in the last place is followed. */
  facts(file: string, followLast = true): FileFacts | undefined {
    return this.#look(file, () => {
      const stats = fs.lstatSync(this.locate(file, followLast)); // located: a link only where none is followed
      const kind = stats.isFile()
        ? "file"
        : stats.isDirectory()
          ? "directory"
          : stats.isCharacterDevice() || stats.isBlockDevice()
            ? "device"
            : stats.isSymbolicLink()
              ? "link"
              : "other";
      return { kind, mode: stats.mode & PERMISSIONS, uid: stats.uid } as const;
    });
  }

  /**
   * All that decides what is at a path: the directories on the way to it, each link there, the directories on the way to where
   * that leads, and at last what is there, whether it exists or not. @returns paths without a link but perhaps in their last place.
   */
  wayTo(file: string): readonly string[] {
    const places = new Set<string>();
    this.#look(file, () => locateBelow(this.#root, file, true, (place) => places.add(place)));
    return [...places];
  }

  exists(file: string): boolean {
    return this.facts(file) !== undefined;
  }

  /** Also of a link that leads nowhere, as those to /dev/null do in an image. */
  isThere(file: string): boolean {
    return this.#look(file, () => fs.lstatSync(this.locate(file, false))) !== undefined;
  }

  /**
   * @param file - absolute, as in the system that is looked at. @param followLast - whether a link in the last place is followed.
   * @returns the same place for this process, with no link on the way. @throws Error with `code` ELOOP, or Node's own.
   */
  locate(file: string, followLast = true): string {
    return locateBelow(this.#root, file, followLast);
  }

  #readText(file: string): string {
    const at = this.locate(file);
    if (this.#kept >= MAX_KEPT && fs.existsSync(at)) throw new Error("too much was read already");
    const bytes = readRegular(at);
    this.#kept += bytes.length;
    return bytes.toString("utf8");
  }

  #look<T>(file: string, look: () => T): T | undefined {
    try {
      return look();
    } catch (error) {
      if (saysAbsent(error)) return undefined;
      this.noteBlind(file, errorCode(error) ?? (error instanceof Error ? error.message : "unknown error"));
      return undefined;
    }
  }
}

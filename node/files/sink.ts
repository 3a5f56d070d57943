// The end that writes. Whatever the source says, nothing is written but below the target that was named: a name is one
// component, a directory is held open and entered without following links, and a file has its final name only once all of
// it is there and its SHA-256 is right. docs/files.md says what that guarantees.

import { createHash } from "node:crypto";
import fs from "node:fs";
import { equalBytes } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import {
  type FileAttributes,
  type FilesMessage,
  isFileName,
  mayBeLink,
} from "../../protocol/files/messages.ts";
import { MAX_FILES_DEPTH } from "../../protocol/limits.ts";
import { setTimes } from "./attributes.ts";
import { Directory } from "./directory.ts";
import { putLink } from "./link.ts";
import { Outbox, type SendBytes } from "./outbox.ts";
import { appendBytes, finishPart, hashHole, keepFinished } from "./part-content.ts";
import { createPart, leavePart, type Offered, type PartFile, resumablePart } from "./part-file.ts";
import type { FilesEvents } from "./source.ts";
import { openTarget, replaceable, shownBelow, type TargetOptions } from "./target.ts";
import { FileTrouble, misbehaved, troubleOf } from "./trouble.ts";

const SET_GROUP_ID = 0o2000;

export interface SinkOptions extends TargetOptions {
  readonly recursive: boolean;
  readonly preserve: boolean;
  readonly resume: boolean;
}

export interface SinkCounts {
  files: number;
  directories: number;
  links: number;
  bytes: number;
  failed: number;
}

/** A directory that is being filled. */
interface Level {
  readonly directory: Directory;
  readonly shown: Buffer;
  /** What it gets once it is full; undefined: it keeps what it has. */
  readonly later: FileAttributes | undefined;
  readonly made: boolean;
  readonly borrowed?: boolean; // the target itself, which is closed at the end
}

/** A file that is being received. Without `part` it could not be begun, or is not wanted, and its content goes nowhere. */
interface Receiving {
  readonly number: number;
  readonly shown: Buffer;
  readonly size: number | undefined;
  readonly sparse: boolean;
  readonly attributes: FileAttributes;
  readonly state: "content" | "claim" | "nothing";
  readonly part?: PartFile | undefined;
  readonly offered?: Offered;
}

export class FilesSink {
  readonly #options: SinkOptions;
  readonly #out: Outbox;
  readonly #events: FilesEvents;
  readonly #umask = process.umask();
  readonly counts: SinkCounts = { files: 0, directories: 0, links: 0, bytes: 0, failed: 0 };
  #base: { readonly directory: Directory; readonly name: Buffer | undefined } | undefined;
  readonly #levels: Level[] = [];
  #root = -1; // index of the newest ROOT
  #rootOpen = false; // its entry is still to come
  #skipped = 0; // directories below each other that could not be entered
  #files = 0; // FILE messages so far
  #receiving: Receiving | undefined;
  #state: "running" | "done" | "over" = "running";

  constructor(options: SinkOptions, send: SendBytes, events: FilesEvents = {}) {
    this.#options = options;
    this.#out = new Outbox(send);
    this.#events = events;
  }

  /** Everything came, and FINISHED was sent. */
  get done(): boolean {
    return this.#state === "done";
  }

  /** Finds the target, before anything is asked of anybody. @throws FileTrouble */
  open(): void {
    try {
      this.#base = openTarget(this.#options);
    } catch (error) {
      throw troubleOf(error);
    }
  }

  /** To the source: this, and no more. */
  async refuse(trouble: FileTrouble, shown: Buffer): Promise<void> {
    this.counts.failed++;
    this.#events.trouble?.(trouble, shown);
    await this.#out.put({ type: "trouble", code: trouble.code, fatal: true, file: 0, path: shown });
    this.abort();
    await this.#finish();
  }

  /** What the source says, in order. @throws SealttyError `peer-misbehaved`; then, too, nothing half-written is left. */
  async take(message: FilesMessage): Promise<void> {
    if (this.#state !== "running") return; // what was under way when it ended
    try {
      await this.#take(message);
    } catch (error) {
      if (error instanceof FileTrouble) return await this.refuse(error, this.#shownNow());
      this.abort();
      throw error;
    }
  }

  /** Closes everything. What is unfinished is removed, or with `resume` stays under its hidden name. Idempotent. */
  abort(): void {
    if (this.#state === "running") this.#state = "over";
    const part = this.#receiving?.part;
    this.#receiving = undefined;
    if (part !== undefined) this.#leave(part);
    for (const { directory, borrowed } of this.#levels.splice(0)) if (borrowed !== true) directory.close();
    this.#base?.directory.close();
    this.#base = undefined;
  }

  async #take(message: FilesMessage): Promise<void> {
    const receiving = this.#receiving;
    switch (message.type) {
      case "root":
        if (this.#levels.length > 0 || this.#skipped > 0 || receiving !== undefined)
          throw misbehaved("began anew in the middle");
        if (message.index <= this.#root || message.index >= this.#options.names.length)
          throw misbehaved("sent what was not asked for");
        this.#root = message.index;
        this.#rootOpen = true;
        return;
      case "directory":
        return await this.#directory(message);
      case "file":
        return await this.#file(message);
      case "link":
        return await this.#link(message);
      case "up":
        return await this.#up();
      case "data":
        if (receiving?.state === "claim" || receiving === undefined) throw misbehaved("sent data of no file");
        return await this.#guardFile(receiving, () => this.#write(receiving, message.bytes));
      case "hole":
        if (receiving?.state === "claim" || receiving === undefined || !receiving.sparse)
          throw misbehaved("sent a hole of no file");
        await this.#hashHole(receiving, message.length);
        return await this.#guardFile(receiving, () => this.#hole(receiving, message.length));
      case "claim":
        return await this.#claim(message.digest);
      case "end":
        if (receiving?.state === "claim" || receiving === undefined) throw misbehaved("ended no file");
        await this.#guardFile(receiving, () => this.#end(receiving, message.digest));
        this.#receiving = undefined;
        return;
      case "drop":
        if (receiving === undefined) throw misbehaved("dropped no file");
        this.#receiving = undefined;
        if (receiving.part !== undefined) this.#leave(receiving.part);
        return;
      case "trouble":
        if (message.fatal) throw misbehaved("gave up"); // its reason was told where it came in
        return;
      case "total":
        return;
      case "done":
        if (this.#levels.length > 0 || this.#skipped > 0 || receiving !== undefined)
          throw misbehaved("ended in the middle");
        this.abort();
        return await this.#finish();
      default:
        throw misbehaved("sent what only a sink sends");
    }
  }

  async #finish(): Promise<void> {
    this.#state = "done";
    await this.#out.put({ type: "finished", ...this.counts });
    await this.#out.flush();
  }

  /** Its troubles are told; one that every file would have ends it all. @throws FileTrouble that is fatal. */
  async #guard(shown: Buffer, file: number, work: () => void | Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (error instanceof SealttyError) throw error;
      const trouble = troubleOf(error);
      if (trouble.fatal) throw trouble;
      this.counts.failed++;
      this.#events.trouble?.(trouble, shown);
      await this.#out.put({ type: "trouble", code: trouble.code, fatal: false, file, path: shown });
      await this.#out.flush(); // the source may have a large file to stop
    }
  }

  /** After a trouble the rest of the file goes nowhere. */
  async #guardFile(receiving: Receiving, work: () => void): Promise<void> {
    await this.#guard(receiving.shown, receiving.number, () => {
      try {
        work();
      } catch (error) {
        const part = this.#receiving?.part;
        this.#receiving = { ...receiving, part: undefined, state: "nothing" };
        if (part !== undefined && !(error instanceof FileTrouble && error.code === "busy")) {
          this.#leave(part, error instanceof FileTrouble && error.code === "wrong-digest");
        } else if (part !== undefined) fs.closeSync(part.fd);
        throw error;
      }
    });
  }

  /** Where an entry of this name goes. @returns undefined where it lies in what is skipped. @throws SealttyError */
  #place(
    name: Uint8Array,
  ): { readonly directory: Directory; readonly name: Buffer; readonly shown: Buffer } | undefined {
    if (this.#receiving !== undefined) throw misbehaved("began an entry within a file");
    const level = this.#levels.at(-1);
    if (this.#skipped > 0) {
      if (name.length === 0) throw misbehaved("sent an entry without a name");
      return undefined;
    }
    if (level !== undefined) {
      if (!isFileName(name)) throw misbehaved("sent a name that leads elsewhere");
      const own = Buffer.from(name);
      return { directory: level.directory, name: own, shown: Buffer.concat([level.shown, SLASH, own]) };
    }
    if (!this.#rootOpen || name.length > 0 || this.#base === undefined)
      throw misbehaved("sent an entry of no source");
    this.#rootOpen = false;
    const { directory, name: fixed } = this.#base;
    const root = fixed ?? this.#options.names[this.#root] ?? EMPTY;
    const { target } = this.#options;
    return { directory, name: root, shown: fixed === undefined ? shownBelow(target, root) : target };
  }

  async #directory({ name, attributes }: FilesMessage & { type: "directory" }): Promise<void> {
    if (!this.#options.recursive) throw misbehaved("sent a directory, and none was asked for");
    const place = this.#place(name);
    if (place === undefined) {
      this.#skipped++;
      return;
    }
    const { shown } = place;
    this.#events.entry?.(shown, undefined);
    let level: Level | undefined;
    await this.#guard(shown, 0, () => {
      level = this.#enter(place, attributes);
    });
    if (level === undefined) this.#skipped++;
    else this.#levels.push(level);
  }

  #enter(place: { directory: Directory; name: Buffer; shown: Buffer }, attributes: FileAttributes): Level {
    const { directory: above, name, shown } = place;
    const later = this.#options.preserve ? attributes : undefined;
    if (name.length === 0) return { directory: above, shown, later, made: false, borrowed: true };
    if (this.#levels.length >= MAX_FILES_DEPTH) throw new FileTrouble("too-deep");
    const at = above.at(name);
    const there = fs.lstatSync(at, { throwIfNoEntry: false });
    if (there?.isSymbolicLink() === true) throw new FileTrouble("loop");
    if (there !== undefined && !there.isDirectory()) throw new FileTrouble("in-the-way");
    if (there === undefined) fs.mkdirSync(at, 0o700);
    const directory = above.openBelow(name);
    this.counts.directories++;
    return {
      directory,
      shown,
      later: later ?? (there === undefined ? attributes : undefined),
      made: there === undefined,
    };
  }

  async #up(): Promise<void> {
    if (this.#receiving !== undefined) throw misbehaved("went up within a file");
    if (this.#skipped > 0) {
      this.#skipped--;
      return;
    }
    const level = this.#levels.pop();
    if (level === undefined) throw misbehaved("went up above the target");
    const { directory, later, shown, borrowed } = level;
    try {
      await this.#guard(shown, 0, () => {
        if (later === undefined) return;
        const inherited = fs.fstatSync(directory.fd).mode & SET_GROUP_ID; // from the directory above, as the system gave it
        const mode = this.#options.preserve ? later.mode : later.mode & ~this.#umask;
        fs.fchmodSync(directory.fd, mode | inherited);
        if (this.#options.preserve) setTimes(directory.fd, later);
      });
    } finally {
      if (borrowed !== true) directory.close();
    }
  }

  async #link({ name, target, attributes }: FilesMessage & { type: "link" }): Promise<void> {
    const { links, recursive } = this.#options;
    if (!mayBeLink(links, recursive, this.#levels.length === 0 && this.#skipped === 0))
      throw misbehaved("sent a link, and none was asked for");
    const place = this.#place(name);
    if (place === undefined) return;
    this.#events.entry?.(place.shown, undefined);
    await this.#guard(place.shown, 0, () => {
      putLink(place, target, this.#options.preserve ? attributes : undefined);
      this.counts.links++;
    });
  }

  async #file(message: FilesMessage & { type: "file" }): Promise<void> {
    const number = ++this.#files;
    const place = this.#place(message.name);
    const { size, sparse, asks, attributes } = message;
    const shown = place?.shown ?? EMPTY;
    const nothing: Receiving = { number, shown, size, sparse, attributes, state: "nothing" };
    if (asks && !this.#options.resume) throw misbehaved("asks where to go on, and was not told to");
    this.#receiving = nothing;
    if (place !== undefined) {
      this.#events.entry?.(shown, size);
      await this.#guard(shown, number, async () => {
        if (place.name.length === 0) throw new FileTrouble("is-directory");
        const final = place.directory.at(place.name);
        const before = replaceable(final);
        if (before?.isDirectory() === true) throw new FileTrouble("is-directory");
        const resumed = asks ? await resumablePart(place, size ?? 0, before) : undefined;
        if (this.#state !== "running") return; // aborted while that was being hashed
        const part = resumed?.part ?? createPart(place, before, this.#options.resume);
        const { offered } = resumed ?? {};
        this.#receiving = {
          ...nothing,
          part,
          ...(offered ? { offered, state: "claim" } : { state: "content" }),
        };
      });
    }
    if (!asks) return;
    const { state, offered } = this.#receiving;
    if (state === "nothing") {
      this.#receiving = undefined; // nothing of it is wanted: so nothing of it comes
      await this.#out.put({ type: "from", offset: undefined });
    } else if (offered !== undefined) await this.#out.put({ type: "offer", length: offered.length });
    else await this.#out.put({ type: "from", offset: 0 });
    await this.#out.flush();
  }

  async #claim(digest: Uint8Array): Promise<void> {
    const receiving = this.#receiving;
    const { part, offered } = receiving ?? {};
    if (receiving?.state !== "claim" || part === undefined || offered === undefined)
      throw misbehaved("claimed what was not offered");
    const same = equalBytes(offered.hash.digest(), digest);
    const { offered: _, ...rest } = receiving;
    this.#receiving = { ...rest, state: "content" };
    if (same && offered.finished) {
      this.#receiving = undefined;
      this.#leave(part, true);
      await this.#guard(receiving.shown, receiving.number, () => {
        if (this.#options.preserve) keepFinished(part, receiving.attributes);
      });
      this.counts.files++;
      this.#came(offered.length);
      await this.#out.put({ type: "from", offset: undefined });
    } else if (same) {
      this.#came(offered.length);
      await this.#out.put({ type: "from", offset: offered.length });
    } else {
      if (!offered.finished) fs.ftruncateSync(part.fd, 0);
      Object.assign(part, { hash: createHash("sha256"), length: 0, written: 0 });
      await this.#out.put({ type: "from", offset: 0 });
    }
    await this.#out.flush();
  }

  #write({ part, size }: Receiving, bytes: Uint8Array): void {
    if (part === undefined) return;
    appendBytes(part, bytes, size);
    this.#came(bytes.length);
  }

  async #hashHole({ part, size }: Receiving, length: number): Promise<void> {
    if (part !== undefined) await hashHole(part, length, size, () => this.#state === "running");
  }

  #hole({ part }: Receiving, length: number): void {
    if (part === undefined || this.#state !== "running") return;
    part.length += length;
    this.#came(length);
  }

  #came(bytes: number): void {
    this.counts.bytes += bytes;
    this.#events.progress?.(bytes);
  }

  #end({ part, attributes, shown }: Receiving, digest: Uint8Array): void {
    if (part === undefined) return;
    const { preserve } = this.#options;
    const own = finishPart(part, digest, { attributes, preserve, umask: this.#umask });
    this.#receiving = undefined;
    this.counts.files++;
    this.#events.file?.(shown, part.length, own);
  }

  /** @param always - remove it even where it could be gone on with. */
  #leave(part: PartFile, always = false): void {
    leavePart(part, this.#options.resume && !always);
  }

  #shownNow(): Buffer {
    return this.#receiving?.shown ?? this.#levels.at(-1)?.shown ?? this.#options.target;
  }
}

const EMPTY = Buffer.alloc(0);
const SLASH = Buffer.from("/");

// The end that reads: walks files and trees, and sends them as a stream of entries. docs/protocol.md §8.11
// Calls to the file system are synchronous: each is short, and thousands of small files cost no trip to a thread each.

import { createHash, type Hash } from "node:crypto";
import fs from "node:fs";
import type { Stats } from "node:fs";
import { asError, SealttyError } from "../../protocol/errors.ts";
import type { FilesMessage, LinkRule } from "../../protocol/files/messages.ts";
import { MAX_FILES_DATA, MAX_FILES_DEPTH, MAX_FILES_LINK } from "../../protocol/limits.ts";
import { attributesOf } from "./attributes.ts";
import { Directory, type Entry } from "./directory.ts";
import { Outbox, type SendBytes } from "./outbox.ts";
import { FileTrouble, misbehaved, troubleOf } from "./trouble.ts";

const { O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;
/** Files below it are sent again from their begin: to ask would take longer. */
export const RESUME_FROM = 1024 * 1024;
const BLOCK = 4096;
const ZEROS = Buffer.alloc(MAX_FILES_DATA);
const NAMELESS = Buffer.alloc(0);

/** A file, tree or link of this machine; or a stream, which has no size. */
export type SourceRoot = { readonly path: Buffer } | StreamRoot;

interface StreamRoot {
  readonly stream: AsyncIterable<Uint8Array>;
  /** For people, where it fails. */
  readonly called: string;
}

export interface SourceOptions {
  readonly recursive: boolean;
  readonly links: LinkRule;
  readonly resume: boolean;
}

/** What an end tells whoever shows it to people. Paths are the sender's: never to be opened. */
export interface FilesEvents {
  /** An entry begins. @param size - undefined: not known. */
  entry?(path: Buffer, size: number | undefined): void;
  /** Content that was read or written, or was there already. */
  progress?(bytes: number): void;
  /** A file is through, with the SHA-256 of its content. */
  file?(path: Buffer, bytes: number, digest: Buffer): void;
  trouble?(trouble: FileTrouble, path: Buffer): void;
}

/** The other end wants nothing more. */
class Stopped extends Error {
  override readonly name = "Stopped";
}

/** A walk's place: where it is for the file system, and for people. */
interface Place {
  readonly at: Buffer;
  readonly name: Buffer; // empty for a root
  readonly shown: Buffer;
  readonly depth: number;
  /** Directories above, where links are followed: one that comes again is a circle. */
  readonly above: readonly string[];
}

export class FilesSource {
  readonly #options: SourceOptions;
  readonly #out: Outbox;
  readonly #events: FilesEvents;
  readonly #blocks = Buffer.allocUnsafe(MAX_FILES_DATA); // of a file with holes
  #files = 0; // FILE messages so far
  #refused = 0; // number of the file that the sink wants no more of
  #stopped = false;
  #answer: ((message: FilesMessage & { type: "offer" | "from" }) => void) | undefined;
  #failAnswer: (() => void) | undefined;
  /** Entries that were not sent. */
  failed = 0;

  constructor(options: SourceOptions, send: SendBytes, events: FilesEvents = {}) {
    this.#options = options;
    this.#out = new Outbox(send);
    this.#events = events;
  }

  /** What the sink says, as it comes. @throws SealttyError `peer-misbehaved`. */
  receive(message: FilesMessage): void {
    switch (message.type) {
      case "offer":
      case "from": {
        const answer = this.#answer;
        if (answer === undefined) throw misbehaved("answered what was not asked");
        this.#answer = undefined;
        return answer(message);
      }
      case "trouble":
        if (message.fatal) this.stop();
        else if (message.file !== 0 && message.file === this.#files) this.#refused = message.file;
        return;
      case "finished":
        return;
      default:
        throw misbehaved("sent what only a source sends");
    }
  }

  /** Nothing more is read or sent. */
  stop(): void {
    this.#stopped = true;
    this.#failAnswer?.();
  }

  /** @param first - sent before all else. Resolves once all is sent, or after stop(). @throws what `send` throws. */
  async run(roots: readonly SourceRoot[], first?: FilesMessage): Promise<void> {
    try {
      if (first !== undefined) await this.#out.put(first);
      for (const [index, root] of roots.entries()) {
        if ("stream" in root) await this.#stream(index, root);
        else await this.#root(index, root.path);
      }
      await this.#out.put({ type: "done" });
      await this.#out.flush();
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
    }
  }

  async #root(index: number, path: Buffer): Promise<void> {
    const { links } = this.#options;
    const place: Place = { at: path, name: NAMELESS, shown: path, depth: 0, above: [] };
    await this.#guard(path, async () => {
      const stats = links === "never" ? fs.lstatSync(path) : fs.statSync(path);
      if (stats.isDirectory() && !this.#options.recursive) throw new FileTrouble("is-directory");
      if (!stats.isDirectory() && !stats.isFile() && !stats.isSymbolicLink())
        throw new FileTrouble("special");
      if (stats.isFile()) this.#open(place, links !== "never").close(); // one that cannot be read takes no place
      await this.#out.put({ type: "root", index });
      await this.#entry(place, links !== "never", stats);
    });
  }

  /** @throws Stopped, and what is no matter of the file system. Its troubles are told, and the walk goes on. */
  async #guard(shown: Buffer, work: () => Promise<void>): Promise<void> {
    if (this.#stopped) throw new Stopped();
    try {
      await work();
    } catch (error) {
      if (error instanceof Stopped || error instanceof SealttyError) throw error;
      await this.#tell(troubleOf(error), shown);
    }
  }

  async #tell(trouble: FileTrouble, shown: Buffer): Promise<void> {
    this.failed++;
    this.#events.trouble?.(trouble, shown);
    await this.#out.put({ type: "trouble", code: trouble.code, fatal: false, file: 0, path: shown });
  }

  async #entry(place: Place, follow: boolean, stats: Stats): Promise<void> {
    if (stats.isDirectory()) return this.#directory(place, follow, stats);
    if (stats.isSymbolicLink()) return this.#link(place, stats);
    if (stats.isFile()) return this.#file(place, follow);
    throw new FileTrouble("special");
  }

  async #directory(place: Place, follow: boolean, before: Stats): Promise<void> {
    if (place.depth >= MAX_FILES_DEPTH) throw new FileTrouble("too-deep");
    const self = `${before.dev}:${before.ino}`;
    if (place.above.includes(self)) throw new FileTrouble("loop");
    const directory = Directory.open(place.at, follow);
    try {
      const attributes = attributesOf(fs.fstatSync(directory.fd));
      this.#events.entry?.(place.shown, undefined);
      await this.#out.put({ type: "directory", name: place.name, attributes });
      const above = this.#options.links === "always" ? [...place.above, self] : place.above;
      await this.#guard(place.shown, async () => {
        for (const entry of directory.entries()) await this.#below(directory, entry, { ...place, above });
      });
      await this.#out.put({ type: "up" });
    } finally {
      directory.close();
    }
  }

  #below(directory: Directory, { name, kind }: Entry, parent: Place): Promise<void> {
    const shown = joined(parent.shown, name);
    return this.#guard(shown, async () => {
      const at = directory.at(name);
      const place: Place = { at, name, shown, depth: parent.depth + 1, above: parent.above };
      const follow = this.#options.links === "always";
      if (kind === "file") return this.#file(place, follow); // nothing more has to be asked
      await this.#entry(place, follow, follow ? fs.statSync(at) : fs.lstatSync(at));
    });
  }

  async #link({ at, name, shown }: Place, stats: Stats): Promise<void> {
    const target = fs.readlinkSync(at, { encoding: "buffer" });
    if (target.length === 0 || target.length > MAX_FILES_LINK) throw new FileTrouble("too-long");
    this.#events.entry?.(shown, undefined);
    await this.#out.put({ type: "link", name, target, attributes: attributesOf(stats) });
  }

  /** Never waits for a pipe's other end, and opens nothing but a regular file. */
  #open({ at }: Pick<Place, "at">, follow: boolean): { fd: number; stats: Stats; close: () => void } {
    const fd = fs.openSync(at, O_RDONLY | O_NONBLOCK | O_NOCTTY | (follow ? 0 : O_NOFOLLOW));
    const close = (): void => fs.closeSync(fd);
    try {
      const stats = fs.fstatSync(fd);
      if (!stats.isFile()) throw new FileTrouble("special"); // it was one, a moment ago
      return { fd, stats, close };
    } catch (error) {
      close();
      throw error;
    }
  }

  async #file(place: Place, follow: boolean): Promise<void> {
    const { fd, stats, close } = this.#open(place, follow);
    try {
      // Of some files the kernel knows no size before they are read: /proc, for one.
      const size = stats.size === 0 ? undefined : stats.size;
      const sparse = size !== undefined && stats.blocks * 512 < size;
      const asks = this.#options.resume && size !== undefined && size >= RESUME_FROM;
      const attributes = attributesOf(stats);
      this.#events.entry?.(place.shown, size);
      this.#files++;
      await this.#out.put({ type: "file", name: place.name, attributes, size, sparse, asks });
      try {
        await this.#sendContent(fd, place.shown, size, { sparse, asks });
      } catch (error) {
        if (error instanceof Stopped || error instanceof SealttyError) throw error;
        await this.#out.put({ type: "drop" }); // throws by itself where nothing can be sent any more
        throw error;
      }
    } finally {
      close();
    }
  }

  async #sendContent(
    fd: number,
    shown: Buffer,
    size: number | undefined,
    { sparse, asks }: { readonly sparse: boolean; readonly asks: boolean },
  ): Promise<void> {
    const fresh = createHash("sha256");
    const from = asks ? await this.#whereFrom(fd, size ?? 0, fresh) : { offset: 0, hash: fresh };
    if (from === undefined) return this.#events.progress?.(size ?? 0);
    const length = await this.#content(fd, { sparse, from: from.offset, size }, from.hash);
    if (length === undefined) return await this.#out.put({ type: "drop" });
    if (size !== undefined && length < size && fs.fstatSync(fd).size !== size)
      throw new FileTrouble("changed");
    await this.#end(shown, length, from.hash);
  }

  /** @returns undefined where the sink has it already, or does not want it. */
  async #whereFrom(
    fd: number,
    size: number,
    hash: Hash,
  ): Promise<{ readonly offset: number; readonly hash: Hash } | undefined> {
    let answer = await this.#ask();
    if (answer.type === "offer") {
      const { length } = answer;
      if (length > size) throw misbehaved("offered more than there is");
      await this.#hashFirst(fd, length, hash);
      await this.#out.put({ type: "claim", digest: hash.copy().digest() });
      answer = await this.#ask();
      if (answer.type === "offer") throw misbehaved("offered twice");
      if (answer.offset === length) {
        this.#events.progress?.(length);
        return { offset: length, hash };
      }
    }
    if (answer.offset === undefined) return undefined;
    if (answer.offset !== 0) throw misbehaved("wants to go on where nobody was");
    return { offset: 0, hash: createHash("sha256") };
  }

  async #ask(): Promise<FilesMessage & { type: "offer" | "from" }> {
    const answered = new Promise<FilesMessage & { type: "offer" | "from" }>((resolve, reject) => {
      this.#answer = resolve;
      this.#failAnswer = () => reject(new Stopped());
    });
    answered.catch(() => undefined); // stop() may come while this still flushes
    await this.#out.flush();
    if (this.#stopped) throw new Stopped();
    return await answered;
  }

  async #hashFirst(fd: number, length: number, hash: Hash): Promise<void> {
    const buffer = Buffer.allocUnsafe(1024 * 1024);
    for (let at = 0; at < length; ) {
      if (this.#stopped) throw new Stopped();
      const got = fs.readSync(fd, buffer, 0, Math.min(buffer.length, length - at), at);
      if (got === 0) break; // it became shorter: then the digest will not fit
      hash.update(buffer.subarray(0, got));
      at += got;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** @returns the content's length; undefined where the sink wants no more of it. */
  async #content(
    fd: number,
    { sparse, from, size }: { sparse: boolean; from: number; size: number | undefined },
    hash: Hash,
  ): Promise<number | undefined> {
    let at = from;
    for (;;) {
      if (this.#stopped) throw new Stopped();
      if (this.#refused === this.#files) return undefined;
      const wanted = Math.min(MAX_FILES_DATA, size === undefined ? MAX_FILES_DATA : size - at);
      if (wanted === 0) return at;
      let got: number;
      if (sparse) {
        got = fs.readSync(fd, this.#blocks, 0, wanted, at);
        if (got === 0) return at;
        hash.update(this.#blocks.subarray(0, got));
        await this.#sparsely(this.#blocks.subarray(0, got));
      } else {
        const room = await this.#out.room(wanted);
        got = fs.readSync(fd, room, 0, wanted, at);
        if (got === 0) return at;
        hash.update(room.subarray(0, got));
        this.#out.data(got);
      }
      at += got;
      this.#events.progress?.(got);
    }
  }

  async #sparsely(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const hole = holeAt(bytes, at);
      let end = at + Math.max(hole, BLOCK);
      if (hole > 0) await this.#out.put({ type: "hole", length: hole });
      else {
        while (end < bytes.length && holeAt(bytes, end) === 0) end += BLOCK;
        end = Math.min(end, bytes.length);
        const room = await this.#out.room(end - at);
        bytes.copy(room, 0, at, end);
        this.#out.data(end - at);
      }
      at = hole > 0 ? at + hole : end;
    }
    // A file of nothing but holes fills no buffer.
    if (bytes.length === MAX_FILES_DATA && isZero(bytes))
      await new Promise((resolve) => setImmediate(resolve));
  }

  async #end(shown: Buffer, length: number, hash: Hash): Promise<void> {
    const digest = hash.digest();
    await this.#out.put({ type: "end", digest });
    this.#events.file?.(shown, length, digest);
  }

  async #stream(index: number, root: StreamRoot): Promise<void> {
    const shown = Buffer.from("-");
    const now = { seconds: Math.floor(Date.now() / 1000), nanoseconds: 0 };
    this.#events.entry?.(shown, undefined);
    await this.#out.put({ type: "root", index });
    const attributes = { mode: 0o666, accessed: now, modified: now };
    this.#files++;
    await this.#out.put({
      type: "file",
      name: NAMELESS,
      attributes,
      size: undefined,
      sparse: false,
      asks: false,
    });
    const hash = createHash("sha256");
    let length = 0;
    for await (const chunk of readable(root)) {
      if (!(chunk instanceof Uint8Array))
        throw new SealttyError("api-misuse", `${root.called} gives something else than bytes (Uint8Array)`);
      if (this.#stopped) throw new Stopped();
      if (this.#refused === this.#files) {
        await this.#out.put({ type: "drop" });
        return;
      }
      for (let at = 0; at < chunk.length; at += MAX_FILES_DATA) {
        const piece = chunk.subarray(at, at + MAX_FILES_DATA);
        (await this.#out.room(piece.length)).set(piece);
        this.#out.data(piece.length);
      }
      await this.#out.flush(); // whoever types waits for nothing
      hash.update(chunk);
      length += chunk.length;
      this.#events.progress?.(chunk.length);
    }
    await this.#end(shown, length, hash);
  }
}

/** @throws SealttyError `device-unavailable` in place of whatever a stream fails with. */
async function* readable({ stream, called }: StreamRoot): AsyncGenerator {
  try {
    yield* stream;
  } catch (cause) {
    const words = `Cannot read ${called}: ${asError(cause).message}`;
    throw new SealttyError("device-unavailable", words, { cause });
  }
}

function isZero(bytes: Buffer): boolean {
  return bytes.compare(ZEROS, 0, bytes.length) === 0;
}

/** @returns bytes of the run of zero blocks that begins here; 0 where the next block has content. */
function holeAt(bytes: Buffer, from: number): number {
  let at = from;
  while (at < bytes.length && isZero(bytes.subarray(at, at + BLOCK))) at = Math.min(at + BLOCK, bytes.length);
  return at - from;
}

function joined(above: Buffer, name: Buffer): Buffer {
  return Buffer.concat([above, Buffer.from(above.at(-1) === 0x2f ? "" : "/"), name]);
}

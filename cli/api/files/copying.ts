// A copy as a whole: files of this machine, or a stream, and a guest's, or two guests'. What is wrong here is known before any of
// them is asked.

import fs from "node:fs";
import { Readable, type Writable } from "node:stream";
import { countFiles } from "../../../node/files/count.ts";
import type { SendBytes } from "../../../node/files/outbox.ts";
import { FilesSink, type SinkCounts } from "../../../node/files/sink.ts";
import { FilesSource, type SourceRoot } from "../../../node/files/source.ts";
import { FileTrouble, troubleOf } from "../../../node/files/trouble.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import type { FilesMessage, LinkRule, StartFlags } from "../../../protocol/files/messages.ts";
import { MAX_FILES_NAME, MAX_FILES_PATH, MAX_FILES_ROOTS } from "../../../protocol/limits.ts";
import { shownPath } from "../../files/shown-path.ts";
import { printable } from "../../printable.ts";
import { shown } from "../../../protocol/api/misuse.ts";
import type { Owner } from "../../../protocol/api/program-end.ts";
import type { CopyOptions, CopyResult } from "../types.ts";
import type { ChannelSource } from "../channel-source.ts";
import { CopyWatch } from "./copy-watch.ts";
import { download, type LocalSink, relay, upload } from "./copy.ts";
import { FilesChannel } from "./files-channel.ts";
import { WritableSink } from "./writable-sink.ts";

export type CopySource =
  | { readonly kind: "here" | "guest"; readonly paths: readonly string[] }
  /** One file without a name. `called`: for people, where it fails. */
  | { readonly kind: "stream"; readonly stream: AsyncIterable<Uint8Array>; readonly called: string };

export type CopyTarget =
  | { readonly kind: "here" | "guest"; readonly path: string }
  | { readonly kind: "stream"; readonly stream: Writable };

/** One end of a copy that is a guest's. */
interface CopyGuest {
  readonly owner: Owner;
  readonly channels: Pick<ChannelSource, "openChannel">;
}

/** Those of the copy's ends that are a guest's. */
export interface CopyGuests {
  readonly from?: CopyGuest | undefined;
  readonly to?: CopyGuest | undefined;
}

type Start = FilesMessage & { readonly type: "start" };

export class Copying {
  readonly #from: CopySource;
  readonly #to: CopyTarget;
  readonly #signal: AbortSignal | undefined;
  readonly #flags: Omit<StartFlags, "count">;
  readonly #rule: LinkRule;
  readonly #names: readonly Buffer[];
  readonly #watch: CopyWatch;
  readonly #strict: boolean;
  readonly #channels: FilesChannel[] = [];
  #sink: LocalSink | undefined;
  #source: FilesSource | undefined;
  #answer: SendBytes = () => Promise.resolve(); // the sink's, once there is a guest
  #hopeless = false;

  /** @throws SealttyError `api-misuse`, `bad-config`: nothing was looked at by then. */
  constructor(from: CopySource, to: CopyTarget, options: CopyOptions) {
    const { recursive = false, preserve = false, resume = false, intoDirectory = false } = options;
    requireSense(from, to, options);
    this.#from = from;
    this.#to = to;
    this.#signal = options.signal;
    this.#flags = { recursive, preserve, resume, intoDirectory };
    this.#rule = options.follow ?? "named";
    this.#names = from.kind === "stream" ? [EMPTY] : from.paths.map((path) => Buffer.from(rootName(path)));
    this.#watch = new CopyWatch(options);
    this.#strict = options.onTrouble === undefined;
  }

  /** Looks at this machine's side, and tells its troubles. @returns false where nothing can be copied: no guest need be asked. */
  check(): boolean {
    this.#hopeless = !this.#sourcesAreThere() || !this.#targetOpens();
    return !this.#hopeless;
  }

  /**
   * Once. @throws SealttyError `device-unavailable` or `program-failed` where something was not copied and nobody takes the
   * troubles; whatever ended a connection; the signal's reason.
   */
  async run({ from, to }: CopyGuests): Promise<CopyResult> {
    this.#signal?.throwIfAborted();
    const offs: (() => void)[] = [];
    const ended = new Promise<never>((_, reject) => {
      for (const guest of [from, to]) if (guest !== undefined) offs.push(guest.owner.onChanged(reject));
      const aborted = (): void => reject(this.#signal?.reason);
      this.#signal?.addEventListener("abort", aborted, { once: true });
      offs.push(() => this.#signal?.removeEventListener("abort", aborted));
    });
    ended.catch(() => undefined); // whichever came first is told
    let counts: SinkCounts | undefined;
    let good = false;
    try {
      const copied = this.#hopeless ? Promise.resolve(undefined) : this.#copy(from, to);
      copied.catch(() => undefined);
      counts = await Promise.race([copied, ended]);
      good = counts !== undefined;
    } catch (error) {
      this.#signal?.throwIfAborted(); // whatever fails because of it
      throw (from ?? to)?.owner.explain(error) ?? error;
    } finally {
      for (const off of offs) off();
      this.abort();
      if (!good) this.#giveUp();
    }
    return this.#result(counts);
  }

  /** Closes what is open here; what is unfinished does not get its name. Idempotent; also while run() goes on, at the process's end. */
  abort(): void {
    this.#sink?.abort();
  }

  #giveUp(): void {
    this.#source?.stop();
    for (const channel of this.#channels) channel.hangUp();
    // It may be waiting for its next bytes for ever.
    if (this.#from.kind === "stream" && this.#from.stream instanceof Readable) this.#from.stream.destroy();
  }

  #result(counts: SinkCounts | undefined): CopyResult {
    const { first } = this.#watch;
    const failed = Math.max(this.#watch.failed, counts?.failed ?? 0);
    if (this.#strict && first !== undefined) throw notCopied(first, failed);
    if (this.#strict && (counts === undefined || failed > 0))
      throw new SealttyError("program-failed", "Not all was copied, and the guest did not say why");
    const { files = 0, directories = 0, links = 0, bytes = 0 } = counts ?? {};
    const sha256 = files === 1 ? this.#watch.digest : undefined;
    return { files, directories, links, bytes, sha256, failed, gaveUp: counts === undefined };
  }

  #sourcesAreThere(): boolean {
    const { recursive } = this.#flags;
    const here = this.#here();
    const troubled = here.filter((path) => {
      try {
        const stats = this.#rule === "never" ? fs.lstatSync(path) : fs.statSync(path);
        if (stats.isDirectory() && !recursive) throw new FileTrouble("is-directory");
        return false;
      } catch (error) {
        const trouble = troubleOf(error);
        if (here.length === 1) this.#watch.trouble(trouble.code, path, "source", "here"); // of several the copy itself tells
        return true;
      }
    });
    return here.length !== 1 || troubled.length === 0;
  }

  #targetOpens(): boolean {
    const to = this.#to;
    if (to.kind === "guest") return true;
    if (to.kind === "stream") {
      const [named = ""] = this.#from.kind === "stream" ? [] : this.#from.paths;
      this.#sink = new WritableSink(to.stream, Buffer.from(named), this.#watch.events("target"));
      return true;
    }
    const target = Buffer.from(to.path);
    const sink = new FilesSink(
      { ...this.#flags, links: this.#rule, target, names: this.#names },
      (bytes) => this.#answer(bytes),
      this.#watch.events("target"),
    );
    try {
      sink.open();
    } catch (error) {
      if (!(error instanceof FileTrouble)) throw error;
      this.#watch.trouble(error.code, target, "target", "here");
      return false;
    }
    this.#sink = sink;
    return true;
  }

  async #copy(from: CopyGuest | undefined, to: CopyGuest | undefined): Promise<SinkCounts | undefined> {
    const watch = this.#watch;
    const flags = { ...this.#flags, count: watch.wantsTotal };
    const links = this.#rule;
    const paths = this.#from.kind === "guest" ? this.#from.paths.map((path) => Buffer.from(path)) : [];
    const read: Start = { type: "start", role: "source", flags, links, paths };
    const target = Buffer.from(this.#to.kind === "guest" ? this.#to.path : "");
    const names = [...this.#names];
    const write: Start = {
      type: "start",
      role: "sink",
      flags: { ...flags, count: false },
      links,
      target,
      names,
    };
    if (from !== undefined && to !== undefined) {
      const [source, sink] = [await this.#open(from), await this.#open(to)];
      return await relay({ link: source, start: read }, { link: sink, start: write }, watch);
    }
    if (from !== undefined && this.#sink !== undefined) {
      const link = await this.#open(from);
      this.#answer = link.send;
      return await download(link, this.#sink, read, watch);
    }
    if (to === undefined)
      throw new SealttyError("api-misuse", "A copy without a guest, or one that was not looked at");
    const link = await this.#open(to);
    const here = this.#here();
    const roots: SourceRoot[] = this.#from.kind === "stream" ? [this.#from] : here.map((path) => ({ path }));
    if (watch.wantsTotal && here.length > 0) watch.expect(countFiles(here, flags.recursive));
    this.#source = new FilesSource({ ...this.#flags, links }, link.send, watch.events("source"));
    return await upload(link, this.#source, roots, write, watch);
  }

  #here(): Buffer[] {
    return this.#from.kind === "here" ? this.#from.paths.map((path) => Buffer.from(path)) : [];
  }

  async #open(guest: CopyGuest): Promise<FilesChannel> {
    const link = new FilesChannel(await guest.channels.openChannel({ kind: "files" }));
    this.#channels.push(link);
    return link;
  }
}

const EMPTY = Buffer.alloc(0);

/**
 * What a source is called where it goes into a directory: the last component. Empty for what has no name of its own ("", ".",
 * "..", "~", "/", "DIR/."): then its content goes there. @throws SealttyError `bad-config`.
 */
export function rootName(path: string): string {
  const last = path.replace(/\/+$/, "").split("/").at(-1) ?? "";
  const nameless = last === "." || last === ".." || (last === "~" && !path.includes("/"));
  if (!nameless && Buffer.byteLength(last) > MAX_FILES_NAME)
    throw new SealttyError(
      "bad-config",
      `"${printable(path, 120)}" has a name of more than ${MAX_FILES_NAME} bytes`,
    );
  return nameless ? "" : last;
}

/** From JavaScript anything may come. @throws SealttyError `api-misuse`. */
function requireSense(from: CopySource, to: CopyTarget, { recursive, follow }: CopyOptions): void {
  const paths = [...(from.kind === "stream" ? [] : from.paths), ...(to.kind === "stream" ? [] : [to.path])];
  for (const path of paths) {
    if (typeof path === "string" && !path.includes("\0") && Buffer.byteLength(path) <= MAX_FILES_PATH)
      continue;
    throw misuse(`a path is text without NUL, of ${MAX_FILES_PATH} bytes at most, and not ${shown(path)}`);
  }
  if (from.kind === "stream") return;
  if (from.paths.length === 0) throw misuse("no source was named");
  if (from.paths.length > MAX_FILES_ROOTS)
    throw misuse(`at most ${MAX_FILES_ROOTS} sources: name the directory that they are in`);
  if (to.kind === "stream" && (from.paths.length > 1 || recursive === true || follow === "never"))
    throw misuse("a stream takes one file, and no directory or link");
}

function misuse(problem: string): SealttyError {
  return new SealttyError("api-misuse", `Copying: ${problem}`);
}

function notCopied({ path, words, where }: NonNullable<CopyWatch["first"]>, failed: number): SealttyError {
  const place = where === "here" ? "" : `${where}: `;
  const others = failed > 1 ? ` (and ${failed - 1} more)` : "";
  const code = where === "here" ? "device-unavailable" : "program-failed";
  return new SealttyError(code, `${place}${shownPath(path)}: ${words}${others}`);
}

// A copy between two ends: one of them a guest's program, the other this one, or both of them guests'.

import { FilesSource, type SourceRoot } from "../../../node/files/source.ts";
import type { SinkCounts } from "../../../node/files/sink.ts";
import type { CopyEnd } from "../../../node/files/trouble.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import { type FilesMessage, mayBeLink } from "../../../protocol/files/messages.ts";
import type { CopyWatch } from "./copy-watch.ts";
import type { FilesChannel } from "./files-channel.ts";

type Start = FilesMessage & { readonly type: "start" };
type Finished = FilesMessage & { readonly type: "finished" };

/** An end that writes here. */
export interface LocalSink {
  readonly counts: SinkCounts;
  readonly done: boolean;
  /** @throws FileTrouble */
  open(): void;
  take(message: FilesMessage): Promise<void>;
  abort(): void;
}

/** This machine's files to a guest. @returns undefined where the guest's end gave up, and said why. */
export async function upload(
  link: FilesChannel,
  source: FilesSource,
  roots: readonly SourceRoot[],
  start: Start,
  watch: CopyWatch,
): Promise<SinkCounts | undefined> {
  let finished: Finished | undefined;
  let gaveUp = false;
  const listening = (async () => {
    for await (const { messages } of link.pieces()) {
      for (const message of messages) {
        if (message.type === "finished") finished = message;
        else source.receive(message);
        if (message.type !== "trouble") continue;
        watch.trouble(message.code, message.path, "target", "in the guest");
        gaveUp ||= message.fatal;
      }
    }
  })().finally(() => source.stop());
  const sending = source.run(roots, start).then(() => link.end());
  // A source that is a stream may wait for ever for its next bytes: the guest's end is what counts.
  sending.catch(() => undefined);
  await Promise.race([listening, sending]);
  await listening;
  if (gaveUp) return undefined;
  if (finished === undefined) throw await link.failure("the guest");
  return finished;
}

/** A guest's files to this machine. */
export async function download(
  link: FilesChannel,
  sink: LocalSink,
  start: Start,
  watch: CopyWatch,
): Promise<SinkCounts | undefined> {
  let gaveUp = false;
  await link.put(start);
  receiving: for await (const { messages } of link.pieces()) {
    for (const message of messages) {
      if (message.type === "total") watch.expect(message);
      if (message.type === "trouble") {
        watch.trouble(message.code, message.path, "source", "in the guest");
        gaveUp ||= message.fatal;
      }
      if (gaveUp) break receiving;
      await sink.take(message);
      if (sink.done) break receiving;
    }
  }
  if (gaveUp) return undefined;
  if (!sink.done) throw await link.failure("the guest");
  link.end();
  return sink.counts;
}

/**
 * From one guest to another, through this program, which reads along. What it checks is the form, and that no link comes that
 * was not asked for; the end that writes checks names, order and digest as it does for anybody.
 */
export async function relay(
  from: { readonly link: FilesChannel; readonly start: Start },
  to: { readonly link: FilesChannel; readonly start: Start },
  watch: CopyWatch,
): Promise<SinkCounts | undefined> {
  const { links } = to.start;
  const { recursive } = to.start.flags;
  let finished: Finished | undefined;
  let gaveUp = false;
  let sent = false;
  const tell = (message: FilesMessage & { readonly type: "trouble" }, end: CopyEnd): void => {
    watch.trouble(message.code, message.path, end, `in the ${end}'s guest`);
    gaveUp ||= message.fatal;
  };
  await to.link.put(to.start);
  await from.link.put(from.start);
  const along = new ReadAlong(watch);
  const forth = (async () => {
    for await (const { bytes, messages } of from.link.pieces()) {
      for (const message of messages) {
        if (message.type === "trouble") tell(message, "source");
        // Before the target's guest has any of it: its end may be an older one, which would not ask.
        if (message.type === "link" && !mayBeLink(links, recursive, message.name.length === 0))
          throw misbehaved("reads sent a link, and none was asked for");
        along.take(message);
        sent ||= message.type === "done";
      }
      await to.link.send(bytes);
    }
    if (!sent && !gaveUp && finished === undefined) throw await from.link.failure("the source's guest");
    to.link.end();
  })();
  const back = (async () => {
    for await (const { messages } of to.link.pieces()) {
      for (const message of messages) {
        if (message.type === "finished") finished = message;
        else if (message.type === "trouble") tell(message, "target");
        else if (message.type === "from") along.answered(message.offset);
        else if (message.type !== "offer") throw misbehaved("writes sent what only the other one sends");
        if (message.type !== "finished") await from.link.put(message);
      }
    }
    if (finished === undefined && !gaveUp) throw await to.link.failure("the target's guest");
  })();
  forth.catch(() => undefined); // told by the race, or not needed any more
  back.catch(() => undefined);
  await Promise.race([forth, back]);
  await back;
  return gaveUp ? undefined : finished;
}

/** What passes by, for the user's eyes. */
class ReadAlong {
  readonly #watch: CopyWatch;
  readonly #names: Uint8Array[] = [];
  #file: Uint8Array = new Uint8Array(0);
  #size = 0;
  #bytes = 0;

  constructor(watch: CopyWatch) {
    this.#watch = watch;
  }

  take(message: FilesMessage): void {
    switch (message.type) {
      case "total":
        return this.#watch.expect(message);
      case "directory":
        if (this.#names.length < MOST_NAMES) this.#names.push(message.name);
        return this.#watch.entry(this.#path());
      case "up":
        this.#names.pop();
        return;
      case "file":
        this.#file = this.#path(message.name);
        this.#size = message.size ?? 0;
        this.#bytes = 0;
        return this.#watch.entry(this.#file);
      case "data":
        return this.#add(message.bytes.length);
      case "hole":
        return this.#add(message.length);
      case "end":
        return this.#watch.file(this.#file, this.#bytes, message.digest);
      default:
    }
  }

  /** Where the target wants to go on; undefined: it has the file. */
  answered(offset: number | undefined): void {
    this.#add(offset ?? this.#size);
  }

  #add(bytes: number): void {
    this.#bytes += bytes;
    this.#watch.add(bytes);
  }

  #path(name?: Uint8Array): Uint8Array {
    const names: readonly Uint8Array[] = name === undefined ? this.#names : [...this.#names, name];
    return Buffer.concat(names.flatMap((part, i) => (i === 0 ? [part] : [Buffer.from("/"), part])));
  }
}
/** Deeper ones the target refuses. */
const MOST_NAMES = 300;

function misbehaved(problem: string): SealttyError {
  return new SealttyError("peer-misbehaved", `The end of the copy that ${problem}`);
}

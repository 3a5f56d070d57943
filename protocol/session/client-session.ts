// A channel whose program outlives it, as the client sees it: output by the session's offsets, input that is kept until
// the session has taken it, so that the next attachment can go on at the exact byte both ways. docs/protocol.md §8.7

import { SealttyError } from "../errors.ts";
import { INPUT_STREAM_WINDOW } from "../limits.ts";
import { ByteRing } from "../streams/byte-ring.ts";
import type { SendBuffer } from "../streams/send-buffer.ts";
import type { ExitStatus, ReceiveStream } from "./channel-api.ts";
import type { ClientChannel } from "./client-channel.ts";
import type { Gate } from "./gate.ts";
import type {
  AttachMode,
  ScreenInfo,
  SessionChannel,
  SessionEnd,
  SessionName,
  Viewers,
} from "./session-api.ts";
import { type AttachedPlace, DETACH_FENCED, DETACH_LOST } from "./session-messages.ts";
import { type RecordPart, RecordReader } from "./session-records.ts";

const PIECE = 16 * 1024;

/** Input by the session's own count; what the session took is forgotten. */
class InputLog {
  readonly #ring = new ByteRing();
  readonly #base: number; // input offset of the ring's byte 0
  /** Input offset of the first byte that was not given to the stream yet. */
  pushed: number;

  constructor(base: number) {
    this.#base = base;
    this.pushed = base;
  }

  get start(): number {
    return this.#base + this.#ring.start;
  }
  get end(): number {
    return this.#base + this.#ring.end;
  }

  append(bytes: Uint8Array): void {
    this.#ring.append(bytes);
  }
  /** A copy of the next bytes to give to the stream; none from `before` on, where that is still ahead. */
  next(before: number): Uint8Array {
    const ahead = before - this.pushed;
    return this.#ring.view(this.pushed - this.#base, ahead > 0 ? Math.min(PIECE, ahead) : PIECE).slice();
  }
  forgetBelow(offset: number): void {
    this.#ring.dropBelow(offset - this.#base);
  }
  wipe(): void {
    this.#ring.wipe();
  }
}

/** Why an attachment ended while its session did not. */
class Detached extends SealttyError {
  readonly by: "request" | "newer-attachment";

  constructor(by: "request" | "newer-attachment") {
    const why = by === "request" ? "" : ": this client attached to it again elsewhere";
    super("transport-lost", `Detached from the session, which runs on in the guest${why}.`);
    this.by = by;
  }
}

/** What the next attachment of the same client takes over. */
export interface TakenOver {
  readonly client: Uint8Array;
  readonly offset: number;
  readonly input: InputLog;
}

export class ClientSession implements SessionChannel {
  readonly session: SessionName;
  readonly client: Uint8Array;
  readonly mode: AttachMode;
  readonly epoch: number;
  readonly lost: number;
  readonly replayEnd: number;
  readonly stdout: ReceiveStream;
  readonly stderr: ReceiveStream;
  readonly exit: Promise<ExitStatus>;
  readonly ended: Promise<SessionEnd>;
  readonly inputUnsure: boolean;
  onGap: (lost: number) => void = () => {};
  onScreen: (screen: ScreenInfo, length: number) => void = () => {};
  onViewers: (viewers: Viewers) => void = () => {};
  readonly #inner: ClientChannel;
  readonly #gate: Gate;
  readonly #send: SendBuffer;
  readonly #place: AttachedPlace;
  readonly #sendDetach: (input: number) => void;
  readonly #records = new RecordReader();
  #parts: readonly RecordPart[] = [];
  #nextPart = 0; // index in them: taking the first of thousands off, each time, would be quadratic
  readonly #input: InputLog;
  /** Input offset below which it was typed to an earlier attachment, or behind such bytes while they still waited here. */
  #again: number;
  readonly #takesScreens: boolean;
  #nextOffset: number;
  #screen: ScreenInfo | undefined; // whose text is being read
  #viewers: Viewers | undefined;
  #nextViewers: Viewers | undefined; // came while frozen
  #pushing: Promise<void> | undefined;
  #over: SealttyError | undefined; // moved on, detached, or the connection failed
  #moved = false;

  constructor(
    inner: ClientChannel,
    own: {
      session: SessionName;
      client: Uint8Array;
      mode: AttachMode;
      takesScreens?: boolean;
      place: AttachedPlace;
      send: SendBuffer;
      gate: Gate;
      sendDetach(input: number): void;
      after: TakenOver | undefined;
    },
  ) {
    const { place, after } = own;
    this.#inner = inner;
    this.#gate = own.gate;
    this.#send = own.send;
    this.#place = place;
    this.#sendDetach = (input) => own.sendDetach(input);
    this.session = own.session;
    this.client = own.client;
    this.mode = own.mode;
    this.#takesScreens = own.takesScreens ?? false;
    this.epoch = place.epoch;
    this.lost = place.lost;
    this.replayEnd = place.end;
    this.#nextOffset = place.from;
    this.stdout = { read: () => this.#read(), consumed: (length) => inner.stdout.consumed(length) };
    this.stderr = inner.stderr;
    this.exit = inner.exit;
    this.ended = inner.exit.then(
      (status): SessionEnd => ({ kind: "exit", status }),
      (error: unknown): SessionEnd => {
        this.#over ??= error instanceof SealttyError ? error : undefined;
        if (error instanceof Detached) return { kind: "detached", by: error.by };
        throw error;
      },
    );
    this.ended.catch(() => {}); // a caller that never asks is no unhandled rejection
    const fits = after !== undefined && after.input.start <= place.input && place.input <= after.input.end;
    this.inputUnsure = after !== undefined && !fits && after.input.end > after.input.start;
    this.#input = fits ? after.input : new InputLog(place.input);
    if (!fits) after?.input.wipe();
    this.#input.pushed = place.input;
    this.#input.forgetBelow(place.input);
    this.#again = this.#input.end;
    if (this.#input.end > place.input) void this.#push();
  }

  get nextOffset(): number {
    return this.#nextOffset;
  }
  get viewers(): Viewers | undefined {
    return this.#viewers;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.mode === "read-only")
      throw new SealttyError("api-misuse", "Attached read-only: nothing can be typed");
    if (this.#gate.shut) await this.#gate.opened();
    if (this.#over !== undefined) throw this.#over;
    // Whole, and before anything is awaited: bytes that were accepted go on with the next attachment, the rest never.
    const late = this.#input.pushed < this.#again;
    this.#input.append(bytes);
    if (late) this.#again = this.#input.end; // it goes out in one with what the host held back
    const until = this.#input.end;
    while (this.#input.pushed < until && this.#over === undefined) await this.#push();
  }

  end(): void {
    void (this.#pushing ?? Promise.resolve()).then(() => this.#inner.end());
  }
  resize(columns: number, rows: number): void {
    this.#inner.resize(columns, rows);
  }
  signal(name: string): void {
    this.#inner.signal(name);
  }
  hangUp(): void {
    this.#inner.hangUp();
  }

  async detach(): Promise<void> {
    await this.#pushing;
    if (this.#over === undefined) this.#sendDetach(this.#input.pushed - this.#place.input);
    await this.ended.catch(() => undefined);
  }

  /** The guest's DETACHED. */
  detached(why: number): void {
    const error =
      why === DETACH_LOST
        ? new SealttyError(
            "session-gone",
            "The session ended, and how its program ended is not known here: the last of its output was taken too slowly and is gone, or the session was killed, or its program ignores that it was hung up.",
          )
        : new Detached(why === DETACH_FENCED ? "newer-attachment" : "request");
    this.#over ??= error;
    this.#inner.left(error);
  }

  setViewers(viewers: Viewers): void {
    const waits = this.#nextViewers !== undefined;
    this.#nextViewers = viewers;
    if (!this.#gate.shut) this.#tellViewers();
    else if (!waits) void this.#gate.opened().then(() => this.#tellViewers());
  }

  #tellViewers(): void {
    const viewers = this.#nextViewers;
    this.#nextViewers = undefined;
    if (viewers === undefined || this.#inner.failedFrozen !== undefined) return;
    this.#viewers = viewers;
    try {
      this.onViewers(viewers);
    } catch (cause) {
      // The listener's mistake: this session's trouble, seen by whoever reads it, and nobody else's.
      this.#inner.fail(
        new SealttyError("api-misuse", "What listens for a session's viewers failed", { cause }),
      );
    }
  }

  /** Nothing is delivered or taken here from now on: the next attachment goes on. */
  takeOver(): TakenOver {
    this.#trim();
    this.#moved = true;
    this.#over ??= new Detached("newer-attachment");
    this.#parts = [];
    this.#nextPart = 0;
    return { client: this.client, offset: this.#nextOffset, input: this.#input };
  }

  async #read(): Promise<Uint8Array | undefined> {
    for (;;) {
      // Each time: what was taken apart before the freeze waits as well, and is not delivered after a failure in it.
      if (this.#gate.shut) await this.#gate.opened();
      const failure = this.#inner.failedFrozen;
      if (failure !== undefined) throw failure;
      if (this.#moved) throw this.#over as SealttyError;
      const part = this.#parts[this.#nextPart++];
      if (part === undefined) {
        this.#parts = []; // they hold the chunk that they were made of
        this.#nextPart = 0;
        const chunk = await this.#inner.stdout.read();
        if (chunk === undefined) {
          if (this.#records.whole) return undefined;
          throw new SealttyError("peer-misbehaved", "A session's output ends in the middle of a record");
        }
        const { parts, heads } = this.#records.push(chunk);
        this.#inner.stdout.consumed(heads);
        this.#parts = parts;
      } else if (part.kind === "gap") {
        this.#nextOffset += part.lost;
        this.onGap(part.lost);
      } else if (part.kind === "screen") {
        const { screen, length } = part;
        if (!this.#takesScreens || screen.end < this.#nextOffset)
          throw new SealttyError(
            "peer-misbehaved",
            "A screen came that was not asked for, or of another time",
          );
        this.#screen = screen;
        this.onScreen(screen, length);
      } else if (part.kind === "text") {
        // Only now: who leaves in the middle of a screen comes back for all of it.
        if (part.left === 0) this.#nextOffset = this.#screen?.end ?? this.#nextOffset;
        return part.bytes;
      } else {
        this.#nextOffset += part.bytes.length;
        return part.bytes;
      }
    }
  }

  /** One at a time: input keeps its order. */
  #push(): Promise<void> {
    this.#pushing ??= this.#pushAll().finally(() => {
      this.#pushing = undefined;
    });
    return this.#pushing;
  }

  async #pushAll(): Promise<void> {
    while (this.#input.pushed < this.#input.end && this.#over === undefined) {
      this.#trim();
      const piece = this.#input.next(this.#again);
      try {
        await this.#inner.write(piece, this.#input.pushed < this.#again);
      } catch (error) {
        if (error instanceof SealttyError) this.#over ??= error;
        return;
      }
      if (this.#moved) return; // the log is another's by now
      this.#input.pushed += piece.length;
    }
  }

  /** The guest's credit says what the session took: it is given back for nothing else. */
  #trim(): void {
    const taken = this.#place.input + Math.max(0, this.#send.limit - INPUT_STREAM_WINDOW);
    if (!this.#moved) this.#input.forgetBelow(Math.min(taken, this.#input.pushed));
  }
}

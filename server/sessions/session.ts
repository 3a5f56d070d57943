// A session: a program on a terminal, its latest output by absolute offset, and whoever is attached. It outlives them.

import type { Clock } from "../../protocol/clock.ts";
import { toHex } from "../../protocol/bytes.ts";
import { MAX_READ_ONLY, MAX_SESSION_CLIENTS, MAX_VIEWERS } from "../../protocol/limits.ts";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import type { GuestProcess } from "../../protocol/session/guest-process.ts";
import type {
  AttachmentEvents,
  AttachRequestOf,
  SessionAttachment,
} from "../../protocol/session/guest-sessions.ts";
import type {
  AttachMode,
  SessionName,
  SessionScreen,
  SessionSummary,
  Sizing,
  Viewers,
} from "../../protocol/session/session-api.ts";
import type { AttachedPlace } from "../../protocol/session/session-messages.ts";
import { ByteRing } from "../../protocol/streams/byte-ring.ts";
import { type AttachedSession, Attachment } from "./attachment.ts";
import { ScreenKeeper, type StartScreenThread } from "./screen-keeper.ts";

/** The program waits once everybody who may type is this many bytes behind. */
const MAX_LAG = 64 * 1024;
/** Most bytes that one read of an attachment gives. */
const MAX_PIECE = 16 * 1024;
/** How often a session that holds its program back asks whether those it waits for still live. */
const LOOK_EVERY = 5000;

/** How long after the end of its output a program's exit status is waited for: one that was hung up may ignore that. */
const EXIT_WITHIN = 10_000;

/** More than any client keeps of input that was not taken. */
const BEYOND_ANY_LOG = 2 ** 32;
/** Counts are whole numbers on both sides: from here on 2^52 bytes can still be typed. */
const HIGHEST_FIRST_INPUT = 2 ** 52;

export interface SessionOptions {
  readonly id: Uint8Array; // 16 bytes
  readonly title: string;
  readonly process: GuestProcess;
  readonly clock: Clock;
  readonly ringBytes: number;
  readonly sizing: Sizing;
  readonly columns: number;
  readonly rows: number;
  /** Ms without any attachment after which the program is hung up. */
  readonly idleMs: number;
  /** The same while nobody is known to have the session's name: then nobody may ever come. */
  readonly unconfirmedIdleMs: number;
  /** Absent: no screen is kept, and what leaves the ring is gone. */
  readonly startScreenThread?: StartScreenThread | undefined;
  log(event: string): void;
  onLeft?(attachment: Attachment): void;
  onEnded(): void;
}

/** Input on its way into the program. */
interface Typing {
  readonly attachment: Attachment;
  readonly bytes: Uint8Array;
  /** Whether it was counted. */
  settle(counted: boolean): void;
}

export class Session implements AttachedSession {
  readonly id: Uint8Array;
  readonly clock: Clock;
  readonly process: GuestProcess;
  /** Undefined once it was hung up, its output ended, and it goes on for so long that nobody is kept waiting. */
  readonly exit: Promise<ExitStatus | undefined>;
  readonly #options: SessionOptions;
  readonly #ring = new ByteRing();
  readonly #screen: ScreenKeeper | undefined;
  readonly #attachments = new Set<Attachment>();
  /** Bytes of input taken, by client; the one heard least recently makes room. */
  readonly #inputs = new Map<string, number>();
  /** Where the count of a client begins that is not known: once any were forgotten, above all that one of them kept. */
  #firstInput = 0;
  readonly #started: number;
  #touched: number; // when something was last typed or printed
  #epoch = 0;
  #columns: number;
  #rows: number;
  #active: Attachment | undefined; // typed or resized last
  #confirmed = false; // somebody has its name
  #endedAt: number | undefined; // when the last of its output was read
  #hungUp = false;
  #stopped = false;
  #giveUp!: () => void;
  #cancelGivingUp: (() => void) | undefined;
  #typing: Typing[] = []; // the first of them is being written
  #waiting: (() => void)[] = [];
  #cancelIdle: (() => void) | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.id = options.id;
    this.clock = options.clock;
    this.process = options.process;
    const givenUp = new Promise<undefined>((resolve) => {
      this.#giveUp = () => resolve(undefined);
    });
    this.exit = Promise.race([options.process.exit, givenUp]);
    this.#columns = options.columns;
    this.#rows = options.rows;
    this.#started = options.clock.now();
    this.#touched = this.#started;
    const { clock, columns, rows, startScreenThread: startThread } = options;
    if (startThread !== undefined) {
      this.#screen = new ScreenKeeper({
        ring: this.#ring,
        clock,
        columns,
        rows,
        startThread,
        log: (event) => options.log(event),
        onChange: () => this.changed(),
      });
    }
    void this.#takeOutput()
      .catch(() => {
        options.log("a session's output cannot be taken: it is hung up");
        this.hangUp();
      })
      .then(() => this.#outputEnded());
  }

  /** All of its output was read. */
  get ended(): boolean {
    return this.#endedAt !== undefined;
  }
  get start(): number {
    return this.#ring.start;
  }
  get end(): number {
    return this.#ring.end;
  }
  /**
   * Somebody who lives is attached; once the session has ended: and has not taken all of its output yet, or may just be about to
   * be told how its program ended.
   */
  get watched(): boolean {
    const ending = this.#endedAt === undefined || this.clock.now() - this.#endedAt < EXIT_WITHIN;
    return [...this.#attachments].some((each) => each.live && (ending || each.offset < this.#ring.end));
  }
  /**
   * Whether there is a place for one more; who was silent for so long that it holds nothing up leaves its own to it.
   * @param client - 16 bytes: another attachment of its own leaves its place anyway. @param mode - how it would attach.
   */
  makePlace(client: Uint8Array, mode: AttachMode): boolean {
    const own = toHex(client);
    const others = [...this.#attachments].filter((each) => each.client !== own);
    const alike = others.filter((each) => each.mode === "read-only");
    const tooMany = mode === "read-only" && alike.length >= MAX_READ_ONLY;
    if (!tooMany && others.length < MAX_VIEWERS) return true;
    const silent = (tooMany ? alike : others).find((each) => !each.live);
    silent?.fence();
    return silent !== undefined;
  }

  get summary(): SessionSummary {
    const now = this.clock.now();
    const seconds = (since: number): number => Math.max(0, Math.floor((now - since) / 1000));
    return {
      id: this.id,
      running: !this.ended,
      ageSeconds: seconds(this.#started),
      idleSeconds: seconds(this.#touched),
      columns: this.#columns,
      rows: this.#rows,
      viewers: this.#attachments.size,
      title: this.#options.title,
    };
  }

  /**
   * Another attachment of the same client is fenced off first.
   * @param name - what the client is told to come back with. @param offset - at most `end`.
   */
  attach(
    name: SessionName,
    user: string,
    request: AttachRequestOf,
    events: AttachmentEvents,
  ): SessionAttachment {
    const client = toHex(request.client);
    for (const older of [...this.#attachments]) if (older.client === client) older.fence();
    this.#stopIdling();
    // Who takes screens is told of a hole where it is, in the output.
    const takesScreens = request.screenLines !== undefined;
    const from = takesScreens ? request.offset : Math.max(request.offset, this.#ring.start);
    const place: AttachedPlace = {
      session: name,
      epoch: ++this.#epoch,
      input: request.mode === "read-only" ? this.#countOf(client) : this.#inputOf(client),
      from,
      lost: from - request.offset,
      end: this.#ring.end,
    };
    const attachment = new Attachment(this, client, user, request, place, events);
    this.#attachments.add(attachment);
    if (attachment.mode === "read-write") this.#active = attachment;
    this.#viewersChanged();
    return attachment;
  }

  hangUp(): void {
    this.#hungUp = true;
    this.process.hangUp();
    this.#waitForExit();
    this.changed();
  }

  /** Once it is in no list any more: nobody is left attached to it, and what was shown does not stay. */
  forget(): void {
    this.#cancelGivingUp?.();
    for (const attachment of [...this.#attachments]) attachment.forget();
    this.#ring.wipe();
    this.#screen?.end();
  }

  /** The guest's sealttyd ends. */
  stop(): void {
    this.#stopped = true;
    this.hangUp();
    this.#cancelGivingUp?.();
    this.#screen?.end();
  }

  // For its attachments:

  confirm(): void {
    this.#confirmed = true;
  }

  viewersFor(own: Attachment): Viewers {
    return {
      columns: this.#columns,
      rows: this.#rows,
      viewers: [...this.#attachments].map((each) => ({
        epoch: each.place.epoch,
        mode: each.mode,
        own: each === own,
        user: each.user,
      })),
    };
  }

  /** Up to `MAX_PIECE` bytes: a copy, because the ring goes on. */
  piece(offset: number): Uint8Array {
    return this.#ring.view(offset, MAX_PIECE).slice();
  }

  /** @returns undefined where none can be had. */
  async screen(lines: number): Promise<SessionScreen | undefined> {
    return this.#screen?.screen(lines);
  }

  left(attachment: Attachment): void {
    if (!this.#attachments.delete(attachment)) return;
    this.#options.onLeft?.(attachment);
    if (this.#active === attachment) this.#active = undefined;
    this.#stopTyping(attachment);
    if (this.#attachments.size === 0 && !this.ended) this.#idle();
    this.#viewersChanged();
  }

  resized(attachment: Attachment): void {
    this.#active = attachment;
    this.#viewersChanged();
  }

  /** One piece at a time, whoever it is from. What was counted is the program's, and is never asked for again. */
  type(attachment: Attachment, bytes: Uint8Array): Promise<boolean> {
    return new Promise((settle) => {
      this.#typing.push({ attachment, bytes, settle });
      if (this.#typing.length === 1) void this.#typeAll();
    });
  }

  async #typeAll(): Promise<void> {
    for (let next = this.#typing[0]; next !== undefined; next = this.#typing[0]) {
      const { attachment, bytes } = next;
      const counts = !attachment.over && !this.ended; // else its client sends it again, elsewhere
      if (counts) {
        this.#count(attachment, bytes.length);
        await this.process.write(bytes).catch(() => this.#options.log("a session's program takes no input"));
      }
      this.#typing.shift();
      next.settle(counts);
    }
  }

  #count(attachment: Attachment, length: number): void {
    this.#inputs.set(attachment.client, this.#inputOf(attachment.client) + length);
    this.#touched = this.clock.now();
    if (this.#active === attachment) return;
    this.#active = attachment;
    if (this.#options.sizing === "latest") this.#viewersChanged();
  }

  /** A program that does not read must not hold on to everyone who left meanwhile. */
  #stopTyping(attachment: Attachment): void {
    const [first, ...rest] = this.#typing;
    if (first === undefined) return;
    if (first.attachment === attachment) first.settle(true); // the program has it
    for (const each of rest) if (each.attachment === attachment) each.settle(false);
    this.#typing = [first, ...rest.filter((each) => each.attachment !== attachment)];
  }

  changed(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async #takeOutput(): Promise<void> {
    const { stdout } = this.process;
    for (;;) {
      await this.#untilWanted();
      const chunk = await stdout.read();
      if (chunk === undefined) break;
      this.#touched = this.clock.now();
      const { ringBytes } = this.#options;
      for (let at = 0; at < chunk.length; at += ringBytes) {
        const part = chunk.subarray(at, at + ringBytes);
        const start = this.#ring.end + part.length - ringBytes;
        this.#screen?.keep(start);
        this.#ring.dropBelow(start); // before: the ring never grows beyond
        this.#ring.append(part);
      }
      this.changed();
    }
  }

  #outputEnded(): void {
    this.#endedAt = this.clock.now();
    this.#stopIdling();
    this.#waitForExit();
    this.changed();
    this.#options.onEnded();
  }

  /** Once hung up it has no terminal and says nothing more: who has taken its output is not kept waiting for its end. */
  #waitForExit(): void {
    if (!this.#hungUp || !this.ended || this.#stopped || this.#cancelGivingUp !== undefined) return;
    this.#cancelGivingUp = this.clock.after(EXIT_WITHIN, this.#giveUp);
    void this.process.exit.then(this.#cancelGivingUp);
  }

  /** The program is held back for the fastest of those who may type and live, and for nobody else. */
  async #untilWanted(): Promise<void> {
    let cancel = (): void => {};
    while (this.#heldBack()) {
      cancel();
      cancel = this.clock.after(LOOK_EVERY, () => this.changed());
      await this.change();
    }
    cancel();
  }

  #heldBack(): boolean {
    if (this.#hungUp) return false; // its end waits for nobody
    if (this.#screen?.full === true) return true;
    let someone = false;
    for (const attachment of this.#attachments) {
      if (attachment.mode !== "read-write" || !attachment.live) continue;
      if (this.#ring.end - attachment.offset < MAX_LAG) return false;
      someone = true;
    }
    return someone;
  }

  #countOf(client: string): number {
    return this.#inputs.get(client) ?? this.#firstInput;
  }

  /** Of a client that may type: who only looks on takes no place, so that no crowd of them has a typist forgotten. */
  #inputOf(client: string): number {
    const taken = this.#countOf(client);
    this.#inputs.delete(client); // to the end: the least recently heard makes room
    this.#inputs.set(client, taken);
    if (this.#inputs.size > MAX_SESSION_CLIENTS) {
      const attached = new Set([...this.#attachments].map((each) => each.client));
      for (const [oldest, count] of this.#inputs) {
        if (attached.has(oldest) || oldest === client) continue;
        this.#inputs.delete(oldest);
        // It could come back with all that it ever typed, which a count from 0 would have it type again.
        const beyond = Math.min(HIGHEST_FIRST_INPUT, count + BEYOND_ANY_LOG);
        this.#firstInput = Math.max(this.#firstInput, beyond);
        break;
      }
    }
    return taken;
  }

  #viewersChanged(): void {
    this.#fit();
    this.changed(); // whom the program waits for may be another now
    for (const attachment of this.#attachments) {
      try {
        attachment.events.viewersChanged();
      } catch {
        this.#options.log("an attachment cannot be told of the others"); // its own connection's trouble alone
      }
    }
  }

  #fit(): void {
    const typing = [...this.#attachments].filter(({ mode }) => mode === "read-write");
    if (typing.length === 0) return; // nobody's size: it stays
    const sized = this.#options.sizing === "latest" && this.#active !== undefined ? [this.#active] : typing;
    const columns = Math.min(...sized.map((each) => each.columns));
    const rows = Math.min(...sized.map((each) => each.rows));
    if (columns === this.#columns && rows === this.#rows) return;
    this.#columns = columns;
    this.#rows = rows;
    if (this.ended) return;
    this.#screen?.resized(columns, rows);
    try {
      this.process.resize(columns, rows);
    } catch {
      this.#options.log("a session's terminal cannot be resized"); // who comes and goes does so all the same
    }
  }

  #idle(): void {
    this.#stopIdling();
    const { idleMs, unconfirmedIdleMs } = this.#options;
    this.#cancelIdle = this.clock.after(this.#confirmed ? idleMs : unconfirmedIdleMs, () => {
      this.#options.log("a session that nobody came back to is hung up");
      this.hangUp();
    });
  }

  #stopIdling(): void {
    this.#cancelIdle?.();
    this.#cancelIdle = undefined;
  }
}

// A session's screen, kept by a thread of its own: fed with output before it leaves the ring, asked when somebody needs what
// left it. The thread may hang or crash; then it is ended, and what it knew is lost. The session goes on.

import { errorCode } from "../../node/socket-pipe.ts";
import type { Clock } from "../../protocol/clock.ts";
import { MAX_SCREEN_BYTES, MAX_SCREEN_LINES } from "../../protocol/limits.ts";
import type { SessionScreen } from "../../protocol/session/session-api.ts";
import type { ByteRing } from "../../protocol/streams/byte-ring.ts";
import type { ScreenAnswer, ScreenOrder, ScreenStart } from "../screen/messages.ts";
import { MAX_VISIBLE_CELLS, type Snapshot } from "../screen/screen-state.ts";

/** Output goes to the thread in pieces of this many bytes. */
const PIECE = 64 * 1024;
/** The thread lacks at most so much of the output when it is asked. */
const MAX_BEHIND = 4 * 1024 * 1024;
/** The program waits while the thread has not parsed this many bytes. */
const MAX_UNPARSED = 4 * 1024 * 1024;
/** A thread that says nothing for so long (ms) has hung: a piece takes it some milliseconds. */
const HUNG_AFTER = 10_000;
/** The same for one that was just started: a busy or emulated machine takes long to load a program. */
const STARTS_WITHIN = 60_000;
/** A session whose output ends a thread this often gets no other. */
const MAX_THREADS_LOST = 3;
/** Sizes that wait for the output before them. */
const MAX_SIZES = 64;

export interface ScreenThread {
  post(order: ScreenOrder, transfer: ArrayBuffer[]): void;
  /** Of its memory nothing is left. Idempotent. */
  end(): void;
}

export interface ScreenThreadEvents {
  answered(answer: ScreenAnswer): void;
  /** It ended by itself. @param why - for the log: no text of the session's. */
  gone(why: string): void;
}

/** @returns undefined where there may be no more of them. @throws where the machine has none: no process, or no memory, is left. */
export type StartScreenThread = (start: ScreenStart, events: ScreenThreadEvents) => ScreenThread | undefined;

interface Unanswered {
  /** Bytes of output in it. */
  readonly length: number;
  readonly settle?: (snapshot: Snapshot | undefined) => void;
}

export interface ScreenKeeperOptions {
  readonly ring: ByteRing;
  readonly clock: Clock;
  readonly columns: number;
  readonly rows: number;
  readonly startThread: StartScreenThread;
  log(event: string): void;
  /** The program waits no longer, perhaps. */
  onChange(): void;
}

export class ScreenKeeper {
  readonly #options: ScreenKeeperOptions;
  #thread: ScreenThread | undefined;
  #heard = false; // the thread has said something
  #from = 0; // offset at which the thread's terminal began
  #fed = 0; // offset of the next byte that it gets
  #unparsed = 0;
  #unanswered: Unanswered[] = [];
  #cancelWatch: (() => void) | undefined;
  #threadsLost = 0;
  #ended = false;
  /** Sizes by the offset from which on they hold, the first of them already. */
  #sizes: { readonly offset: number; readonly columns: number; readonly rows: number }[];
  #pending: { readonly lines: number; readonly screen: Promise<SessionScreen | undefined> } | undefined;

  constructor(options: ScreenKeeperOptions) {
    this.#options = options;
    this.#sizes = [{ offset: 0, columns: options.columns, rows: options.rows }];
  }

  /** The program has printed faster than its screen can be kept. */
  get full(): boolean {
    return this.#unparsed >= MAX_UNPARSED;
  }

  resized(columns: number, rows: number): void {
    this.#sizes.push({ offset: this.#options.ring.end, columns, rows });
    if (this.#sizes.length > MAX_SIZES) this.#sizes.splice(1, 1); // it held for a moment only
  }

  /** Call before output below `offset` leaves the ring. */
  keep(offset: number): void {
    const { ring } = this.#options;
    const until = Math.max(offset, ring.end - MAX_BEHIND); // of a large ring: so that it can be asked at any time
    if (until > (this.#thread === undefined ? ring.start : this.#fed)) this.#feed(until);
  }

  /**
   * The screen as all output so far left it.
   * @param lines - above the screen, at most MAX_SCREEN_LINES. @returns undefined where it is not known.
   */
  screen(lines: number): Promise<SessionScreen | undefined> {
    if (this.#pending?.lines === lines) return this.#pending.screen;
    const screen = this.#ask(Math.min(lines, MAX_SCREEN_LINES)).finally(() => {
      if (this.#pending?.screen === screen) this.#pending = undefined;
    });
    this.#pending = { lines, screen };
    return screen;
  }

  /** What was shown does not stay. */
  end(): void {
    this.#ended = true;
    this.#endThread();
  }

  async #ask(lines: number): Promise<SessionScreen | undefined> {
    const { end } = this.#options.ring;
    this.#feed(end);
    this.#applySizes(end);
    const thread = this.#thread;
    const begin = this.#from;
    // One that began behind the ring's oldest byte, because another was lost, knows less than the ring.
    if (thread === undefined || (begin > 0 && begin >= this.#options.ring.start)) return undefined;
    const snapshot = await new Promise<Snapshot | undefined>((settle) => {
      this.#post(thread, { type: "snapshot", lines }, [], { length: 0, settle });
    });
    // The thread parses what is hostile: what it says is held to the limits that the client will hold it to.
    if (snapshot === undefined || snapshot.text.length > MAX_SCREEN_BYTES) return undefined;
    return { begin, end, ...snapshot };
  }

  #feed(until: number): void {
    const { ring } = this.#options;
    if (this.#thread === undefined) this.#start();
    while (this.#fed < until) {
      this.#applySizes(this.#fed);
      const thread = this.#thread;
      if (thread === undefined) return;
      const next = this.#sizes[1]?.offset ?? Number.POSITIVE_INFINITY;
      const length = Math.min(PIECE, ring.end - this.#fed, next - this.#fed);
      const output = ring.view(this.#fed, length).slice();
      this.#fed += output.length;
      this.#unparsed += output.length;
      this.#post(thread, { type: "feed", output }, [output.buffer], { length: output.length });
    }
  }

  /** Those that hold from `offset` on, or before it. */
  #applySizes(offset: number): void {
    while ((this.#sizes[1]?.offset ?? Number.POSITIVE_INFINITY) <= offset) {
      this.#sizes.shift();
      const size = this.#sizes[0];
      if (this.#thread === undefined || size === undefined) continue;
      const { columns, rows } = size;
      if (tooLarge(size)) this.#endThread();
      else this.#post(this.#thread, { type: "size", columns, rows }, [], { length: 0 });
    }
  }

  #start(): void {
    if (this.#ended || this.#threadsLost >= MAX_THREADS_LOST) return;
    const { ring, startThread } = this.#options;
    const far = ring.end - ring.start > MAX_BEHIND + 2 * PIECE;
    const huge = this.#sizes.findLastIndex(tooLarge);
    const from = Math.max(
      far ? ring.end - MAX_BEHIND : ring.start,
      this.#fed, // what the one before it was given may be what ended it
      huge < 0 ? 0 : (this.#sizes[huge + 1]?.offset ?? Number.POSITIVE_INFINITY),
    );
    if (from > ring.end) return; // it still is too large
    this.#applySizes(from);
    const size = this.#sizes[0];
    if (size === undefined) return;
    let thread: ScreenThread | undefined;
    const events: ScreenThreadEvents = {
      answered: (answer) => {
        if (thread !== undefined && thread === this.#thread) this.#answered(answer);
      },
      gone: (why) => {
        if (thread !== undefined && thread === this.#thread) this.#lose(why);
      },
    };
    try {
      thread = startThread({ columns: size.columns, rows: size.rows }, events);
    } catch (error) {
      return this.#lose(`cannot be started (${errorCode(error) ?? "unknown error"})`);
    }
    this.#thread = thread;
    this.#heard = false;
    this.#from = this.#fed = from;
  }

  #post(thread: ScreenThread, order: ScreenOrder, transfer: ArrayBuffer[], unanswered: Unanswered): void {
    this.#unanswered.push(unanswered);
    if (this.#unanswered.length === 1) this.#watch();
    thread.post(order, transfer);
  }

  #answered(answer: ScreenAnswer): void {
    this.#heard = true;
    if (answer.type === "alive") return this.#watch();
    const first = this.#unanswered.shift();
    if (first === undefined) return this.#lose("answers what was not asked");
    this.#unparsed -= first.length;
    first.settle?.(answer.type === "snapshot" ? answer.snapshot : undefined);
    this.#watch();
    this.#options.onChange();
  }

  /** Each answer begins the wait for the next one. */
  #watch(): void {
    this.#cancelWatch?.();
    this.#cancelWatch = undefined;
    if (this.#unanswered.length === 0) return;
    const wait = this.#heard ? HUNG_AFTER : STARTS_WITHIN;
    this.#cancelWatch = this.#options.clock.after(wait, () => this.#lose("hangs"));
  }

  #lose(why: string): void {
    this.#threadsLost++;
    this.#options.log(`the keeper of a session's screen is ended: it ${why}`);
    this.#endThread();
  }

  #endThread(): void {
    this.#thread?.end();
    this.#thread = undefined;
    this.#cancelWatch?.();
    this.#cancelWatch = undefined;
    this.#unparsed = 0;
    for (const { settle } of this.#unanswered.splice(0)) settle?.(undefined);
    this.#options.onChange();
  }
}

function tooLarge({ columns, rows }: ScreenStart): boolean {
  return columns * rows > MAX_VISIBLE_CELLS;
}

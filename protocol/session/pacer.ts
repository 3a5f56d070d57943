// The client's half of pacing: no more bytes at once than the pipe holds, and the next ones when those have arrived.
// docs/protocol.md §3.2. Found on QEMU 7.2: a 16550 behind `websocket=on` keeps 16 bytes of a write and drops the rest,
// and waiting a fixed time between writes still loses some, since a guest may not run for many milliseconds. With `mux=on` as
// well it loses none by count: what does not fit is overwritten, and the last 32 bytes arrive again in its place.

import type { Clock } from "../clock.ts";
import { SealttyError } from "../errors.ts";
import { paceBody, readReceipt, RECEIPT_MODULUS } from "../frames/frame-body.ts";
import { encodeFrame, type FrameEncoding } from "../frames/frame-encoder.ts";
import { continueSum, EMPTY_SUM } from "../frames/running-sum.ts";
import type { Pipe } from "../pipe.ts";

/** What every pipe takes at once: the FIFO of a 16550. */
const SMALL_BURST = 16;
/** Between small bursts whose arrival nobody tells, ms. */
const SPACING = 4;
/** Frames up to here go in small bursts as long as nothing is known of the pipe. */
const CAREFUL_LENGTH = 64;
const MIN_WINDOW = 4;
/** Where watching begins, and what a window is doubled to before the pipe counts as free. */
const WATCH_WINDOW = 4096;
/** A frame is sent so often, as long as some of it is known to be missing; then the layer above notices its loss. */
const ATTEMPTS = 4;
const SYNCHRONISE_ATTEMPTS = 3;
/** No control characters: some hosts eat them. */
const FIRST_MARK = 0x21;
const MARKS = 94;
/** In place of a mark: no more receipts. */
const ENOUGH = 0;
/** PACE is said again after this long; the guest listens to one for 5 s. */
const RENEW = 2000;
/** Bytes without a loss before the window doubles: up to one that was good before, and beyond it. */
const CLEAN_BELOW = 256;
const CLEAN_BEYOND = 2048;
const MAX_CLEAN_BEYOND = 2 ** 16;
/** How long no further byte arrives before the rest counts as lost, ms; more where receipts take long. */
const MIN_PATIENCE = 60;
const MAX_PATIENCE = 1000;
/** So few bytes missing of a burst, twice in one frame, were eaten for what they are: a telnet's 0xff and two, a mux's Ctrl-A and one. */
const MAX_EATEN = 3;
/** The line end of a PACE may be counted behind the receipt for it. */
const TRAILING = 1;
/** Body of a frame while small bursts are needed: a keystroke waits behind at most one. */
const PACED_BODY = 256;
/** Of packets sent, so many in a row with a quarter of them lost: the pipe is watched. */
const LOSS_SAMPLE = 16;

interface PacketCounts {
  readonly packetsSent: number;
  readonly packetsLost: number;
}

/** A burst that did not arrive whole, bytes. */
interface Short {
  readonly burst: number;
  readonly arrived: number;
  /** As many bytes arrived as were sent, but not the same. */
  readonly changed: boolean;
}

function wasEaten({ burst, arrived, changed }: Short): boolean {
  return !changed && arrived > 0 && burst - arrived <= MAX_EATEN;
}

export class Pacer {
  readonly #clock: Clock;
  readonly #id: Uint8Array;
  readonly #checksum: (bytes: Uint8Array) => number;
  readonly #encoding: () => FrameEncoding;
  #careful = true; // nothing is known of the pipe yet
  #window: number | undefined; // bytes sent and not told to have arrived; undefined: free, nobody counts
  #good = 0; // the largest window that lost nothing
  #clean = 0; // bytes since the last loss or change of the window
  #beyond = CLEAN_BEYOND;
  #mark = FIRST_MARK;
  #markSeen = -1;
  #askedAt = Number.NEGATIVE_INFINITY;
  #asked = false; // the guest may still be telling
  /** What carries this pipe passes on whole frames only, as a relay does: parts of one tell nothing. */
  #wholeOnly = false;
  #synchronised = false;
  #narrow = false; // writes arrived in part, or changed: it is no mere loss
  #silent = 0; // frames in a row for which nobody told
  #base = 0; // the guest's count when nothing was under way
  #count = 0; // the newest told
  #sum = EMPTY_SUM; // told with it
  #roundTrip = 0; // of a burst until its receipt, ms, smoothed
  #rate = 0;
  #told: () => void = () => {};
  #sampleFrom: PacketCounts = { packetsSent: 0, packetsLost: 0 };

  /** @param id - the connection's. @param encoding - of the frames that go out now. */
  constructor(
    clock: Clock,
    id: Uint8Array,
    checksum: (bytes: Uint8Array) => number,
    encoding: () => FrameEncoding,
  ) {
    this.#clock = clock;
    this.#id = id;
    this.#checksum = checksum;
    this.#encoding = encoding;
  }

  /** The pipe as the frames above should use it: one `send` at a time, one frame in each. */
  over(pipe: Pipe): Pipe {
    this.#synchronised = false;
    this.#asked = false;
    this.#wholeOnly = false;
    // What another pipe taught, or a host that was hostile on it, must not outlive it.
    this.#narrow = false;
    this.#silent = 0;
    this.#good = 0;
    this.#beyond = CLEAN_BEYOND;
    this.#roundTrip = 0;
    if (this.#window !== undefined) this.#window = WATCH_WINDOW;
    return {
      incoming: pipe.incoming,
      send: (chunk) => {
        if (this.#window !== undefined || this.#careful) return this.#send(pipe, chunk);
        return this.#asked ? this.#sendLast(pipe, chunk) : pipe.send(chunk);
      },
      close: () => pipe.close(),
    };
  }

  /** Bytes that go out at once; 0: no bound. */
  get burst(): number {
    return this.#window === undefined || this.#window >= WATCH_WINDOW ? 0 : this.#window;
  }
  /** Bytes a second of what was paced last; 0: nothing was. */
  get rate(): number {
    return this.#rate;
  }
  /** The longest body of a frame that the pipe should carry now. */
  get bodyLimit(): number {
    return this.#window !== undefined && this.#window < 1024 ? PACED_BODY : Number.POSITIVE_INFINITY;
  }

  /** Frames go out whole and unwatched from now on. */
  free(): void {
    this.#careful = false;
    this.#narrow = false;
    this.#silent = 0;
    this.#window = undefined;
  }

  get watching(): boolean {
    return this.#window !== undefined;
  }

  /** Asks the guest what arrives, and keeps to that. */
  watch(): void {
    this.#careful = false;
    if (this.#window !== undefined || this.#wholeOnly) return;
    this.#window = WATCH_WINDOW;
    this.#synchronised = false;
    this.#clean = 0;
  }

  /** Packets of the connection so far: many lost on a pipe that nobody watches is a reason to watch it. */
  note({ packetsSent: sent, packetsLost: lost }: PacketCounts): void {
    const from = this.#sampleFrom;
    if (sent - from.packetsSent < LOSS_SAMPLE) return;
    if ((lost - from.packetsLost) * 4 >= sent - from.packetsSent) this.watch();
    this.#sampleFrom = { packetsSent: sent, packetsLost: lost };
  }

  /** A RECEIPT for this connection; it may be forged. */
  onReceipt(body: Uint8Array): void {
    try {
      const { mark, count, sum } = readReceipt(body);
      if (mark !== this.#mark) return; // of before the last loss
      this.#markSeen = mark;
      this.#count = count;
      this.#sum = sum;
      this.#told();
    } catch (error) {
      if (!(error instanceof SealttyError && error.code === "peer-misbehaved")) throw error;
    }
  }

  async #send(pipe: Pipe, chunk: Uint8Array): Promise<void> {
    if (this.#careful && chunk.length <= CAREFUL_LENGTH) return this.#sendSpaced(pipe, chunk);
    let nothing = 0; // attempts of which nothing arrived
    let missed: { readonly burst: number; readonly count: number } | undefined; // the last of them
    let eaten = false;
    for (let attempt = 0; attempt <= ATTEMPTS; attempt++) {
      const window = this.#window;
      if (window === undefined) return pipe.send(chunk);
      if (attempt === ATTEMPTS && window >= chunk.length) return;
      if (!(await this.#synchronise(pipe))) {
        // A guest that does not run for a while makes no narrow pipe wide.
        if (this.#narrow && ++this.#silent < ATTEMPTS) return this.#sendSpaced(pipe, chunk, window);
        // Nobody tells: then this is a pipe like any other, as long as not too much is lost.
        this.free();
        return pipe.send(chunk);
      }
      // It did arrive: the receipt was lost.
      if (
        missed !== undefined &&
        this.#toldSince(missed.count) >= missed.burst + this.#pace(this.#mark).length
      )
        nothing = 0;
      const began = this.#clock.now();
      // One more goes at once: whatever this pipe does to parts (a relay holds them, noise may hit each), pacing never
      // keeps a frame back that would get through without.
      const whole = attempt === ATTEMPTS;
      const atOnce = whole ? chunk.length : window;
      const short = await this.#sendBursts(pipe, chunk, atOnce, eaten);
      if (short === undefined) {
        if (whole) {
          this.#wholeOnly = true;
          return this.free();
        }
        const took = this.#clock.now() - began;
        if (took > 0) this.#rate = Math.min(2 ** 32 - 1, Math.round((chunk.length * 1000) / took));
        return this.#grow(chunk.length);
      }
      this.#synchronised = false;
      this.#narrow ||= short.arrived > 0 && !wasEaten(short);
      nothing = short.arrived === 0 ? nothing + 1 : 0;
      missed = short.arrived === 0 ? { burst: short.burst, count: this.#count } : undefined;
      if (wasEaten(short)) {
        eaten = true;
        continue;
      }
      // All of a burst gone may be any loss; part of one gone or changed is a burst that was too long, and so is, where that
      // was seen before, all of it gone twice.
      if (short.changed) this.#shrinkWhereChanged(short.burst);
      else if (short.arrived > 0) this.#shrink(short.burst, short.arrived);
      else if (nothing === 2 && this.#narrow) this.#shrink(short.burst, Math.max(1, short.burst / 4));
    }
  }

  /** @returns undefined once all arrived, or what is missing is put up with; else how the last burst went. */
  async #sendBursts(
    pipe: Pipe,
    chunk: Uint8Array,
    window: number,
    putUpWithEaten: boolean,
  ): Promise<Short | undefined> {
    this.#base = this.#count; // nothing is under way: what else came (a byte that a driver put in for lost ones) is none of ours
    // What binary becomes may be the pipe's way with some values, at any length.
    let sum = this.#encoding() === "armour" ? this.#sum : undefined; // of all that should have arrived
    let at = 0;
    for (;;) {
      const before = at;
      // One burst at a time, whole: a write of what has room just now would be many small ones.
      const burst = Math.min(window, chunk.length - at);
      const sentAt = this.#clock.now();
      const bytes = chunk.subarray(at, at + burst);
      await pipe.send(bytes);
      at += burst;
      if (sum !== undefined) sum = continueSum(sum, bytes);
      let known = -1; // the most that was told: a count that moves back and forth, or not at all, holds nobody
      while (!this.#areThere(at, sum)) {
        if (this.#arrived > known) {
          known = this.#arrived;
          await this.#moved(known, at, sum);
          continue;
        }
        if (known >= at) return { burst, arrived: burst, changed: true };
        const short = { burst, arrived: Math.max(0, known - before), changed: false };
        if (!putUpWithEaten || !wasEaten(short)) return short;
        sum = undefined;
        this.#base = (this.#base - (burst - short.arrived) + RECEIPT_MODULUS) % RECEIPT_MODULUS;
      }
      const sample = this.#clock.now() - sentAt;
      this.#roundTrip += (sample - this.#roundTrip) / 8;
      if (at === chunk.length) return undefined;
    }
  }

  /** Waits until more has arrived than `known`, or all has, or patience is over. */
  async #moved(known: number, length: number, sum: number | undefined): Promise<void> {
    const until = this.#clock.now() + this.#patience;
    for (let left = this.#patience; left > 0; left = until - this.#clock.now()) {
      await this.#receipt(left);
      if (this.#arrived > known || this.#areThere(length, sum)) return;
    }
  }

  /** @param sum - theirs; undefined: only their number counts. So it is where more came than that: others may use this pipe. */
  #areThere(length: number, sum: number | undefined): boolean {
    const more = this.#arrived - length;
    return more >= 0 && (sum === undefined || this.#sum === sum || more > TRAILING);
  }

  /** Bytes told to have arrived since the base; a count that went back tells nothing. */
  get #arrived(): number {
    return this.#toldSince(this.#base);
  }

  #toldSince(count: number): number {
    const difference = (this.#count - count + RECEIPT_MODULUS) % RECEIPT_MODULUS;
    return difference < RECEIPT_MODULUS / 2 ? difference : 0;
  }

  #pace(mark: number): Uint8Array {
    return encodeFrame(paceBody(this.#id, mark), this.#encoding(), this.#checksum);
  }

  get #patience(): number {
    return Math.min(MAX_PATIENCE, MIN_PATIENCE + 4 * this.#roundTrip);
  }

  /** Has the guest tell from where it counts; nothing else is under way then. @returns whether it does. */
  async #synchronise(pipe: Pipe): Promise<boolean> {
    if (this.#synchronised && this.#clock.now() - this.#askedAt < RENEW) return true;
    for (let attempt = 0; attempt < SYNCHRONISE_ATTEMPTS; attempt++) {
      this.#mark = FIRST_MARK + ((this.#mark + 1 - FIRST_MARK) % MARKS);
      this.#markSeen = -1;
      this.#askedAt = this.#clock.now();
      this.#asked = true;
      await this.#sendSpaced(pipe, this.#pace(this.#mark));
      while (this.#markSeen !== this.#mark && (await this.#receipt(this.#patience * 2 ** attempt)));
      if (this.#markSeen === this.#mark) {
        this.#base = this.#count;
        this.#silent = 0;
        this.#synchronised = true;
        // Without it a burst's own time is never known where it is longer than the patience at first.
        if (this.#roundTrip === 0) this.#roundTrip = this.#clock.now() - this.#askedAt;
        return true;
      }
    }
    return false;
  }

  /** Nobody listens to receipts any more, and while there are any the guest's frames are short. */
  async #sendLast(pipe: Pipe, chunk: Uint8Array): Promise<void> {
    this.#asked = false;
    await pipe.send(this.#pace(ENOUGH));
    await pipe.send(chunk);
  }

  async #sendSpaced(pipe: Pipe, chunk: Uint8Array, burst = SMALL_BURST): Promise<void> {
    for (let at = 0; at < chunk.length; at += burst) {
      if (at > 0) await new Promise<void>((resolve) => this.#clock.after(SPACING, resolve));
      await pipe.send(chunk.subarray(at, at + burst));
    }
  }

  /** @returns whether a receipt came within `atMost` ms. */
  #receipt(atMost: number): Promise<boolean> {
    return new Promise((resolve) => {
      const cancel = this.#clock.after(atMost, () => resolve(false));
      this.#told = () => {
        cancel();
        resolve(true);
      };
    });
  }

  #grow(length: number): void {
    const window = this.#window;
    if (window === undefined) return;
    this.#clean += length;
    if (this.#clean < (window < this.#good ? CLEAN_BELOW : this.#beyond)) return;
    this.#clean = 0;
    this.#good = Math.max(this.#good, window);
    if (window < WATCH_WINDOW) this.#window = window * 2;
    else this.free();
  }

  /** Other than a loss this is no accident: what was good is so no more. */
  #shrinkWhereChanged(burst: number): void {
    this.#shrink(burst, burst / 2);
    this.#good = Math.min(this.#good, this.#window ?? burst);
  }

  /** @param arrived - of a burst that was too long. */
  #shrink(burst: number, arrived: number): void {
    const half = Math.floor(burst / 2);
    const next = Math.max(MIN_WINDOW, Math.min(2 ** Math.floor(Math.log2(arrived)), half));
    if (burst > this.#good) this.#beyond = Math.min(MAX_CLEAN_BEYOND, this.#beyond * 4);
    this.#window = Math.min(this.#window ?? next, next);
    this.#clean = 0;
  }
}

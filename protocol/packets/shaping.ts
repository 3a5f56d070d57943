// When packets of a shaped connection leave, and how long they are: slots on a fixed grid. docs/protocol.md §5.6
// What is to be sent never causes a packet, it only fills the next one. One scheduler for each direction.

import { MAX_ARMOUR_BODY } from "../limits.ts";

/** Their index is the number in SHAPE and SHAPED (docs/protocol.md §8.8). */
export const SHAPING_PROFILES = ["off", "adaptive", "strict"] as const;
export type ShapingProfile = (typeof SHAPING_PROFILES)[number];

/** Between two slots, ms: frames in binary, and in armour, where a serial line must be able to carry them. */
const SLOT_BINARY = 20;
const SLOT_ARMOUR = 50;
/** Between two packets of an idle direction, ms: a whole number of slots. */
const IDLE_SLOT = 1000;
/** Without content either way for this long, and a random extra drawn anew each time, `adaptive` is idle. */
const IDLE_AFTER = 60_000;
const IDLE_EXTRA = 30_000;
/** Nothing authentic for this long: the peer, or its pipe, is gone, and every profile is idle. */
const SILENT_AFTER = 15_000;
/** A raised level is kept at least this long after it was last needed, and a random extra. */
const HOLD = 1000;
const HOLD_EXTRA = 1000;
/** More waiting bytes than this raise the base level: an answer that fills the screen does, keys and their echo do not. */
const RAISE_ABOVE = 1024;

/** One direction's sizes, bytes of a packet's body, and packets in a slot by level. */
export interface SlotSizes {
  readonly body: number;
  readonly raisedBody: number;
  readonly packets: readonly number[];
}

/** At most 16 kB a slot: what a host may lose in silence bounds it (docs/protocol.md §5.5). */
export const SLOTS_TO_GUEST: SlotSizes = { body: 128, raisedBody: 1000, packets: [1, 4, 16] };
/** 249: the longest body whose binary frame has one COBS group. */
export const SLOTS_TO_CLIENT: SlotSizes = { body: 249, raisedBody: 8000, packets: [1, 4, 16, 64] };

/** Body lengths of packets where the profile is `off`; a longer one has the pipe's longest. */
const SIZE_BUCKETS = [64, 128, 256, 512, 1024, 2048, 4096, 8192] as const;

/** @returns the length that a body of `length` bytes is padded to, at most `limit`. */
export function bucketOf(length: number, limit: number): number {
  return Math.min(limit, SIZE_BUCKETS.find((bucket) => bucket >= length) ?? limit);
}

/** @returns the longest of these lengths that is no more than `room`, 0 where there is none. @param limit - the pipe's longest. */
export function bucketWithin(room: number, limit: number): number {
  return room >= limit ? limit : (SIZE_BUCKETS.findLast((bucket) => bucket <= room) ?? 0);
}

export class SlotScheduler {
  readonly #adaptive: boolean;
  readonly #sizes: SlotSizes;
  readonly #random: () => number;
  #start: number; // of the grid
  #interval = SLOT_BINARY;
  #nextSlot = 1; // on the grid, counted from `#start`
  #pending = 0; // packets of the present slot that the pipe has not taken
  #level = 0;
  #heldUntil = 0;
  #holdExtra = 0;
  #idle = false;
  #silent = false; // idle because the peer is, or its pipe
  #idleAt: number;
  #idleExtra: number;

  /**
   * @param random - 0 ≤ x < 1, from the suite: how long a level is held tells nothing but that.
   * @param now - the grid begins here.
   */
  constructor(profile: Exclude<ShapingProfile, "off">, sizes: SlotSizes, random: () => number, now: number) {
    this.#adaptive = profile === "adaptive";
    this.#sizes = sizes;
    this.#random = random;
    this.#start = now;
    this.#idleExtra = IDLE_EXTRA * random();
    this.#idleAt = now + IDLE_AFTER + this.#idleExtra;
  }

  /** When `open` is due. */
  get deadline(): number {
    const every = this.#idle ? IDLE_SLOT / this.#interval : 1;
    return this.#start + Math.ceil(this.#nextSlot / every) * every * this.#interval;
  }
  /** 0 is the base; each step has four times the packets. */
  get level(): number {
    return this.#level;
  }
  get idle(): boolean {
    return this.#idle;
  }

  /** Bytes of bodies that a slot of this level carries on a pipe whose longest body is `maxBody`. */
  capacity(maxBody: number, level = this.#level): number {
    const { body, raisedBody, packets } = this.#sizes;
    return (packets[level] as number) * Math.min(maxBody, level === 0 ? body : raisedBody);
  }

  /**
   * Begins the slot that is due; what was left of the last one is dropped, and so are slots that went by unseen.
   * @param waiting - bytes that could be sent now. @param silentFor - ms since anything authentic came.
   */
  open(now: number, waiting: number, silentFor: number, maxBody: number): void {
    if (now < this.deadline) return;
    this.#fit(maxBody);
    const taken = this.#pending === 0; // a pipe that is behind gets no more to carry
    this.#nextSlot = Math.max(this.#nextSlot, this.#slotAt(now)) + 1;
    if (this.#adaptive) this.#adapt(now, waiting, taken, maxBody);
    this.#silent = silentFor >= SILENT_AFTER;
    if (this.#silent || (this.#adaptive && now >= this.#idleAt)) this.#idle = true;
    if (this.#idle) this.#level = 0;
    this.#pending = this.#sizes.packets[this.#level] as number;
  }

  /** @returns the length of the packet to make now, undefined outside a slot or where the slot has had its packets. */
  take(maxBody: number): number | undefined {
    if (this.#pending === 0) return undefined;
    this.#pending--;
    return Math.min(maxBody, this.#level === 0 ? this.#sizes.body : this.#sizes.raisedBody);
  }

  /** Something authentic came: a direction that was idle over the peer's silence goes on. */
  heard(now: number): void {
    if (!this.#silent) return;
    this.#silent = false;
    this.#awake(now);
  }

  /** Content waits, went or came. An idle direction goes on with the next slot of its grid, never at once. */
  active(now: number): void {
    if (this.#silent) return;
    if (this.#idle) this.#awake(now);
    else this.#idleAt = now + IDLE_AFTER + this.#idleExtra;
  }

  #awake(now: number): void {
    this.#idle = false;
    this.#idleExtra = IDLE_EXTRA * this.#random();
    this.#idleAt = now + IDLE_AFTER + this.#idleExtra;
    this.#nextSlot = Math.max(this.#nextSlot, this.#slotAt(now) + 1);
  }

  /** The newest slot of the grid; a sum of binary fractions may lie a hair below its own time. */
  #slotAt(now: number): number {
    return Math.floor((now - this.#start) / this.#interval + 1e-6);
  }

  /** One step at a time: up where more waits than this level carries, down once that was over for long enough. */
  #adapt(now: number, waiting: number, taken: boolean, maxBody: number): void {
    const above = (level: number): number => (level === 0 ? RAISE_ABOVE : this.capacity(maxBody, level));
    const raise = taken && this.#level + 1 < this.#sizes.packets.length && waiting > above(this.#level);
    if (raise) this.#change(this.#level + 1);
    if (this.#level === 0) return;
    if (raise || waiting > above(this.#level - 1)) this.#heldUntil = now + HOLD + this.#holdExtra;
    if (now < this.#heldUntil) return;
    this.#change(this.#level - 1);
    this.#heldUntil = now + HOLD + this.#holdExtra;
  }

  #change(level: number): void {
    this.#level = level;
    this.#holdExtra = HOLD_EXTRA * this.#random();
  }

  /** Another encoding has another grid, from the slot on that is due now. */
  #fit(maxBody: number): void {
    const interval = maxBody <= MAX_ARMOUR_BODY ? SLOT_ARMOUR : SLOT_BINARY;
    if (interval === this.#interval) return;
    this.#start = this.deadline;
    this.#nextSlot = 0;
    this.#interval = interval;
  }
}

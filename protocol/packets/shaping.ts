// When packets of a shaped connection leave, and how long they are: slots on a fixed grid. docs/protocol.md §5.6
// What is to be sent never causes a packet, it only fills the next one. One scheduler for each direction.

import { MAX_ARMOUR_BODY } from "../limits.ts";

/** Their index is the number in SHAPE and SHAPED (docs/protocol.md §8.8). */
export const SHAPING_PROFILES = ["off", "adaptive", "strict"] as const;
export type ShapingProfile = (typeof SHAPING_PROFILES)[number];

/** Between two slots, ms: frames in binary, and in armour, where a serial line must be able to carry them. */
const SLOT_BINARY = 20;
const SLOT_ARMOUR = 50;
/** Where the pipe is known to carry less, the next of these that it carries. Each divides `IDLE_SLOT`. */
const SLOT_STEPS = [20, 50, 100, 200, 500, 1000] as const;
/** A pipe found to carry this many bytes a second or more is no slow one; what a few hundred bytes show is no finer. */
const FAST = 50_000;
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
/** More bytes than this raise the base level: an answer that fills the screen does, keys and their echo do not. */
const RAISE_ABOVE = 1024;
/** So many slots' bodies waiting raise a level above the base. */
const RAISE_SLOTS = 2;
/** The highest level was too low for this long: bulk. */
const BULK_AFTER = 500;

/** What a slot carries: packets, and bytes of each one's body. */
export interface SlotLevel {
  readonly packets: number;
  readonly body: number;
}

/** One direction's levels, the base first. */
export interface SlotLevels {
  readonly levels: readonly [SlotLevel, ...SlotLevel[]];
  /**
   * What leaves the base: bytes that waited, or only those that came within one slot. The latter is a paste and never a key,
   * whatever a host held back meanwhile.
   */
  readonly raisedBy: "waiting" | "burst";
  /** Above the highest level full packets leave as they are due, beside the base's slots. */
  readonly bulk: boolean;
}

/** What is to be sent when a slot opens, bytes of streams. */
export interface SlotLoad {
  /** Could be sent now: credit lets it go. */
  readonly sendable: number;
  /** Written since the last slot. */
  readonly fresh: number;
  /** Written and not on its way, whether credit lets it go or not. */
  readonly backlog: number;
}

/** At most 16 kB a slot: what a host may lose in silence bounds it (docs/protocol.md §5.5). */
export const SLOTS_TO_GUEST: SlotLevels = {
  levels: [
    { packets: 1, body: 128 },
    { packets: 4, body: 1000 },
    { packets: 16, body: 1000 },
  ],
  raisedBy: "burst",
  bulk: false,
};
/** 249: the longest body whose binary frame has one COBS group. */
export const SLOTS_TO_CLIENT: SlotLevels = {
  levels: [
    { packets: 1, body: 249 },
    { packets: 4, body: 1000 },
    { packets: 4, body: 8000 },
    { packets: 16, body: 8000 },
  ],
  raisedBy: "waiting",
  bulk: true,
};

/** Long packets are rounded more finely, to 16 KiB of content and what stands around it: twice the bytes would cost time. */
const LONG_BUCKETS = Array.from({ length: 14 }, (_, i) => (3 + i) * 16_384 + 264);
/** Body lengths of packets where the profile is `off`; a longer one has the pipe's longest. */
const SIZE_BUCKETS = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, ...LONG_BUCKETS] as const;

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
  readonly #levels: SlotLevels;
  readonly #random: () => number;
  readonly #rate: number; // bytes a second, where slots must keep to it
  readonly #top: number; // the highest level
  #start: number; // of the grid
  #interval: number;
  #nextSlot = 1; // on the grid, counted from `#start`
  #pending = 0; // packets of the present slot that the pipe has not taken
  #level = 0;
  #heldUntil = 0;
  #holdExtra = 0;
  #burst = false; // more came within a slot than keys can, and some of it waits still
  #lacking: number | undefined; // since when the highest level has been too low
  #bulk = false;
  #idle = false;
  #silent = false; // idle because the peer is, or its pipe
  #idleAt: number;
  #idleExtra: number;

  /**
   * @param random - 0 ≤ x < 1, from the suite: how long a level is held tells nothing but that.
   * @param now - the grid begins here.
   * @param rate - bytes a second that the pipe was found to carry; 0: unknown. Slots of a slow pipe fit it: they carry padding
   * as well as content, and a queue of padding would stand before every key.
   */
  constructor(
    profile: Exclude<ShapingProfile, "off">,
    levels: SlotLevels,
    random: () => number,
    now: number,
    rate = 0,
  ) {
    this.#adaptive = profile === "adaptive";
    this.#levels = levels;
    this.#random = random;
    this.#rate = rate === 0 || rate >= FAST ? Number.POSITIVE_INFINITY : rate;
    // Each level above the base carries more than such a pipe does.
    this.#top = this.#rate < FAST ? 0 : levels.levels.length - 1;
    this.#start = now;
    this.#interval = this.#spacing(SLOT_BINARY);
    this.#idleExtra = IDLE_EXTRA * random();
    this.#idleAt = now + IDLE_AFTER + this.#idleExtra;
  }

  /** When `open` is due. */
  get deadline(): number {
    const every = this.#idle ? IDLE_SLOT / this.#interval : 1;
    return this.#start + Math.ceil(this.#nextSlot / every) * every * this.#interval;
  }
  /** 0 is the base. */
  get level(): number {
    return this.#level;
  }
  /** Packets as long as the pipe takes leave between slots, too, as long as that much waits. */
  get bulk(): boolean {
    return this.#bulk;
  }
  get idle(): boolean {
    return this.#idle;
  }

  /** Bytes not yet sent above which a writer waits, where it may have `usual`: a slot that carries more needs more. */
  unsentLimit(usual: number, maxBody: number): number {
    return this.#level === 0 ? usual : Math.max(usual, 2 * this.#enough(this.#level, maxBody));
  }

  /**
   * Begins the slot that is due; what was left of the last one is dropped, and so are slots that went by unseen.
   * @param silentFor - ms since anything authentic came.
   * @param maxBody - what the encoding allows: the grid is its, whatever less the pipe takes just now.
   */
  open(now: number, load: SlotLoad, silentFor: number, maxBody: number): void {
    if (now < this.deadline) return;
    this.#fit(maxBody);
    const taken = this.#pending === 0; // a pipe that is behind gets no more to carry
    this.#nextSlot = Math.max(this.#nextSlot, this.#slotAt(now)) + 1;
    if (this.#adaptive) this.#adapt(now, load, taken, maxBody);
    this.#silent = silentFor >= SILENT_AFTER;
    if (this.#silent || (this.#adaptive && now >= this.#idleAt)) this.#idle = true;
    if (this.#idle) {
      this.#level = 0;
      this.#bulk = false;
    }
    this.#pending = this.#present.packets;
  }

  /** @returns the length of the packet to make now, undefined outside a slot or where the slot has had its packets. */
  take(maxBody: number): number | undefined {
    if (this.#pending === 0) return undefined;
    this.#pending--;
    return Math.min(maxBody, this.#present.body);
  }

  /** Length of the packets of the base level. */
  baseBody(maxBody: number): number {
    return Math.min(maxBody, this.#levels.levels[0].body);
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

  /** In bulk, slots are those of the base. */
  get #present(): SlotLevel {
    return this.#levels.levels[this.#bulk ? 0 : this.#level] as SlotLevel;
  }

  /** Bytes above which a level is too low. */
  #enough(level: number, maxBody: number): number {
    if (level === 0) return RAISE_ABOVE;
    const { packets, body } = this.#levels.levels[level] as SlotLevel;
    return RAISE_SLOTS * packets * Math.min(maxBody, body);
  }

  /** One step at a time: up where more waits than this level carries, down once that was over for long enough. */
  #adapt(now: number, { sendable, fresh, backlog }: SlotLoad, taken: boolean, maxBody: number): void {
    const top = this.#top;
    if (this.#bulk) {
      // At the first slot that finds it gone: nothing that a program prints later may leave when it is printed.
      if (backlog >= maxBody) return;
      this.#bulk = false;
      return this.#change(top, now);
    }
    this.#burst = fresh > RAISE_ABOVE || (this.#burst && sendable > RAISE_ABOVE);
    const lacks = sendable > this.#enough(this.#level, maxBody);
    if (!lacks || this.#level < top) this.#lacking = undefined;
    else this.#lacking ??= now;
    if (lacks && taken && this.#level < top) {
      if (this.#level > 0 || this.#levels.raisedBy === "waiting" || this.#burst)
        this.#change(this.#level + 1, now);
    } else if (this.#level > 0) {
      if (this.#levels.bulk && taken && this.#lacking !== undefined && now - this.#lacking >= BULK_AFTER) {
        this.#bulk = true;
        this.#lacking = undefined;
      } else if (sendable > this.#enough(this.#level - 1, maxBody))
        this.#heldUntil = now + HOLD + this.#holdExtra;
      else if (now >= this.#heldUntil) this.#change(this.#level - 1, now);
    }
  }

  #change(level: number, now: number): void {
    this.#level = level;
    this.#holdExtra = HOLD_EXTRA * this.#random();
    this.#heldUntil = now + HOLD + this.#holdExtra;
  }

  /** @returns ms between two slots, at least `least`, in which the pipe carries the base's packet, and more than its frame adds. */
  #spacing(least: number): number {
    const takes = (1500 * this.#levels.levels[0].body) / this.#rate;
    return SLOT_STEPS.find((step) => step >= least && step >= takes) ?? IDLE_SLOT;
  }

  /** Another encoding has another grid, from the slot on that is due now. */
  #fit(maxBody: number): void {
    const interval = this.#spacing(maxBody <= MAX_ARMOUR_BODY ? SLOT_ARMOUR : SLOT_BINARY);
    if (interval === this.#interval) return;
    this.#start = this.deadline;
    this.#nextSlot = 0;
    this.#interval = interval;
  }
}

// A shaped connection's packets: how long the next one is, from what slots, flight and streams allow. docs/protocol.md §5.6
// It sees streams as a load, never what is in them.

import type { CryptoSuite } from "../crypto/suite.ts";
import type { Recovery } from "../packets/recovery.ts";
import {
  type ShapingProfile,
  SlotScheduler,
  type SlotLevels,
  type SlotLoad,
  bucketWithin,
} from "../packets/shaping.ts";

/** Flight that must be free for content in a slot's packet, which cannot be made shorter to fit. */
const MIN_SLOT_ROOM = 2048;
/** The shortest packet of bulk. */
const MIN_BULK_ROOM = 1024;

export class PacketSlots {
  readonly #scheduler: SlotScheduler;
  readonly #recovery: Recovery;
  readonly #load: () => SlotLoad;
  #maxBody = Number.POSITIVE_INFINITY; // what the pipe took in the last slot
  #lastDue = false;

  /** @param load - what waits in the streams now. @param rate - bytes a second that slots keep to; 0: any. */
  constructor(
    profile: Exclude<ShapingProfile, "off">,
    levels: SlotLevels,
    suite: CryptoSuite,
    recovery: Recovery,
    load: () => SlotLoad,
    now: number,
    rate: number,
  ) {
    this.#scheduler = new SlotScheduler(profile, levels, () => randomShare(suite), now, rate);
    this.#recovery = recovery;
    this.#load = load;
    recovery.allowQueue(); // padding fills one, however little of it is content
  }

  /** When `open` is due. */
  get deadline(): number {
    return this.#scheduler.deadline;
  }

  /** Bytes not yet sent above which a writer waits, where it may have `usual`: a slot that carries more needs more. */
  unsentLimit(usual: number): number {
    return this.#scheduler.unsentLimit(usual, this.#maxBody);
  }

  heard(now: number): void {
    this.#scheduler.heard(now);
  }
  active(now: number): void {
    this.#scheduler.active(now);
  }
  /** Something waits, and no slot was there for it. */
  waits(now: number): void {
    if (this.#scheduler.idle) this.#scheduler.active(now);
  }

  /** The pipe ends now, which the host sees: one packet of the base's length waits for no slot. */
  endNow(): void {
    this.#lastDue = true;
  }

  /** Begins the slot that is due. @param silentFor - ms since anything authentic came. */
  open(now: number, silentFor: number, maxBody: number): void {
    this.#maxBody = maxBody;
    this.#scheduler.open(now, this.#load(), silentFor, maxBody);
  }

  /** @returns the length of the body to make now; undefined: none is due. */
  take(maxBody: number, closing: boolean): number | undefined {
    return (
      this.#scheduler.take(maxBody) ??
      (closing ? undefined : this.#bulkSize(maxBody)) ??
      this.#lastSize(maxBody)
    );
  }

  /** Whether a packet of this length may have content. Alone it always may: a flight can have become shorter than it. */
  mayCarry(size: number): boolean {
    return this.#recovery.inFlight === 0 || this.#recovery.room >= Math.min(size, MIN_SLOT_ROOM);
  }

  /** In bulk a packet leaves outside a slot where it is full, and where more than that waits: so it says only that. */
  #bulkSize(maxBody: number): number | undefined {
    if (!this.#scheduler.bulk) return undefined;
    const size = bucketWithin(this.#recovery.room, maxBody);
    return size >= Math.min(MIN_BULK_ROOM, maxBody) && this.#load().sendable >= maxBody ? size : undefined;
  }

  #lastSize(maxBody: number): number | undefined {
    if (!this.#lastDue) return undefined;
    this.#lastDue = false;
    return this.#scheduler.baseBody(maxBody);
  }
}

/** @returns 0 ≤ x < 1. */
function randomShare(suite: CryptoSuite): number {
  const [high, low] = suite.randomBytes(2) as Uint8Array & [number, number];
  return (high * 256 + low) / 65_536;
}

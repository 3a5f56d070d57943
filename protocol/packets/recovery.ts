// Sent packets until acknowledged or given up: round-trip time, loss, how much may be in flight. docs/protocol.md §5.5
// QUIC's rule: a packet is never sent again, what it carried goes into a new one.

import { RAW_ABOVE } from "../limits.ts";
import type { AckRange } from "./packet-frames.ts";

/** What a packet carried that must arrive. */
export type Content =
  | {
      readonly kind: "stream";
      readonly stream: number;
      readonly offset: number;
      readonly length: number;
      readonly end: boolean;
    }
  | { readonly kind: "window"; readonly stream: number }
  | { readonly kind: "ping" }
  | { readonly kind: "close" };

export interface FlightLimits {
  readonly bytes: number;
  readonly frames: number;
  /** In place of `bytes`, on a pipe that has shown itself quick; absent: the same. */
  readonly longBytes?: number;
  /** How long what is sent may wait on its way for what was sent before, ms; absent: as long as it likes. */
  readonly queue?: number;
  /** Bytes to begin with where less than usual is wise. */
  readonly start?: number;
}

interface SentPacket {
  readonly number: number;
  readonly sentAt: number;
  readonly size: number;
  readonly contents: readonly Content[];
  readonly delivered: number; // bytes that had arrived when it was sent
}

/** Later packets acknowledged before an unacknowledged one counts as lost. */
const REORDER_TOLERANCE = 4;
/** The peer may hold an acknowledgement back this long, ms. */
export const MAX_ACK_DELAY = 20;
const FIRST_RTO = 600;
const MIN_RTO = 60;
const MAX_RTO = 2000;
const START_BYTES = 32 * 1024;
const MIN_BYTES = 2048;
const MIN_FRAMES = 2;
/** The same where it is a queue that is to be short. */
const MIN_QUEUED = 512;
const MAX_GIVEN_UP = 1024;
/** Round trip of a pipe that may have long packets, ms, and the part of its flight that one of them may be. */
const QUICK_ROUND_TRIP = 100;
const FLIGHT_SHARE = 4;
/** Where packets that go as they are do not arrive, each that is lost makes the next one so many times rarer; beyond this no rarer. */
const MOST_RAW_LOST = 8;

export class Recovery {
  readonly #limits: FlightLimits;
  #queue: number; // ms; `queue` of the limits
  readonly #sent = new Map<number, SentPacket>(); // in order of number
  readonly #givenUp = new Map<number, SentPacket>(); // their acknowledgement may still come: then they did arrive
  #flightBytes = 0;
  #allowedBytes: number; // grows to the limit while nothing is lost, halves when something is
  #allowedFrames: number;
  #least: number | undefined; // round trip on this pipe, ms: what it takes without a queue
  #queued = false; // the newest sample shows one
  #clean = 0; // bytes acknowledged since something was lost
  #delivered = 0; // bytes that arrived, in all
  #deliveryRate = 0; // the most that arrived between a packet's sending and its acknowledgement, bytes a second, on this pipe
  #wide = false; // the flight may have `longBytes`
  #rawLost = 0; // of packets that went as they are, on this pipe
  #shortenFrom = 0; // packets below this number were sent before the flight was last shortened
  #recoverFrom = 0; // losses of packets below this number are one event, already answered
  #srtt: number | undefined;
  #variance = 0;
  #backoff = 1;
  #lastProgress = 0; // when the oldest outstanding wait began
  #lost = 0;
  #probes = 0; // packets that may go although the flight is full: what a timeout asks for

  constructor(limits: FlightLimits) {
    this.#limits = limits;
    this.#queue = limits.queue ?? Number.POSITIVE_INFINITY;
    this.#allowedBytes = this.#startBytes;
    this.#allowedFrames = Math.min(32, limits.frames);
  }

  get #startBytes(): number {
    const { bytes, start = START_BYTES } = this.#limits;
    return Math.min(START_BYTES, bytes, Math.max(MIN_QUEUED, start));
  }

  /** From now on a queue on the way shortens no flight. */
  allowQueue(): void {
    this.#queue = Number.POSITIVE_INFINITY;
    this.#queued = false;
  }

  get roundTrip(): number | undefined {
    return this.#srtt;
  }
  get lostPackets(): number {
    return this.#lost;
  }
  get inFlight(): number {
    return this.#sent.size;
  }
  get rto(): number {
    if (this.#srtt === undefined) return Math.min(MAX_RTO, FIRST_RTO * this.#backoff);
    const base = Math.max(MIN_RTO, this.#srtt + Math.max(4 * this.#variance, 10) + MAX_ACK_DELAY);
    return Math.max(base, Math.min(MAX_RTO, base * this.#backoff));
  }

  /** A share of a flight that has grown, on a pipe that loses nothing and brings it back at once; 0 on all others. Bytes. */
  get quickShare(): number {
    if (this.#srtt === undefined || this.#srtt > QUICK_ROUND_TRIP || this.#queued) return 0;
    const proven = this.#clean / FLIGHT_SHARE ** (1 + Math.min(this.#rawLost, MOST_RAW_LOST));
    return Math.min(this.#allowedBytes, proven) / FLIGHT_SHARE;
  }

  /** Bytes a second that this pipe has shown to carry; 0: unknown. */
  get deliveryRate(): number {
    return this.#deliveryRate;
  }

  /** Whether the pipe is one for long packets, now. */
  widen(wide: boolean): void {
    this.#wide = wide;
    this.#allowedBytes = Math.min(this.#allowedBytes, this.#mostBytes);
  }
  get #mostBytes(): number {
    const { bytes, longBytes = bytes } = this.#limits;
    return this.#wide ? longBytes : bytes;
  }

  /** Bytes that another packet may have, 0 when the flight is full. */
  get room(): number {
    if (this.#probes > 0 && this.#sent.size < this.#limits.frames) {
      // What is out may be a wide flight's, though the first loss has taken the wide one away.
      const { bytes, longBytes = bytes } = this.#limits;
      const probe = Math.min(MIN_BYTES, longBytes - this.#flightBytes);
      return Math.max(0, probe, this.#allowedBytes - this.#flightBytes);
    }
    if (this.#sent.size >= this.#allowedFrames) return 0;
    return Math.max(0, this.#allowedBytes - this.#flightBytes);
  }

  onSent(number: number, size: number, contents: readonly Content[], now: number): void {
    if (this.#sent.size === 0) this.#lastProgress = now;
    if (this.#probes > 0) this.#probes--;
    this.#sent.set(number, { number, sentAt: now, size, contents, delivered: this.#delivered });
    this.#flightBytes += size;
  }

  /** @returns what arrived and what is lost by this acknowledgement. */
  onAck(ranges: readonly AckRange[], now: number): { arrived: Content[]; lost: Content[] } {
    const arrived: Content[] = [];
    const lost: Content[] = [];
    const largest = (ranges[0] as AckRange).last;
    let r = ranges.length - 1; // oldest range first, as the map
    let progressed = false;
    for (const packet of this.#sent.values()) {
      if (packet.number > largest) break;
      while (r > 0 && packet.number > (ranges[r] as AckRange).last) r--;
      const range = ranges[r] as AckRange;
      if (packet.number >= range.first && packet.number <= range.last) {
        this.#remove(packet);
        progressed = true;
        this.#delivered += packet.size;
        if (packet.number === largest) {
          const rate = ((this.#delivered - packet.delivered) * 1000) / Math.max(1, now - packet.sentAt);
          this.#deliveryRate = Math.max(this.#deliveryRate, rate);
          this.#measure(now - packet.sentAt);
          this.#shorten(packet.number, now - packet.sentAt);
        }
        arrived.push(...packet.contents);
        this.#grow(packet.size);
      } else if (packet.number + REORDER_TOLERANCE <= largest) {
        this.#giveUp(packet, lost);
      }
    }
    for (const packet of this.#givenUp.values()) {
      const late = ranges.some(({ first, last }) => packet.number >= first && packet.number <= last);
      if (!late) continue;
      this.#givenUp.delete(packet.number);
      this.#lost--; // it was only late
      progressed = true;
      if (packet.number === largest) this.#measure(now - packet.sentAt);
      arrived.push(...packet.contents);
    }
    if (progressed) {
      this.#backoff = 1;
      this.#lastProgress = now;
      this.#probes = 0;
    }
    return { arrived, lost };
  }

  /** When `onTimeout` is due, or undefined. */
  get deadline(): number | undefined {
    return this.#sent.size === 0 ? undefined : this.#lastProgress + this.rto;
  }

  /** Nothing was acknowledged for an RTO. @returns what the two oldest packets carried: sending it again is the probe. */
  onTimeout(now: number): Content[] {
    const lost: Content[] = [];
    // A flight that was lost whole is still out, and fills what giving up leaves of it: the probe must go all the same.
    this.#probes = 0;
    for (const packet of this.#sent.values()) {
      if (this.#probes === 2) break;
      this.#probes++;
      this.#giveUp(packet, lost);
    }
    this.#backoff = Math.min(64, this.#backoff * 2);
    this.#lastProgress = now;
    return lost;
  }

  /** The pipe was replaced: whatever was on the old one counts as lost, and the new one is measured afresh. */
  onNewPipe(now: number): Content[] {
    const lost: Content[] = [];
    for (const packet of this.#sent.values()) {
      this.#remove(packet);
      lost.push(...packet.contents);
    }
    this.#givenUp.clear();
    this.#srtt = undefined;
    this.#least = undefined;
    this.#queued = false;
    this.#clean = 0;
    this.#rawLost = 0;
    this.#deliveryRate = 0;
    this.#backoff = 1;
    this.#probes = 0;
    this.#lastProgress = now;
    this.#allowedBytes = this.#startBytes;
    this.#allowedFrames = Math.min(32, this.#limits.frames);
    return lost;
  }

  #giveUp(packet: SentPacket, lost: Content[]): void {
    this.#remove(packet);
    lost.push(...packet.contents);
    this.#lost++;
    this.#givenUp.set(packet.number, packet);
    if (this.#givenUp.size > MAX_GIVEN_UP) {
      for (const oldest of this.#givenUp.keys()) {
        this.#givenUp.delete(oldest);
        break;
      }
    }
    this.#clean = 0;
    this.#deliveryRate = 0;
    if (packet.number < this.#recoverFrom) return;
    if (packet.size > RAW_ABOVE) this.#rawLost++;
    let newest = packet.number;
    for (const number of this.#sent.keys()) newest = number;
    this.#recoverFrom = newest + 1;
    this.#allowedBytes = Math.max(MIN_BYTES, this.#allowedBytes / 2);
    this.#allowedFrames = Math.max(MIN_FRAMES, Math.floor(this.#allowedFrames / 2));
  }

  /** A slow pipe with room (a socket before a UART) loses nothing; its queue must not stand before every keystroke. */
  #shorten(number: number, sample: number): void {
    this.#least = Math.min(this.#least ?? sample, sample);
    const most = this.#least + this.#queue;
    this.#queued = sample > most;
    if (!this.#queued || number < this.#shortenFrom) return;
    for (const later of this.#sent.keys()) this.#shortenFrom = later + 1;
    this.#allowedBytes = Math.max(MIN_QUEUED, (this.#allowedBytes * most) / sample);
  }

  #grow(size: number): void {
    this.#clean += size;
    if (!this.#queued) this.#allowedBytes = Math.min(this.#mostBytes, this.#allowedBytes + size);
    this.#allowedFrames = Math.min(this.#limits.frames, this.#allowedFrames + 1);
  }

  #remove(packet: SentPacket): void {
    this.#sent.delete(packet.number);
    this.#flightBytes -= packet.size;
  }

  /** RFC 6298 §2. */
  #measure(sample: number): void {
    if (this.#srtt === undefined) {
      this.#srtt = sample;
      this.#variance = sample / 2;
    } else {
      this.#variance += (Math.abs(this.#srtt - sample) - this.#variance) / 4;
      this.#srtt += (sample - this.#srtt) / 8;
    }
  }
}

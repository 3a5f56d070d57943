// Streams over sealed packets: the whole reliable layer of one connection, without a pipe and without a clock of its own.
// docs/protocol.md §5 and §7. The owner feeds it frame bodies and asks it for frame bodies.

import { earliest } from "../clock.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import { PACKET_HEADER_LENGTH } from "../frames/frame-body.ts";
import { MAX_FAILED_OPENINGS, MAX_GENERATION_AGE_MS } from "../limits.ts";
import { PacketOpener, PacketSealer, generationOf } from "../packets/packet-cipher.ts";
import { type PacketFrame, PacketWriter, readPacketFrames } from "../packets/packet-frames.ts";
import {
  type ShapingProfile,
  type SlotLevels,
  type SlotLoad,
  bucketOf,
  bucketWithin,
} from "../packets/shaping.ts";
import { DueAck } from "../packets/due-ack.ts";
import { type Content, type FlightLimits, Recovery } from "../packets/recovery.ts";
import { OpenStreams } from "./open-streams.ts";
import { PacketSlots } from "./packet-slots.ts";
import type { Stream, StreamWindows } from "./stream.ts";
import { StreamTurns } from "./stream-turns.ts";

const MIN_PACKET_ROOM = 512;

export interface ConnectionKeys {
  readonly connectionId: Uint8Array; // 4 bytes
  readonly sendKey: Uint8Array; // 32 bytes, owned from now on
  readonly receiveKey: Uint8Array; // 32 bytes, owned from now on
}

export class StreamConnection {
  readonly #sealer: PacketSealer;
  readonly #opener: PacketOpener;
  readonly #recovery: Recovery;
  readonly #ack = new DueAck();
  readonly #writer = new PacketWriter();
  readonly #streams = new OpenStreams();
  readonly #turns = new StreamTurns();
  #pingDue = false;
  #closeDue = false;
  #closeCode: number | undefined; // ours, once `close` was called
  #closeArrived = false;
  #peerClose: number | undefined;
  #generationSince: number;
  #sealGeneration = 0;
  #forgetAt: number | undefined;
  #lastHeard: number;
  #packetsReceived = 0;
  #writersWait = false; // for acknowledgements of any stream
  #shaping: ShapingProfile | undefined; // undefined: packets are as long as what they carry
  #slots: PacketSlots | undefined; // where the profile has slots
  readonly #suite: CryptoSuite;
  readonly #flight: FlightLimits;
  #doubting = false;
  #rolledBack: "ours" | "peer" | undefined;
  /** Set by the owner: more may be ready to send. */
  onWork: () => void = () => {};

  constructor(suite: CryptoSuite, keys: ConnectionKeys, flight: FlightLimits, now: number) {
    this.#suite = suite;
    this.#sealer = new PacketSealer(suite, keys.connectionId, keys.sendKey);
    this.#opener = new PacketOpener(suite, keys.receiveKey);
    this.#flight = flight;
    this.#recovery = new Recovery(flight);
    this.#generationSince = now;
    this.#lastHeard = now;
  }

  get stats() {
    return {
      roundTripMs: this.#recovery.roundTrip,
      packetsSent: this.#sealer.next,
      packetsReceived: this.#packetsReceived,
      packetsLost: this.#recovery.lostPackets,
      packetsRefused: this.#opener.refused,
    };
  }
  /** Bytes a second that the pipe has shown to carry; 0: unknown. */
  get deliveryRate(): number {
    return this.#recovery.deliveryRate;
  }
  /** When the last authentic packet came. */
  get lastHeard(): number {
    return this.#lastHeard;
  }
  /** The peer's authenticated CLOSE, undefined while it has sent none. */
  get peerClose(): number | undefined {
    return this.#peerClose;
  }
  /** Our CLOSE was acknowledged. */
  get closeArrived(): boolean {
    return this.#closeArrived;
  }
  get closing(): boolean {
    return this.#closeCode !== undefined;
  }
  /** Whose state is proven to be an earlier one of itself: with `receive`'s error of that code. */
  get rolledBack(): "ours" | "peer" | undefined {
    return this.#rolledBack;
  }

  /**
   * This machine may have been restored from a snapshot: then the next packet would go out under a number used before.
   * Nothing more leaves before the peer was heard anew; every packet of its says what it had of ours.
   */
  doubt(): void {
    this.#doubting = true;
  }

  /** Both sides open the same id, with mirrored windows, by agreement of the session messages above; ids only grow. */
  openStream(id: number, windows: StreamWindows): Stream {
    const stream = this.#streams.open(id, windows);
    this.onWork();
    return stream;
  }

  /** Forgets a stream: what still comes for it is acknowledged and thrown away. */
  dropStream(id: number): void {
    this.#streams.drop(id);
  }

  /** While held, only the control stream's bytes leave; what is written to the others waits, and is lost with nobody. */
  holdChannels(held: boolean): void {
    this.#streams.channelsHeld = held;
    if (!held) this.onWork();
  }

  /**
   * From now on packets say less of what they carry: in slots, or (`off`) padded to one of a few lengths.
   * docs/protocol.md §5.6. Once for a connection. @param rate - bytes a second that slots keep to; 0: any.
   */
  shape(profile: ShapingProfile, levels: SlotLevels, now: number, rate = 0): void {
    if (this.#shaping !== undefined) throw new SealttyError("api-misuse", "A connection is shaped once");
    this.#shaping = profile;
    if (profile !== "off") {
      const load = (): SlotLoad => this.#streams.load();
      this.#slots = new PacketSlots(profile, levels, this.#suite, this.#recovery, load, now, rate);
    }
    this.onWork();
  }
  get shaping(): ShapingProfile | undefined {
    return this.#shaping;
  }
  /** Packets have slots: their frames, too, have one length. */
  get slotted(): boolean {
    return this.#slots !== undefined;
  }
  /**
   * Whether who writes to a stream must wait for its `onChange`. Neither credit nor flight bounds what is kept: a peer may give
   * any credit, and acknowledge all bytes but the first.
   * @param usual - bytes that may be unsent: a slot that carries more needs more.
   */
  isFull(stream: Stream, usual: number): boolean {
    if (stream.send.unsent >= (this.#slots?.unsentLimit(usual) ?? usual)) return true;
    if (!this.#keepsTooMuch) return false;
    this.#writersWait = true;
    return true;
  }
  /** Twice, as loss leaves gaps for a while. */
  get #keepsTooMuch(): boolean {
    return this.#streams.kept >= 2 * this.#flight.bytes;
  }

  ping(): void {
    this.#pingDue = true;
    this.onWork();
  }

  /**
   * Sends CLOSE, repeated until acknowledged; nothing else is sent from now on.
   * @param atOnce - the pipe ends now, which the host sees: the first CLOSE waits for no slot.
   */
  close(code: number, atOnce = false): void {
    if (this.#closeCode !== undefined) return;
    this.#closeCode = code;
    this.#closeDue = true;
    if (atOnce) this.#slots?.endNow();
    this.onWork();
  }

  /** The pipe ends now, which the host sees: an acknowledgement of the peer's CLOSE waits for no slot either. */
  endNow(): void {
    this.#slots?.endNow();
    this.onWork();
  }

  /**
   * Takes a PACKET frame's body.
   * @returns the packet's number where it was authentic and new, else undefined: it then costs nothing.
   * @throws SealttyError `peer-misbehaved` where the authenticated peer broke the protocol, `limit-exceeded`,
   * `state-rolled-back`: then nothing may be sent under these keys any more.
   */
  receive(body: Uint8Array, now: number): number | undefined {
    const packet = this.#opener.open(body);
    if (packet === undefined) {
      if (this.#opener.refused >= MAX_FAILED_OPENINGS)
        throw new SealttyError("limit-exceeded", "Too many forged packets");
      if (this.#opener.recycled) throw this.#rollback("peer", "Two different packets under one number");
      return undefined;
    }
    this.#lastHeard = now;
    this.#packetsReceived++;
    if (this.#opener.hasPrevious && this.#forgetAt === undefined)
      this.#forgetAt = now + 3 * this.#recovery.rto;
    let keep = true;
    let asksForAck = false;
    let ends = false;
    for (const frame of readPacketFrames(packet.plaintext)) {
      if (frame.type !== "ack") asksForAck = true;
      if (frame.type === "close") ends = true;
      keep = this.#take(frame, now) && keep;
    }
    // Older ones may be what the host held back from before.
    if (packet.number > this.#ack.newest) this.#doubting = false;
    this.#slots?.heard(now);
    if (!keep) return packet.number; // not acknowledged: its content comes again
    this.#ack.received(packet.number, asksForAck, now, ends);
    if (asksForAck) this.#slots?.active(now);
    this.onWork();
    return packet.number;
  }

  /**
   * @param usualBody - what the pipe's frames can hold now. @returns the next frame body, undefined where nothing is due.
   * `now` decides whether a held-back acknowledgement is due. @param into - where the body goes, if it is
   * long enough. @param longBody - what they can hold once the pipe has shown itself quick.
   */
  next(usualBody: number, now: number, into?: Uint8Array, longBody = usualBody): Uint8Array | undefined {
    if (this.#doubting || this.#rolledBack !== undefined) return undefined;
    if (this.#slots !== undefined) return this.#nextInSlot(this.#slots, usualBody, now);
    const maxBody = this.#bodyWithin(usualBody, longBody);
    this.#recovery.widen(maxBody > usualBody);
    this.#rekeyByAge(now);
    const contents: Content[] = [];
    // A packet that carries something never goes beyond what may be in flight; a mere acknowledgement always may go.
    const room =
      this.#shaping === "off"
        ? bucketWithin(this.#recovery.room, maxBody)
        : Math.min(maxBody, this.#recovery.room);
    const carries =
      room >= Math.min(MIN_PACKET_ROOM, maxBody) &&
      (this.#closeDue || (this.#closeCode === undefined && this.#hasContent()));
    if (!carries && !this.#ack.isDue(now)) return undefined;
    const writer = this.#writer;
    writer.begin((carries ? room : maxBody) - PACKET_HEADER_LENGTH - 16);
    // With content always: the acknowledged numbers tell a peer at once that it is an earlier state of itself.
    this.#ack.write(writer);
    if (carries) this.#fill(writer, contents);
    if (writer.written.length === 0) return undefined;
    if (this.#shaping === "off") {
      const around = PACKET_HEADER_LENGTH + 16;
      writer.pad(bucketOf(writer.written.length + around, carries ? room : maxBody) - around);
    }
    const { number, body } = this.#sealer.seal(writer.written, into);
    if (contents.length > 0) this.#recovery.onSent(number, body.length, contents, now);
    return body;
  }

  /** One of a few lengths, too: what the pipe takes must not tell of the flight to the byte. */
  #bodyWithin(usual: number, long: number): number {
    return long > usual ? Math.max(usual, bucketWithin(this.#recovery.quickShare, long)) : usual;
  }

  /** The same where packets have slots: none outside of one, and each slot's are alike whatever they carry. */
  #nextInSlot(slots: PacketSlots, maxBody: number, now: number): Uint8Array | undefined {
    const size = slots.take(maxBody, this.closing);
    if (size === undefined) {
      if (this.#closeDue || this.#hasContent()) slots.waits(now);
      return undefined;
    }
    this.#rekeyByAge(now);
    const contents: Content[] = [];
    const writer = this.#writer;
    const length = size - PACKET_HEADER_LENGTH - 16;
    writer.begin(length);
    // In each, as outside of slots. Half of it at most: what is acknowledged must not push out what is said.
    this.#ack.write(writer, Math.floor(length / 2));
    if (slots.mayCarry(size) && (this.#closeDue || (this.#closeCode === undefined && this.#hasContent())))
      this.#fill(writer, contents);
    writer.pad(length);
    const { number, body } = this.#sealer.seal(writer.written);
    if (contents.length > 0) {
      this.#recovery.onSent(number, body.length, contents, now);
      slots.active(now);
    }
    return body;
  }

  /** When `onTime` is due next. */
  get deadline(): number | undefined {
    if (this.#slots !== undefined) return this.#slots.deadline;
    return earliest(this.#recovery.deadline, this.#ack.deadline, this.#forgetAt);
  }

  /**
   * @param maxBody - what the pipe's frames can hold now. Told here and not by `next`: a slot that followed the encoding which the
   * last packet was asked for with would tell whether something was written since, wherever the host changes the encoding.
   */
  onTime(now: number, maxBody: number): void {
    // Where packets have slots nothing else is looked at between them: an idle connection wakes for its slots alone.
    if (this.#slots !== undefined && now < this.#slots.deadline) return;
    if (this.#forgetAt !== undefined && this.#forgetAt <= now) {
      this.#opener.forgetPrevious();
      this.#forgetAt = undefined;
    }
    const deadline = this.#recovery.deadline;
    if (deadline !== undefined && deadline <= now) this.#requeue(this.#recovery.onTimeout(now));
    this.#ack.told(now);
    if (this.#slots !== undefined) {
      this.#slots.open(now, now - this.#lastHeard, maxBody);
      this.#streams.markWritten();
    }
    this.onWork();
  }

  onNewPipe(now: number): void {
    this.#requeue(this.#recovery.onNewPipe(now));
    this.onWork();
  }

  /** Wipes keys and buffers, best effort. Nothing may be called after. */
  destroy(): void {
    this.#sealer.destroy();
    this.#opener.destroy();
    this.#writer.wipe();
    this.#streams.wipe();
  }

  #take(frame: PacketFrame, now: number): boolean {
    switch (frame.type) {
      case "ack": {
        const newest = (frame.ranges[0] as { last: number }).last;
        if (!this.#sealer.wasSealed(newest))
          throw this.#rollback("ours", "The peer acknowledged a packet that was never sent from here");
        this.#sealer.acknowledged(newest);
        const { arrived, lost } = this.#recovery.onAck(frame.ranges, now);
        for (const content of arrived) this.#arrived(content);
        this.#requeue(lost);
        this.#wakeWriters();
        return true;
      }
      case "stream": {
        const stream = this.#streams.get(frame.stream);
        // One we forgot is acknowledged and thrown away; one we do not know yet must come again.
        if (stream === undefined) return this.#streams.knew(frame.stream);
        if (stream.abandoned) return true;
        const kept = stream.receive.push(frame.offset, frame.bytes, frame.end);
        stream.onChange();
        return kept;
      }
      case "window": {
        const stream = this.#streams.get(frame.stream);
        stream?.send.allow(frame.limit);
        stream?.onChange();
        return true;
      }
      case "ping":
        return true;
      case "close":
        this.#peerClose ??= frame.code;
        return true;
    }
  }

  #rollback(whose: "ours" | "peer", what: string): SealttyError {
    this.#rolledBack = whose;
    return new SealttyError("state-rolled-back", what);
  }

  #arrived(content: Content): void {
    if (content.kind === "close") this.#closeArrived = true;
    if (content.kind !== "stream") return;
    const stream = this.#streams.get(content.stream);
    stream?.send.onArrived(content.offset, content.length, content.end);
    stream?.onChange();
  }

  #wakeWriters(): void {
    if (!this.#writersWait || this.#keepsTooMuch) return;
    this.#writersWait = false;
    for (const stream of this.#streams.all()) stream.onChange();
  }

  #requeue(lost: readonly Content[]): void {
    for (const content of lost) {
      if (content.kind === "ping") this.#pingDue = true;
      else if (content.kind === "close") this.#closeDue = true;
      else {
        const stream = this.#streams.get(content.stream);
        if (stream === undefined) continue;
        if (content.kind === "window") stream.windowDue = true;
        else stream.send.onLost(content.offset, content.length, content.end);
      }
    }
  }

  #hasContent(): boolean {
    return this.#pingDue || this.#streams.haveContent;
  }

  #fill(writer: PacketWriter, contents: Content[]): void {
    if (this.#closeCode !== undefined) {
      writer.close(this.#closeCode);
      this.#closeDue = false;
      contents.push({ kind: "close" });
      return;
    }
    if (this.#pingDue && writer.room > 0) {
      writer.ping();
      this.#pingDue = false;
      contents.push({ kind: "ping" });
    }
    for (const stream of this.#streams.all()) {
      if (!stream.windowDue || !writer.window(stream.id, stream.receive.limit)) continue;
      stream.windowDue = false;
      contents.push({ kind: "window", stream: stream.id });
    }
    this.#turns.fill(this.#streams.control, this.#streams.sending, writer, contents);
  }

  #rekeyByAge(now: number): void {
    const generation = generationOf(this.#sealer.next);
    if (generation !== this.#sealGeneration) {
      this.#sealGeneration = generation;
      this.#generationSince = now;
    }
    if (now - this.#generationSince < MAX_GENERATION_AGE_MS) return;
    this.#generationSince = now;
    this.#sealer.advanceGeneration();
  }
}

// The client's end: slots of a picture to bytes, bytes to input events. docs/vnc-modem.md §9.

import { equalBytes } from "../bytes.ts";
import { type Clock, earliest } from "../clock.ts";
import { SealttyError } from "../errors.ts";
import { MAX_MODEM_TO_CLIENT } from "../limits.ts";
import type { Pipe } from "../pipe.ts";
import type { Symbol } from "./bits.ts";
import {
  type Beacon,
  BEACON_BYTES,
  decodeBeacon,
  decodeSlot,
  decodeStatus,
  type Status,
  STATUS_BYTES,
} from "./blocks.ts";
import { type Device, DEVICES, type DeviceHabits, type Rung } from "./devices.ts";
import { BEACON_ROW, isCells, PALETTE_CELLS, slotBytes, STATUS_ROW } from "./geometry.ts";
import { Incoming, Outgoing } from "./incoming.ts";
import type { InputEvent, InputStep } from "./input-events.ts";
import { TapSender, ToggleSender } from "./key-coding.ts";
import { lookForBeacon, type Picture, type Sight, type View } from "./picture.ts";
import { AbsoluteSender, RelativeSender, type SymbolSender } from "./pointer-coding.ts";
import { encodeUp, MAX_UP_PAYLOAD, type UpFrame } from "./up-frames.ts";
import { UpPace } from "./up-pace.ts";

/** What the client sees. */
export interface ClientScreen {
  /** As it is now; another object, or other `pixels`, where its size has changed. */
  picture(): Picture;
  /** @param seen - to be called after each update. @param lost - the connection to the host is gone. */
  listen(seen: () => void, lost: (cause?: unknown) => void): void;
}

/** What the client presses and points with. */
export interface ClientKeys {
  /** In order, at once. @throws whatever a connection throws that is gone. */
  send(events: readonly InputEvent[]): void;
}

export interface ClientModemOptions {
  readonly screen: ClientScreen;
  readonly keys: ClientKeys;
  readonly clock: Clock;
  /** Random, 0 to 65535: what another client has sent before means nothing under it. */
  readonly epoch: number;
  /** Called each time that the guest has heard us for the first time. */
  readonly opened?: () => void;
}

/** Bytes that wait for a frame; who sends more waits. */
const MAX_UNSENT = 4 * MAX_UP_PAYLOAD;
/** Frames that are sent before the first of them was acknowledged. */
const WINDOW = 4;
/** After going back what is still under way is spoiled, too: nothing is made of that for so long, ms. */
const DEAF = 60;
/** So often in a row nothing came of it, and the guest shows another epoch: both ends begin anew. */
const MAX_ATTEMPTS = 4;
/** Where keys are toggled: each so manieth time of these all keys are released. It takes more than a second. */
const LONG_RESYNC = 3;
interface Outbound {
  readonly number: number; // modulo 2^16
  readonly payload: Uint8Array;
  /** Symbols that it took when last sent. */
  symbols: number;
  /** When its last symbol left; undefined while that is to come. */
  sentAt: number | undefined;
}

interface Lock {
  readonly beacon: Beacon;
  readonly view: View;
  readonly width: number;
  readonly height: number;
}

export class ClientModem implements Pipe {
  readonly incoming: AsyncIterable<Uint8Array>;
  readonly #screen: ClientScreen;
  readonly #keys: ClientKeys;
  readonly #clock: Clock;
  readonly #opened: () => void;
  readonly #incoming = new Incoming(() => {
    if (this.#full) this.#readSlots();
  });
  readonly #outgoing = new Outgoing();
  #sight: Sight["kind"] = "nothing";
  #lock: Lock | undefined;
  /** The slowest, until a beacon names another. */
  #habits: DeviceHabits = DEVICES["usb-keyboard"];
  #pace = new UpPace(this.#habits);
  #sender: SymbolSender = new TapSender();
  #epoch: number;
  /** The guest has heard our RESET. */
  #open = false;
  #resetDue = false;
  #resetAt: number | undefined; // when the last one left

  // Towards us
  #next = 0; // number of the slot that is read next
  #ackSent = 0; // what the guest was told last
  #ackAt = 0;
  #ackDue: number | undefined; // when it is to be told
  #status: Status | undefined;
  #displaced = false; // the guest has heard somebody else's RESET
  #full = false; // nothing more is read until somebody takes some of it

  // Towards the guest
  #window: Outbound[] = [];
  #cursor = 0; // first of the window that is to be sent
  #number = 0; // of the next new frame
  #spoiled = 0; // as last seen
  #deafUntil = 0;
  #attempts = 0; // going back since something was acknowledged
  #symbols: Symbol[] = []; // of the frame under way, those that are left
  #done: () => void = () => {};
  #steps: InputStep[] = [];
  #freeAt = 0; // when the device takes the next event
  #cancelTick: (() => void) | undefined;
  #cancelTimer: () => void = () => {};
  #ended = false;
  #figures = { sent: 0, goneBack: 0, skipped: 0 };

  constructor({ screen, keys, clock, epoch, opened = () => {} }: ClientModemOptions) {
    this.#screen = screen;
    this.#keys = keys;
    this.#clock = clock;
    this.#epoch = epoch & 0xffff;
    this.#opened = opened;
    this.incoming = this.#incoming.read();
    screen.listen(
      () => this.#see(),
      (cause) => this.#lost("The connection to the host is gone", cause),
    );
    this.#see();
  }

  /** What a person can be told while nothing goes: no beacon, one that is scaled, one of another size than the picture. */
  get sight(): Sight["kind"] {
    return this.#sight;
  }

  /** What the guest listens to, by its beacon. */
  get device(): Device | undefined {
    return this.#lock?.beacon.device;
  }

  /** Both ends know of each other. */
  get open(): boolean {
    return this.#open;
  }

  /** Since the start: symbols sent, times that frames were sent again, slots that were lost; and the pace now. */
  get figures(): { sent: number; goneBack: number; skipped: number; pace: Rung } {
    return { ...this.#figures, pace: this.#pace.rung };
  }

  async send(chunk: Uint8Array): Promise<void> {
    this.#throwIfEnded();
    this.#outgoing.push(chunk);
    this.#wake();
    while (this.#outgoing.length > MAX_UNSENT) {
      await this.#outgoing.changed();
      this.#throwIfEnded();
    }
  }

  async close(): Promise<void> {
    if (this.#ended) return;
    if (this.#lock !== undefined) this.#press(this.#sender.release());
    this.#end();
  }

  #throwIfEnded(): void {
    if (this.#ended) throw new SealttyError("transport-lost", "The modem is closed");
  }

  #end(failure?: SealttyError): void {
    this.#ended = true;
    this.#open = false;
    this.#cancelTick?.();
    this.#cancelTimer();
    this.#outgoing.clear();
    this.#incoming.end(failure);
  }

  #lost(message: string, cause?: unknown): void {
    if (!this.#ended) this.#end(new SealttyError("transport-lost", message, { cause }));
  }

  // Seeing

  #see(): void {
    if (this.#ended) return;
    const picture = this.#screen.picture();
    const lock = this.#lock;
    if (lock !== undefined && lock.width === picture.width && lock.height === picture.height) {
      const skip = isCells(lock.view.size.format) ? PALETTE_CELLS : 0;
      const bytes = lock.view.bytes(picture, BEACON_ROW, BEACON_BYTES, skip);
      const beacon = bytes === undefined ? undefined : decodeBeacon(bytes);
      // One that cannot be read is half drawn, or somebody drew over it: it will come back, or another one.
      if (beacon === undefined || sameBeacon(beacon, lock.beacon)) {
        if (beacon === undefined) this.#look(picture);
        if (this.#lock === lock) this.#readStatus(picture, lock);
        if (this.#lock === lock) this.#readSlots();
        return;
      }
    }
    this.#look(picture);
  }

  /** Locks onto a beacon that is not the one we have. */
  #look(picture: Picture): void {
    const sight = lookForBeacon(picture);
    if (sight.kind !== "beacon") {
      const { width, height } = this.#lock ?? { width: 0, height: 0 };
      if (width !== picture.width || height !== picture.height) {
        this.#sight = sight.kind;
        this.#unlock();
      }
      return;
    }
    this.#sight = "beacon";
    this.#unlock();
    const { beacon, view } = sight;
    this.#lock = { beacon, view, width: picture.width, height: picture.height };
    this.#habits = DEVICES[beacon.device];
    this.#pace = new UpPace(this.#habits);
    this.#sender = senderFor(this.#habits, picture);
    this.#begin();
    this.#readStatus(picture, this.#lock); // a picture that stands still is shown once
    this.#readSlots();
  }

  #unlock(): void {
    this.#lock = undefined;
    this.#open = false;
    this.#symbols = [];
    this.#steps = [];
    this.#window = [];
    this.#cursor = 0;
    this.#resetDue = false;
    this.#resetAt = undefined;
    this.#ackDue = undefined;
    this.#status = undefined;
  }

  /** Tells the guest that we are here, under a new epoch. What was under way is lost. */
  #begin(): void {
    this.#epoch = (this.#epoch % 0xffff) + 1; // 1 to 65535: the guest has 0 while nobody was there
    this.#open = false;
    this.#window = [];
    this.#cursor = 0;
    this.#number = 0;
    this.#spoiled = 0;
    this.#attempts = 0;
    this.#displaced = false;
    this.#pace.begin();
    this.#symbols = [];
    this.#done = () => {};
    this.#ackDue = undefined;
    this.#resetAt = undefined;
    this.#resetDue = true;
    // All keys are up when a client comes: of a keyboard only a second attempt needs the long way.
    this.#steps = this.#habits.coding === "toggle" ? [] : this.#sender.resync();
    this.#wake();
  }

  #readStatus(picture: Picture, { beacon, view }: Lock): void {
    const bytes = view.bytes(picture, STATUS_ROW, STATUS_BYTES);
    const status = bytes === undefined ? undefined : decodeStatus(bytes, beacon.nonce);
    if (status === undefined) return;
    this.#displaced = this.#open && status.epoch !== this.#epoch;
    if (status.epoch !== this.#epoch) return;
    if (!this.#open) {
      this.#open = true;
      this.#resetDue = false;
      this.#resetAt = undefined;
      this.#next = status.base;
      this.#ackSent = status.base;
      this.#attempts = 0;
      this.#opened();
    }
    this.#status = status;
    this.#acknowledged(status.expected);
    if (status.spoiled !== this.#spoiled) {
      this.#spoiled = status.spoiled;
      const sent = this.#window.some(({ sentAt }) => sentAt !== undefined);
      if (sent && this.#clock.now() >= this.#deafUntil) this.#goBack();
      else if (status.released < this.#next) this.#ackDue = this.#clock.now(); // or that was spoiled
    }
    this.#wake();
  }

  #readSlots(): void {
    const lock = this.#lock;
    if (lock === undefined || !this.#open || this.#ended) return;
    const picture = this.#screen.picture();
    if (picture.width !== lock.width || picture.height !== lock.height) return;
    const { layout, size, nonce } = lock.beacon;
    const before = this.#next;
    for (;;) {
      this.#full = this.#incoming.held >= MAX_MODEM_TO_CLIENT; // the rest stays on the screen
      if (this.#full) break;
      const row = layout.top + (this.#next % layout.slots) * layout.rowsPerSlot;
      const bytes = lock.view.bytes(picture, row, slotBytes(size, layout));
      const slot = bytes === undefined ? undefined : decodeSlot(bytes, nonce);
      if (slot === undefined || slot.number < this.#next) break;
      if (slot.number > this.#next) {
        // It was drawn over before we read it: an acknowledgement that was spoiled passed for another one.
        if (slot.number % layout.slots !== this.#next % layout.slots) break;
        this.#figures.skipped += slot.number - layout.slots + 1 - this.#next;
        this.#next = slot.number - layout.slots + 1;
        continue;
      }
      this.#next++;
      this.#incoming.push(slot.payload);
      this.#acknowledged(slot.expected);
    }
    if (this.#next === before) return;
    const soon = this.#next - this.#ackSent >= layout.slots / 2 ? 0 : this.#habits.ackDelay;
    this.#ackDue = earliest(this.#ackDue, this.#clock.now() + soon);
    this.#wake();
  }

  // Frames

  /** @param expected - number of the frame that the guest waits for. */
  #acknowledged(expected: number): void {
    const first = this.#window[0];
    if (first === undefined) return;
    const count = (expected - first.number) & 0xffff;
    // Only what was ever sent; anything else is an old picture.
    if (count === 0 || count > this.#window.filter(({ symbols }) => symbols > 0).length) return;
    const arrived = this.#window.splice(0, count);
    this.#cursor = Math.max(0, this.#cursor - count);
    this.#attempts = 0;
    this.#pace.acknowledged(
      count,
      arrived.reduce((sum, { symbols }) => sum + symbols, 0),
    );
  }

  #goBack(): void {
    this.#figures.goneBack++;
    this.#attempts++;
    if (this.#attempts > MAX_ATTEMPTS && this.#displaced) return this.#begin();
    this.#pace.lost();
    this.#cursor = 0;
    for (const frame of this.#window) frame.sentAt = undefined;
    this.#symbols = [];
    this.#done = () => {};
    // Of toggled keys a single difference is gone once the key was used again.
    const short = this.#habits.coding === "toggle" && this.#attempts % LONG_RESYNC !== 0;
    this.#steps = short ? [] : this.#sender.resync();
    const resync = this.#steps.reduce((sum, { rest }) => sum + rest, 0);
    this.#deafUntil = this.#clock.now() + DEAF + resync;
    this.#wake();
  }

  #patience(symbols: number): number {
    return this.#pace.patience(symbols, this.#attempts);
  }

  /** Chooses what is sent next. @returns false where nothing is due. */
  #nextFrame(): boolean {
    const lock = this.#lock;
    if (lock === undefined) return false;
    if (this.#resetDue) {
      this.#resetDue = false;
      this.#encode({ kind: "reset", epoch: this.#epoch }, lock, () => {
        this.#resetAt = this.#clock.now();
      });
      return true;
    }
    if (!this.#open) return false;
    const frame = this.#window[this.#cursor] ?? this.#newFrame();
    if (frame !== undefined) {
      this.#cursor++;
      frame.symbols = this.#encode(
        { kind: "data", number: frame.number, ack: this.#acknowledge(), payload: frame.payload },
        lock,
        () => {
          frame.sentAt = this.#clock.now();
        },
      );
      return true;
    }
    if (this.#ackDue === undefined || this.#ackDue > this.#clock.now()) return false;
    this.#encode({ kind: "ack", ack: this.#acknowledge() }, lock, () => {});
    return true;
  }

  #newFrame(): Outbound | undefined {
    if (this.#outgoing.length === 0 || this.#window.length >= WINDOW) return undefined;
    const underWay = this.#window.reduce((sum, { symbols }) => sum + symbols, 0);
    const longest = this.#window.reduce((most, { symbols }) => Math.max(most, symbols), 0);
    if (underWay + longest > this.#habits.uncounted) return undefined;
    const payload = this.#outgoing.take(this.#pace.payload);
    const frame: Outbound = { number: this.#number, payload, symbols: 0, sentAt: undefined };
    this.#number = (this.#number + 1) & 0xffff;
    this.#window.push(frame);
    return frame;
  }

  #acknowledge(): number {
    this.#ackSent = this.#next;
    this.#ackAt = this.#clock.now();
    this.#ackDue = undefined;
    return this.#next;
  }

  #encode(frame: UpFrame, { beacon }: Lock, done: () => void): number {
    this.#symbols = encodeUp(frame, { nonce: beacon.nonce, epoch: this.#epoch }, this.#sender.width);
    this.#done = done;
    return this.#symbols.length;
  }

  // Events

  /** Sees to it that a tick comes as soon as there is something for it, and a look at the time when one is due. */
  #wake(): void {
    if (this.#ended) return;
    this.#schedule();
    if (this.#cancelTick !== undefined) return;
    if (this.#steps.length === 0 && this.#symbols.length === 0 && !this.#nextFrame()) return;
    this.#cancelTick = this.#clock.after(Math.max(0, this.#freeAt - this.#clock.now()), () => {
      this.#cancelTick = undefined;
      this.#tick();
    });
  }

  #tick(): void {
    const step = this.#steps.shift();
    if (step !== undefined) {
      this.#press(step.events);
      this.#freeAt = this.#clock.now() + step.rest;
      return this.#wake();
    }
    const { batch, every } = this.#pace.rung;
    const events: InputEvent[] = [];
    for (let i = 0; i < batch; i++) {
      if (this.#symbols.length === 0 && !this.#nextFrame()) break;
      events.push(...this.#sender.events(this.#symbols.shift() as Symbol));
      this.#figures.sent++;
      if (this.#symbols.length === 0) this.#done();
    }
    if (this.#pace.guarded && events.length > 0) events.push(...(this.#sender.guard?.() ?? []));
    this.#press(events);
    this.#freeAt = this.#clock.now() + every;
    this.#wake();
  }

  #press(events: readonly InputEvent[]): void {
    if (events.length === 0) return;
    try {
      this.#keys.send(events);
    } catch (cause) {
      this.#lost("The connection to the host is gone", cause);
    }
  }

  /** Of what has to happen some time: when. */
  #due(): { frame: number | undefined; reset: number | undefined; ack: number | undefined } {
    const first = this.#window[0];
    const released = this.#status?.released ?? this.#next;
    const resend =
      this.#open && released < this.#next && this.#ackSent === this.#next
        ? this.#ackAt + this.#patience(4)
        : undefined;
    return {
      frame: first?.sentAt === undefined ? undefined : first.sentAt + this.#patience(first.symbols),
      reset: this.#resetAt === undefined ? undefined : this.#resetAt + this.#patience(9),
      ack: earliest(this.#ackDue, resend),
    };
  }

  #schedule(): void {
    this.#cancelTimer();
    this.#cancelTimer = () => {};
    const { frame, reset, ack } = this.#due();
    const at = earliest(frame, reset, ack);
    if (at === undefined) return;
    const now = this.#clock.now();
    // An acknowledgement that is due goes with the next tick: no timer is needed for it.
    if (at <= now && at === ack && this.#cancelTick !== undefined) return;
    this.#cancelTimer = this.#clock.after(Math.max(1, at - now), () => this.#later());
  }

  #later(): void {
    const now = this.#clock.now();
    const { frame, reset, ack } = this.#due();
    if (reset !== undefined && reset <= now) {
      this.#resetAt = undefined;
      this.#resetDue = true;
      this.#attempts++;
      this.#pace.slower();
      this.#steps = this.#sender.resync();
    } else if (frame !== undefined && frame <= now) {
      this.#goBack();
    } else if (ack !== undefined && ack <= now) {
      this.#ackDue = now;
    }
    this.#wake();
  }
}

function sameBeacon(a: Beacon, b: Beacon): boolean {
  return (
    equalBytes(a.nonce, b.nonce) &&
    a.device === b.device &&
    a.size.format === b.size.format &&
    a.size.width === b.size.width &&
    a.size.height === b.size.height &&
    a.layout.top === b.layout.top &&
    a.layout.rowsPerSlot === b.layout.rowsPerSlot &&
    a.layout.slots === b.layout.slots
  );
}

function senderFor({ coding, rungs, start }: DeviceHabits, picture: Picture): SymbolSender {
  switch (coding) {
    case "absolute":
      return new AbsoluteSender(picture);
    case "relative":
      return new RelativeSender();
    case "toggle":
      return new ToggleSender((rungs[start] as Rung).every);
    case "tap":
      return new TapSender();
  }
}

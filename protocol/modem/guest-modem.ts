// The guest's end: bytes to slots on a screen, input events to bytes. docs/vnc-modem.md §8.

import type { Clock } from "../clock.ts";
import { SealttyError } from "../errors.ts";
import { MAX_MODEM_TO_GUEST } from "../limits.ts";
import type { Pipe } from "../pipe.ts";
import {
  BEACON_BYTES,
  encodeBeacon,
  encodeSlot,
  encodeStatus,
  NONCE_BYTES,
  SLOT_HEADER_BYTES,
  STATUS_BYTES,
} from "./blocks.ts";
import { concat } from "../bytes.ts";
import {
  AbsoluteReader,
  type DeviceReader,
  KeyReader,
  PacketReader,
  RelativeReader,
  ScanCodeReader,
} from "./device-reader.ts";
import { type Device, DEVICES } from "./devices.ts";
import {
  BEACON_ROW,
  isCells,
  layoutFor,
  pictureWidth,
  type ScreenSize,
  type SlotLayout,
  slotBytes,
  STATUS_ROW,
} from "./geometry.ts";
import { Incoming, Outgoing } from "./incoming.ts";
import { CELL_SIZES } from "./picture.ts";
import { encodeRows, paletteCells } from "./pixels.ts";
import type { Surface } from "./pointer-coding.ts";
import { ACK_MODULUS, UpDecoder, type UpEvent } from "./up-frames.ts";

/** What the guest draws onto: a framebuffer, or text cells. */
export interface GuestScreen {
  readonly size: ScreenSize;
  /**
   * @param top - a row. @param bytes - as `encodeRows` makes them; without gaps between rows, whatever the device's own
   * distance from row to row is; may end inside a row. @throws whatever a device throws that is gone.
   */
  writeRows(top: number, bytes: Uint8Array): void;
  /** @param resized - to be called once `size` has changed. @param lost - the device is gone. */
  listen(resized: () => void, lost: () => void): void;
}

/** What the guest listens to: a grabbed input device, or a serio port. */
export interface GuestKeys {
  readonly device: Device;
  /** `evdev`: records of /dev/input/event*; `raw`: what the device itself says, through serio_raw. */
  readonly wire: "evdev" | "raw";
  /** @param heard - bytes as they were read, cut anywhere. @param lost - the device is gone. */
  listen(heard: (bytes: Uint8Array) => void, lost: () => void): void;
}

export interface GuestModemOptions {
  readonly screen: GuestScreen;
  readonly keys: GuestKeys;
  readonly clock: Clock;
  /** 8 random bytes, new at each start. Not secret: they are on the screen. */
  readonly nonce: Uint8Array;
}

/** Everything is drawn again if nothing was heard for so long, ms; twice as late each time, up to the second number. */
const REDRAW = 1000;
const MAX_REDRAW = 8000;
const NO_EPOCH = 0;

interface Ear {
  readonly reader: DeviceReader;
  /** One for each surface that the client may be pointing at. */
  readonly decoders: readonly UpDecoder[];
  /** Which of them understood a RESET. */
  chosen: number | undefined;
}

/** @throws SealttyError `device-unavailable` where the screen is too small, or these keys cannot be read so. */
export class GuestModem implements Pipe {
  readonly incoming: AsyncIterable<Uint8Array>;
  readonly #screen: GuestScreen;
  readonly #keys: GuestKeys;
  readonly #clock: Clock;
  readonly #nonce: Uint8Array;
  readonly #incoming = new Incoming();
  readonly #outgoing = new Outgoing();
  #layout: SlotLayout;
  #size: ScreenSize;
  #ear: Ear;
  /** Slots that the client has not acknowledged, first to last. */
  #ring: { number: number; payload: Uint8Array }[] = [];
  #number = 0; // of the next slot; never goes back, so that no old slot looks new
  #base = 0;
  #epoch = NO_EPOCH;
  #heard = 0;
  #expected = 0;
  #spoiled = 0;
  #drawing = false; // a turn that draws is due
  #statusDue = false;
  #redraw = REDRAW;
  #cancelRedraw: () => void = () => {};
  #ended = false;

  constructor({ screen, keys, clock, nonce }: GuestModemOptions) {
    if (nonce.length !== NONCE_BYTES) throw new SealttyError("api-misuse", "A modem's nonce has 8 bytes");
    this.#screen = screen;
    this.#keys = keys;
    this.#clock = clock;
    this.#nonce = nonce.slice();
    this.#size = screen.size;
    this.#layout = layoutOrThrow(screen.size);
    this.#ear = makeEar(keys, screen.size);
    this.incoming = this.#incoming.read();
    screen.listen(
      () => this.#resized(),
      () => this.#lost("The screen is gone"),
    );
    keys.listen(
      (bytes) => this.#listen(bytes),
      () => this.#lost("The input device is gone"),
    );
    this.#drawAll();
    this.#scheduleRedraw();
  }

  /**
   * What one slot takes: a new picture is shown every 30 ms, and a slot may be all that is new in it. Not the pipe's `gathers`,
   * which is a socket's: frames alone go through here, of usual lengths (docs/protocol.md §5.5).
   */
  get slotPayload(): number {
    return slotBytes(this.#size, this.#layout) - SLOT_HEADER_BYTES;
  }

  async send(chunk: Uint8Array): Promise<void> {
    this.#throwIfEnded();
    if (this.#epoch === NO_EPOCH) return; // nobody has ever been there
    this.#outgoing.push(chunk);
    this.#drawSoon();
    while (this.#outgoing.length > this.slotPayload) {
      await this.#outgoing.changed();
      this.#throwIfEnded();
    }
  }

  async close(): Promise<void> {
    if (this.#ended) return;
    this.#write(BEACON_ROW, new Uint8Array(BEACON_BYTES));
    this.#write(STATUS_ROW, new Uint8Array(STATUS_BYTES));
    this.#end();
  }

  #throwIfEnded(): void {
    if (this.#ended) throw new SealttyError("transport-lost", "The modem is closed");
  }

  #end(failure?: SealttyError): void {
    this.#ended = true;
    this.#cancelRedraw();
    this.#outgoing.clear();
    this.#incoming.end(failure);
  }

  #lost(message: string, cause?: unknown): void {
    if (!this.#ended) this.#end(new SealttyError("transport-lost", message, { cause }));
  }

  // Drawing

  #write(row: number, bytes: Uint8Array, front: Uint8Array = new Uint8Array(0)): void {
    if (this.#ended) return;
    const rows = encodeRows(this.#size, bytes);
    try {
      this.#screen.writeRows(row, front.length === 0 ? rows : concat(front, rows));
    } catch (cause) {
      this.#lost("The screen cannot be written any more", cause);
    }
  }

  #drawBeacon(): void {
    const beacon = { nonce: this.#nonce, size: this.#size, layout: this.#layout, device: this.#keys.device };
    this.#write(
      BEACON_ROW,
      encodeBeacon(beacon),
      isCells(this.#size.format) ? paletteCells() : new Uint8Array(0),
    );
  }

  #drawStatus(): void {
    const status = {
      epoch: this.#epoch,
      base: this.#base,
      released: this.#released,
      heard: this.#heard,
      expected: this.#expected,
      spoiled: this.#spoiled,
    };
    this.#write(STATUS_ROW, encodeStatus(status, this.#nonce));
  }

  #drawSlot({ number, payload }: { number: number; payload: Uint8Array }): void {
    const row = this.#layout.top + (number % this.#layout.slots) * this.#layout.rowsPerSlot;
    this.#write(row, encodeSlot({ number, expected: this.#expected, payload }, this.#nonce));
  }

  #drawAll(): void {
    this.#drawBeacon();
    this.#drawStatus();
    for (const slot of this.#ring) this.#drawSlot(slot);
  }

  /** Once the events at hand were handled: what they send goes into one slot. */
  #drawSoon(): void {
    if (this.#drawing || this.#ended) return;
    this.#drawing = true;
    this.#clock.soon(() => {
      this.#drawing = false;
      if (this.#statusDue) this.#drawStatus();
      this.#statusDue = false;
      if (this.#ring.length === 0 && this.#outgoing.length > 0) {
        this.#redraw = REDRAW;
        this.#scheduleRedraw();
      }
      while (this.#outgoing.length > 0 && this.#ring.length < this.#layout.slots && !this.#ended) {
        const slot = { number: this.#number++, payload: this.#outgoing.take(this.slotPayload) };
        this.#ring.push(slot);
        this.#drawSlot(slot);
      }
    });
  }

  /** Somebody else may have drawn over it, and a client that is there shows no interest in what it cannot read. */
  #scheduleRedraw(): void {
    this.#cancelRedraw();
    this.#cancelRedraw = this.#clock.after(this.#redraw, () => {
      this.#redraw = Math.min(MAX_REDRAW, this.#redraw * 2);
      this.#drawAll();
      if (!this.#ended) this.#scheduleRedraw();
    });
  }

  #resized(): void {
    if (this.#ended) return;
    let layout: SlotLayout;
    let ear: Ear;
    try {
      layout = layoutOrThrow(this.#screen.size);
      ear = makeEar(this.#keys, this.#screen.size);
    } catch (cause) {
      return this.#lost("The screen has become too small", cause);
    }
    this.#size = this.#screen.size;
    this.#layout = layout;
    this.#ear = ear;
    this.#forget(NO_EPOCH); // slots have other lengths now; the client sees the new beacon and begins anew
    this.#drawAll();
  }

  // Listening

  get #released(): number {
    return this.#ring[0]?.number ?? this.#number;
  }

  #forget(epoch: number): void {
    this.#epoch = epoch;
    this.#ring = [];
    this.#outgoing.clear();
    this.#base = this.#number;
    this.#heard = 0;
    this.#expected = 0;
    this.#spoiled = 0;
  }

  #listen(bytes: Uint8Array): void {
    if (this.#ended) return;
    for (const heard of this.#ear.reader.push(bytes, this.#clock.now())) {
      if (heard.kind === "gap") {
        for (const decoder of this.#ear.decoders) decoder.drop();
        continue;
      }
      this.#heard = (this.#heard + 1) >>> 0;
      this.#ear.decoders.forEach((decoder, index) => {
        const symbol = heard.symbols[index];
        const context = { nonce: this.#nonce, epoch: this.#epoch };
        if (symbol === undefined) {
          if (decoder.drop()) this.#take({ kind: "spoiled" }, index);
        } else {
          for (const event of decoder.push(symbol, context, this.#expected)) this.#take(event, index);
        }
      });
    }
  }

  #take(event: UpEvent, surface: number): void {
    if (event.kind === "reset") {
      this.#ear.chosen = surface;
      if (event.epoch !== this.#epoch && event.epoch !== NO_EPOCH) this.#forget(event.epoch);
    } else if (surface !== this.#ear.chosen || this.#epoch === NO_EPOCH) {
      return;
    } else if (event.kind === "spoiled") {
      this.#spoiled = (this.#spoiled + 1) & 0xffff;
    } else {
      if (event.kind === "data") this.#takeData(event.number, event.payload);
      this.#release(event.ack);
    }
    this.#redraw = REDRAW;
    this.#scheduleRedraw();
    this.#statusDue = true;
    this.#drawSoon();
  }

  #takeData(number: number, payload: Uint8Array): void {
    const ahead = (number - this.#expected) & 0xffff;
    if (ahead === 0) {
      if (this.#incoming.held + payload.length > MAX_MODEM_TO_GUEST) return; // as if it had not come
      this.#expected = (this.#expected + 1) & 0xffff;
      this.#incoming.push(payload);
    } else if (ahead < 0x8000) {
      this.#spoiled = (this.#spoiled + 1) & 0xffff; // one before it is missing
    }
  }

  /** @param ack - number of the slot that the client waits for, modulo 256. One that cannot be is ignored. */
  #release(ack: number): void {
    const count = (((ack - this.#released) % ACK_MODULUS) + ACK_MODULUS) % ACK_MODULUS;
    if (count <= this.#ring.length) this.#ring.splice(0, count);
  }
}

function layoutOrThrow(size: ScreenSize): SlotLayout {
  const layout = layoutFor(size);
  if (layout === undefined)
    throw new SealttyError("device-unavailable", `A screen of ${size.width}x${size.height} is too small`);
  return layout;
}

function makeEar(keys: GuestKeys, size: ScreenSize): Ear {
  const reader = makeReader(keys, size);
  return { reader, decoders: reader.widths.map((width) => new UpDecoder(width)), chosen: undefined };
}

function makeReader({ device, wire }: GuestKeys, size: ScreenSize): DeviceReader {
  const { coding } = DEVICES[device];
  if (wire === "evdev") {
    switch (coding) {
      case "absolute":
        return new AbsoluteReader(surfacesOf(size));
      case "relative":
        return new RelativeReader();
      case "toggle":
      case "tap":
        return new KeyReader(coding);
    }
  }
  if (coding === "relative") return new PacketReader();
  if (coding === "toggle") return new ScanCodeReader();
  throw new SealttyError("device-unavailable", `A ${device} cannot be read raw`);
}

/** Pictures that the client may be looking at. */
function surfacesOf({ format, width, height }: ScreenSize): Surface[] {
  if (!isCells(format)) return [{ width: pictureWidth(width), height }];
  return CELL_SIZES.map(([cellWidth, cellHeight]) => ({
    width: pictureWidth(width * cellWidth),
    height: height * cellHeight,
  }));
}

// The guest's ear: bytes of an input device to symbols. docs/vnc-modem.md §7. Everything here comes from the host.

import type { Symbol, SymbolWidth } from "./bits.ts";
import { KEY_WIDTH, keySymbol } from "./key-coding.ts";
import {
  absoluteValue,
  absoluteWidth,
  LEFT,
  MIDDLE,
  RELATIVE_WIDTH,
  relativeSymbol,
  RIGHT,
  type Surface,
} from "./pointer-coding.ts";

/**
 * What was heard. A pointer's position means another symbol for each surface that it may be on: `symbols` has one for each,
 * undefined where none has it. `gap`: something was lost or is meant to begin anew.
 */
export type Heard =
  | { readonly kind: "symbol"; readonly symbols: readonly (Symbol | undefined)[] }
  | { readonly kind: "gap" };

export interface DeviceReader {
  /** One for each surface, or just one. */
  readonly widths: readonly SymbolWidth[];
  /** @param bytes - as read from the device, cut anywhere. @param now - ms, of a clock that never goes back. */
  push(bytes: Uint8Array, now: number): Heard[];
}

const GAP: Heard = { kind: "gap" };

/** struct input_event of a 64-bit Linux: time (16 bytes), type u16, code u16, value s32, little-endian. */
const EVENT_BYTES = 24;
const EV_SYN = 0;
const EV_KEY = 1;
const EV_REL = 2;
const EV_ABS = 3;
const SYN_REPORT = 0;
const SYN_DROPPED = 3;
const BTN_LEFT = 0x110;
const BTN_RIGHT = 0x111;
const BTN_MIDDLE = 0x112;

interface InputRecord {
  readonly type: number;
  readonly code: number;
  readonly value: number;
}

/** Records of a /dev/input/event*, cut anywhere. */
class RecordReader {
  readonly #record = new Uint8Array(EVENT_BYTES);
  readonly #view = new DataView(this.#record.buffer);
  #length = 0;

  *push(bytes: Uint8Array): Generator<InputRecord> {
    for (const byte of bytes) {
      this.#record[this.#length++] = byte;
      if (this.#length < EVENT_BYTES) continue;
      this.#length = 0;
      yield {
        type: this.#view.getUint16(16, true),
        code: this.#view.getUint16(18, true),
        value: this.#view.getInt32(20, true),
      };
    }
  }
}

/** Buttons of a pointer as an RFB mask. @returns the mask after this record. */
function buttonsAfter(mask: number, { code, value }: InputRecord): number {
  const button = code === BTN_LEFT ? LEFT : code === BTN_MIDDLE ? MIDDLE : code === BTN_RIGHT ? RIGHT : 0;
  return value === 0 ? mask & ~button : mask | button;
}

/** A tablet's events: a report whose left button differs from the last one's is a symbol; any other is somebody's hand. */
export class AbsoluteReader implements DeviceReader {
  readonly widths: readonly SymbolWidth[];
  readonly #surfaces: readonly Surface[];
  readonly #records = new RecordReader();
  #x = 0;
  #y = 0;
  #mask = 0;
  #clock = 0;
  #dropping = false;
  #resync = false; // all three buttons were down in the last report

  /** @param surfaces - pictures that the client may be looking at: of text cells the guest does not know the size. */
  constructor(surfaces: readonly Surface[]) {
    this.#surfaces = surfaces;
    this.widths = surfaces.map(absoluteWidth);
  }

  push(bytes: Uint8Array): Heard[] {
    const heard: Heard[] = [];
    for (const record of this.#records.push(bytes)) {
      const { type, code, value } = record;
      if (type === EV_ABS && code === 0) this.#x = value;
      else if (type === EV_ABS && code === 1) this.#y = value;
      else if (type === EV_KEY) this.#mask = buttonsAfter(this.#mask, record);
      else if (type === EV_SYN && code === SYN_DROPPED) {
        this.#dropping = true;
        heard.push(GAP);
      } else if (type === EV_SYN && code === SYN_REPORT) {
        const said = this.#report();
        if (said !== undefined) heard.push(said);
      }
    }
    return heard;
  }

  #report(): Heard | undefined {
    const clock = this.#mask & LEFT;
    const turned = clock !== this.#clock;
    this.#clock = clock;
    if (this.#dropping) {
      this.#dropping = false; // the report that ends a gap is not whole
      return undefined;
    }
    const released = this.#resync;
    this.#resync = this.#mask === (LEFT | MIDDLE | RIGHT);
    if (this.#resync) return GAP;
    if (released) return undefined; // whatever the clock is now, the next symbol turns it
    if (!turned) return undefined;
    const start = (this.#mask & RIGHT) !== 0;
    const symbols = this.#surfaces.map((surface) => {
      const value = absoluteValue(this.#x, this.#y, surface);
      return value === undefined ? undefined : { start, value };
    });
    return { kind: "symbol", symbols };
  }
}

/** A mouse that the kernel's psmouse reads: each report with motion is a symbol. */
export class RelativeReader implements DeviceReader {
  readonly widths = [RELATIVE_WIDTH];
  readonly #records = new RecordReader();
  #dx = 0;
  #dy = 0;
  #mask = 0;
  #dropping = false;

  push(bytes: Uint8Array): Heard[] {
    const heard: Heard[] = [];
    for (const record of this.#records.push(bytes)) {
      const { type, code, value } = record;
      if (type === EV_REL && code === 0) this.#dx += value;
      else if (type === EV_REL && code === 1) this.#dy += value;
      else if (type === EV_KEY) this.#mask = buttonsAfter(this.#mask, record);
      else if (type === EV_SYN && code === SYN_DROPPED) {
        this.#dropping = true;
        heard.push(GAP);
      } else if (type === EV_SYN && code === SYN_REPORT) {
        if (!this.#dropping)
          heard.push({ kind: "symbol", symbols: [relativeSymbol(this.#dx, this.#dy, this.#mask)] });
        this.#dropping = false;
        this.#dx = 0;
        this.#dy = 0;
      }
    }
    return heard;
  }
}

/** Nothing for so long, ms, and a packet that is not whole will never be. */
const PACKET_PAUSE = 20;
const ALWAYS_SET = 0x08;

/** A PS/2 mouse through serio_raw: packets of three bytes, buttons and signs first, y upwards. */
export class PacketReader implements DeviceReader {
  readonly widths = [RELATIVE_WIDTH];
  #packet: number[] = [];
  #last = 0;

  push(bytes: Uint8Array, now: number): Heard[] {
    const heard: Heard[] = [];
    if (this.#packet.length > 0 && now - this.#last >= PACKET_PAUSE) {
      this.#packet = [];
      heard.push(GAP);
    }
    this.#last = now;
    for (const byte of bytes) {
      if (this.#packet.length === 0 && (byte & ALWAYS_SET) === 0) {
        heard.push(GAP); // not the first of a packet
        continue;
      }
      this.#packet.push(byte);
      if (this.#packet.length < 3) continue;
      const [head, right, up] = this.#packet as [number, number, number];
      this.#packet = [];
      const dx = right - ((head & 0x10) === 0 ? 0 : 256);
      const dy = ((head & 0x20) === 0 ? 0 : 256) - up;
      const mask =
        ((head & 1) === 0 ? 0 : LEFT) | ((head & 2) === 0 ? 0 : RIGHT) | ((head & 4) === 0 ? 0 : MIDDLE);
      heard.push({ kind: "symbol", symbols: [relativeSymbol(dx, dy, mask)] });
    }
    return heard;
  }
}

/** A keyboard's events. A key that repeats (value 2) says nothing: a virtio keyboard's are repeated by the kernel. */
export class KeyReader implements DeviceReader {
  readonly widths = [KEY_WIDTH];
  readonly #records = new RecordReader();
  readonly #releases: boolean;

  /** @param coding - `tap`: only a key that goes down is a symbol. */
  constructor(coding: "toggle" | "tap") {
    this.#releases = coding === "toggle";
  }

  push(bytes: Uint8Array): Heard[] {
    const heard: Heard[] = [];
    for (const { type, code, value } of this.#records.push(bytes)) {
      if (type === EV_SYN && code === SYN_DROPPED) heard.push(GAP);
      if (type !== EV_KEY || (value !== 1 && !(value === 0 && this.#releases))) continue;
      const symbol = keySymbol(code);
      if (symbol !== undefined) heard.push({ kind: "symbol", symbols: [symbol] });
    }
    return heard;
  }
}

/** A PS/2 keyboard through serio_raw: scan code set 1, the highest bit set where a key goes up. */
export class ScanCodeReader implements DeviceReader {
  readonly widths = [KEY_WIDTH];
  #skip = 0;

  push(bytes: Uint8Array): Heard[] {
    const heard: Heard[] = [];
    for (const byte of bytes) {
      if (byte === 0xe0 || byte === 0xe1) {
        this.#skip = byte === 0xe0 ? 1 : 2; // keys that came with later keyboards: none of ours
        continue;
      }
      if (this.#skip > 0) {
        this.#skip--;
        continue;
      }
      const symbol = keySymbol(byte & 0x7f);
      if (symbol !== undefined) heard.push({ kind: "symbol", symbols: [symbol] });
    }
    return heard;
  }
}

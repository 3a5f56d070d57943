// QEMU's VNC server and input devices on a test's clock, with the habits that were measured (docs/vnc-modem.md §3): a picture
// every 30 ms and later when nothing happens, queues that drop or merge, a key every 10 ms, another viewer's mouse.

import type { Clock } from "../../protocol/clock.ts";
import type { ClientKeys, ClientScreen } from "../../protocol/modem/client-modem.ts";
import type { Device } from "../../protocol/modem/devices.ts";
import { isCells, pictureWidth, type ScreenSize } from "../../protocol/modem/geometry.ts";
import type { GuestKeys, GuestScreen } from "../../protocol/modem/guest-modem.ts";
import type { InputEvent } from "../../protocol/modem/input-events.ts";
import type { Picture } from "../../protocol/modem/picture.ts";
import type { Seeded } from "./seeded.ts";

const REFRESH = 30;
const MAX_REFRESH = 3000;
const POKE = 100;
/** The console's colours, as a VGA has them. */
export const PALETTE: readonly number[] = [
  0x000000, 0x0000aa, 0x00aa00, 0x00aaaa, 0xaa0000, 0xaa00aa, 0xaa5500, 0xaaaaaa, 0x555555, 0x5555ff,
  0x55ff55, 0x55ffff, 0xff5555, 0xff55ff, 0xffff55, 0xffffff,
];
const HALF_BLOCK = 0xdc;

export interface DisplayHabits {
  /** Pixels of a text cell. */
  readonly cell?: readonly [number, number];
  /** How often a write is only half done when the picture is taken. */
  readonly tears?: number;
  /** How often nothing of a picture arrives: the next one has it. */
  readonly stale?: number;
}

/** Both sides of a display: what the guest writes is in the client's picture some time later. */
export class SimulatedDisplay {
  size: ScreenSize;
  /** Bytes of updates, 4 a pixel, in units of 16 pixels of a row. */
  updateBytes = 0;
  readonly #clock: Clock;
  readonly #random: Seeded;
  readonly #habits: DisplayHabits;
  #memory: Uint8Array;
  #pixels: Uint8Array;
  #dirty = new Set<number>();
  #interval = REFRESH;
  #nextAt = 0;
  #cancel: () => void = () => {};
  #seen: () => void = () => {};
  #lost: () => void = () => {};
  #resized: () => void = () => {};

  constructor(clock: Clock, random: Seeded, size: ScreenSize, habits: DisplayHabits = {}) {
    this.#clock = clock;
    this.#random = random;
    this.#habits = habits;
    this.size = size;
    this.#memory = new Uint8Array(this.#rowLength * size.height);
    this.#pixels = new Uint8Array(this.#pictureWidth * this.#pictureHeight * 3);
    this.#schedule();
    this.#poke();
  }

  get #rowLength(): number {
    return this.size.width * (this.size.format === "rgb888" ? 4 : 2);
  }
  get #cell(): readonly [number, number] {
    return isCells(this.size.format) ? (this.#habits.cell ?? [9, 16]) : [1, 1];
  }
  get #pictureWidth(): number {
    return pictureWidth(this.size.width * this.#cell[0]);
  }
  get #pictureHeight(): number {
    return this.size.height * this.#cell[1];
  }

  guestScreen(): GuestScreen {
    const size = (): ScreenSize => this.size;
    return {
      get size() {
        return size();
      },
      writeRows: (top, bytes) => this.#write(top, bytes),
      listen: (resized) => {
        this.#resized = resized;
      },
    };
  }

  clientScreen(): ClientScreen {
    return {
      picture: () => this.picture(),
      listen: (seen, lost) => {
        this.#seen = seen;
        this.#lost = lost;
      },
    };
  }

  picture(): Picture {
    return { width: this.#pictureWidth, height: this.#pictureHeight, pixels: this.#pixels };
  }

  /** The host ends the client's connection. */
  cut(): void {
    this.#lost();
  }

  resize(size: ScreenSize): void {
    this.size = size;
    this.#memory = new Uint8Array(this.#rowLength * size.height);
    this.#pixels = new Uint8Array(this.#pictureWidth * this.#pictureHeight * 3);
    this.#dirty.clear();
    this.#resized();
    this.#seen();
  }

  /** Somebody else draws: a cursor, a line of the kernel's. */
  scribble(top: number, rows: number): void {
    const from = top * this.#rowLength;
    this.#memory.set(this.#random.bytes(rows * this.#rowLength), from);
    for (let row = top; row < top + rows; row++) this.#dirty.add(row);
  }

  /** Any key or pointer event of a client: the next picture comes soon. */
  touched(): void {
    this.#interval = REFRESH;
    if (this.#nextAt - this.#clock.now() > REFRESH) this.#schedule();
  }

  #write(top: number, bytes: Uint8Array): void {
    const copy = bytes.slice();
    const at = top * this.#rowLength;
    if (at + copy.length > this.#memory.length) throw new RangeError("Written beyond the screen");
    const put = (from: number, to: number): void => {
      this.#memory.set(copy.subarray(from, to), at + from);
      for (let row = top; row <= top + Math.floor((copy.length - 1) / this.#rowLength); row++)
        this.#dirty.add(row);
    };
    if (!this.#random.chance(this.#habits.tears ?? 0)) return put(0, copy.length);
    const memory = this.#memory;
    const middle = this.#random.below(copy.length);
    put(0, middle);
    this.#clock.after(1 + this.#random.below(REFRESH), () => {
      if (memory === this.#memory) put(middle, copy.length);
    });
  }

  #poke(): void {
    this.#clock.after(POKE, () => {
      this.touched();
      this.#poke();
    });
  }

  #schedule(): void {
    this.#cancel();
    this.#nextAt = this.#clock.now() + this.#interval;
    this.#cancel = this.#clock.after(this.#interval, () => this.#refresh());
  }

  #refresh(): void {
    const changed = this.#dirty.size > 0 && !this.#random.chance(this.#habits.stale ?? 0);
    this.#interval = changed
      ? Math.max(REFRESH, this.#interval / 2)
      : Math.min(MAX_REFRESH, this.#interval + 50);
    if (changed) {
      for (const row of this.#dirty) this.#show(row);
      this.#dirty.clear();
    }
    this.#schedule();
    if (changed) this.#seen();
  }

  #show(row: number): void {
    const { format, width } = this.size;
    const line = this.#memory.subarray(row * this.#rowLength, (row + 1) * this.#rowLength);
    if (isCells(format)) return this.#showCells(row, line);
    const into = this.#pixels.subarray(row * this.#pictureWidth * 3);
    for (let x = 0; x < width; x++) {
      if (format === "rgb888") {
        into[x * 3] = line[x * 4] as number;
        into[x * 3 + 1] = line[x * 4 + 1] as number;
        into[x * 3 + 2] = line[x * 4 + 2] as number;
      } else {
        const short = (line[x * 2] as number) | ((line[x * 2 + 1] as number) << 8);
        const [r, g, b] = [short >>> 11, (short >>> 5) & 63, short & 31];
        into[x * 3 + 2] = (r << 3) | (r >>> 2);
        into[x * 3 + 1] = (g << 2) | (g >>> 4);
        into[x * 3] = (b << 3) | (b >>> 2);
      }
    }
  }

  #showCells(row: number, line: Uint8Array): void {
    const [cellWidth, cellHeight] = this.#cell;
    for (let column = 0; column < this.size.width; column++) {
      const attribute = line[column * 2 + 1] as number;
      const back = PALETTE[attribute >>> 4] as number;
      const front = line[column * 2] === HALF_BLOCK ? (PALETTE[attribute & 15] as number) : back;
      for (let y = 0; y < cellHeight; y++) {
        const colour = y < cellHeight / 2 ? back : front;
        let at = ((row * cellHeight + y) * this.#pictureWidth + column * cellWidth) * 3;
        for (let x = 0; x < cellWidth; x++) {
          this.#pixels[at++] = colour;
          this.#pixels[at++] = colour >>> 8;
          this.#pixels[at++] = colour >>> 16;
        }
      }
    }
  }
}

/** A record of /dev/input/event* on a 64-bit Linux. */
export function record(type: number, code: number, value: number): number[] {
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  view.setUint16(16, type, true);
  view.setUint16(18, code, true);
  view.setInt32(20, value, true);
  return [...bytes];
}

interface QueuedPointer {
  x: number;
  y: number;
  readonly buttons: number;
  /** Buttons that this one tells of: the others are not sent. */
  readonly changed: number;
}

/** How a device takes events: how many wait, how they are taken, whether a motion is put onto the one before it. */
interface QueueHabits {
  readonly room: number;
  /** ms from the first that waits until some are taken, at least and at most. */
  readonly wait: readonly [number, number];
  readonly takes: number;
  readonly merges: boolean;
}

const QUEUES: Readonly<Partial<Record<Device, QueueHabits>>> = {
  "virtio-tablet": { room: 12, wait: [0.5, 5], takes: 12, merges: false },
  "usb-tablet-xhci": { room: 15, wait: [1, 2], takes: 1, merges: true },
  "usb-tablet-ehci": { room: 14, wait: [2, 4], takes: 1, merges: true },
  "usb-tablet-uhci": { room: 15, wait: [8, 8], takes: 1, merges: true },
  "ps2-mouse": { room: 5, wait: [0.5, 1.25], takes: 1, merges: false },
};
const KEY_ROOM = 341;
const KEY_DELAY = 10;

export interface InputTrouble {
  /** Pointer events that the device holds, where they are fewer than usual. */
  readonly room?: number;
  /** How often an event is lost for no reason. */
  loses?: number;
}

/** The host's half and the guest's half of an input device. */
export class SimulatedInput {
  lost = 0;
  merged = 0;
  readonly #clock: Clock;
  readonly #random: Seeded;
  readonly #device: Device;
  readonly #raw: boolean;
  readonly #display: SimulatedDisplay;
  readonly #trouble: InputTrouble;
  #heard: (bytes: Uint8Array) => void = () => {};
  #gone: () => void = () => {};
  // Pointer
  #queue: QueuedPointer[] = [];
  #mask = 0; // as the client said last
  #viewerMask = 0;
  #reported = { x: 0, y: 0, buttons: 0 }; // by the guest's kernel
  // Keyboard
  #keys: { code: number; down: boolean }[] = [];
  #hostDown = new Set<number>();
  #guestDown = new Set<number>();

  constructor(
    clock: Clock,
    random: Seeded,
    device: Device,
    display: SimulatedDisplay,
    trouble: InputTrouble = {},
    raw = device === "ps2-mouse",
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#device = device;
    this.#display = display;
    this.#trouble = trouble;
    this.#raw = raw;
  }

  guestKeys(): GuestKeys {
    return {
      device: this.#device,
      wire: this.#raw ? "raw" : "evdev",
      listen: (heard, gone) => {
        this.#heard = heard;
        this.#gone = gone;
      },
    };
  }

  /** The host takes the device away. */
  unplug(): void {
    this.#gone();
  }

  clientKeys(): ClientKeys {
    return {
      send: (events) => {
        for (const event of events) this.#press(event);
        this.#display.touched();
      },
    };
  }

  /** Keys and buttons that the client left pressed. */
  get held(): number {
    return this.#hostDown.size + this.#mask;
  }

  /** Another viewer's mouse. */
  viewerMoves(x: number, y: number): void {
    this.#point(x, y, 0, "viewer");
  }

  viewerTypes(code: number): void {
    for (const down of [true, false]) this.#key(code, down);
  }

  #press(event: InputEvent): void {
    if (event.kind === "pointer") this.#point(event.x, event.y, event.mask, "client");
    else this.#key(event.code, event.down);
  }

  #point(x: number, y: number, mask: number, who: "client" | "viewer"): void {
    const habits = QUEUES[this.#device];
    if (habits === undefined) return;
    const before = who === "client" ? this.#mask : this.#viewerMask;
    if (who === "client") this.#mask = mask;
    else this.#viewerMask = mask;
    const changed = before ^ mask;
    if (this.#random.chance(this.#trouble.loses ?? 0)) {
      this.lost++;
      return;
    }
    const last = this.#queue.at(-1);
    if (habits.merges && last !== undefined && changed === 0) {
      last.x = x;
      last.y = y;
      this.merged++;
      return;
    }
    if (this.#queue.length >= (this.#trouble.room ?? habits.room)) {
      this.lost++;
      return;
    }
    this.#queue.push({ x, y, buttons: mask, changed });
    if (this.#queue.length === 1) this.#drain(habits);
  }

  #drain(habits: QueueHabits): void {
    const [least, most] = habits.wait;
    this.#clock.after(least + (most - least) * this.#random.next(), () => {
      const bytes = this.#queue.splice(0, habits.takes).flatMap((event) => this.#report(event));
      if (this.#queue.length > 0) this.#drain(habits);
      this.#deliver(bytes);
    });
  }

  /** What the guest's kernel makes of it; equal values are not said again. */
  #report({ x, y, buttons, changed }: QueuedPointer): number[] {
    if (this.#device === "ps2-mouse") {
      const dx = x - 0x7fff;
      const up = 0x7fff - y;
      const b = (buttons & 1) | ((buttons & 4) >>> 1) | ((buttons & 2) << 1);
      const head = 8 | b | (dx < 0 ? 16 : 0) | (up < 0 ? 32 : 0);
      return [head, dx & 0xff, up & 0xff];
    }
    const { width, height } = this.#display.picture();
    const state = this.#reported;
    const bytes: number[] = [];
    const axis = (code: number, key: "x" | "y", value: number): void => {
      if (state[key] === value) return;
      state[key] = value;
      bytes.push(...record(3, code, value));
    };
    axis(0, "x", Math.floor((x * 32767) / width));
    axis(1, "y", Math.floor((y * 32767) / height));
    for (const [bit, code] of [
      [1, 0x110],
      [4, 0x111],
      [2, 0x112],
    ] as const) {
      if ((changed & bit) === 0 || (state.buttons & bit) === (buttons & bit)) continue;
      state.buttons ^= bit;
      bytes.push(...record(1, code, (buttons & bit) === 0 ? 0 : 1));
    }
    return bytes.length === 0 ? [] : [...bytes, ...record(0, 0, 0)];
  }

  #key(code: number, down: boolean): void {
    if (QUEUES[this.#device] !== undefined) return;
    if (!down && !this.#hostDown.has(code)) return; // QEMU swallows it
    if (down) this.#hostDown.add(code);
    else this.#hostDown.delete(code);
    if (this.#keys.length >= KEY_ROOM || this.#random.chance(this.#trouble.loses ?? 0)) {
      this.lost++;
      return;
    }
    this.#keys.push({ code, down });
    if (this.#keys.length === 1) this.#type();
  }

  #type(): void {
    this.#clock.after(KEY_DELAY, () => {
      const key = this.#keys.shift();
      if (this.#keys.length > 0) this.#type();
      if (key === undefined) return;
      const { code, down } = key;
      if (this.#raw) return this.#deliver([down ? code : code | 0x80]);
      const repeats = down && this.#guestDown.has(code);
      if (!down && !this.#guestDown.has(code)) return;
      if (down) this.#guestDown.add(code);
      else this.#guestDown.delete(code);
      this.#deliver([
        ...record(4, 4, code),
        ...record(1, code, repeats ? 2 : down ? 1 : 0),
        ...record(0, 0, 0),
      ]);
    });
  }

  /** Cut anywhere, as a read may be. */
  #deliver(bytes: number[]): void {
    const cut = this.#random.below(bytes.length + 1);
    for (const part of [bytes.slice(0, cut), bytes.slice(cut)])
      if (part.length > 0) this.#heard(Uint8Array.from(part));
  }
}

// What the guest draws onto: a framebuffer of the kernel's, or the text cells of a virtual terminal.

import fs from "node:fs";
import path from "node:path";
import type { Clock } from "../../../protocol/clock.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import type { GuestScreen } from "../../../protocol/modem/guest-modem.ts";
import type { ScreenSize } from "../../../protocol/modem/geometry.ts";
import { errorCode } from "../../../node/socket-pipe.ts";
import { escapeText } from "../../log.ts";
import type { ConsoleDevices } from "./devices.ts";
import { askDevice } from "./display-program.ts";
import { PLACES, type Places, textIn } from "./places.ts";

/** How often it is looked whether the screen is still the one that was opened, ms: a driver may take over from another. */
const LOOK_EVERY = 2000;
/** Of a /dev/vcsa*: rows, columns, cursor. */
const CELLS_HEAD = 4;
const MAX_SIDE = 16_384;

export interface OpenScreen extends GuestScreen {
  close(): void;
}

/** @throws SealttyError `device-unavailable`. */
export function openScreen(
  { kind, path: device }: ConsoleDevices["screen"],
  clock: Clock,
  places: Places = PLACES,
): OpenScreen {
  const shown = `"${escapeText(device)}"`;
  let fd: number;
  try {
    fd = fs.openSync(device, "r+");
  } catch (cause) {
    throw new SealttyError(
      "device-unavailable",
      `Cannot open the screen ${shown}: ${errorCode(cause) ?? "unknown error"}`,
      { cause },
    );
  }
  try {
    if (kind === "cells") return new DeviceScreen(fd, cellsLayout(fd, shown), () => cellsHead(fd), clock);
    const layout = readLayout(askDevice("screen", fd, `the screen ${shown}`), shown);
    const about = path.join(places.sys, "class/graphics", path.basename(device));
    const identity = (): string =>
      ["name", "virtual_size", "stride", "bits_per_pixel"].map((name) => textIn(about, name)).join();
    return new DeviceScreen(fd, layout, identity, clock);
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

export interface ScreenLayout {
  readonly size: ScreenSize;
  /** Of one pixel or cell. */
  readonly unitBytes: number;
  /** From one row to the next. */
  readonly lineBytes: number;
  /** Of row 0. */
  readonly firstByte: number;
}

/** @param answer - of `sealtty-display screen`. @throws SealttyError `device-unavailable`. */
export function readLayout(answer: string, shown: string): ScreenLayout {
  const match =
    /^(\d{1,5}) (\d{1,5}) (\d{1,2}) (\d{1,6}) (\d{1,12}) (\d{1,2}:\d{1,2} \d{1,2}:\d{1,2} \d{1,2}:\d{1,2})\n$/.exec(
      answer,
    );
  const [width, height, bits, lineBytes, firstByte] = (match?.slice(1, 6) ?? []).map(Number);
  const colours = match?.[6];
  const format =
    bits === 32 && colours === "16:8 8:8 0:8"
      ? "rgb888"
      : bits === 16 && colours === "11:5 5:6 0:5"
        ? "rgb565"
        : undefined;
  if (
    width === undefined ||
    height === undefined ||
    lineBytes === undefined ||
    firstByte === undefined ||
    format === undefined
  ) {
    throw new SealttyError(
      "device-unavailable",
      `The screen ${shown} has pixels of another kind than 32 bits (8 each) or 16 bits (5, 6, 5): ${escapeText(answer.trim())}`,
    );
  }
  const unitBytes = format === "rgb888" ? 4 : 2;
  if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE || lineBytes < width * unitBytes)
    throw new SealttyError("device-unavailable", `The screen ${shown} has a size that cannot be`);
  return { size: { format, width, height }, unitBytes, lineBytes, firstByte };
}

function cellsHead(fd: number): string {
  const head = new Uint8Array(2);
  fs.readSync(fd, head, 0, 2, 0);
  return head.join();
}

/** Spaces alone: a half block would say twice as much, but not every console font has it where it is expected. */
function cellsLayout(fd: number, shown: string): ScreenLayout {
  const [height = 0, width = 0] = cellsHead(fd).split(",").map(Number);
  if (height === 0 || width === 0)
    throw new SealttyError("device-unavailable", `The terminal ${shown} has no size`);
  const size: ScreenSize = { format: "cells4", width, height };
  return { size, unitBytes: 2, lineBytes: width * 2, firstByte: CELLS_HEAD };
}

class DeviceScreen implements OpenScreen {
  readonly size: ScreenSize;
  readonly #fd: number;
  readonly #layout: ScreenLayout;
  readonly #identity: () => string;
  readonly #clock: Clock;
  readonly #before: string;
  #lost: () => void = () => {};
  #cancel: () => void = () => {};
  #closed = false;

  /** @param identity - another one means another screen; may throw. */
  constructor(fd: number, layout: ScreenLayout, identity: () => string, clock: Clock) {
    this.size = layout.size;
    this.#fd = fd;
    this.#layout = layout;
    this.#identity = identity;
    this.#clock = clock;
    this.#before = identity();
    this.#lookLater();
  }

  writeRows(top: number, bytes: Uint8Array): void {
    if (this.#closed) return;
    const { size, unitBytes, lineBytes, firstByte } = this.#layout;
    const row = size.width * unitBytes;
    const at = firstByte + top * lineBytes;
    if (row === lineBytes) return this.#write(bytes, at);
    for (let from = 0, place = at; from < bytes.length; from += row, place += lineBytes)
      this.#write(bytes.subarray(from, from + row), place);
  }

  /** A screen of another size is another screen: whoever starts sealttyd starts it again. */
  listen(_resized: () => void, lost: () => void): void {
    this.#lost = lost;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancel();
    fs.closeSync(this.#fd);
  }

  #write(bytes: Uint8Array, at: number): void {
    for (let written = 0; written < bytes.length; ) {
      const more = fs.writeSync(this.#fd, bytes, written, bytes.length - written, at + written);
      if (more === 0) throw new Error("The screen takes nothing");
      written += more;
    }
  }

  #lookLater(): void {
    this.#cancel = this.#clock.after(LOOK_EVERY, () => {
      let now: string | undefined;
      try {
        now = this.#identity();
      } catch {
        now = undefined; // gone
      }
      if (now === this.#before) this.#lookLater();
      else this.#lost();
    });
  }
}

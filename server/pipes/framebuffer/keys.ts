// What the guest hears a client by: an input device of the kernel's, grabbed, or a PS/2 mouse without its driver.

import fs from "node:fs";
import type { Clock } from "../../../protocol/clock.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import type { GuestKeys } from "../../../protocol/modem/guest-modem.ts";
import { errorCode } from "../../../node/socket-pipe.ts";
import { escapeText } from "../../log.ts";
import { readNow } from "../../nonblocking-fd.ts";
import { type FdReader, readFd } from "../fd-reader.ts";
import type { ConsoleDevices } from "./devices.ts";
import { askDevice } from "./display-program.ts";

const { O_RDONLY, O_RDWR, O_NONBLOCK, O_NOCTTY } = fs.constants;
/** A mouse's own words: what it is told, and that it has understood. */
const RESET = 0xff;
const REPORT = 0xf4;
const UNDERSTOOD = 0xfa;
const WELL = 0xaa;
const MOUSE_PATIENCE_MS = 2000;
const LOOK_EVERY_MS = 5;

export interface OpenKeys extends GuestKeys {
  close(): void;
}

/** @throws SealttyError `device-unavailable`; nothing is left open or grabbed then. */
export async function openKeys({ input, held }: ConsoleDevices, clock: Clock): Promise<OpenKeys> {
  const open: number[] = [];
  const take = (device: string): number => {
    const fd = openDevice(device, O_RDONLY);
    open.push(fd);
    askDevice("grab", fd, `the input device "${escapeText(device)}"`);
    return fd;
  };
  try {
    for (const device of held) take(device);
    const others = open.slice();
    if (input.wire === "evdev") return new DeviceKeys(input, take(input.path), others, clock);
    const fd = openDevice(input.path, O_RDWR);
    open.push(fd);
    await startMouse(fd, clock);
    return new DeviceKeys(input, fd, others, clock);
  } catch (error) {
    for (const fd of open) fs.closeSync(fd);
    throw error;
  }
}

function openDevice(device: string, how: number): number {
  try {
    return fs.openSync(device, how | O_NONBLOCK | O_NOCTTY);
  } catch (cause) {
    throw new SealttyError(
      "device-unavailable",
      `Cannot open the input device "${escapeText(device)}": ${errorCode(cause) ?? "unknown error"}`,
      { cause },
    );
  }
}

/** @throws SealttyError `device-unavailable` where no mouse answers. */
async function startMouse(fd: number, clock: Clock): Promise<void> {
  fs.writeSync(fd, Uint8Array.of(RESET));
  await hears(fd, [UNDERSTOOD, WELL], clock);
  fs.writeSync(fd, Uint8Array.of(REPORT));
  await hears(fd, [UNDERSTOOD], clock);
}

/** Waits for these bytes in this order, whatever comes between. */
async function hears(fd: number, wanted: readonly number[], clock: Clock): Promise<void> {
  const deadline = clock.now() + MOUSE_PATIENCE_MS;
  const buffer = new Uint8Array(64);
  let at = 0;
  for (;;) {
    const length = readNow(fd, buffer, 0);
    if (length === 0) throw new SealttyError("device-unavailable", "The PS/2 mouse is gone");
    if (length !== "again") for (const byte of buffer.subarray(0, length)) if (byte === wanted[at]) at++;
    if (at >= wanted.length) return;
    // Looked at each time: the host can have the mouse say other things without end.
    if (clock.now() > deadline)
      throw new SealttyError("device-unavailable", "The PS/2 mouse does not answer");
    await new Promise<void>((resolve) => void clock.after(LOOK_EVERY_MS, resolve));
  }
}

class DeviceKeys implements OpenKeys {
  readonly device: GuestKeys["device"];
  readonly wire: GuestKeys["wire"];
  readonly #others: readonly number[];
  readonly #reader: FdReader;
  #heard: (bytes: Uint8Array) => void = () => {};
  #lost: () => void = () => {};
  #closed = false;

  /** @param fd - of the device, and of others that are only held; closed with it. */
  constructor(input: ConsoleDevices["input"], fd: number, others: readonly number[], clock: Clock) {
    this.device = input.device;
    this.wire = input.wire;
    this.#others = others;
    this.#reader = readFd(fd, clock, {
      onData: (chunk) => {
        this.#heard(chunk);
        return true; // a device waits for nobody
      },
      onEnd: () => this.#lost(),
    });
  }

  listen(heard: (bytes: Uint8Array) => void, lost: () => void): void {
    this.#heard = heard;
    this.#lost = lost;
    this.#reader.resume();
  }

  /** Lets go of what is grabbed. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#reader.close();
    for (const fd of this.#others) fs.closeSync(fd);
  }
}

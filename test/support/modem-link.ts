// Both ends of a modem over a simulated VNC server, on a clock that stands until told.

import { concat } from "../../protocol/bytes.ts";
import { ClientModem } from "../../protocol/modem/client-modem.ts";
import type { Device } from "../../protocol/modem/devices.ts";
import type { ScreenSize } from "../../protocol/modem/geometry.ts";
import { GuestModem } from "../../protocol/modem/guest-modem.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { ManualClock } from "./clocks.ts";
import { seeded } from "./seeded.ts";
import { type DisplayHabits, type InputTrouble, SimulatedDisplay, SimulatedInput } from "./simulated-vnc.ts";

export const SCREEN: ScreenSize = { format: "rgb888", width: 640, height: 480 };
export const TEXT: ScreenSize = { format: "cells8", width: 80, height: 25 };

export interface LinkOptions {
  readonly device: Device;
  readonly size?: ScreenSize;
  readonly display?: DisplayHabits;
  readonly input?: InputTrouble;
  readonly seed?: number;
  readonly raw?: boolean;
  /** Whether what arrives is gathered in `atGuest` and `atClient`; else somebody else reads it. Yes unless said. */
  readonly readers?: boolean;
}

/** Everything that a pipe gave so far. */
export class Taken {
  #chunks: Uint8Array[] = [];
  length = 0;
  ended: "no" | "clean" | "lost" = "no";

  constructor(pipe: Pipe | undefined) {
    if (pipe !== undefined) void this.#read(pipe);
  }

  get bytes(): Uint8Array {
    return concat(...this.#chunks);
  }
  clear(): void {
    this.#chunks = [];
    this.length = 0;
  }

  async #read(pipe: Pipe): Promise<void> {
    try {
      for await (const chunk of pipe.incoming) {
        this.#chunks.push(chunk);
        this.length += chunk.length;
      }
      this.ended = "clean";
    } catch {
      this.ended = "lost";
    }
  }
}

export function makeLink({
  device,
  size = SCREEN,
  display: habits = {},
  input: trouble = {},
  seed = 1,
  raw,
  readers = true,
}: LinkOptions) {
  const clock = new ManualClock();
  const random = seeded(seed);
  const display = new SimulatedDisplay(clock, random, size, habits);
  const input = new SimulatedInput(clock, random, device, display, trouble, raw);
  const startGuest = (nonce = random.bytes(8)): GuestModem =>
    new GuestModem({ screen: display.guestScreen(), keys: input.guestKeys(), clock, nonce });
  const startClient = (): ClientModem =>
    new ClientModem({
      screen: display.clientScreen(),
      keys: input.clientKeys(),
      clock,
      epoch: random.below(0x10000),
    });
  const guest = startGuest();
  const client = startClient();
  const link = {
    clock,
    random,
    display,
    input,
    guest,
    client,
    startGuest,
    startClient,
    atGuest: new Taken(readers ? guest : undefined),
    atClient: new Taken(readers ? client : undefined),
    /** Lets time pass until it is so. @returns ms that it took. */
    async until(done: () => boolean, most = 60_000): Promise<number> {
      const start = clock.now();
      while (!done()) {
        if (clock.now() - start > most) throw new Error(`Not within ${most} ms of the test's clock`);
        clock.advance(0.5);
        await new Promise((resolve) => setImmediate(resolve));
      }
      return clock.now() - start;
    },
    async pass(time: number): Promise<void> {
      const end = clock.now() + time;
      await link.until(() => clock.now() >= end, time + 1);
    },
  };
  return link;
}

export type Link = ReturnType<typeof makeLink>;

export async function sendAll(pipe: Pipe, bytes: Uint8Array, piece: number): Promise<void> {
  for (let at = 0; at < bytes.length; at += piece) await pipe.send(bytes.subarray(at, at + piece));
}

// What the suites of the three promises run over: a pipe in memory, and one through a VNC server's picture and pointer. The host gets
// each chunk that is sent on either, and passes on what it likes.

import { GuestModem } from "../../protocol/modem/guest-modem.ts";
import type { Clock } from "../../protocol/clock.ts";
import type { Device } from "../../protocol/modem/devices.ts";
import type { ScreenSize } from "../../protocol/modem/geometry.ts";
import { openModemOverRfb } from "../../protocol/modem/modem-over-rfb.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { openRfb } from "../../protocol/rfb/rfb-client.ts";
import type { GuestEndpoint } from "../../protocol/session/accept.ts";
import { fastClock, ManualClock } from "./clocks.ts";
import { type Carry, memoryPipes } from "./memory-pipe.ts";
import { type Seeded, seeded } from "./seeded.ts";
import { serveRfb } from "./simulated-rfb.ts";
import { SimulatedDisplay, SimulatedInput } from "./simulated-vnc.ts";

/** @param cut - the host drops this connection. */
export type MakeCarry = (cut: () => void) => Carry;

export interface Wire {
  readonly clock: Clock;
  /** Another connection to the guest. @returns the client's end. */
  dial(endpoint: Pick<GuestEndpoint, "servePipe">, makeCarry?: MakeCarry, gathers?: number): Promise<Pipe>;
  stop(): Promise<void>;
}

/** Every byte that the host gets to see, and what the modem's end makes of it. @param stream - which of several they are of. */
export type Seen = (bytes: Uint8Array, stream: string) => void;

export interface WireKind {
  readonly name: string;
  /** @param speed - times as fast as real time, where it is by the machine's clock. */
  make(options: { speed: number; seed: number; seen?: Seen }): Wire;
  /** Bytes that are typed and printed in a whole session: what takes seconds, not minutes. */
  readonly typed: number;
  readonly printed: number;
}

const honest: MakeCarry = () => (chunk, deliver) => deliver(chunk);

const watched =
  (carry: Carry, seen: Seen): Carry =>
  (chunk, deliver, direction) => {
    seen(chunk, direction);
    carry(chunk, deliver, direction);
  };

export const IN_MEMORY: WireKind = {
  name: "a pipe in memory",
  typed: 20_000,
  printed: 120_000,
  make({ speed, seen = () => {} }) {
    const cuts: (() => void)[] = [];
    return {
      clock: fastClock(speed),
      async dial(endpoint, makeCarry = honest, gathers) {
        let cut: () => void = () => {};
        const pipes = memoryPipes(
          watched(
            makeCarry(() => cut()),
            seen,
          ),
          gathers,
        );
        cut = () => pipes.cut();
        cuts.push(cut);
        void endpoint.servePipe(pipes.guest).catch(() => {});
        return pipes.client;
      },
      async stop() {
        for (const cut of cuts) cut();
      },
    };
  },
};

/** As fast as the machine is, whatever the test's time. */
const byScreen = (device: Device, name: string, typed: number, printed: number): WireKind => ({
  name,
  typed,
  printed,
  make: ({ seed, seen = () => {} }) => new ScreenWire(device, seeded(seed), seen),
});

export const BY_TABLET = byScreen("virtio-tablet", "a screen and a tablet", 2000, 20_000);
export const BY_KEYBOARD = byScreen("keyboard", "a screen and a keyboard", 300, 5000);

/** ms. */
const STEP = 0.5;
/** Small, since each byte of it is searched: 32 slots of 1536 bytes, 16 bits a symbol. */
const SCREEN: ScreenSize = { format: "rgb888", width: 512, height: 128 };

/** One screen, one input device and one guest's modem, to which clients come through a VNC server. */
export class ScreenWire implements Wire {
  readonly clock = new ManualClock();
  readonly #random: Seeded;
  readonly #seen: Seen;
  readonly #absolute: boolean;
  readonly #display: SimulatedDisplay;
  readonly #input: SimulatedInput;
  readonly guest: GuestModem;
  readonly #connections: { readonly cut: () => void; readonly served: Promise<void> }[] = [];
  #served = false;
  /** Of the connection that was dialled last: there is one client at a time. */
  #carry: Carry = honest(() => {});
  #running = true;
  readonly #ran: Promise<void>;

  constructor(device: Device, random: Seeded, seen: Seen = () => {}) {
    this.#random = random;
    this.#seen = seen;
    this.#absolute = device.includes("tablet");
    this.#display = new SimulatedDisplay(this.clock, random, SCREEN);
    this.#input = new SimulatedInput(this.clock, random, device, this.#display);
    this.guest = new GuestModem({
      screen: this.#display.guestScreen(),
      keys: this.#input.guestKeys(),
      clock: this.clock,
      nonce: random.bytes(8),
    });
    this.#ran = this.#run();
  }

  async #run(): Promise<void> {
    while (this.#running) {
      this.clock.advance(STEP);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async dial(endpoint: Pick<GuestEndpoint, "servePipe">, makeCarry: MakeCarry = honest): Promise<Pipe> {
    const { pipe, cut } = await this.connect();
    this.#carry = watched(makeCarry(cut), this.#seen);
    if (!this.#served) {
      this.#served = true;
      const guest = this.guest;
      void endpoint
        .servePipe(through(guest, (...chunk) => this.#carry(...chunk), "to-client"))
        .catch(() => {});
    }
    return through(pipe, this.#carry, "to-guest");
  }

  /** The client's end alone. */
  async connect(): Promise<{ pipe: Pipe; cut: () => void }> {
    const pipes = memoryPipes((chunk, deliver, direction) => {
      this.#seen(chunk, `RFB ${direction}`);
      deliver(chunk);
    });
    const cut = (): void => pipes.cut();
    const habits = { pointerIsAbsolute: this.#absolute };
    const served = serveRfb(pipes.guest, this.#display, this.#input, habits).catch(() => {});
    this.#connections.push({ cut, served });
    const { clock } = this;
    const rfb = await openRfb(pipes.client, { clock });
    return { pipe: await openModemOverRfb(rfb, { clock, epoch: this.#random.below(0x10000) }), cut };
  }

  /** The host takes the input device away. */
  unplug(): void {
    this.#input.unplug();
  }

  async stop(): Promise<void> {
    for (const connection of this.#connections) connection.cut();
    await Promise.all(this.#connections.map(({ served }) => served));
    await this.guest.close();
    this.#running = false;
    await this.#ran;
  }
}

/** The host can play either end of the modem, and so has each chunk in its hands. */
function through(pipe: Pipe, carry: Carry, direction: "to-guest" | "to-client"): Pipe {
  return {
    incoming: pipe.incoming,
    async send(chunk) {
      const sent: Promise<void>[] = [];
      const deliver = (delivered: Uint8Array): void => {
        const going = pipe.send(delivered);
        going.catch(() => {}); // the host delivers some only when nobody waits for it any more
        sent.push(going);
      };
      carry(chunk, deliver, direction);
      await Promise.all(sent);
    },
    close: () => pipe.close(),
  };
}

// The modem's client end on an RFB server: both ways through the server's bytes, what a person is told where it cannot be, and
// servers that end, lie or take nothing.

import { afterEach, describe, expect, test } from "vitest";
import { equalBytes } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Device } from "../../protocol/modem/devices.ts";
import { SAFE_KEYS, START_KEY } from "../../protocol/modem/key-coding.ts";
import { keysymOf } from "../../protocol/modem/keysyms.ts";
import { openModemOverRfb, type VncPipe } from "../../protocol/modem/modem-over-rfb.ts";
import { GuestModem } from "../../protocol/modem/guest-modem.ts";
import type { ScreenSize } from "../../protocol/modem/geometry.ts";
import { POKE } from "../../protocol/rfb/client-messages.ts";
import { openRfb } from "../../protocol/rfb/rfb-client.ts";
import { ManualClock } from "../support/clocks.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { SCREEN, sendAll, Taken, TEXT } from "../support/modem-link.ts";
import { desktopSize, opened, raw, update } from "../support/rfb-server.ts";
import { seeded, testSeed } from "../support/seeded.ts";
import { type RfbHabits, serveRfb } from "../support/simulated-rfb.ts";
import { SimulatedDisplay, SimulatedInput } from "../support/simulated-vnc.ts";

const seed = testSeed();
process.stdout.write(`SEALTTY_TEST_SEED=${seed}\n`);
const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
});

interface World {
  readonly device: Device;
  readonly size?: ScreenSize;
  readonly habits?: RfbHabits;
  /** Whether there is a sealttyd. Yes unless said. */
  readonly guest?: boolean;
  /** What the client sends goes to no device. */
  readonly deaf?: boolean;
}

function makeWorld({ device, size = SCREEN, habits, guest: wanted = true, deaf = false }: World) {
  const clock = new ManualClock();
  const random = seeded(seed);
  const display = new SimulatedDisplay(clock, random, size);
  const input = new SimulatedInput(clock, random, device, display);
  if (deaf) input.clientKeys = () => ({ send() {} });
  const keys = input.guestKeys();
  const guest = wanted
    ? new GuestModem({ screen: display.guestScreen(), keys, clock, nonce: random.bytes(8) })
    : undefined;
  const pipes = memoryPipes();
  const served = serveRfb(pipes.guest, display, input, habits ?? { pointerIsAbsolute: true }).catch(() => {});
  /** Lets the test's clock run until `work` is done. */
  const run = async <T>(work: Promise<T>, most = 120_000): Promise<T> => {
    let over = false;
    const done = work.finally(() => {
      over = true;
    });
    done.catch(() => {}); // awaited below
    const start = clock.now();
    while (!over) {
      if (clock.now() - start > most) throw new Error(`Not within ${most} ms of the test's clock`);
      clock.advance(0.5);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return await done;
  };
  const open = async (): Promise<VncPipe> => {
    const rfb = await openRfb(pipes.client, { clock });
    return await openModemOverRfb(rfb, { clock, epoch: random.below(0x10000) });
  };
  cleanUps.push(async () => {
    await pipes.client.close();
    await pipes.guest.close();
    await served;
  });
  return { clock, random, display, input, guest, pipes, run, open };
}

const MOUSE: RfbHabits = { pointerIsAbsolute: false };

describe("both ways", () => {
  test.each<[string, World, number]>([
    ["a virtio tablet", { device: "virtio-tablet" }, 20_000],
    ["a USB tablet", { device: "usb-tablet-xhci" }, 10_000],
    ["a PS/2 mouse", { device: "ps2-mouse", habits: MOUSE }, 10_000],
    ["a keyboard", { device: "keyboard", habits: MOUSE }, 300],
    [
      "a keyboard, by symbols",
      { device: "keyboard", habits: { pointerIsAbsolute: false, extendedKeys: false } },
      300,
    ],
    ["a PS/2 mouse, text cells", { device: "ps2-mouse", size: TEXT, habits: MOUSE }, 2000],
  ])("%s: bytes arrive whole, and nothing stays pressed", async (_name, options, length) => {
    const world = makeWorld(options);
    const guest = world.guest as GuestModem;
    const pipe = await world.run(world.open());
    const atGuest = new Taken(guest);
    const atClient = new Taken(pipe);
    const up = world.random.bytes(length);
    const down = world.random.bytes(20_000);
    await world.run(Promise.all([sendAll(pipe, up, 100), sendAll(guest, down, 1000)]));
    await world.run(
      (async () => {
        while (atGuest.length < up.length || atClient.length < down.length)
          await new Promise((resolve) => setImmediate(resolve));
      })(),
    );
    expect(equalBytes(atGuest.bytes, up)).toBe(true);
    expect(equalBytes(atClient.bytes, down)).toBe(true);
    expect(pipe.figures.sent).toBeGreaterThan(0);
    await world.run(pipe.close());
    expect(world.input.held).toBe(0);
    expect(atClient.ended).toBe("clean");
    await expect(pipe.send(up)).rejects.toMatchObject({ code: "transport-lost" });
  });

  test("no key of the modem's is the one that keeps the server awake, and each has a symbol of its own", () => {
    const poke = POKE.kind === "key" ? POKE : undefined;
    expect(poke).toBeDefined();
    const keys = [...SAFE_KEYS, START_KEY];
    expect(keys).not.toContain(poke?.scancode);
    const symbols = keys.map(keysymOf);
    expect(new Set(symbols).size).toBe(keys.length);
    expect(symbols).not.toContain(poke?.keysym);
    expect(symbols).not.toContain(keysymOf(0x58)); // of no key of the modem's
  });
});

describe("what a person is told", () => {
  const refused = async (world: ReturnType<typeof makeWorld>): Promise<string> => {
    const outcome = await world.run(
      world.open().then(
        () => undefined,
        (error: unknown) => error,
      ),
    );
    expect(outcome).toBeInstanceOf(SealttyError);
    expect(outcome).toMatchObject({ code: "transport-lost" });
    return (outcome as SealttyError).message;
  };

  test("nothing of a guest's on the screen", async () => {
    const words = await refused(makeWorld({ device: "virtio-tablet", guest: false }));
    expect(words).toContain("640 × 480");
    expect(words).toContain("shows nothing of sealttyd's");
  });

  test("the host's pointer is not the device that the guest listens to", async () => {
    const tablet: RfbHabits = { pointerIsAbsolute: true };
    expect(await refused(makeWorld({ device: "virtio-tablet", habits: MOUSE, deaf: true }))).toContain(
      "listens to a tablet, but the host sends to a mouse",
    );
    expect(await refused(makeWorld({ device: "ps2-mouse", habits: tablet, deaf: true }))).toContain(
      "listens to a mouse, but the host sends to a tablet",
    );
  });

  test("a guest that hears nothing", async () => {
    expect(await refused(makeWorld({ device: "keyboard", habits: MOUSE, deaf: true }))).toContain(
      "nothing of what was sent reached its keyboard",
    );
  });

  test("a screen that is shown cut, or at another size", async () => {
    const world = makeWorld({ device: "virtio-tablet" });
    const shown = async (width: number, height: number, factor: number): Promise<unknown> => {
      await world.run(new Promise<void>((resolve) => void world.clock.after(200, resolve)));
      const whole = world.display.picture();
      const pixels = new Uint8Array(width * height * 3);
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) {
          const from = (Math.floor(y / factor) * whole.width + Math.floor(x / factor)) * 3;
          pixels.set(whole.pixels.subarray(from, from + 3), (y * width + x) * 3);
        }
      const pipes = memoryPipes();
      await pipes.guest.send(opened(width, height));
      await pipes.guest.send(update(raw(0, 0, width, height, pixels)));
      const outcome = await world.run(
        openRfb(pipes.client, { clock: world.clock })
          .then((rfb) => openModemOverRfb(rfb, { clock: world.clock, epoch: 1, opensWithin: 1000 }))
          .catch((error: unknown) => error),
      );
      await pipes.guest.close();
      return outcome;
    };
    expect(await shown(640, 400, 1)).toMatchObject({ message: expect.stringContaining("but not all of it") });
    expect(await shown(1280, 960, 2)).toMatchObject({ message: expect.stringContaining("but scaled") });
  });
});

describe("a host that does as it likes", () => {
  test("ends the connection: reader and writer are told", async () => {
    const world = makeWorld({ device: "virtio-tablet" });
    const pipe = await world.run(world.open());
    const taken = new Taken(pipe);
    world.pipes.cut();
    await world.run(
      (async () => {
        while (taken.ended === "no") await new Promise((resolve) => setImmediate(resolve));
      })(),
    );
    expect(taken.ended).toBe("lost");
    await expect(pipe.send(new Uint8Array(1))).rejects.toMatchObject({ code: "transport-lost" });
    await pipe.close();
  });

  test("ends it before the guest has answered", async () => {
    const world = makeWorld({ device: "virtio-tablet", guest: false });
    const opening = world.open();
    world.clock.after(3000, () => void world.pipes.guest.close());
    await expect(world.run(opening)).rejects.toMatchObject({ code: "transport-lost" });
  });

  test("takes nothing any more: what is sent waits or is lost, and heals when it does again", async () => {
    const world = makeWorld({ device: "virtio-tablet" });
    let stuck = true;
    const sends: number[] = [];
    const rfb = await world.run(openRfb(world.pipes.client, { clock: world.clock }));
    const pipe = await world.run(
      openModemOverRfb(
        {
          get framebuffer() {
            return rfb.framebuffer;
          },
          get pointerIsAbsolute() {
            return rfb.pointerIsAbsolute;
          },
          get sendsScancodes() {
            return rfb.sendsScancodes;
          },
          run: (seen) => rfb.run(seen),
          send: async (inputs) => {
            sends.push(inputs.length);
            if (stuck && sends.length > 20) throw new SealttyError("limit-exceeded", "Too much");
            await rfb.send(inputs);
          },
          close: () => rfb.close(),
        },
        { clock: world.clock, epoch: 7 },
      ),
    );
    const atGuest = new Taken(world.guest);
    const bytes = world.random.bytes(2000);
    const sending = sendAll(pipe, bytes, 500);
    world.clock.after(10_000, () => {
      stuck = false;
    });
    await world.run(sending);
    await world.run(
      (async () => {
        while (atGuest.length < bytes.length) await new Promise((resolve) => setImmediate(resolve));
      })(),
    );
    expect(stuck).toBe(false);
    expect(equalBytes(atGuest.bytes, bytes)).toBe(true);
    await world.run(pipe.close());
  });

  test("shows noise, other sizes and old pictures: nothing arrives but what the guest sent", async () => {
    const world = makeWorld({ device: "virtio-tablet", guest: false });
    const { random } = world;
    const guestDisplay = new SimulatedDisplay(world.clock, random, SCREEN);
    const input = new SimulatedInput(world.clock, random, "virtio-tablet", guestDisplay);
    const guest = new GuestModem({
      screen: guestDisplay.guestScreen(),
      keys: input.guestKeys(),
      clock: world.clock,
      nonce: random.bytes(8),
    });
    const pipes = memoryPipes();
    const served = serveRfb(pipes.guest, guestDisplay, input, { pointerIsAbsolute: true }).catch(() => {});
    const pipe = await world.run(
      openRfb(pipes.client, { clock: world.clock }).then((rfb) =>
        openModemOverRfb(rfb, { clock: world.clock, epoch: 9 }),
      ),
    );
    const taken = new Taken(pipe);
    const sent = random.bytes(30_000);
    await world.run(sendAll(guest, sent.subarray(0, 10_000), 1000));
    for (let i = 0; i < 60; i++) {
      const rects = Array.from({ length: 1 + random.below(4) }, () => {
        const [width, height] = [1 + random.below(200), 1 + random.below(20)];
        const noise = random.chance(0.5)
          ? random.bytes(width * height * 3)
          : guestDisplay.picture().pixels.slice(0, width * height * 3);
        return raw(random.below(640 - width), random.below(480 - height), width, height, noise);
      });
      await pipes.guest.send(
        random.chance(0.1)
          ? update(desktopSize(300 + random.below(100), 40 + random.below(300)), desktopSize(640, 480))
          : update(...rects),
      );
      await world.run(new Promise<void>((resolve) => void world.clock.after(random.below(200), resolve)));
    }
    expect(equalBytes(taken.bytes, sent.subarray(0, taken.length))).toBe(true);
    await world.run(pipe.close());
    await pipes.guest.close();
    await served;
  });
});

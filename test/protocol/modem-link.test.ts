// Both ends of the modem over QEMU's habits, on a clock that stands until told: what arrives, what it takes, how fast it is.

import { describe, expect, test } from "vitest";
import { equalBytes } from "../../protocol/bytes.ts";
import { MAX_MODEM_TO_CLIENT } from "../../protocol/limits.ts";
import { encodeBeacon, encodeSlot, encodeStatus } from "../../protocol/modem/blocks.ts";
import { ClientModem } from "../../protocol/modem/client-modem.ts";
import { type Device, DEVICES } from "../../protocol/modem/devices.ts";
import { layoutFor } from "../../protocol/modem/geometry.ts";
import { ManualClock } from "../support/clocks.ts";
import { seeded } from "../support/seeded.ts";
import type { InputTrouble } from "../support/simulated-vnc.ts";
import { type Link, makeLink, SCREEN, sendAll, Taken, TEXT } from "../support/modem-link.ts";

/** Bytes both ways at once. @returns whether exactly these arrived. */
async function carries(link: Link, up: number, down: number, most = 60_000): Promise<boolean> {
  await link.until(() => link.client.open, most);
  const [toGuest, toClient] = [link.random.bytes(up), link.random.bytes(down)];
  link.atGuest.clear();
  link.atClient.clear();
  const sending = [sendAll(link.client, toGuest, 100), sendAll(link.guest, toClient, 3000)];
  await link.until(() => link.atGuest.length >= up && link.atClient.length >= down, most);
  await Promise.all(sending);
  return equalBytes(link.atGuest.bytes, toGuest) && equalBytes(link.atClient.bytes, toClient);
}

const POINTERS: readonly Device[] = [
  "virtio-tablet",
  "usb-tablet-xhci",
  "usb-tablet-ehci",
  "usb-tablet-uhci",
  "ps2-mouse",
];
const KEYBOARDS: readonly Device[] = ["keyboard", "usb-keyboard"];

describe("carries bytes", () => {
  test.each([...POINTERS, ...KEYBOARDS])(
    "%s: both ways, exactly, without a frame sent twice",
    async (device) => {
      const link = makeLink({ device });
      expect(await carries(link, device === "usb-keyboard" ? 150 : 400, 50_000)).toBe(true);
      expect(link.client.figures.goneBack).toBe(0);
      expect(link.input.lost).toBe(0);
    },
  );

  test("a PS/2 keyboard that is read raw", async () => {
    expect(await carries(makeLink({ device: "keyboard", raw: true }), 300, 5000)).toBe(true);
  });

  test.each([
    { format: "rgb565", width: 1024, height: 768 },
    TEXT,
    { format: "cells4", width: 80, height: 25 },
    { format: "cells8", width: 160, height: 50 },
    { format: "rgb888", width: 1366, height: 768 },
  ] as const)("$format $width by $height", async (size) => {
    expect(await carries(makeLink({ device: "virtio-tablet", size }), 400, 20_000)).toBe(true);
  });
});

describe("heals", () => {
  test.each([1, 2, 3, 4, 5])("half-drawn and late pictures (seed %i)", async (seed) => {
    const display = { tears: 0.3, stale: 0.2 };
    expect(await carries(makeLink({ device: "virtio-tablet", display, seed }), 500, 60_000)).toBe(true);
    expect(await carries(makeLink({ device: "virtio-tablet", size: TEXT, display, seed }), 200, 5000)).toBe(
      true,
    );
  });

  test.each(POINTERS.flatMap((device) => [11, 12, 13].map((seed) => [device, seed] as const)))(
    "%s: lost events (seed %i)",
    async (device, seed) => {
      const link = makeLink({ device, input: { loses: 0.01 }, seed });
      expect(await carries(link, 800, 20_000, 300_000)).toBe(true);
      expect(link.input.lost).toBeGreaterThan(0);
      expect(link.client.figures.goneBack).toBeGreaterThan(0);
    },
  );

  test("the pace goes back with losses, and comes again when they have ended", async () => {
    const input: InputTrouble = { loses: 0.05 };
    const link = makeLink({ device: "virtio-tablet", input, seed: 15 });
    expect(await carries(link, 1000, 0, 300_000)).toBe(true);
    expect(link.client.figures.pace).toEqual({ batch: 2, every: 16 });
    input.loses = 0;
    expect(await carries(link, 6000, 0, 60_000)).toBe(true);
    expect(link.client.figures.pace).toEqual({ batch: 8, every: 8 });
  });

  test("a device that takes less than it should: the pace stays below what it loses", async () => {
    const link = makeLink({ device: "virtio-tablet", input: { room: 6 }, seed: 16 });
    expect(await carries(link, 20_000, 0, 300_000)).toBe(true);
    const { goneBack } = link.client.figures;
    expect(goneBack).toBeGreaterThan(0);
    expect(goneBack).toBeLessThan(20); // it is tried again, ever more seldom
  });

  test.each(KEYBOARDS)("%s: lost keys, whose state then differs at both ends", async (device) => {
    const link = makeLink({ device, input: { loses: 0.004 }, seed: 21 });
    expect(await carries(link, 400, 2000, 600_000)).toBe(true);
    expect(link.input.lost).toBeGreaterThan(0);
  });

  test.each(POINTERS.filter((device) => device !== "ps2-mouse"))(
    "%s: another viewer's mouse",
    async (device) => {
      const link = makeLink({ device, seed: 31 });
      const move = (): void => {
        link.input.viewerMoves(link.random.below(640), link.random.below(480));
        link.clock.after(1000 / 60, move);
      };
      move();
      expect(await carries(link, 600, 20_000, 300_000)).toBe(true);
      if (device === "virtio-tablet") expect(link.client.figures.goneBack).toBe(0);
      else expect(link.input.merged).toBeGreaterThan(0);
    },
  );

  test("another viewer who types", async () => {
    const link = makeLink({ device: "keyboard", seed: 32 });
    const type = (): void => {
      link.input.viewerTypes(30 + link.random.below(8));
      link.clock.after(3000, type);
    };
    type();
    expect(await carries(link, 200, 2000, 600_000)).toBe(true);
    expect(link.client.figures.goneBack).toBeGreaterThan(0);
  });

  test("what somebody draws over beacon, status and slots", async () => {
    const link = makeLink({ device: "virtio-tablet", seed: 41 });
    await link.until(() => link.client.open);
    const sent = link.random.bytes(5000);
    await link.guest.send(sent);
    await link.pass(1); // drawn, not yet shown
    link.display.scribble(0, 40);
    await link.until(() => link.atClient.length >= sent.length);
    expect(equalBytes(link.atClient.bytes, sent)).toBe(true);
    expect(await carries(link, 100, 100)).toBe(true);
  });

  test("a guest that hears nothing is not flooded", async () => {
    const link = makeLink({ device: "virtio-tablet", seed: 42, input: { loses: 1 } });
    await link.pass(20_000);
    expect(link.client.open).toBe(false);
    expect(link.input.lost).toBeGreaterThan(10);
    expect(link.input.lost).toBeLessThan(300); // it does not flood
  });

  test.each([
    { format: "rgb888", width: 1024, height: 768 },
    { format: "rgb565", width: 640, height: 480 },
    { format: "rgb888", width: 800, height: 600 },
  ] as const)("a change to $format $width by $height", async (size) => {
    const link = makeLink({ device: "virtio-tablet", seed: 43 });
    expect(await carries(link, 100, 5000)).toBe(true);
    link.display.resize(size);
    await link.until(() => !link.client.open);
    expect(await carries(link, 100, 5000)).toBe(true);
  });

  test("a guest that starts again: nothing of before is read", async () => {
    const link = makeLink({ device: "virtio-tablet", seed: 44 });
    expect(await carries(link, 100, 5000)).toBe(true);
    await link.guest.close();
    await link.until(() => link.atGuest.ended === "clean");
    const guest = link.startGuest();
    const atGuest = new Taken(guest);
    await link.until(() => !link.client.open);
    await link.until(() => link.client.open);
    link.atClient.clear();
    await Promise.all([guest.send(Uint8Array.of(1, 2, 3)), link.client.send(Uint8Array.of(4, 5))]);
    await link.until(() => link.atClient.length === 3 && atGuest.length === 2);
    expect(link.atClient.bytes).toEqual(Uint8Array.of(1, 2, 3));
    expect(atGuest.bytes).toEqual(Uint8Array.of(4, 5));
  });

  test("a client that was displaced comes back once the other one is gone", async () => {
    const link = makeLink({ device: "virtio-tablet", seed: 46 });
    await link.until(() => link.client.open);
    const rival = new ClientModem({
      screen: { picture: () => link.display.picture(), listen: () => {} },
      keys: link.input.clientKeys(),
      clock: link.clock,
      epoch: 9,
    });
    await link.pass(1000); // its RESET was heard
    await rival.close();
    const sent = link.random.bytes(30);
    await link.client.send(sent); // lost, with the epoch that is no more
    await link.until(() => !link.client.open);
    expect(await carries(link, 100, 1000)).toBe(true);
  });

  test("ten clients, one after the other", async () => {
    const link = makeLink({ device: "usb-tablet-xhci", seed: 45 });
    expect(await carries(link, 100, 5000)).toBe(true);
    for (let i = 0; i < 10; i++) {
      await link.guest.send(link.random.bytes(500)); // nobody will read it
      await link.client.close();
      await link.pass(100);
      link.client = link.startClient();
      link.atClient = new Taken(link.client);
      expect(await carries(link, 100, 5000)).toBe(true);
    }
  });
});

describe("a hostile host", () => {
  test.each([61, 62, 63])(
    "shows rows of older pictures again (seed %i): the bytes stay the same",
    async (seed) => {
      const link = makeLink({ device: "virtio-tablet", seed });
      const older: Uint8Array[] = [];
      const replay = (): void => {
        const { pixels, width } = link.display.picture();
        if (older.length < 40) older.push(pixels.slice());
        const old = older[link.random.below(older.length)] as Uint8Array;
        const row = link.random.below(40) * width * 3;
        pixels.set(old.subarray(row, row + 3 * width * 3), row);
        link.clock.after(70, replay);
      };
      replay();
      expect(await carries(link, 800, 30_000, 600_000)).toBe(true);
    },
  );

  test("whatever blocks it makes, with sums that fit: no error, and no more is kept than the bound", async () => {
    const random = seeded(64);
    const clock = new ManualClock();
    let pixels = new Uint8Array(640 * 480 * 3);
    let seen = (): void => {};
    let events = 0;
    const client = new ClientModem({
      screen: {
        picture: () => ({ width: 640, height: 480, pixels }),
        listen: (call) => {
          seen = call;
        },
      },
      keys: {
        send: (all) => {
          events += all.length;
        },
      },
      clock,
      epoch: 5,
    });
    const devices = Object.keys(DEVICES) as Device[];
    const number = (): number => (random.chance(0.5) ? random.below(70) : random.below(2 ** 32));
    let nonce = random.bytes(8);
    for (let i = 0; i < 1000; i++) {
      const put = (row: number, bytes: Uint8Array): void => pixels.set(bytes, row * 640 * 3);
      const layout = random.chance(0.9)
        ? { top: 8, rowsPerSlot: 1, slots: 32 }
        : { top: random.below(300), rowsPerSlot: 1 + random.below(9), slots: 2 + random.below(31) };
      if (random.chance(0.01)) nonce = random.bytes(8);
      const device = devices[random.below(i % 100 === 0 ? devices.length : 1)] as Device;
      if (random.chance(0.1) || i === 0) put(0, encodeBeacon({ nonce, size: SCREEN, layout, device }));
      const status = {
        epoch: random.chance(0.9) ? 6 + random.below(200) : number() & 0xffff,
        base: number(),
        released: number(),
        heard: number(),
        expected: random.below(random.chance(0.5) ? 5 : 0x10000),
        spoiled: random.below(0x10000),
      };
      put(1, encodeStatus(status, nonce));
      for (let slot = 0; slot < 32; slot++)
        put(
          8 + slot,
          encodeSlot({ number: slot + 32 * random.below(4), expected: 0, payload: random.bytes(50) }, nonce),
        );
      if (random.chance(0.01)) pixels = random.bytes(640 * 480 * 3); // and nothing that makes sense
      if (i % 10 === 0) void client.send(random.bytes(20)).catch(() => {});
      seen();
      clock.advance(20);
    }
    expect(events).toBeGreaterThan(0);
    expect(events).toBeLessThan(1000 * 20 * 1.25); // 1000 a second, whatever it asks for
    await client.close();
    let kept = 0;
    for await (const chunk of client.incoming) kept += chunk.length;
    expect(kept).toBeGreaterThan(0);
    expect(kept).toBeLessThanOrEqual(MAX_MODEM_TO_CLIENT + 640 * 3);
  });
});

describe("is a pipe", () => {
  test.each([...POINTERS, ...KEYBOARDS])("%s: nothing stays pressed when a client closes", async (device) => {
    const link = makeLink({ device, seed: 71 });
    await link.until(() => link.client.open);
    const sending = link.client.send(link.random.bytes(100));
    let held = 0;
    await link.until(() => {
      held = Math.max(held, link.input.held);
      return link.atGuest.length >= 64;
    });
    await sending;
    if (device !== "usb-keyboard") expect(held).toBeGreaterThan(0);
    await link.client.close();
    expect(link.input.held).toBe(0);
  });

  test("before anybody is there the guest sends into nothing, and nothing is kept", async () => {
    const link = makeLink({ device: "virtio-tablet", input: { loses: 1 } });
    await link.guest.send(new Uint8Array(1_000_000));
    await link.guest.send(new Uint8Array(1_000_000));
    expect(link.client.open).toBe(false);
  });

  test("send waits while nothing is acknowledged, and goes on afterwards", async () => {
    const link = makeLink({ device: "virtio-tablet" });
    await link.until(() => link.client.open);
    const room = (layoutFor(SCREEN)?.slots ?? 0) * link.guest.slotPayload;
    let sent = 0;
    const sending = (async () => {
      for (let i = 0; i < 100; i++) {
        await link.guest.send(new Uint8Array(link.guest.slotPayload));
        sent += link.guest.slotPayload;
      }
    })();
    for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve)); // no time passes
    expect(sent).toBeGreaterThan(room / 2);
    expect(sent).toBeLessThan(room * 1.2);
    await link.until(() => sent === 100 * link.guest.slotPayload);
    await sending;
  });

  test("nobody reads at the client: the guest is held, and nothing is lost", async () => {
    const link = makeLink({
      device: "virtio-tablet",
      size: { format: "rgb888", width: 1280, height: 800 },
      seed: 51,
    });
    const client = link.startClient(); // takes the screen over; nobody reads it
    await link.until(() => client.open);
    const sent = link.random.bytes(800_000);
    let done = false;
    const sending = sendAll(link.guest, sent, 3000).then(() => {
      done = true;
    });
    await link.pass(5000);
    expect(done).toBe(false);
    const taken = new Taken(client);
    await link.until(() => taken.length === sent.length);
    await sending;
    expect(equalBytes(taken.bytes, sent)).toBe(true);
  });

  test("close ends both halves of an end, once; a cut connection is lost", async () => {
    const link = makeLink({ device: "virtio-tablet" });
    await link.until(() => link.client.open);
    await Promise.all([link.guest.close(), link.guest.close()]);
    await link.until(() => link.atGuest.ended === "clean");
    await expect(link.guest.send(Uint8Array.of(1))).rejects.toMatchObject({ code: "transport-lost" });
    link.display.cut();
    await link.until(() => link.atClient.ended === "lost");
    await expect(link.client.send(Uint8Array.of(1))).rejects.toMatchObject({ code: "transport-lost" });
    await link.client.close();
  });

  test("a screen that is too small, and a tablet that is to be read raw, are refused with a code", () => {
    expect(() =>
      makeLink({ device: "keyboard", size: { format: "rgb888", width: 320, height: 40 } }),
    ).toThrow(expect.objectContaining({ code: "device-unavailable" }));
    expect(() => makeLink({ device: "virtio-tablet", raw: true })).toThrow(
      expect.objectContaining({ code: "device-unavailable" }),
    );
  });
});

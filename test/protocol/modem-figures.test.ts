// How fast the modem is by the habits of QEMU's devices, on a clock of the test's: no machine's speed is in these figures.
// They are printed beside those of the prototype that ran against QEMU 7.2 itself (docs/vnc-modem.md §3).

import { expect, test } from "vitest";
import type { Device } from "../../protocol/modem/devices.ts";
import type { ScreenSize } from "../../protocol/modem/geometry.ts";
import { type Link, makeLink, sendAll, TEXT } from "../support/modem-link.ts";

const WIDE: ScreenSize = { format: "rgb888", width: 1280, height: 800 };

/** Of the prototype: ms until 24 and 64 bytes were answered, bytes a second up. */
const PROTOTYPE: Readonly<Partial<Record<Device, readonly [number, number, number]>>> = {
  "virtio-tablet": [32, 62, 1135],
  "usb-tablet-xhci": [32, 63, 1134],
  "usb-tablet-uhci": [121, 271, 255],
  "ps2-mouse": [33, 63, 1079],
  keyboard: [438, 965, 72],
};

function percentile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

/** A frame up, answered with 64 bytes as soon as it is whole. @returns ms, sorted. */
async function echoes(link: Link, length: number, times: number): Promise<number[]> {
  const taken: number[] = [];
  for (let i = 0; i < times; i++) {
    await link.pass(100 + link.random.below(400));
    link.atGuest.clear();
    link.atClient.clear();
    await link.client.send(link.random.bytes(length));
    let answered = false;
    const time = await link.until(() => {
      if (!answered && link.atGuest.length === length) {
        answered = true;
        void link.guest.send(link.random.bytes(64));
      }
      return link.atClient.length === 64;
    });
    taken.push(time);
  }
  return taken.sort((a, b) => a - b);
}

/** @returns bytes a second. */
async function rate(link: Link, way: "up" | "down", bytes: number): Promise<number> {
  const [from, to] = way === "up" ? [link.client, link.atGuest] : [link.guest, link.atClient];
  to.clear();
  const sending = sendAll(from, link.random.bytes(bytes), way === "up" ? 200 : 4000);
  const time = await link.until(() => to.length >= bytes, 600_000);
  await sending;
  return (bytes * 1000) / time;
}

const CASES: readonly (readonly [Device, ScreenSize])[] = [
  ["virtio-tablet", WIDE],
  ["usb-tablet-xhci", WIDE],
  ["usb-tablet-ehci", WIDE],
  ["usb-tablet-uhci", WIDE],
  ["ps2-mouse", WIDE],
  ["keyboard", WIDE],
  ["usb-keyboard", WIDE],
  ["ps2-mouse", TEXT],
];

test.each(CASES)("figures of %s on %o", async (device, size) => {
  const link = makeLink({ device, size, seed: 7 });
  const opened = await link.until(() => link.client.open);
  const slow = size === WIDE && device.endsWith("keyboard");
  // After some traffic the pace is that of a connection in use.
  await rate(link, "up", slow ? 100 : 1000);
  const short = await echoes(link, 24, slow ? 10 : 30);
  const long = await echoes(link, 64, slow ? 10 : 30);
  const up = await rate(link, "up", slow ? 500 : 8000);
  const down = await rate(link, "down", size === WIDE ? 500_000 : 50_000);
  const [proto24, proto64, protoUp] = PROTOTYPE[device] ?? ["-", "-", "-"];
  const ms = (sorted: number[]): string =>
    `${percentile(sorted, 0.5).toFixed(0)}/${percentile(sorted, 0.99).toFixed(0)}`;
  process.stdout.write(
    `${device.padEnd(16)} ${size.format} ${size.width}x${size.height}: open ${opened.toFixed(0)} ms, ` +
      `echo p50/p99 of 24 B ${ms(short)} ms (${proto24}), of 64 B ${ms(long)} ms (${proto64}), ` +
      `up ${up.toFixed(0)} B/s (${protoUp}), down ${(down / 1000).toFixed(0)} kB/s, sent again ${link.client.figures.goneBack}\n`,
  );
  expect(link.input.lost).toBe(0);
  expect(link.client.figures.skipped).toBe(0);
  if (typeof protoUp === "number") expect(up).toBeGreaterThan(protoUp * 0.85);
  // The prototype's begin at a picture; these at any time, so that half a picture more is to be expected.
  // Keys go at 95 a second, not at 100: what is above that only waits in a queue.
  if (typeof proto64 === "number") expect(percentile(long, 0.5)).toBeLessThan(proto64 * 1.06 + 40);
  if (size === WIDE) expect(down).toBeGreaterThan(slow ? 400_000 : 1_500_000);
  else expect(down).toBeGreaterThan(15_000);
});

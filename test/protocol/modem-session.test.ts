// A whole session over the modem: handshake, evidence, a login, keys and their echo, with nothing but a screen and an input
// device between them. Everything above the pipe is as it is on any other.

import { expect, test } from "vitest";
import { equalBytes } from "../../protocol/bytes.ts";
import { cobsDecode, maxCobsLength } from "../../protocol/frames/cobs.ts";
import { FRAME_RAW } from "../../protocol/frames/frame-body.ts";
import { RAW_ABOVE } from "../../protocol/limits.ts";
import type { Device } from "../../protocol/modem/devices.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import { connect } from "../../protocol/session/connect.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { makeLink, type Link, type LinkOptions } from "../support/modem-link.ts";
import { clientOptions, testGuest } from "../support/session.ts";

const CRC_BYTES = 4;
const LOGIN = { kind: "login", term: "xterm", columns: 80, rows: 24 } as const;

/** Lets the test's clock run until `work` is done. */
async function run<T>(link: Link, work: Promise<T>): Promise<T> {
  let over = false;
  const done = work.finally(() => {
    over = true;
  });
  done.catch(() => {}); // awaited below
  await link.until(() => over, 300_000);
  return done;
}

async function echo(channel: Channel, bytes: Uint8Array): Promise<void> {
  const writing = channel.write(bytes);
  const back = new Uint8Array(bytes.length);
  for (let at = 0; at < bytes.length; ) {
    const part = await channel.stdout.read();
    if (part === undefined) throw new Error("The output ended early");
    back.set(part, at);
    at += part.length;
    channel.stdout.consumed(part.length);
  }
  await writing;
  expect(equalBytes(back, bytes)).toBe(true);
}

test("bulk goes in frames of usual length: none as it is, though the pipe answers at once", async () => {
  const link = makeLink({ device: "virtio-tablet", readers: false });
  const guest = testGuest(link.clock);
  const sent: Uint8Array[] = [];
  const watched = (pipe: Pipe): Pipe => ({
    incoming: pipe.incoming,
    ...(pipe.gathers === undefined ? {} : { gathers: pipe.gathers }),
    send(chunk) {
      sent.push(chunk.slice());
      return pipe.send(chunk);
    },
    close: () => pipe.close(),
  });
  void guest.endpoint.servePipe(watched(link.guest)).catch(() => {});
  const options = clientOptions(link.clock, async () => watched(link.client), { encoding: "binary" });
  const session = await run(
    link,
    connect(options).then((attested) => attested.authenticate({ method: "none", user: "root" })),
  );
  const channel = await run(link, session.openChannel(LOGIN));
  const bulk = 1_500_000;
  guest.processes[0]?.print(new Uint8Array(bulk).fill(0x41));
  await run(
    link,
    (async () => {
      for (let left = bulk; left > 0; ) {
        const part = await channel.stdout.read();
        if (part === undefined) throw new Error("The output ended early");
        left -= part.length;
        channel.stdout.consumed(part.length);
      }
    })(),
  );
  await run(link, session.close());
  const lengths = sent.map(({ length }) => length);
  expect(Math.max(...lengths)).toBeGreaterThan(10_000);
  expect(Math.max(...lengths)).toBeLessThanOrEqual(maxCobsLength(RAW_ABOVE + CRC_BYTES) + 2);
  for (const chunk of sent)
    for (const segment of segmentsOf(chunk)) expect(cobsDecode(segment)?.[0]).not.toBe(FRAME_RAW);
});

/** What stands between zeros. */
function segmentsOf(chunk: Uint8Array): Uint8Array[] {
  const zeros = [...chunk.keys()].filter((at) => chunk[at] === 0);
  return zeros.slice(1).map((end, i) => chunk.subarray((zeros[i] ?? 0) + 1, end));
}

/** What lasts while signatures are made depends on the machine, and is printed only. @param key - ms of a key's echo. */
test.each<[string, LinkOptions, number]>([
  ["a virtio tablet", { device: "virtio-tablet" }, 200],
  ["a USB tablet", { device: "usb-tablet-xhci" }, 300],
  ["a PS/2 mouse", { device: "ps2-mouse" }, 300],
  [
    "a tablet that loses events, pictures half drawn",
    { device: "virtio-tablet", display: { tears: 0.1, stale: 0.1 }, input: { loses: 0.005 }, seed: 3 },
    5000,
  ],
])("%s: a session opens, and keys come back", async (_name, linkOptions, key) => {
  const link = makeLink({ ...linkOptions, readers: false });
  const guest = testGuest(link.clock);
  void guest.endpoint.servePipe(link.guest).catch(() => {});
  const start = link.clock.now();
  const options = clientOptions(link.clock, async () => link.client, { encoding: "binary" });
  const attested = await run(link, connect(options));
  const verified = link.clock.now() - start;
  const { session, channel } = await run(
    link,
    attested.authenticate({ method: "none", user: "root" }).then(async (session) => ({
      session,
      channel: await session.openChannel(LOGIN),
    })),
  );
  const opened = link.clock.now() - start;
  const times: number[] = [];
  for (let i = 0; i < 20; i++) {
    await link.pass(50 + link.random.below(200));
    const pressed = link.clock.now();
    await run(link, echo(channel, Uint8Array.of(0x61 + i)));
    times.push(link.clock.now() - pressed);
  }
  times.sort((a, b) => a - b);
  const repaintStart = link.clock.now();
  const screenful = new Uint8Array(1920).fill(0x41);
  guest.processes[0]?.print(screenful);
  await run(
    link,
    (async () => {
      for (let left = screenful.length; left > 0; ) {
        const part = await channel.stdout.read();
        if (part === undefined) throw new Error("The output ended early");
        left -= part.length;
        channel.stdout.consumed(part.length);
      }
    })(),
  );
  const device: Device = linkOptions.device;
  process.stdout.write(
    `${device}: evidence verified after ${verified.toFixed(0)} ms, login open after ${opened.toFixed(0)} ms, ` +
      `key p50/max ${times[10]?.toFixed(0)}/${times.at(-1)?.toFixed(0)} ms, 80x24 screen ${(link.clock.now() - repaintStart).toFixed(0)} ms\n`,
  );
  expect(times[10]).toBeLessThan(key);
  await run(link, session.close());
});

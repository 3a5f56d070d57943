// Probing and pacing over pipes with known habits, on a clock that the test moves: what is found, that all bytes arrive,
// and that the pace follows the pipe down and up.

import { expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import {
  FRAME_PROBED,
  paceBody,
  probeBody,
  probedBody,
  readReceipt,
  welcomeBody,
} from "../../protocol/frames/frame-body.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeFrame } from "../../protocol/frames/frame-encoder.ts";
import { MAX_PROBE_PATTERN } from "../../protocol/limits.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { connect } from "../../protocol/session/connect.ts";
import { ManualClock } from "../support/clocks.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { seeded, testSeed } from "../support/seeded.ts";
import { clientOptions, testGuest } from "../support/session.ts";
import {
  both,
  clean,
  crumbs,
  fifo,
  type Habit,
  lineFeedToReturn,
  loses,
  sevenBits,
  slow,
  stripsFf,
  swallowsCtrlA,
} from "../support/simulated-pipe.ts";

const seed = testSeed();
const LOGIN = { kind: "login", term: "xterm", columns: 80, rows: 24 } as const;

/** Moves the clock a millisecond whenever nothing is left to do. */
async function run<T>(clock: ManualClock, work: Promise<T>, atMost = 600_000): Promise<T> {
  let over = false;
  const done = work.finally(() => {
    over = true;
  });
  done.catch(() => {}); // awaited below
  const end = clock.now() + atMost;
  while (!over) {
    for (let i = 0; i < 4 && !over; i++) await new Promise((resolve) => setImmediate(resolve));
    if (clock.now() > end) throw new Error(`Not done after ${atMost} ms of the test's clock`);
    clock.advance(1);
  }
  return done;
}

async function start(habit: Habit, encoding: "auto" | "binary" | "armour" = "auto") {
  const clock = new ManualClock();
  const random = seeded(seed);
  const guest = testGuest(clock);
  const pipes = memoryPipes(habit(clock, random));
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const begin = clock.now();
  const options = clientOptions(clock, async () => pipes.client, { encoding });
  const attested = await run(clock, connect(options));
  const opened = await run(
    clock,
    attested.authenticate({ method: "none", user: "root" }).then(async (session) => ({
      session,
      channel: await session.openChannel(LOGIN),
    })),
  );
  return { clock, random, attested, took: clock.now() - begin, ...opened };
}

/** There and back again, compared. */
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
  expect(equalBytes(back, bytes), `seed ${seed}`).toBe(true);
}

/** No 0x04: it would end the echo. */
const payload = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) | 0x08);

test.each<[string, Habit, "binary" | "armour", number]>([
  ["a clean pipe", clean, "binary", 0],
  ["0x01 and the next byte eaten", swallowsCtrlA, "armour", 0],
  ["0xff eaten", stripsFf, "armour", 0],
  ["seven bits", sevenBits, "armour", 0],
  ["LF made CR", lineFeedToReturn, "armour", 0],
  ["16 bytes at once", fifo(() => 16), "binary", 16],
  ["16 bytes at once, emptied late", fifo(() => 16, 15), "binary", 16],
  ["32 bytes at once", fifo(() => 32), "binary", 32],
  [
    "16 bytes at once, 0xff eaten",
    both(
      stripsFf,
      fifo(() => 16),
    ),
    "armour",
    16,
  ],
  [
    "16 bytes at once, 0x01 and the next byte eaten",
    both(
      swallowsCtrlA,
      fifo(() => 16),
    ),
    "armour",
    16,
  ],
  ["one by one, 128 of which wait, 0x01 eaten", both(swallowsCtrlA, crumbs(2000, 128)), "armour", 128],
  ["11520 bytes a second", slow(11_520), "binary", 0],
])("%s: found within a second, and every byte arrives", async (_name, habit, encoding, burst) => {
  const { clock, attested, session, channel, took } = await start(habit);
  expect(attested.stats.carries, `seed ${seed}`).toMatchObject({ encoding, burst });
  // Keys, evidence and login are in it: over 16 bytes at a time they alone take a while.
  expect(took).toBeLessThan(burst === 0 ? 1000 : 6000);
  await run(clock, echo(channel, payload(6000)));
  await run(clock, echo(channel, payload(1)));
  await run(clock, session.close());
});

test("a fifth of all writes lost: no burst is found where there is none, and every byte arrives", async () => {
  const { clock, session, channel } = await start(loses(0.2));
  await run(clock, echo(channel, payload(20_000)));
  const { burst } = session.stats.carries;
  expect(burst === 0 || burst >= 64, `burst ${burst}, seed ${seed}`).toBe(true);
  await run(clock, session.close());
});

test("a pipe that gets narrow under way is noticed; when it gets wide again, so is that", async () => {
  let width = Number.POSITIVE_INFINITY;
  const { clock, session, channel } = await start(fifo(() => width));
  expect(session.stats.carries.burst).toBe(0);
  await run(clock, echo(channel, payload(20_000)));
  width = 16;
  await run(clock, echo(channel, payload(8000)));
  expect(session.stats.carries.burst, `seed ${seed}`).toBeGreaterThan(0);
  expect(session.stats.carries.burst).toBeLessThanOrEqual(16);
  width = Number.POSITIVE_INFINITY;
  await run(clock, echo(channel, payload(300_000)));
  expect(session.stats.carries.burst).toBe(0);
  await run(clock, session.close());
});

test("one by one, ever so slowly, and 0x01 eaten: found all the same, in armour", async () => {
  const { clock, attested, session, channel } = await start(both(swallowsCtrlA, crumbs(250, 128)));
  expect(attested.stats.carries.encoding, `seed ${seed}`).toBe("armour");
  await run(clock, echo(channel, payload(600)));
  await run(clock, session.close());
});

test("a slow pipe with a long queue: a keystroke does not wait behind all that was pasted elsewhere", async () => {
  const { clock, session, channel } = await start(slow(5000));
  const second = await run(clock, session.openChannel(LOGIN));
  const pasting = echo(channel, payload(100_000));
  await run(clock, new Promise<void>((resolve) => void clock.after(12_000, resolve)));
  const begin = clock.now();
  await run(clock, echo(second, payload(1)));
  expect(clock.now() - begin).toBeLessThan(3000); // 64 KiB in the queue take 13 s; the first flight, 32 KiB, is through
  await run(clock, pasting);
  await run(clock, session.close());
});

test("the control: the same frames without a pace do not get through 16 bytes at once", async () => {
  const clock = new ManualClock();
  const carry = fifo(() => 16)(clock, seeded(seed));
  const decoder = new FrameDecoder();
  let frames = 0;
  for (let i = 0; i < 20; i++) {
    carry(
      encodeFrame(payload(300), "binary"),
      (part) => (frames += decoder.push(part).frames.length),
      "to-guest",
    );
    clock.advance(100);
  }
  expect(frames).toBe(0);
});

/** What a guest says to these frames, sent without any handshake. */
async function answersTo(bodies: readonly Uint8Array[]): Promise<Uint8Array[]> {
  const clock = new ManualClock();
  const guest = testGuest(clock);
  const sent: Uint8Array[] = [];
  const pipes = memoryPipes();
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const decoder = new FrameDecoder();
  const reading = (async () => {
    for await (const chunk of pipes.client.incoming)
      sent.push(...decoder.push(chunk).frames.map(({ body }) => body));
  })();
  for (const body of bodies) await pipes.client.send(encodeFrame(body, "binary"));
  for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve));
  await pipes.client.close();
  await reading;
  expect(guest.endpoint.connectionCount).toBe(0);
  return sent;
}

test("an echo is never longer than its question, at a bounded rate, and of nothing too long", async () => {
  const id = nodeSuite.randomBytes(4);
  const longest = probeBody(id, 7, new Uint8Array(MAX_PROBE_PATTERN));
  expect(await answersTo([longest])).toEqual([probedBody(longest)]);
  expect(await answersTo([probeBody(id, 7, new Uint8Array(MAX_PROBE_PATTERN + 1))])).toEqual([]);
  expect(await answersTo([longest.subarray(0, 5)])).toEqual([]);
  const flood = await answersTo(Array.from({ length: 500 }, () => longest));
  expect(flood.length).toBeLessThanOrEqual(50);
});

test("receipts are small, one for a read at most, count what arrived, and stop by themselves", async () => {
  const id = nodeSuite.randomBytes(4);
  const pace = paceBody(id, 9);
  const [receipt, ...more] = await answersTo([pace]);
  expect(more).toEqual([]);
  expect(receipt?.length).toBe(10);
  const length = encodeFrame(pace, "binary").length;
  expect(length).toBeLessThanOrEqual(16);
  expect(readReceipt(receipt as Uint8Array)).toEqual({ mark: 9, count: length });
  // Malformed ones are nobody's business.
  expect(await answersTo([pace.subarray(0, 5), Uint8Array.of(...pace, 0)])).toEqual([]);
});

test("a host that forges echoes and receipts makes the session slow at most", async () => {
  const clock = new ManualClock();
  const random = seeded(seed);
  const guest = testGuest(clock);
  const pipes = memoryPipes((chunk, deliver, direction) => {
    if (direction === "to-client") {
      for (const { body } of new FrameDecoder().push(chunk).frames) {
        // Echoes of what was never asked, changed ones, receipts with any count, cookies that fail.
        const id = body.slice(1, 5);
        const forged: Uint8Array[] = [
          Uint8Array.of(FRAME_PROBED, ...id, random.below(4), ...random.bytes(256)),
          Uint8Array.of(0x19, ...id, random.below(256), ...random.bytes(4)),
          Uint8Array.of(0x19, ...id, random.below(4)),
        ];
        if (random.chance(0.2)) forged.push(welcomeBody(id, random.bytes(16)));
        for (const lie of forged) deliver(encodeFrame(lie, "binary"));
        if (body[0] === FRAME_PROBED) return; // and the true echo never comes
      }
    }
    deliver(chunk);
  });
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const attested = await run(clock, connect(clientOptions(clock, async () => pipes.client)));
  const session = await run(clock, attested.authenticate({ method: "none", user: "root" }));
  const channel = await run(clock, session.openChannel(LOGIN));
  await run(clock, echo(channel, payload(10_000)));
  expect(session.stats.packetsRefused, `seed ${seed}`).toBe(0); // the lies were no packets
  await run(clock, session.close());
});

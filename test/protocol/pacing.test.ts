// Probing and pacing over pipes with known habits, on a clock that the test moves: what is found, that all bytes arrive,
// and that the pace follows the pipe down and up.

import { expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { equalBytes, utf8 } from "../../protocol/bytes.ts";
import {
  FRAME_PACE,
  FRAME_PACKET,
  FRAME_PROBED,
  FRAME_RECEIPT,
  paceBody,
  probeBody,
  probedBody,
  readReceipt,
  receiptBody,
  welcomeBody,
} from "../../protocol/frames/frame-body.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeFrame } from "../../protocol/frames/frame-encoder.ts";
import { continueSum, EMPTY_SUM } from "../../protocol/frames/running-sum.ts";
import {
  MAX_ARMOUR_BODY,
  MAX_BODY_TO_CLIENT,
  MAX_BODY_TO_GUEST,
  MAX_PROBE_PATTERN,
} from "../../protocol/limits.ts";
import { Recovery } from "../../protocol/packets/recovery.ts";
import { type ShapingProfile, SLOTS_TO_CLIENT, SLOTS_TO_GUEST } from "../../protocol/packets/shaping.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { connect } from "../../protocol/session/connect.ts";
import { Pacer } from "../../protocol/session/pacer.ts";
import { StreamConnection } from "../../protocol/streams/stream-connection.ts";
import { ManualClock } from "../support/clocks.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { seeded, testSeed } from "../support/seeded.ts";
import { clientOptions, testGuest } from "../support/session.ts";
import {
  both,
  clean,
  crumbs,
  far,
  fifo,
  type Habit,
  lineFeedToReturn,
  loses,
  mux,
  sevenBits,
  slow,
  telnet,
  swallowsCtrlA,
  wholeFrames,
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

async function start(
  habit: Habit,
  encoding: "auto" | "binary" | "armour" = "auto",
  shaping?: ShapingProfile,
) {
  const clock = new ManualClock();
  const random = seeded(seed);
  const guest = testGuest(clock);
  const pipes = memoryPipes(habit(clock, random));
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const begin = clock.now();
  const shaped = shaping === undefined ? {} : { shaping };
  const options = clientOptions(clock, async () => pipes.client, { encoding, ...shaped });
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

const mux160 = mux(160);
const telnetAndFifo = both(
  telnet,
  fifo(() => 16),
);

test.each<[string, Habit, "binary" | "armour", number]>([
  ["a clean pipe", clean, "binary", 0],
  ["0x01 and the next byte eaten", swallowsCtrlA, "armour", 0],
  ["0xff and the next two bytes eaten", telnet, "armour", 0],
  ["seven bits", sevenBits, "armour", 0],
  ["LF made CR", lineFeedToReturn, "armour", 0],
  ["16 bytes at once", fifo(() => 16), "binary", 16],
  ["16 bytes at once, emptied late", fifo(() => 16, 15), "binary", 16],
  ["32 bytes at once", fifo(() => 32), "binary", 32],
  ["16 bytes at once, 0xff and the next two eaten", telnetAndFifo, "armour", 16],
  [
    "16 bytes at once, LF made CR",
    both(
      lineFeedToReturn,
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
  ["of 48 bytes the last 32 again in place of the others", mux(48), "armour", 32],
  ["of 160 bytes the last 32 again in place of the others", mux160, "armour", 128],
  ["one by one, 128 of which wait, 0x01 eaten", both(swallowsCtrlA, crumbs(2000, 128)), "armour", 128],
  ["11520 bytes a second", slow(11_520), "binary", 0],
])("%s: found within a second, and every byte arrives", async (_name, habit, encoding, burst) => {
  const { clock, attested, session, channel, took } = await start(habit);
  const found = attested.stats.carries;
  expect(found.encoding, `seed ${seed}`).toBe(encoding);
  // A probe in binary that lost bytes to a telnet may look even shorter than it was.
  if (habit === telnetAndFifo) {
    expect(found.burst, `seed ${seed}`).toBeGreaterThanOrEqual(4);
    expect(found.burst, `seed ${seed}`).toBeLessThanOrEqual(burst);
  } else {
    // Where a Ctrl-A was eaten of a longer one, half of that may be what is found: it fits as well.
    const most = habit === mux160 ? 160 : burst;
    expect(found.burst, `seed ${seed}`).toBeGreaterThanOrEqual(burst);
    expect(found.burst, `seed ${seed}`).toBeLessThanOrEqual(most);
  }
  // Keys, evidence and login are in it: over 16 bytes at a time they alone take a while.
  expect(took).toBeLessThan(burst === 0 ? 1000 : 6000);
  await run(clock, echo(channel, payload(6000)));
  await run(clock, echo(channel, payload(1)));
  await run(clock, session.close());
});

test("what is longer than the probe is changed: INIT is watched when it is repeated, and every byte arrives", async () => {
  const { clock, session, channel, took } = await start(mux(600));
  expect(took, `seed ${seed}`).toBeLessThan(6000);
  await run(clock, echo(channel, payload(6000)));
  const { encoding, burst } = session.stats.carries;
  expect({ encoding, narrow: burst > 0 && burst <= 512 }, `burst ${burst}, seed ${seed}`).toEqual({
    encoding: "armour",
    narrow: true,
  });
  await run(clock, session.close());
});

test("a fifth of all writes lost: no burst is found where there is none, and every byte arrives", async () => {
  const { clock, session, channel } = await start(loses(0.2));
  await run(clock, echo(channel, payload(20_000)));
  const { burst } = session.stats.carries;
  expect(burst === 0 || burst >= 64, `burst ${burst}, seed ${seed}`).toBe(true);
  await run(clock, session.close());
});

test.each([
  ["lost receipts are no lost bursts", true, 16],
  ["bursts of which nothing arrives, twice, are too long", false, 4],
])("%s", async (_name, arrives, burst) => {
  const clock = new ManualClock();
  const id = Uint8Array.of(1, 2, 3, 4);
  const pacer = new Pacer(clock, id, nodeSuite.crc32, () => "binary");
  const decoder = new FrameDecoder();
  let count = 0;
  let mark = 0;
  let losses = 0; // of what begins an attempt
  const pipe = pacer.over({
    incoming: memoryPipes().client.incoming,
    async send(chunk) {
      const lost = chunk.length === 16 && losses > 0;
      if (lost) losses--;
      if (lost && !arrives) return;
      const part = chunk.slice(0, 16);
      count += part.length;
      for (const { body } of decoder.push(part).frames) mark = body[5] ?? 0; // PACE: nothing else is whole in 16 bytes
      const receipt = receiptBody(id, { mark, count, sum: 0 }); // in binary the sum is not looked at
      if (!lost) clock.after(1, () => pacer.onReceipt(receipt));
    },
    close: async () => {},
  });
  pacer.watch();
  await run(clock, pipe.send(encodeFrame(payload(300), "binary")));
  expect(pacer.burst).toBe(16);
  losses = 2;
  await run(clock, pipe.send(encodeFrame(payload(300), "binary")));
  expect(losses).toBe(0);
  expect(pacer.burst).toBe(burst);
});

test("a relay passes whole frames on and loses a tenth: keys go on, and none waits for parts that it holds back", async () => {
  const { clock, channel, session } = await start(wholeFrames(0.1));
  let longest = 0;
  for (let key = 0; key < 400; key++) {
    const before = clock.now();
    await run(clock, echo(channel, payload(1)));
    longest = Math.max(longest, clock.now() - before);
  }
  expect(longest, `seed ${seed}`).toBeLessThan(20_000);
  expect(session.stats.packetsLost).toBeGreaterThan(0);
});

test("a guest that tells nothing for a while makes no narrow pipe wide, and it is asked again", async () => {
  const clock = new ManualClock();
  const id = Uint8Array.of(1, 2, 3, 4);
  const pacer = new Pacer(clock, id, nodeSuite.crc32, () => "binary");
  const decoder = new FrameDecoder();
  let count = 0;
  let mark = 0;
  let silent = false;
  let longest = 0;
  const whole: Uint8Array[] = [];
  const pipe = pacer.over({
    incoming: memoryPipes().client.incoming,
    async send(chunk) {
      longest = Math.max(longest, chunk.length);
      const part = chunk.slice(0, 16);
      count += part.length;
      for (const { body } of decoder.push(part).frames) {
        if (body[0] === FRAME_PACE) mark = body[5] ?? 0;
        else whole.push(body);
      }
      const receipt = receiptBody(id, { mark, count, sum: 0 });
      if (!silent) clock.after(1, () => pacer.onReceipt(receipt));
    },
    close: async () => {},
  });
  pacer.watch();
  await run(clock, pipe.send(encodeFrame(payload(300), "binary")));
  for (silent of [true, false]) {
    await pass(clock, 2000);
    [longest, whole.length] = [0, 0];
    await run(clock, pipe.send(encodeFrame(payload(300), "binary")));
    expect(longest).toBe(16);
    expect(whole).toEqual([payload(300)]);
    expect(pacer.burst).toBe(16);
  }
});

test.each([30, 50, 75])("16 bytes at once, and %i ms away: a session all the same", async (oneWay) => {
  const { clock, attested, session, channel, took } = await start(
    both(
      fifo(() => 16),
      far(oneWay),
    ),
  );
  expect(attested.stats.carries.burst, `seed ${seed}`).toBeGreaterThan(0);
  expect(took, `seed ${seed}`).toBeLessThan(120_000);
  const begin = clock.now();
  await run(clock, echo(channel, payload(1)));
  expect(clock.now() - begin, `seed ${seed}`).toBeLessThan(20_000);
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

const someKeys = () => ({
  connectionId: Uint8Array.of(1, 2, 3, 4),
  sendKey: new Uint8Array(32).fill(1),
  receiveKey: new Uint8Array(32).fill(2),
});

/** Waits on the test's clock. */
const pass = (clock: ManualClock, ms: number): Promise<void> =>
  run(clock, new Promise<void>((resolve) => void clock.after(ms, resolve)));

test.each<[string, Habit]>([
  ["16 bytes at once", fifo(() => 16, 5)],
  ["11520 bytes a second", slow(11_520)],
  ["2000 bytes a second, in a queue without an end", slow(2000)],
  // With slots of 100 ms the frames would be a little more than that, and all of it a queue after a while.
  ["1780 bytes a second one by one, 0x01 eaten", both(swallowsCtrlA, crumbs(1780))],
])(
  "in slots, %s: padding is no queue before a keystroke, and what is pasted arrives",
  async (_name, habit) => {
    const { clock, session, channel } = await start(habit, "auto", "adaptive");
    await pass(clock, 20_000); // slots all the while
    for (let key = 0; key < 5; key++) {
      const begin = clock.now();
      await run(clock, echo(channel, payload(1)));
      expect(clock.now() - begin, `key ${key}, seed ${seed}`).toBeLessThan(1000);
      await pass(clock, 333);
    }
    await run(clock, echo(channel, payload(4000)));
    const begin = clock.now();
    await run(clock, echo(channel, payload(1)));
    expect(clock.now() - begin, `after the paste, seed ${seed}`).toBeLessThan(1000);
    await run(clock, session.close());
  },
);

test("in slots, a host that loses much sees no PACE: it would say how many packets carried something", async () => {
  let losing = false;
  const asked = new Set<number>();
  const decoder = new FrameDecoder();
  const { clock, random, session, channel } = await start(
    () => (chunk, deliver, direction) => {
      if (direction === "to-guest") {
        for (const { body } of decoder.push(chunk).frames) asked.add(body[0] as number);
        if (losing && random.chance(0.5)) return;
      }
      deliver(chunk);
    },
    "auto",
    "adaptive",
  );
  losing = true;
  // Most of what is lost carries nothing, and does not count.
  do await run(clock, echo(channel, payload(3000)));
  while (session.stats.packetsLost === 0);
  losing = false;
  expect(session.stats.packetsLost, `seed ${seed}`).toBeGreaterThan(0);
  expect([...asked]).toContain(FRAME_PACKET);
  expect([...asked]).not.toContain(FRAME_PACE);
  await run(clock, session.close());
});

test("the grid is the encoding's: what a pacer leaves of a body, or a PACE that the host forged, moves no slot", () => {
  for (const [levels, most, least] of [
    [SLOTS_TO_GUEST, MAX_BODY_TO_GUEST, 256],
    [SLOTS_TO_CLIENT, MAX_BODY_TO_CLIENT, MAX_ARMOUR_BODY],
  ] as const) {
    const connection = new StreamConnection(nodeSuite, someKeys(), { bytes: 65_536, frames: 64 }, 0);
    connection.shape("strict", levels, 0);
    for (let slot = 1; slot <= 50; slot++) {
      expect(connection.deadline).toBe(20 * slot);
      connection.onTime(20 * slot, most);
      const body = connection.next(slot % 3 === 0 ? least : most, 20 * slot);
      expect(body?.length).toBe(levels.levels[0].body);
    }
  }
});

test("in slots, a flight shorter than a slot's packet carries content all the same, once nothing is out", () => {
  const flight = { bytes: 65_536, frames: 64, start: 512 };
  const connection = new StreamConnection(nodeSuite, someKeys(), flight, 0);
  const { send } = connection.openStream(2, { receive: 1 << 20, send: 1 << 20 });
  connection.shape("adaptive", SLOTS_TO_GUEST, 0);
  send.write(new Uint8Array(20_000));
  connection.onTime(20, MAX_BODY_TO_GUEST);
  const before = send.sendable;
  expect(connection.next(4000, 20)?.length).toBe(1000); // raised: it was a paste
  const after = send.sendable;
  expect(after).toBeLessThan(before);
  expect(connection.next(4000, 20)?.length).toBe(1000);
  expect(send.sendable).toBe(after); // the flight is full: padding
});

test.each([false, true])(
  "a queue on the way shortens a flight, but not where padding makes it (%s)",
  (padded) => {
    const recovery = new Recovery({ bytes: 65_536, frames: 64, queue: 200 });
    if (padded) recovery.allowQueue();
    const begin = recovery.room;
    recovery.onSent(0, 1000, [{ kind: "ping" }], 0);
    recovery.onAck([{ first: 0, last: 0 }], 10);
    recovery.onSent(1, 1000, [{ kind: "ping" }], 10);
    recovery.onAck([{ first: 1, last: 1 }], 2010);
    if (padded) expect(recovery.room).toBeGreaterThan(begin);
    else expect(recovery.room).toBeLessThan(begin / 4);
  },
);

test("a busy machine is no slow pipe: an echo that came late is asked for once more", async () => {
  let late = true;
  const { attested } = await start((clock) => (chunk, deliver, direction) => {
    if (direction === "to-client" || chunk.length < 200 || !late) return deliver(chunk);
    late = false;
    const copy = chunk.slice();
    clock.after(90, () => deliver(copy));
  });
  expect(attested.stats.carries.rate).toBeGreaterThan(50_000);
});

test("once a pipe is free again the guest is told, and counts no more; nobody else can say so", async () => {
  const [id, other] = [nodeSuite.randomBytes(4), nodeSuite.randomBytes(4)];
  const probe = probeBody(id, 1, new Uint8Array(9));
  const typeOfLast = async (...bodies: readonly Uint8Array[]) => (await answersTo(bodies)).at(-1)?.[0];
  expect(await typeOfLast(paceBody(id, 9), probe)).toBe(FRAME_RECEIPT);
  expect(await typeOfLast(paceBody(id, 9), paceBody(other, 0), probe)).toBe(FRAME_RECEIPT);
  expect(await typeOfLast(paceBody(id, 9), paceBody(id, 0), probe)).toBe(FRAME_PROBED);
});

test("the sum is Adler-32, whatever the chunks, of all bytes but CR and LF", () => {
  const text = utf8("Wikipedia");
  expect(continueSum(EMPTY_SUM, text)).toBe(0x11e60398); // published
  expect(continueSum(continueSum(EMPTY_SUM, text.subarray(0, 4)), text.subarray(4))).toBe(0x11e60398);
  expect(continueSum(EMPTY_SUM, utf8("\rWiki\npedia\r\n"))).toBe(0x11e60398);
  expect(continueSum(EMPTY_SUM, new Uint8Array(200_000).fill(255))).toBe(
    adler(new Uint8Array(200_000).fill(255)),
  );
});

/** By RFC 1950's definition, in large numbers. */
function adler(bytes: Uint8Array): number {
  let a = 1n;
  let b = 0n;
  for (const byte of bytes) {
    a += BigInt(byte);
    b += a;
  }
  return Number((b % 65_521n) * 65_536n + (a % 65_521n));
}

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
  expect(receipt?.length).toBe(14);
  const length = encodeFrame(pace, "binary").length;
  expect(length).toBeLessThanOrEqual(16);
  expect(readReceipt(receipt as Uint8Array)).toEqual({
    mark: 9,
    count: length,
    sum: continueSum(EMPTY_SUM, encodeFrame(pace, "binary")),
  });
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
          Uint8Array.of(0x19, ...id, random.below(256), ...random.bytes(8)),
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

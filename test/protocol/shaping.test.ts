// What the host sees of a shaped connection is the same whatever was typed: times and lengths, both ways, to the byte.

import * as fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { FrameEncoding } from "../../protocol/frames/frame-encoder.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { SHAPING_PROFILES, SLOTS_TO_CLIENT, SlotScheduler } from "../../protocol/packets/shaping.ts";
import { MessageStream } from "../../protocol/session/message-stream.ts";
import { decodeMessage, encodeMessage, type SessionMessage } from "../../protocol/session/messages.ts";
import { type Passed, ShapedSession, type Trace } from "../support/shaped-session.ts";

const SECONDS = 4;

interface Typing {
  readonly name: string;
  readonly echo: boolean;
  type(session: ShapedSession): Promise<void>;
}
const gaps = (mean: number) => (key: number) => mean + ((key * 37) % 91);
const short = (session: ShapedSession) => session.type("hunter2\r", gaps(60));
const long = (session: ShapedSession) => session.type("correct horse batte\r", gaps(110));
const classes: readonly Typing[] = [
  { name: "nothing", echo: false, type: async () => {} },
  { name: "8 keys, no echo", echo: false, type: short },
  { name: "20 keys, no echo", echo: false, type: long },
  { name: "8 keys, echo", echo: true, type: short },
  { name: "20 keys, echo", echo: true, type: long },
];

async function traceOf(
  profile: "adaptive" | "strict" | undefined,
  encoding: FrameEncoding,
  typing: Typing,
  lossSeed?: number,
): Promise<Trace> {
  const session = await ShapedSession.open(profile, encoding);
  if (typing.echo) session.process.onInput = (bytes) => session.process.print(bytes.slice());
  if (lossSeed !== undefined) session.loseBySeed(lossSeed, 0.05);
  session.restart();
  const start = session.clock.now();
  await typing.type(session);
  await session.run(SECONDS * 1000 - (session.clock.now() - start));
  const trace = structuredClone(session.trace);
  session.lose = () => false;
  await session.run(3000); // what was lost comes again
  const keys = session.process.input.reduce((sum, { length }) => sum + length, 0);
  expect(keys).toBe(typing.name === "nothing" ? 0 : Number.parseInt(typing.name, 10));
  if (typing.echo) expect(session.output.reduce((sum, { length }) => sum + length, 0)).toBe(keys);
  await session.close();
  return trace;
}

describe.each(["binary", "armour"] as const)("in %s", (encoding) => {
  describe.each(["adaptive", "strict"] as const)("%s", (profile) => {
    test.each([undefined, 7, 8])(
      "the host's trace is equal for every typing, losses by seed %s",
      async (seed) => {
        const [first, ...others] = await Promise.all(
          classes.map((typing) => traceOf(profile, encoding, typing, seed)),
        );
        const slots = (SECONDS * 1000) / (encoding === "binary" ? 20 : 50);
        expect(Math.abs((first as Trace)["to-guest"].length - slots)).toBeLessThanOrEqual(1);
        expect(Math.abs((first as Trace)["to-client"].length - slots)).toBeLessThanOrEqual(1);
        for (const other of others) expect(other).toEqual(first);
      },
    );
  });

  test("without shaping the same comparison tells the classes apart", async () => {
    const [first, ...others] = await Promise.all(
      classes.map((typing) => traceOf(undefined, encoding, typing)),
    );
    for (const other of others) expect(other).not.toEqual(first);
  });
});

describe("what is typed never moves a packet", () => {
  test("any traffic both ways, with losses: packets only in slots, all of one length, one a slot at the base level", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            wait: fc.integer({ min: 0, max: 120 }),
            to: fc.constantFrom("guest", "client"),
            length: fc.integer({ min: 1, max: 700 }),
          }),
          { maxLength: 12 },
        ),
        fc.integer(),
        fc.constantFrom<FrameEncoding>("binary", "armour"),
        fc.constantFrom("strict", "adaptive" as const),
        async (events, seed, encoding, profile) => {
          const session = await ShapedSession.open(profile, encoding);
          const [first] = session.trace["to-guest"];
          expect(first).toBeUndefined();
          await session.run(200);
          const phase = { "to-guest": 0, "to-client": 0 };
          const length = { "to-guest": 0, "to-client": 0 };
          const interval = encoding === "binary" ? 20 : 50;
          for (const direction of ["to-guest", "to-client"] as const) {
            const passed = session.trace[direction][0] as Passed;
            phase[direction] = passed.at % interval;
            length[direction] = passed.length;
          }
          session.loseBySeed(seed, 0.1);
          for (const event of events) {
            await session.run(event.wait);
            const bytes = new Uint8Array(event.length).fill(120);
            if (event.to === "guest") void session.channel.write(bytes);
            else session.process.print(bytes);
          }
          await session.run(1500);
          for (const direction of ["to-guest", "to-client"] as const) {
            const at = session.trace[direction].map((passed) => passed.at);
            expect(at.every((time) => time % interval === phase[direction])).toBe(true);
            const base = session.trace[direction].filter((passed) => passed.length === length[direction]);
            expect(new Set(base.map((passed) => passed.at)).size).toBe(base.length);
            if (profile === "strict") {
              expect(base.length).toBe(session.trace[direction].length);
              expect(at.every((time, i) => i === 0 || time - (at[i - 1] as number) === interval)).toBe(true);
            }
          }
          session.lose = () => false;
          await session.close();
        },
      ),
      { numRuns: 12 },
    );
  });

  test("nothing outside a slot when an answer is due, when the pipe is new, when the user leaves", async () => {
    const session = await ShapedSession.open("strict");
    void session.guest.reattest();
    session.channel.resize(100, 40);
    await session.run(3000);
    const times = (direction: keyof Trace) => session.trace[direction].map(({ at }) => at % 20);
    expect(new Set(times("to-guest")).size).toBe(1);
    expect(new Set(times("to-client")).size).toBe(1);
    expect(session.process.events).toContain("resize 100x40");
    await session.close();
    expect(new Set(times("to-guest")).size).toBe(1);
  });
});

/** Packets in each slot of a direction. */
function perSlot(trace: readonly Passed[]): number[] {
  const counts = new Map<number, number>();
  for (const { at } of trace) counts.set(at, (counts.get(at) ?? 0) + 1);
  return [...counts.values()];
}

describe("adaptive", () => {
  test("output raises the guest's level in whole steps, each held for a second or more, and falls back", async () => {
    const session = await ShapedSession.open("adaptive");
    await session.run(100);
    for (let i = 0; i < 100; i++) session.process.print(new Uint8Array(100_000).fill(120));
    await session.run(20_000);
    expect(session.output.reduce((sum, { length }) => sum + length, 0)).toBe(10_000_000);
    const levels = perSlot(session.trace["to-client"]);
    expect([...new Set(levels)].sort((a, b) => a - b)).toEqual([1, 4, 16, 64]);
    const runs: { level: number; slots: number }[] = [];
    for (const level of levels) {
      const last = runs.at(-1);
      if (last?.level === level) last.slots++;
      else runs.push({ level, slots: 1 });
    }
    expect(runs.map(({ level }) => level)).toEqual([1, 4, 16, 64, 16, 4, 1]);
    for (const { slots } of runs.slice(3, -1)) {
      expect(slots * 20).toBeGreaterThanOrEqual(1000);
      expect(slots * 20).toBeLessThan(3500);
    }
    expect(new Set(perSlot(session.trace["to-guest"]))).toEqual(new Set([1])); // the client's stays as it was
    await session.close();
  });

  test("a flood at the highest level: the slots are full of output, 20 MB and more a second where the machine keeps up", async () => {
    const session = await ShapedSession.open("adaptive");
    for (let i = 0; i < 120; i++) session.process.print(new Uint8Array(200_000).fill(120));
    await session.run(300); // up to the highest level
    session.restart();
    const received = () => session.output.reduce((sum, { length }) => sum + length, 0);
    const before = received();
    await session.run(400);
    const output = received() - before;
    expect(output).toBeGreaterThan(8_000_000);
    const carried = session.trace["to-client"].reduce((sum, { length }) => sum + length, 0);
    expect(output / carried).toBeGreaterThan(0.9);
    await session.close();
  });

  test("keys and terminal answers never raise the client's level, a paste does, to 16 at most", async () => {
    const session = await ShapedSession.open("adaptive");
    await session.type("x".repeat(100), () => 5);
    await session.run(1000);
    expect(new Set(perSlot(session.trace["to-guest"]))).toEqual(new Set([1]));
    void session.channel.write(new Uint8Array(300_000).fill(120));
    await session.run(8000);
    expect(new Set(perSlot(session.trace["to-guest"]))).toEqual(new Set([1, 4, 16]));
    expect(session.process.input.reduce((sum, { length }) => sum + length, 0)).toBe(300_100);
    await session.close();
  });

  test("idle after a minute or more: one packet a second, both ways; a key brings the slots back, on the same grid", async () => {
    const session = await ShapedSession.open("adaptive");
    await session.run(95_000, 10);
    session.restart();
    await session.run(10_000, 10);
    for (const direction of ["to-guest", "to-client"] as const) {
      expect(Math.abs(session.trace[direction].length - 10)).toBeLessThanOrEqual(1);
    }
    const phase = (session.trace["to-guest"][0] as Passed).at % 20;
    session.restart();
    void session.channel.write(Uint8Array.of(120));
    await session.run(1000);
    expect(session.process.input.length).toBe(1);
    expect(Math.abs(session.trace["to-guest"].length - 50)).toBeLessThanOrEqual(1);
    expect(session.trace["to-client"].length).toBeGreaterThanOrEqual(48);
    expect(session.trace["to-guest"].every(({ at }) => (at + 10_000) % 20 === phase)).toBe(true);
    await session.close();
  });

  test("an idle connection has one timer at a time, and it is the next slot's", async () => {
    const session = await ShapedSession.open("adaptive");
    await session.run(95_000, 10);
    const before = session.clock.fired;
    await session.run(60_000, 10);
    expect(session.clock.fired - before).toBeLessThanOrEqual(2 * 61);
    await session.close();
  });
});

describe("a slot that was missed", () => {
  const scheduler = (profile: "adaptive" | "strict") =>
    new SlotScheduler(profile, SLOTS_TO_CLIENT, () => 0.5, 1000);
  const taken = (slots: SlotScheduler): number => {
    let count = 0;
    while (slots.take(4000) !== undefined) count++;
    return count;
  };

  test("is dropped: a late event loop sends one packet, and goes on on its grid", () => {
    const slots = scheduler("strict");
    expect(slots.deadline).toBe(1020);
    slots.open(1019.9, 0, 0, 4000);
    expect(taken(slots)).toBe(0);
    slots.open(1020, 0, 0, 4000);
    expect(taken(slots)).toBe(1);
    slots.open(1333, 0, 0, 4000);
    expect(taken(slots)).toBe(1);
    expect(slots.deadline).toBe(1340);
  });

  test("a pipe that is behind loses what its slot had left, and raises no level", () => {
    const slots = scheduler("adaptive");
    for (let now = 1020; now < 3000; now += 20) slots.open(now, 1e6, 0, 4000);
    expect(slots.level).toBe(1);
    expect(taken(slots)).toBe(4);
    slots.open(3000, 1e6, 0, 4000);
    expect(taken(slots)).toBe(16);
  });

  test("a peer that is silent makes every profile idle, until it is heard", () => {
    const slots = scheduler("strict");
    slots.open(1020, 0, 15_000, 4000);
    slots.active(1025);
    expect(slots.deadline).toBe(2000);
    slots.heard(1030);
    expect(slots.deadline).toBe(1040);
  });
});

describe("off", () => {
  test("packets have few lengths, and go when they are due", async () => {
    const session = await ShapedSession.open("off");
    session.process.onInput = (bytes) => session.process.print(bytes.slice());
    await session.type("some words, and then some", gaps(30));
    session.process.print(new Uint8Array(777).fill(120));
    session.process.print(new Uint8Array(40_000).fill(120));
    await session.run(2000);
    const bodies = [...session.trace["to-guest"], ...session.trace["to-client"]].map(({ length }) =>
      [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_500].find(
        (bucket) => length >= bucket + 4 && length <= bucket + 4 + 3 + Math.ceil((bucket + 4) / 254),
      ),
    );
    expect(bodies.every((bucket) => bucket !== undefined)).toBe(true);
    expect(session.trace["to-guest"].length).toBeLessThan(60);
    await session.close();
  });
});

describe("asked for and acknowledged", () => {
  /** What a guest would do that answers otherwise. */
  const answering = (answer: (message: SessionMessage) => SessionMessage | undefined): void => {
    // oxlint-disable-next-line typescript/unbound-method -- called with its object below
    const send = MessageStream.prototype.send;
    vi.spyOn(MessageStream.prototype, "send").mockImplementation(function (this: MessageStream, message) {
      const changed = message.type === "shaped" ? answer(message) : message;
      if (changed !== undefined) send.call(this, changed);
    });
  };
  afterEach(() => vi.restoreAllMocks());

  test("a guest that opens a channel without having shaped its traffic is left", async () => {
    answering(() => undefined);
    await expect(ShapedSession.open("adaptive")).rejects.toThrow(/without shaping/);
  });
  test("so is one that shapes it otherwise", async () => {
    answering(() => ({ type: "shaped", profile: "off" }));
    await expect(ShapedSession.open("strict")).rejects.toThrow(/as it was asked/);
  });
  test("a client that asks twice is closed", async () => {
    // oxlint-disable-next-line typescript/unbound-method -- called with its object below
    const send = MessageStream.prototype.send;
    vi.spyOn(MessageStream.prototype, "send").mockImplementation(function (this: MessageStream, message) {
      send.call(this, message);
      if (message.type === "shape") send.call(this, message);
    });
    await expect(ShapedSession.open("adaptive")).rejects.toThrow(/protocol/);
  });
  test("without SHAPE nothing is padded: a key is a small packet, at once", async () => {
    const session = await ShapedSession.open(undefined);
    await session.type("x", () => 7);
    expect(session.trace["to-guest"].at(-1)?.length).toBeLessThan(45);
    await session.close();
  });

  test.each(["off", "adaptive", "strict"] as const)("%s: SHAPE and SHAPED carry one byte", (profile) => {
    const number = SHAPING_PROFILES.indexOf(profile);
    expect([...encodeMessage({ type: "shape", profile })]).toEqual([20, 0, 0, 1, number]);
    expect(decodeMessage(21, Uint8Array.of(number))).toEqual({ type: "shaped", profile });
    expect(() => decodeMessage(20, Uint8Array.of(3))).toThrow(/unknown way/);
    expect(() => decodeMessage(20, Uint8Array.of(0, 0))).toThrow(SealttyError);
  });
});

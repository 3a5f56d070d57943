// What the host sees of a shaped connection is the same whatever was typed: times and lengths, both ways, to the byte.

import * as fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { FrameEncoding } from "../../protocol/frames/frame-encoder.ts";
import { encodeAux } from "../../protocol/attestation/aux.ts";
import { signSimulatedQuote, simulatedParts } from "../../protocol/attestation/simulated.ts";
import { SealttyError } from "../../protocol/errors.ts";
import {
  bucketOf,
  bucketWithin,
  SHAPING_PROFILES,
  SLOTS_TO_CLIENT,
  SlotScheduler,
} from "../../protocol/packets/shaping.ts";
import { LONG_BODY_TO_CLIENT } from "../../protocol/limits.ts";
import type { AttestationEvent } from "../../protocol/session/api.ts";
import type { GuestServices } from "../../protocol/session/guest-connection.ts";
import { MessageStream } from "../../protocol/session/message-stream.ts";
import { decodeMessage, encodeMessage, type SessionMessage } from "../../protocol/session/messages.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { StreamConnection } from "../../protocol/streams/stream-connection.ts";
import { seeded } from "../support/seeded.ts";
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

/** What the host does meanwhile, the same to each session of one seed: to the n-th chunk of a direction, or at a time. */
const hosts = {
  "carries all": () => {},
  "loses a twentieth, seed 7": (session: ShapedSession) => session.loseBySeed(7, 0.05),
  "loses a third, seed 8": (session: ShapedSession) => session.loseBySeed(8, 0.33),
  "keeps acknowledgements and all else back, seed 9": (session: ShapedSession) => {
    const random = { "to-guest": seeded(9), "to-client": seeded(10) };
    session.delay = (direction) => (random[direction].chance(0.3) ? random[direction].below(700) : 0);
  },
  "keeps all that goes to the client back for a second": (session: ShapedSession) => {
    const until = session.clock.now() + 1500;
    session.delay = (direction) =>
      direction === "to-client" ? Math.max(0, Math.min(1000, until - session.clock.now())) : 0;
  },
  "takes nothing for 700 ms": (session: ShapedSession) => {
    session.clock.after(507, () => (session.blockedUntil = session.clock.now() + 700));
  },
  "drops the pipe": (session: ShapedSession) => void session.clock.after(1003, () => session.cut()),
} as const satisfies Record<string, (session: ShapedSession) => void>;

async function traceOf(
  profile: "adaptive" | "strict" | undefined,
  encoding: FrameEncoding | "auto",
  typing: Typing,
  host: (session: ShapedSession) => void = hosts["carries all"],
): Promise<Trace> {
  const session = await ShapedSession.open(profile, encoding);
  if (typing.echo) session.process.onInput = (bytes) => session.process.print(bytes.slice());
  host(session);
  session.restart();
  const start = session.clock.now();
  await typing.type(session);
  await session.run(SECONDS * 1000 - (session.clock.now() - start));
  const trace = structuredClone(session.trace);
  session.lose = () => false;
  session.delay = () => 0;
  session.change = (_, chunk) => chunk;
  await session.run(3000); // what was lost comes again
  const keys = session.process.input.reduce((sum, { length }) => sum + length, 0);
  expect(keys).toBe(typing.name === "nothing" ? 0 : Number.parseInt(typing.name, 10));
  if (typing.echo) expect(session.output.reduce((sum, { length }) => sum + length, 0)).toBe(keys);
  await session.close();
  return trace;
}

describe.each(["binary", "armour"] as const)("in %s", (encoding) => {
  describe.each(["adaptive", "strict"] as const)("%s", (profile) => {
    test.each(Object.keys(hosts) as (keyof typeof hosts)[])(
      "the host's trace is equal for every typing where the host %s",
      async (host) => {
        const [first, ...others] = await Promise.all(
          classes.map((typing) => traceOf(profile, encoding, typing, hosts[host])),
        );
        const slots = (SECONDS * 1000) / (encoding === "binary" ? 20 : 50);
        const missed = slots - (first as Trace)["to-guest"].length;
        if (/takes nothing|drops the pipe/.test(host)) expect(missed).toBeGreaterThan(0);
        else {
          expect(Math.abs(missed)).toBeLessThanOrEqual(1);
          expect(Math.abs((first as Trace)["to-client"].length - slots)).toBeLessThanOrEqual(1);
        }
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

/** Frames are the host's to encode, their bodies are not: each end follows the encoding that it hears, and so does its grid. */
const recoders = {
  "every frame of both directions, back and forth": (session: ShapedSession) =>
    session.recode((_, n) => n % 2 === 0),
  "seven frames towards the guest, and seven not": (session: ShapedSession) =>
    session.recode((direction, n) => direction === "to-guest" && Math.floor(n / 7) % 2 === 0),
  "seven frames towards the client, and seven not": (session: ShapedSession) =>
    session.recode((direction, n) => direction === "to-client" && Math.floor(n / 7) % 2 === 0),
  "some, seed 11, and loses some": (session: ShapedSession) => {
    const random = { "to-guest": seeded(11), "to-client": seeded(12) };
    session.loseBySeed(13, 0.1);
    session.recode((direction) => random[direction].chance(0.4));
  },
} as const satisfies Record<string, (session: ShapedSession) => void>;

describe.each(["adaptive", "strict"] as const)("%s, between the encodings", (profile) => {
  test.each(Object.keys(recoders) as (keyof typeof recoders)[])(
    "the host's trace is equal for every typing where the host re-encodes %s",
    async (host) => {
      const [first, ...others] = await Promise.all(
        classes.map((typing) => traceOf(profile, "auto", typing, recoders[host])),
      );
      const steps = new Set<number>();
      for (const trace of [first?.["to-guest"] ?? [], first?.["to-client"] ?? []])
        trace.forEach(({ at }, i) => i > 0 && steps.add(at - (trace[i - 1] as Passed).at));
      expect([...steps]).toEqual(expect.arrayContaining([20, 50])); // both grids were there
      for (const other of others) expect(other).toEqual(first);
    },
  );
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

  test("nothing outside a slot: evidence again, sessions and who looks at them, a signal, a program's end, CLOSE", async () => {
    const session = await ShapedSession.open("strict");
    void session.guest.reattest();
    session.channel.resize(100, 40);
    await session.run(3000);
    expect(session.process.events).toContain("resize 100x40");
    const client = session.guest;
    const request = { kind: "login", term: "xterm", columns: 80, rows: 24 } as const;
    const kept = await session.until(client.openSession({ request }));
    const looking = await session.until(
      client.attach({ session: kept.session, mode: "read-only", from: 0, columns: 80, rows: 24 }),
    );
    await session.until(kept.write(new Uint8Array(500).fill(120)));
    await session.until(looking.detach());
    expect((await session.until(client.listSessions([kept.session]))).length).toBe(1);
    expect(await session.until(client.killSession(kept.session))).toBe(true);
    session.channel.signal("SIGINT");
    session.process.finish({ kind: "exited", status: 3 });
    expect(await session.until(session.channel.exit)).toEqual({ kind: "exited", status: 3 });
    await session.close();
    await session.run(2000);
    for (const direction of ["to-guest", "to-client"] as const) {
      expect(new Set(session.trace[direction].map(({ at }) => at % 20)).size).toBe(1);
      expect(new Set(session.trace[direction].map(({ length }) => length)).size).toBe(1);
    }
  });
});

describe("evidence again", () => {
  /** A guest whose renewed evidence is `size` bytes long (it is refused: it says nothing true). */
  const withEvidence = async (encoding: FrameEncoding, size: number) => {
    const secret = nodeSuite.randomBytes(32);
    const aux = encodeAux(
      simulatedParts({ publicKey: nodeSuite.ed25519PublicKey(secret), instance: "test" }),
    );
    const events: AttestationEvent[] = [];
    const collectEvidence: GuestServices["collectEvidence"] = async ({ makeBinder, renewal }) =>
      renewal
        ? { type: "simulated", quote: new Uint8Array(100), aux: new Uint8Array(size) }
        : {
            type: "simulated",
            quote: signSimulatedQuote(nodeSuite, secret, makeBinder("simulated", aux)),
            aux,
          };
    const onAttestation = (event: AttestationEvent) => void events.push(event);
    const session = await ShapedSession.open("strict", encoding, { collectEvidence }, { onAttestation });
    session.process.onInput = (bytes) => session.process.print(bytes.slice());
    return { session, events };
  };

  test.each(["binary", "armour"] as const)(
    "in %s: what is long never keeps a key's echo waiting",
    async (encoding) => {
      const slot = encoding === "binary" ? 20 : 50;
      const { session, events } = await withEvidence(encoding, 64 * 1024);
      session.restart();
      const asking = session.guest.reattest();
      await session.run(30 * slot);
      for (let key = 1; key <= 20; key++) {
        void session.channel.write(Uint8Array.of(120));
        await session.run(5 * slot);
        expect(session.output.reduce((sum, { length }) => sum + length, 0)).toBe(key);
        expect(events).toEqual([]); // it is on its way all the while
      }
      await session.until(asking);
      expect(events.map(({ kind }) => kind)).toEqual(["changed"]);
      for (const direction of ["to-guest", "to-client"] as const) {
        expect(new Set(session.trace[direction].map(({ at }) => at % slot)).size).toBe(1);
        expect(new Set(session.trace[direction].map(({ length }) => length)).size).toBe(1);
      }
      await session.close();
    },
  );

  test("the longest kind, in armour beside a program that prints all the time, comes in the end", async () => {
    const { session, events } = await withEvidence("armour", 400_000);
    const asking = session.guest.reattest();
    const start = session.clock.now();
    while (events.length === 0 && session.clock.now() - start < 900_000) {
      if (session.process.waiting < 4) session.process.print(new Uint8Array(4096).fill(120));
      await session.run(50, 50);
    }
    expect(events.map(({ kind }) => kind)).toEqual(["changed"]); // and not "unavailable"
    expect(session.clock.now() - start).toBeGreaterThan(120_000);
    await session.until(asking);
    await session.close();
  });
});

describe("the end", () => {
  test("CLOSE comes behind what was said before it: a session that was hung up just then is gone", async () => {
    const session = await ShapedSession.open("adaptive");
    const request = { kind: "login", term: "xterm", columns: 80, rows: 24 } as const;
    const kept = await session.until(session.guest.openSession({ request }));
    const program = session.programs.at(-1);
    kept.hangUp();
    await session.close();
    expect(program?.events).toContain("hang up");
  });

  test("where the page goes away, CLOSE leaves before its pipe does, as long as any other packet", async () => {
    const session = await ShapedSession.open("strict");
    await session.run(93);
    session.restart();
    void session.guest.close({ atOnce: true });
    await new Promise((resolve) => setImmediate(resolve)); // the clock stands meanwhile
    expect(session.trace["to-guest"]).toEqual([{ at: 0, length: 128 + 8 }]);
    await session.run(2000);
    expect(session.process.events).toContain("hang up");
  });

  test("so it does where the guest's daemon ends, even if it heard nothing, and its next slot is far", async () => {
    const session = await ShapedSession.open("adaptive");
    session.lose = (direction) => direction === "to-guest";
    await session.run(17_500, 10);
    const reason = session.guest.closed;
    void session.endpoint.stop();
    await session.run(50);
    expect(await reason).toBe("shutting-down");
  });
});

/** Packets in each slot of a direction. */
function perSlot(trace: readonly Passed[]): number[] {
  const counts = new Map<number, number>();
  for (const { at } of trace) counts.set(at, (counts.get(at) ?? 0) + 1);
  return [...counts.values()];
}

describe("adaptive", () => {
  /** What the host tells apart: packets of a slot by level, and packets that have no slot. */
  const stretches = (trace: readonly Passed[]): { packets: number; length: number; slots: number }[] => {
    const slots = new Map<number, Passed[]>();
    for (const passed of trace) slots.set(passed.at, [...(slots.get(passed.at) ?? []), passed]);
    const runs: { packets: number; length: number; slots: number }[] = [];
    for (const [first, ...rest] of slots.values()) {
      const { length } = first as Passed;
      const last = runs.at(-1);
      if (last?.packets === rest.length + 1 && last.length === length) last.slots++;
      else runs.push({ packets: rest.length + 1, length, slots: 1 });
    }
    return runs;
  };

  test("output raises the guest's level in whole steps, each held for a second or more, and falls back", async () => {
    const session = await ShapedSession.open("adaptive");
    await session.run(100);
    for (let i = 0; i < 10; i++) session.process.print(new Uint8Array(100_000).fill(120));
    await session.run(12_000);
    expect(session.output.reduce((sum, { length }) => sum + length, 0)).toBe(1_000_000);
    const runs = stretches(session.trace["to-client"]);
    const base = 249 + 8;
    expect(runs.map(({ packets }) => packets)).toEqual([1, 4, 4, 16, 4, 4, 1]);
    expect(runs.map(({ length }) => length > base)).toEqual([false, true, true, true, true, true, false]);
    for (const { slots } of runs.slice(3, -1)) {
      expect(slots * 20).toBeGreaterThanOrEqual(1000);
      expect(slots * 20).toBeLessThan(3500);
    }
    expect(new Set(perSlot(session.trace["to-guest"]))).toEqual(new Set([1])); // the client's stays as it was
    await session.close();
  });

  test("a flood is bulk before long: long packets that are full, no slot holds it back", async () => {
    const session = await ShapedSession.open("adaptive");
    const printed = 60_000_000;
    for (let i = 0; i < 300; i++) session.process.print(new Uint8Array(200_000).fill(120));
    await session.run(900);
    const received = () => session.output.reduce((sum, { length }) => sum + length, 0);
    const before = received();
    session.restart();
    await session.run(400);
    const output = received() - before;
    expect(output).toBeGreaterThan(8_000_000); // twice and more of what the slots of the highest level carry
    const lengths = session.trace["to-client"].map(({ length }) => length);
    const carried = lengths.reduce((sum, length) => sum + length, 0);
    expect(output / carried).toBeGreaterThan(0.95);
    expect(lengths.every((length) => length === 257 || length > 1024)).toBe(true);
    while (received() < printed) await session.run(20);

    // Its end is the end of bulk: what comes next has slots again, whenever it is printed.
    await session.run(43);
    session.restart();
    for (let i = 0; i < 12; i++) {
      await session.run(33);
      session.process.print(new Uint8Array(20_000).fill(120));
    }
    const phases = new Set(session.trace["to-client"].map(({ at }) => at % 20));
    expect(phases.size).toBe(1);
    expect(new Set(session.trace["to-client"].map(({ length }) => length)).size).toBe(1);
    await session.close();
  });

  test("in bulk, too, keys and their echo change nothing that the host sees while the flood lasts", async () => {
    const [typed, idle] = await Promise.all(
      [true, false].map(async (typing) => {
        const session = await ShapedSession.open("adaptive");
        session.process.onInput = (bytes) => session.process.print(bytes.slice());
        for (let i = 0; i < 300; i++) session.process.print(new Uint8Array(200_000).fill(120));
        await session.run(900);
        session.restart();
        if (typing) await session.type("hunter2\r", () => 50);
        else await session.run(400);
        await session.run(100);
        expect(session.process.input.length).toBe(typing ? 8 : 0);
        const trace = structuredClone(session.trace);
        await session.close();
        return trace;
      }),
    );
    expect(typed?.["to-client"].some(({ length }) => length > 16_000)).toBe(true);
    expect(typed).toEqual(idle);
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

  test("what was typed while the host held everything back never raises the client's level", async () => {
    const [typed, idle] = await Promise.all(
      [true, false].map(async (typing) => {
        const session = await ShapedSession.open("adaptive");
        session.process.onInput = () => {};
        session.lose = (direction) => direction === "to-guest";
        session.restart();
        for (let i = 0; i < 300; i++) {
          if (typing) void session.channel.write(new Uint8Array(100).fill(120));
          await session.run(40, 5);
        }
        session.lose = () => false;
        await session.run(20_000, 5);
        const taken = session.process.input.reduce((sum, { length }) => sum + length, 0);
        expect(taken).toBe(typing ? 30_000 : 0);
        const trace = structuredClone(session.trace["to-guest"]);
        await session.close();
        return trace;
      }),
    );
    expect(typed).toEqual(idle);
  });

  test("nor does what was typed to an attachment that is gone, and goes out with the next", async () => {
    const [typed, idle] = await Promise.all(
      [true, false].map(async (typing) => {
        const session = await ShapedSession.open("adaptive");
        const size = { columns: 80, rows: 24 };
        const request = { kind: "login", term: "xterm", ...size } as const;
        const one = await session.until(session.guest.openSession({ request }));
        await session.run(500);
        session.lose = (direction) => direction === "to-guest";
        for (let i = 0; i < 40; i++) {
          if (typing) void one.write(new Uint8Array(100).fill(120)).catch(() => {});
          await session.run(40, 5);
        }
        session.lose = () => false;
        session.cut();
        await session.run(500);
        session.restart();
        const place = { mode: "read-write", from: one.nextOffset, ...size } as const;
        const two = await session.until(
          session.guest.attach({ session: one.session, client: one.client, after: one, ...place }),
        );
        await session.run(6000, 5);
        const program = session.programs.at(-1);
        expect(program?.input.reduce((sum, { length }) => sum + length, 0)).toBe(typing ? 4000 : 0);
        const trace = session.trace["to-guest"].filter(({ at }) => at <= 6000); // how long attaching took is the machine's
        // A paste to it is one still.
        void two.write(new Uint8Array(20_000).fill(120));
        await session.run(1000);
        expect(new Set(perSlot(session.trace["to-guest"]))).toContain(4);
        await session.close();
        return trace;
      }),
    );
    expect(new Set(perSlot(typed ?? []))).toEqual(new Set([1]));
    expect(typed).toEqual(idle);
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

const NOTHING = { sendable: 0, fresh: 0, backlog: 0 };
const MUCH = { sendable: 1e6, fresh: 0, backlog: 1e6 };

describe("bulk", () => {
  test("goes on where credit is used up: what waits then is there all the same", () => {
    const id = { connectionId: Uint8Array.of(1, 2, 3, 4) };
    const [a, b] = [1, 2].map((byte) => () => new Uint8Array(32).fill(byte)) as [
      () => Uint8Array,
      () => Uint8Array,
    ];
    const flight = { bytes: 1 << 20, frames: 512 };
    const guest = new StreamConnection(nodeSuite, { ...id, sendKey: a(), receiveKey: b() }, flight, 0);
    const client = new StreamConnection(nodeSuite, { ...id, sendKey: b(), receiveKey: a() }, flight, 0);
    const credit = 8_000_000;
    const from = guest.openStream(2, { receive: 0, send: credit });
    client.openStream(2, { receive: credit, send: 0 }).abandoned = true;
    from.send.write(new Uint8Array(2 * credit));
    guest.shape("adaptive", SLOTS_TO_CLIENT, 0);
    const passed: Passed[] = [];
    for (let now = 0; now < 4000; now++) {
      guest.onTime(now, 16_000);
      for (let i = 0; i < 100; i++) {
        const body = guest.next(16_000, now);
        if (body === undefined) break;
        passed.push({ at: now, length: body.length });
        client.receive(body, now);
        for (let back = client.next(2000, now); back !== undefined; back = client.next(2000, now))
          guest.receive(back, now);
      }
    }
    const between = passed.filter(({ at }) => at % 20 !== 0);
    expect(between.length).toBeGreaterThan(0);
    expect(from.send.sendable).toBe(0);
    const after = passed.filter(({ at }) => at > (between.at(-1) as Passed).at + 20);
    expect(after.length).toBeGreaterThan(50);
    expect(new Set(after.map(({ length }) => length))).toEqual(new Set([249]));
    expect(new Set(perSlot(after))).toEqual(new Set([1]));
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
    slots.open(1019.9, NOTHING, 0, 4000);
    expect(taken(slots)).toBe(0);
    slots.open(1020, NOTHING, 0, 4000);
    expect(taken(slots)).toBe(1);
    slots.open(1333, NOTHING, 0, 4000);
    expect(taken(slots)).toBe(1);
    expect(slots.deadline).toBe(1340);
  });

  test("a pipe that is behind loses what its slot had left, and raises no level", () => {
    const slots = scheduler("adaptive");
    for (let now = 1020; now < 3000; now += 20) slots.open(now, MUCH, 0, 4000);
    expect(slots.level).toBe(1);
    expect(taken(slots)).toBe(4);
    slots.open(3000, MUCH, 0, 4000);
    expect(slots.level).toBe(2);
    expect(taken(slots)).toBe(4);
  });

  test("a peer that is silent makes every profile idle, until it is heard", () => {
    const slots = scheduler("strict");
    slots.open(1020, NOTHING, 15_000, 4000);
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

  test("a guest that lets the user in without having shaped its traffic is left", async () => {
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
    expect([...encodeMessage({ type: "shape", profile })]).toEqual([23, 0, 0, 1, number]);
    expect(decodeMessage(24, Uint8Array.of(number))).toEqual({ type: "shaped", profile });
    expect(() => decodeMessage(23, Uint8Array.of(3))).toThrow(/unknown way/);
    expect(() => decodeMessage(23, Uint8Array.of(0, 0))).toThrow(SealttyError);
  });
});

// docs/protocol.md §5.6
test("`off` has few lengths, and of a long packet little is padding", () => {
  const limit = LONG_BODY_TO_CLIENT;
  const lengths = [
    ...[64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768],
    ...Array.from({ length: 14 }, (_, i) => (i + 3) * 16_384 + 264),
  ];
  expect(lengths.at(-1)).toBe(limit);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: limit }), (length) => {
      const padded = bucketOf(length, limit);
      expect(lengths).toContain(padded);
      expect(padded).toBeGreaterThanOrEqual(length);
      if (length > 32_768) expect(padded - length).toBeLessThan(16_384 + 264);
      const within = bucketWithin(length, limit);
      expect([0, ...lengths]).toContain(within);
      expect(within).toBeLessThanOrEqual(length);
    }),
  );
});

// The host against bodies that go as they are (docs/protocol.md §2.5), under whole sessions: no byte lost, none forged, each in its
// place; what was swallowed comes again; nothing is held.
import { afterEach, expect, test } from "vitest";
import { concat } from "../../protocol/bytes.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeFrame } from "../../protocol/frames/frame-encoder.ts";
import { MAX_FRAME_BODY, RAW_ABOVE } from "../../protocol/limits.ts";
import type { Clock } from "../../protocol/clock.ts";
import { connect } from "../../protocol/session/connect.ts";
import { fastClock } from "../support/clocks.ts";
import { type Carry, memoryPipes, type PipePair } from "../support/memory-pipe.ts";
import { rawFrame, rawHeader, rawHost, type RawHostility } from "../support/raw-host.ts";
import { seeded, testSeed } from "../support/seeded.ts";
import { clientOptions, FakeProcess, testGuest } from "../support/session.ts";

const LOGIN = { kind: "login", term: "xterm", columns: 80, rows: 24 } as const;
const GATHERS = 64 * 1024;
const PIECE = 32 * 1024;

const seed = testSeed();
const running: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of running.splice(0).reverse()) await stop();
});

/** The byte at each place of what is typed, and of what is printed. */
const typedAt = (at: number): number => (at * 31 + (at >> 8)) & 0xff;
const printedAt = (at: number): number => (at * 17 + (at >> 9)) & 0xff;

/** Takes bytes that must be those of `at`, from the first on. */
class Whole {
  readonly #at: (place: number) => number;
  length = 0;
  wrong: number | undefined; // the first place where another byte stood
  onMore: () => void = () => {};

  constructor(at: (place: number) => number) {
    this.#at = at;
  }
  take(bytes: Uint8Array): void {
    for (const byte of bytes) {
      if (byte !== this.#at(this.length)) this.wrong ??= this.length;
      this.length++;
    }
    this.onMore();
  }
  /** Resolves once so many came. */
  async until(length: number): Promise<void> {
    while (this.length < length)
      await new Promise<void>((resolve) => {
        this.onMore = resolve;
      });
  }
}

/** A session that is open, both ways, and both ways checked byte by byte. */
async function session(clock: Clock, dial: () => PipePair, onPhase: (phase: string) => void = () => {}) {
  const process = new FakeProcess();
  const [typed, printed] = [new Whole(typedAt), new Whole(printedAt)];
  process.onInput = (bytes) => {
    process.input.length = 0;
    typed.take(bytes);
  };
  const guest = testGuest(clock, {}, () => process);
  const attested = await connect(
    clientOptions(
      clock,
      async () => {
        const pipes = dial();
        void guest.endpoint.servePipe(pipes.guest).catch(() => {});
        return pipes.client;
      },
      { timeout: 600_000, encoding: "binary", onState: ({ phase }) => onPhase(phase) },
    ),
  );
  running.push(async () => {
    await attested.close();
    await guest.endpoint.stop();
  });
  const channel = await (await attested.authenticate({ method: "none", user: "root" })).openChannel(LOGIN);
  const reading = (async () => {
    for (let part = await channel.stdout.read(); part !== undefined; part = await channel.stdout.read()) {
      printed.take(part);
      channel.stdout.consumed(part.length);
    }
  })();
  let [sentToGuest, sentToClient] = [0, 0];
  /** Sends so many bytes more, and resolves once all arrived. */
  const type = async (length: number): Promise<void> => {
    for (const end = sentToGuest + length; sentToGuest < end; ) {
      const piece = Math.min(PIECE, end - sentToGuest);
      await channel.write(Uint8Array.from({ length: piece }, (_, i) => typedAt(sentToGuest + i)));
      sentToGuest += piece;
    }
    await typed.until(sentToGuest);
  };
  const print = async (length: number): Promise<void> => {
    for (const end = sentToClient + length; sentToClient < end; ) {
      const piece = Math.min(PIECE, end - sentToClient);
      process.print(Uint8Array.from({ length: piece }, (_, i) => printedAt(sentToClient + i)));
      sentToClient += piece;
    }
    await printed.until(sentToClient);
  };
  /** The program ends; what came until then is all that there was. */
  const end = async (): Promise<void> => {
    process.finish({ kind: "exited", status: 42 });
    expect(await channel.exit).toEqual({ kind: "exited", status: 42 });
    await reading;
    expect([typed.length, typed.wrong]).toEqual([sentToGuest, undefined]);
    expect([printed.length, printed.wrong]).toEqual([sentToClient, undefined]);
  };
  return { typed, printed, type, print, end };
}

const cases: Record<string, RawHostility> = {
  "nothing else": {},
  "reads cut anywhere": { cut: 0.5 },
  "forged headers of all lengths": { forge: 0.15 },
  "headers whose bodies are torn": { torn: 0.1 },
  "frames nested in a body": { nest: 0.15 },
  "headers said twice": { repeat: 0.15 },
  "bodies played again": { replay: 0.5 },
  "bodies in another order": { reorder: 0.3 },
  "a bit of the length flipped": { miscount: 0.15 },
  "a bit of the body flipped": { flip: 0.15 },
  "bodies cut short": { truncate: 0.15 },
  everything: {
    forge: 0.03,
    torn: 0.03,
    nest: 0.03,
    repeat: 0.03,
    replay: 0.1,
    reorder: 0.1,
    miscount: 0.03,
    flip: 0.03,
    truncate: 0.03,
    cut: 0.2,
  },
};

test.each(Object.entries(cases))(
  `every packet as it is, and %s: all bytes arrive, in order (seed ${seed})`,
  async (_name, hostility) => {
    const host = rawHost(seeded(seed), hostility);
    const { type, print, end } = await session(fastClock(20), () => memoryPipes(host.carry));
    await Promise.all([type(20_000), print(150_000)]);
    await end();
    expect(host.carried).toBeGreaterThan(10);
  },
);

test(`bodies of an earlier session, spliced in behind headers of their own (seed ${seed})`, async () => {
  const memory: Uint8Array[] = [];
  const earlier = await session(fastClock(20), () => memoryPipes(rawHost(seeded(seed), {}, memory).carry));
  await earlier.print(100_000);
  await earlier.end();
  expect(memory.length).toBeGreaterThan(10);
  const host = rawHost(seeded(seed + 1), { replay: 0.7 }, memory);
  const { type, print, end } = await session(fastClock(20), () => memoryPipes(host.carry));
  await Promise.all([type(20_000), print(100_000)]);
  await end();
});

test(`a pipe that is cut inside of bodies again and again: a new one, nothing lost, nothing twice (seed ${seed})`, async () => {
  const random = seeded(seed);
  const phases: string[] = [];
  const { type, print, end } = await session(
    fastClock(20),
    () => {
      const host = rawHost(random, { cut: 0.5 });
      let left = 10 + random.below(20);
      const pipes: PipePair = memoryPipes((chunk, deliver, direction) => {
        if (--left > 0) return host.carry(chunk, deliver, direction);
        host.carry(chunk, (bytes) => deliver(bytes.subarray(0, bytes.length >> 1)), direction);
        pipes.cut();
      });
      return pipes;
    },
    (phase) => phases.push(phase),
  );
  await Promise.all([type(20_000), print(150_000)]);
  await end();
  expect(phases).toContain("reconnecting");
});

test.each(["to-guest", "to-client", "both ways"] as const)(
  `a host whose headers swallow all that it carries (%s), until it no longer does: the session goes on (seed ${seed})`,
  async (where) => {
    let swallows = false;
    let [swallowed, enough] = [0, () => {}];
    const twelve = new Promise<void>((resolve) => {
      enough = resolve;
    });
    const carry: Carry = (chunk, deliver, direction) => {
      if (!swallows || (where !== "both ways" && where !== direction)) return deliver(chunk);
      if (++swallowed === 12) enough();
      deliver(concat(rawHeader(Uint8Array.of(1, 2, 3, 4), MAX_FRAME_BODY), chunk));
    };
    const { typed, printed, type, print, end } = await session(fastClock(20), () => memoryPipes(carry));
    await Promise.all([type(5000), print(5000)]);
    const before = [typed.length, printed.length];
    swallows = true;
    const rest = Promise.all([type(50_000), print(50_000)]);
    await twelve;
    const passed = [typed.length - (before[0] ?? 0), printed.length - (before[1] ?? 0)];
    // Nothing of a way that is swallowed; of the other one whatever came until its acknowledgements were missed.
    expect(
      passed.filter((_, way) => where === "both ways" || (where === "to-guest") === (way === 0)),
    ).toEqual(where === "both ways" ? [0, 0] : [0]);
    swallows = false;
    await rest;
    await end();
  },
);

test(`pipes that gather: long packets go as they are by themselves, the first one of each way is torn, and the next ones arrive (seed ${seed})`, async () => {
  const random = seeded(seed);
  const decoders = { "to-guest": new FrameDecoder(), "to-client": new FrameDecoder() };
  const torn = { "to-guest": 0, "to-client": 0 };
  const whole = { "to-guest": 0, "to-client": 0 };
  const carry: Carry = (chunk, deliver, direction) => {
    const { frames } = decoders[direction].push(chunk);
    const long = frames.filter(({ body }) => body.length > RAW_ABOVE).length;
    if (long === 0 || torn[direction] > 0) {
      whole[direction] += long;
      return deliver(chunk);
    }
    torn[direction]++;
    for (const { body, encoding } of frames) {
      if (body.length <= RAW_ABOVE) deliver(encodeFrame(body, encoding));
      else {
        const frame = rawFrame(body);
        deliver(frame.subarray(0, 100 + random.below(frame.length - 200)));
        deliver(rawHeader(body.subarray(1, 5), MAX_FRAME_BODY)); // and what is next belongs to this one
      }
    }
  };
  const { type, print, end } = await session(fastClock(1), () => memoryPipes(carry, GATHERS));
  // How much it takes until a pipe counts as quick is the sender's affair, and the machine's.
  const MOST = 256;
  for (let i = 0; whole["to-guest"] === 0 && i < MOST; i++) await type(512 * 1024);
  for (let i = 0; whole["to-client"] === 0 && i < MOST; i++) await print(512 * 1024);
  await end();
  expect(torn).toEqual({ "to-guest": 1, "to-client": 1 });
  expect(whole["to-guest"]).toBeGreaterThan(0);
  expect(whole["to-client"]).toBeGreaterThan(0);
}, 300_000);

test(`128 MiB of headers and bodies that nobody announced or sealed, at a guest and at its client: bounded memory, and the session goes on (seed ${seed})`, async () => {
  const random = seeded(seed);
  let id = new Uint8Array(4);
  let pipes: PipePair | undefined;
  const lane: Partial<Record<"to-guest" | "to-client", (bytes: Uint8Array) => void>> = {};
  const decoder = new FrameDecoder();
  const carry: Carry = (chunk, deliver, direction) => {
    lane[direction] = deliver;
    if (direction === "to-guest")
      for (const { body } of decoder.push(chunk).frames) id = new Uint8Array(body.subarray(1, 5));
    deliver(chunk);
  };
  const { type, print, end } = await session(fastClock(20), () => (pipes = memoryPipes(carry)));
  await Promise.all([type(5000), print(5000)]);
  expect(pipes).toBeDefined();
  const noise = random.bytes(MAX_FRAME_BODY);
  const sealed = (length: number): Uint8Array =>
    concat(Uint8Array.of(0x15), id, random.bytes(4), noise.subarray(0, length - 9));
  const forgery = (): Uint8Array => {
    const length = 25 + random.below(MAX_FRAME_BODY - 25);
    switch (random.below(4)) {
      case 0:
        return rawFrame(sealed(length)); // reaches the cipher
      case 1:
        return concat(rawHeader(id, MAX_FRAME_BODY), noise.subarray(0, length)); // its rest is whatever comes next
      case 2:
        return concat(rawHeader(id, length), rawFrame(sealed(1000)), noise.subarray(0, length));
      default:
        return concat(
          ...Array.from({ length: 1000 }, () => rawHeader(random.bytes(4), random.below(2 ** 32))),
        );
    }
  };
  globalThis.gc?.();
  const usage = (): number => process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
  const before = usage();
  for (let sent = 0; sent < 128 * 1024 * 1024; ) {
    for (const direction of ["to-guest", "to-client"] as const) {
      const chunk = forgery();
      lane[direction]?.(chunk);
      sent += chunk.length;
    }
    await new Promise((resolve) => setImmediate(resolve)); // the ends read what waits
  }
  globalThis.gc?.();
  expect(usage() - before).toBeLessThan(64 * 1024 * 1024);
  await Promise.all([type(20_000), print(50_000)]);
  await end();
}, 300_000);

// Named attacks of the host on a whole connection: relay, reflection, foreign evidence, flips, garbage, floods.
import { expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { concat } from "../../protocol/bytes.ts";
import type { Evidence } from "../../protocol/attestation/evidence.ts";
import { SealttyError } from "../../protocol/errors.ts";
import {
  FRAME_HELLO,
  FRAME_INIT,
  FRAME_PACKET,
  FRAME_REPLY,
  FRAME_WELCOME,
  helloBody,
  initBodies,
} from "../../protocol/frames/frame-body.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeFrame } from "../../protocol/frames/frame-encoder.ts";
import { encodeClientHello, encodeInitMessage, prologueOf } from "../../protocol/handshake/client-hello.ts";
import { startInitiator } from "../../protocol/handshake/initiator.ts";
import { MAX_PENDING_CONNECTIONS } from "../../protocol/limits.ts";
import { connect, inspectGuest } from "../../protocol/session/connect.ts";
import { fastClock } from "../support/clocks.ts";
import { memoryPipes, type Carry } from "../support/memory-pipe.ts";
import { seeded, testSeed } from "../support/seeded.ts";
import { clientOptions, testGuest, type TestGuest } from "../support/session.ts";

const seed = testSeed();

/** Works on the bodies of whole frames and makes the checksum right again: the host can compute a CRC too. */
function onBodies(change: (body: Uint8Array, direction: "to-guest" | "to-client") => Uint8Array[]): Carry {
  const decoders = { "to-guest": new FrameDecoder(), "to-client": new FrameDecoder() };
  return (chunk, deliver, direction) => {
    for (const { body, encoding } of decoders[direction].push(chunk).frames) {
      for (const changed of change(body, direction))
        if (changed.length > 0) deliver(encodeFrame(changed, encoding));
    }
  };
}

function serve(guest: TestGuest, carry?: Carry) {
  const pipes = memoryPipes(carry);
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  return pipes;
}

async function outcome(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt;
    return "attested";
  } catch (error) {
    if (!(error instanceof SealttyError)) throw error;
    return error.refusal === undefined ? error.code : `${error.code}: ${error.refusal.check}`;
  }
}

test("relay: an attacker's guest that shows a genuine guest's evidence, fresh for its own connection, is refused", async () => {
  const clock = fastClock(20);
  const genuine = testGuest(clock);
  const stolen = async (): Promise<Evidence> => {
    const pipes = serve(genuine);
    return (await inspectGuest(clientOptions(clock, async () => pipes.client))).evidence;
  };
  const attacker = testGuest(clock, { collectEvidence: stolen });
  const pipes = serve(attacker);
  expect(await outcome(connect(clientOptions(clock, async () => pipes.client)))).toMatch(
    /^evidence-refused: .*bind/,
  );
});

test("evidence of an earlier connection to the same guest is refused", async () => {
  const clock = fastClock(20);
  let first: Evidence | undefined;
  const guest = testGuest(clock);
  const replaying = testGuest(clock, {
    collectEvidence: async () => {
      if (first === undefined)
        first = (await inspectGuest(clientOptions(clock, async () => serve(guest).client))).evidence;
      return first;
    },
  });
  for (let i = 0; i < 2; i++) {
    expect(await outcome(connect(clientOptions(clock, async () => serve(replaying).client)))).toMatch(
      /^evidence-refused: .*bind/,
    );
  }
});

test("simulated evidence without --simulated is refused, whatever the policy says", async () => {
  const clock = fastClock(20);
  const guest = testGuest(clock);
  const attempt = connect(clientOptions(clock, async () => serve(guest).client, { acceptSimulated: false }));
  expect(await outcome(attempt)).toMatch(/^(evidence-refused|bad-policy)/);
});

test("reflection: a client that hears only itself finds no guest", async () => {
  const clock = fastClock(200);
  const pipes = memoryPipes();
  void (async () => {
    for await (const chunk of pipes.guest.incoming) await pipes.guest.send(chunk);
  })().catch(() => {});
  expect(await outcome(connect(clientOptions(clock, async () => pipes.client, { timeout: 20_000 })))).toBe(
    "guest-silent",
  );
});

test("a guest of another protocol version: said in words, after the timeout, because anyone could have said it", async () => {
  const clock = fastClock(200);
  const guest = testGuest(clock);
  const pipes = serve(
    guest,
    onBodies((body) =>
      body[0] === FRAME_WELCOME ? [Uint8Array.of(...body.subarray(0, 5), 9, 1, 2, 3)] : [body],
    ),
  );
  expect(await outcome(connect(clientOptions(clock, async () => pipes.client, { timeout: 20_000 })))).toBe(
    "version-unknown",
  );
});

const FLIPS_AT_ONCE = 12;

// Of the long ones a place in four, another one each time: each is a whole handshake. test/protocol/handshake.test.ts has every place.
test.each([
  ["HELLO", FRAME_HELLO, 1],
  ["WELCOME", FRAME_WELCOME, 1],
  ["INIT", FRAME_INIT, 4],
  ["REPLY", FRAME_REPLY, 4],
  ["PACKET (evidence, acknowledgements)", FRAME_PACKET, 1],
])(
  `%s frames: a flipped bit in the first of each, place after place, only delays (seed ${seed})`,
  async (_name, type, step) => {
    const random = seeded(seed);
    const lengths = await handshakeLengths(type);
    const places = lengths.flatMap((length, index) =>
      Array.from({ length: Math.ceil(length / step) }, (_, i) => ({
        index,
        at: Math.min(length - 1, i * step + random.below(step)),
      })),
    );
    // A few at a time: each is a whole handshake on its own guest. The clock multiplies a busy machine's delays too: were it much faster,
    // or were there many at once, a client's 900 s could be over in half a minute of real work.
    for (let from = 0; from < places.length; from += FLIPS_AT_ONCE) {
      await Promise.all(
        places.slice(from, from + FLIPS_AT_ONCE).map(async ({ index, at }) => {
          const clock = fastClock(10);
          const guest = testGuest(clock);
          let seen = 0;
          const carry = onBodies((body) => {
            if (body[0] !== type || seen++ !== index || at >= body.length) return [body];
            const flipped = body.slice();
            flipped[at] = (flipped[at] as number) ^ (1 << random.below(8));
            return [flipped];
          });
          const attempt = connect(
            clientOptions(clock, async () => serve(guest, carry).client, { timeout: 900_000 }),
          );
          expect({ index, at, outcome: await outcome(attempt) }).toEqual({ index, at, outcome: "attested" });
          await (await attempt).close();
          await guest.endpoint.stop();
        }),
      );
    }
  },
  300_000,
);

async function handshakeLengths(type: number): Promise<number[]> {
  const clock = fastClock(20);
  const guest = testGuest(clock);
  const lengths: number[] = [];
  const carry = onBodies((body) => {
    if (body[0] === type) lengths.push(body.length);
    return [body];
  });
  const attested = await connect(clientOptions(clock, async () => serve(guest, carry).client));
  const seen = lengths.slice();
  await attested.close();
  return seen;
}

test("a REPLY that is always changed never completes, and nothing secret was sent", async () => {
  const clock = fastClock(200);
  const guest = testGuest(clock);
  let packetsToGuest = 0;
  const carry = onBodies((body, direction) => {
    if (direction === "to-guest" && body[0] === FRAME_PACKET) packetsToGuest++;
    if (body[0] !== FRAME_REPLY) return [body];
    const changed = body.slice();
    changed[40] = (changed[40] as number) ^ 1;
    return [changed];
  });
  const attempt = connect(clientOptions(clock, async () => serve(guest, carry).client, { timeout: 20_000 }));
  expect(await outcome(attempt)).toBe("timeout");
  expect(packetsToGuest).toBe(0);
});

test("before the appraisal the client sends acknowledgements only: packets whose sizes do not depend on user or policy", async () => {
  const sizes: number[][] = [];
  for (const user of ["a", "a-much-longer-user-name"]) {
    const clock = fastClock(5);
    const toGuest: number[] = [];
    let attested = false;
    const carry = onBodies((body, direction) => {
      if (direction === "to-guest" && body[0] === FRAME_PACKET && !attested) toGuest.push(body.length);
      return [body];
    });
    const guest = testGuest(clock);
    const connection = await connect(
      clientOptions(clock, async () => serve(guest, carry).client, { identity: "same" }),
    );
    attested = true;
    sizes.push(toGuest);
    await connection.authenticate({ method: "none", user });
    await connection.close();
  }
  for (const length of sizes.flat()) expect(length).toBeLessThanOrEqual(9 + 16 + 40);
});

test(`256 MiB of garbage at full speed: bounded memory, bounded state, and an honest client is served at once (seed ${seed})`, async () => {
  const clock = fastClock(1);
  const guest = testGuest(clock);
  const random = seeded(seed);
  const pipes = serve(guest);
  void (async () => {
    for await (const _ of pipes.client.incoming); // the host reads what the guest answers
  })().catch(() => {});
  const block = random.bytes(64 * 1024);
  const hello = (): Uint8Array => encodeFrame(helloBody(random.bytes(4)), "binary");
  const init = (): Uint8Array => encodeFrame(concat(Uint8Array.of(FRAME_INIT), random.bytes(600)), "binary");
  const packet = (): Uint8Array =>
    encodeFrame(concat(Uint8Array.of(FRAME_PACKET), random.bytes(4000)), "binary");
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
  let sent = 0;
  while (sent < 256 * 1024 * 1024) {
    const kind = random.below(4);
    const chunk =
      kind === 0 ? block.subarray(random.below(1000)) : kind === 1 ? hello() : kind === 2 ? init() : packet();
    await pipes.client.send(chunk);
    sent += chunk.length;
    if (random.chance(0.01)) await new Promise((resolve) => setImmediate(resolve));
  }
  globalThis.gc?.();
  const after = process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
  expect(after - before).toBeLessThan(64 * 1024 * 1024);
  expect(guest.endpoint.connectionCount).toBeLessThanOrEqual(MAX_PENDING_CONNECTIONS);
  const honest = serve(guest);
  const started = performance.now();
  const attested = await connect(clientOptions(clock, async () => honest.client));
  expect(performance.now() - started).toBeLessThan(30_000);
  await attested.close();
  await guest.endpoint.stop();
});

test("garbage at a client: it times out in words, and holds little", async () => {
  const clock = fastClock(10);
  const random = seeded(seed);
  const pipes = memoryPipes();
  let stop = false;
  void (async () => {
    while (!stop) {
      await pipes.guest.send(random.bytes(16 * 1024));
      await new Promise((resolve) => setImmediate(resolve));
    }
  })().catch(() => {});
  void (async () => {
    for await (const _ of pipes.guest.incoming);
  })().catch(() => {});
  let noise = 0;
  const attempt = connect(
    clientOptions(clock, async () => pipes.client, {
      timeout: 20_000,
      onHostNoise: (bytes) => (noise = Math.max(noise, bytes.length)),
    }),
  );
  expect(await outcome(attempt)).toBe("guest-silent");
  stop = true;
  expect(noise).toBeGreaterThan(0);
  expect(noise).toBeLessThanOrEqual(4096);
});

test("handshakes of the host's own under the client's connection id, cookie and all, do not push the true one out", async () => {
  const clock = fastClock(10);
  const guest = testGuest(clock);
  let cookie: Uint8Array | undefined;
  let raced = 0;
  const carry = onBodies((body, direction) => {
    if (direction === "to-client" && body[0] === FRAME_WELCOME) cookie = body.slice(6, 22);
    if (body[0] !== FRAME_INIT || body[21] !== 0 || cookie === undefined) return [body];
    // Genuine first messages, each with keys that the host knows: every one makes the guest a candidate connection.
    const id = body.slice(1, 5);
    const forged = Array.from({ length: 10 }, () => {
      const hello = encodeClientHello({
        nonce: nodeSuite.randomBytes(32),
        address: "",
        identity: "",
        evidenceTypes: ["simulated"],
        pipe: { encoding: "binary", burst: 0, rate: 0 },
      });
      const { message1 } = startInitiator(nodeSuite, prologueOf(id, hello));
      raced++;
      return initBodies(id, cookie as Uint8Array, encodeInitMessage(hello, message1), 4000);
    });
    return [...forged.flat(), body];
  });
  const attested = await connect(clientOptions(clock, async () => serve(guest, carry).client));
  expect(raced).toBeGreaterThan(0);
  const session = await attested.authenticate({ method: "none", user: "root" });
  await session.close();
  await guest.endpoint.stop();
});

// An end that is an earlier state of itself: a machine restored from a snapshot, or cloned. Nothing more may be sealed under
// its keys, whatever the host does, and people are told why. docs/protocol.md §8.9
import { expect, onTestFinished, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { concat, utf8 } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";
import { SealttyError } from "../../protocol/errors.ts";
import {
  FRAME_PACKET,
  FRAME_REPLY,
  FRAME_RETIRED,
  FRAME_WELCOME,
  FragmentAssembly,
  helloBody,
  initBodies,
  readReply,
  readWelcome,
  retiredBody,
} from "../../protocol/frames/frame-body.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeFrame } from "../../protocol/frames/frame-encoder.ts";
import { encodeClientHello, encodeInitMessage, prologueOf } from "../../protocol/handshake/client-hello.ts";
import { startInitiator } from "../../protocol/handshake/initiator.ts";
import { PacketSealer } from "../../protocol/packets/packet-cipher.ts";
import { connect } from "../../protocol/session/connect.ts";
import { retirementToken } from "../../protocol/session/retirement.ts";
import { StreamConnection } from "../../protocol/streams/stream-connection.ts";
import { ManualClock } from "../support/clocks.ts";
import { MemoryLane } from "../support/memory-pipe.ts";
import { seeded, testSeed } from "../support/seeded.ts";
import { clientOptions, FakeProcess, testGuest } from "../support/session.ts";

const ID = Uint8Array.of(1, 2, 3, 4);
const FLIGHT = { bytes: 1 << 20, frames: 512 };
const WINDOWS = { receive: 1 << 20, send: 1 << 20 };

/** @param key - fills both keys; 1 is the client, 2 the guest. */
function end(side: 1 | 2): { connection: StreamConnection; write: (bytes: Uint8Array) => void } {
  const keys = {
    connectionId: ID,
    sendKey: new Uint8Array(32).fill(side),
    receiveKey: new Uint8Array(32).fill(3 - side),
  };
  const connection = new StreamConnection(nodeSuite, keys, FLIGHT, 0);
  const stream = connection.openStream(2, WINDOWS);
  return { connection, write: (bytes) => stream.send.write(bytes) };
}

const nextOf = (connection: StreamConnection, now = 0) => connection.next(2000, now);
const ALWAYS = 1e6; // ms: every acknowledgement is due by then

function codeOf(action: () => unknown): string {
  try {
    action();
    return "no error";
  } catch (error) {
    return error instanceof SealttyError ? error.code : "another error";
  }
}

/** The guest and its double live through the same; then the guest alone goes on for `more` packets that the client takes. */
function restoredAfter(before: number, more: number) {
  const [client, guest, restored] = [end(1), end(2), end(2)];
  const exchange = (lives: readonly ReturnType<typeof end>[]): void => {
    client.connection.ping();
    const question = nextOf(client.connection, ALWAYS) as Uint8Array;
    const answers = lives.map(({ connection, write }) => {
      connection.receive(question, 0);
      write(utf8("answer"));
      return nextOf(connection, ALWAYS) as Uint8Array;
    });
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    client.connection.receive(answers[0] as Uint8Array, 0);
  };
  for (let i = 0; i < before; i++) exchange([guest, restored]);
  for (let i = 0; i < more; i++) exchange([guest]);
  return { client, restored: restored.connection, write: restored.write };
}

test.each([
  [0, 1],
  [1, 1],
  [40, 1],
  [3, 500],
])(
  "restored %i exchanges after the beginning, %i back: the client's next packet proves it",
  (before, more) => {
    const { client, restored, write } = restoredAfter(before, more);
    write(utf8("what would go out under a number used before"));
    client.write(utf8("x"));
    const typed = nextOf(client.connection) as Uint8Array;
    expect(codeOf(() => restored.receive(typed, 0))).toBe("state-rolled-back");
    expect(restored.rolledBack).toBe("ours");
    restored.close(5);
    restored.ping();
    expect(nextOf(restored, ALWAYS)).toBeUndefined();
  },
);

test("a client that was restored learns it in the same way", () => {
  const [client, restored, guest] = [end(1), end(1), end(2)];
  client.connection.ping();
  guest.connection.receive(nextOf(client.connection) as Uint8Array, 0);
  guest.write(utf8("x"));
  expect(codeOf(() => restored.connection.receive(nextOf(guest.connection) as Uint8Array, 0))).toBe(
    "state-rolled-back",
  );
  expect(restored.connection.rolledBack).toBe("ours");
});

test("a restored guest that speaks first: another packet under a number the client has seen", () => {
  const { client, restored, write } = restoredAfter(3, 2);
  write(utf8("something else"));
  const recycled = nextOf(restored) as Uint8Array;
  expect(codeOf(() => client.connection.receive(recycled, 0))).toBe("state-rolled-back");
  expect(client.connection.rolledBack).toBe("peer");
});

test("the same packet again, and forgeries under a number that was seen, prove nothing", () => {
  const [client, guest] = [end(1), end(2)];
  guest.write(utf8("hello"));
  const body = nextOf(guest.connection) as Uint8Array;
  expect(client.connection.receive(body, 0)).toBe(0);
  expect(client.connection.receive(body, 0)).toBeUndefined();
  for (let bit = 0; bit < body.length * 8; bit++) {
    const forged = body.slice();
    forged[bit >> 3] = (forged[bit >> 3] as number) ^ (1 << (bit & 7));
    expect(client.connection.receive(forged, 0)).toBeUndefined();
  }
  expect(client.connection.rolledBack).toBeUndefined();
});

test("in doubt nothing leaves, until the peer was heard anew; an older packet that was held back does not count", () => {
  const [client, guest] = [end(1), end(2)];
  client.connection.ping();
  const heldBack = nextOf(client.connection) as Uint8Array;
  client.connection.ping();
  guest.connection.receive(nextOf(client.connection) as Uint8Array, 0);
  guest.connection.doubt();
  guest.write(utf8("output"));
  guest.connection.close(5);
  expect(nextOf(guest.connection, ALWAYS)).toBeUndefined();
  guest.connection.receive(heldBack, 0);
  expect(nextOf(guest.connection, ALWAYS)).toBeUndefined();
  client.connection.ping();
  guest.connection.receive(nextOf(client.connection) as Uint8Array, 0);
  expect(nextOf(guest.connection, ALWAYS)).toBeDefined();
});

const seed = testSeed();

/** The same "random" numbers in both lives: a snapshot has the generator's state, too. */
function repeatableSuite(): CryptoSuite {
  const random = seeded(seed);
  return {
    ...nodeSuite,
    randomBytes: (length) => random.bytes(length),
    x25519KeyPair: (given) => nodeSuite.x25519KeyPair(given ?? random.bytes(32)),
    mlKemEncapsulate: (key, given) => nodeSuite.mlKemEncapsulate(key, given ?? random.bytes(32)),
  };
}

/**
 * A session with a guest and a second life of it, which gets the same frames until `restore`: from then on the client's
 * pipe ends in it. What the restored guest sends is kept.
 * @param atOnce - bytes of a write towards the guest that arrive.
 */
async function restorable(atOnce = Number.POSITIVE_INFINITY) {
  const clock = new ManualClock();
  const lives = [1, 2].map(() => testGuest(clock, {}, () => new FakeProcess(), repeatableSuite()));
  const [first, second] = lives as [(typeof lives)[0], (typeof lives)[0]];
  let restored = false;
  let deaf = false;
  const toClient = new MemoryLane();
  const sent: Uint8Array[] = []; // bodies of the restored guest
  const lanes = lives.map((guest) => {
    const lane = new MemoryLane();
    const decoder = new FrameDecoder();
    const isSecond = guest === second;
    void guest.endpoint.servePipe({
      incoming: lane.read(),
      async send(chunk) {
        if (isSecond !== restored) return;
        if (isSecond) for (const { body } of decoder.push(chunk).frames) sent.push(body);
        if (!deaf) toClient.push(chunk);
      },
      async close() {},
    });
    return lane;
  });
  const toGuest = new FrameDecoder();
  let id: Uint8Array | undefined;
  const pipe = {
    incoming: toClient.read(),
    async send(chunk: Uint8Array) {
      id ??= toGuest.push(chunk).frames[0]?.body.slice(1, 5);
      const arrives = chunk.slice(0, atOnce);
      for (const [index, lane] of lanes.entries()) if (!restored || index === 1) lane.push(arrives);
    },
    async close() {},
  };
  let running = true;
  onTestFinished(() => {
    running = false; // of a test that failed, too: its clock would run beside all others
  });
  const passing = (async () => {
    while (running) {
      await new Promise((resolve) => setImmediate(resolve));
      clock.advance(1);
    }
  })();
  const attested = await connect(clientOptions(clock, async () => pipe));
  const session = await attested.authenticate({ method: "none", user: "root" });
  const channel = await session.openChannel({ kind: "login", term: "xterm", columns: 80, rows: 24 });
  let text = "";
  const reading = (async () => {
    for (let part = await channel.stdout.read(); part !== undefined; part = await channel.stdout.read()) {
      text += Buffer.from(part).toString();
      channel.stdout.consumed(part.length);
    }
  })();
  reading.catch(() => {}); // awaited where it matters
  channel.exit.catch(() => {});
  const until = async (holds: () => boolean) => {
    while (!holds()) await new Promise((resolve) => setImmediate(resolve));
  };
  const quiet = async (ms: number) => {
    const end = clock.now() + ms;
    await until(() => clock.now() >= end);
  };
  await quiet(2000);
  expect(second.log).toEqual(first.log);
  return {
    first,
    guest: second,
    program: () => second.processes[0] as FakeProcess,
    id: () => id,
    shown: () => text,
    session,
    channel,
    reading,
    sent,
    toGuest: lanes[1] as MemoryLane,
    until,
    quiet,
    /** Lets the first life go on alone, then puts the second one in its place. */
    async restore() {
      const deafSecond = lanes.pop() as MemoryLane; // the snapshot: it hears nothing of what follows
      first.processes[0]?.print(utf8("printed after the snapshot"));
      await channel.write(utf8("typed after the snapshot"));
      await until(() => Buffer.from(concat(...(first.processes[0]?.input ?? []))).includes("typed after"));
      await quiet(2000);
      lanes.push(deafSecond);
      restored = true;
    },
    loseAnswers(lose: boolean) {
      deaf = lose;
    },
    async stop() {
      await session.close();
      for (const { endpoint } of lives) await endpoint.stop();
      running = false;
      await passing;
    },
  };
}

const typesOf = (bodies: readonly Uint8Array[]) => [...new Set(bodies.map((body) => body[0]))];

test(`a restored guest hears its client: it seals nothing more, ends the program, and both say why (seed ${seed})`, async () => {
  const life = await restorable();
  await life.restore();
  await life.channel.write(utf8("x"));
  expect(await life.session.closed).toBe("state-rolled-back");
  await expect(life.reading).rejects.toMatchObject({
    code: "state-rolled-back",
    message: expect.stringMatching(/guest is in an earlier state.*snapshot.*Connect again/s),
  });
  expect(typesOf(life.sent)).toEqual([FRAME_RETIRED]);
  expect(life.program().events).toContain("hang up");
  expect(life.program().input).toEqual([]);
  expect(life.guest.log.join()).toMatch(/STATE ROLLED BACK/);
  expect(life.guest.endpoint.connectionCount).toBe(0);
  await life.stop();
});

test(`its RETIRED is lost: the client's next packet brings it again (seed ${seed})`, async () => {
  const life = await restorable();
  await life.restore();
  life.loseAnswers(true);
  await life.channel.write(utf8("x"));
  await life.until(() => life.sent.length > 0);
  life.loseAnswers(false);
  expect(await life.session.closed).toBe("state-rolled-back");
  expect(typesOf(life.sent)).toEqual([FRAME_RETIRED]);
  await life.stop();
});

test.each([
  ["any pipe", Number.POSITIVE_INFINITY],
  ["a pipe that takes 16 bytes at once", 16],
])(
  `a restored guest speaks first: its client notices, and tells it over %s (seed ${seed})`,
  async (_pipe, atOnce) => {
    const life = await restorable(atOnce);
    await life.restore();
    life.program().print(utf8("other output than before"));
    expect(await life.session.closed).toBe("state-rolled-back");
    await life.until(() => life.guest.endpoint.connectionCount === 0);
    expect(life.program().events).toContain("hang up");
    await life.stop();
  },
);

test(`a restored guest in doubt says nothing, until its idle client asks whether it lives (seed ${seed})`, async () => {
  const life = await restorable();
  await life.restore();
  life.guest.endpoint.doubt();
  life.program().print(utf8("other output than before"));
  expect(await life.session.closed).toBe("state-rolled-back");
  expect(typesOf(life.sent)).toEqual([FRAME_RETIRED]);
  await life.stop();
});

test(`a guest in doubt that was not restored goes on once it heard its client (seed ${seed})`, async () => {
  const life = await restorable();
  life.first.endpoint.doubt();
  life.first.processes[0]?.print(utf8("held back for a while"));
  await life.quiet(5000);
  expect(life.shown()).toBe("");
  await life.until(() => life.shown() === "held back for a while"); // an idle client asks after 15 s
  await life.channel.write(utf8("x"));
  await life.until(() => life.first.processes[0]?.input.length === 1);
  await life.stop();
});

test(`the host cannot make a RETIRED: random ones, and one with another connection's token, are ignored (seed ${seed})`, async () => {
  const life = await restorable();
  const random = seeded(seed);
  const id = life.id() as Uint8Array;
  for (let i = 0; i < 200; i++)
    life.toGuest.push(encodeFrame(retiredBody(id, random.bytes(random.below(40))), "binary"));
  const another = retirementToken(nodeSuite, random.bytes(32), "client");
  life.toGuest.push(encodeFrame(retiredBody(id, another), "binary"));
  await life.quiet(1000);
  expect(life.guest.endpoint.connectionCount).toBe(1);
  await life.channel.write(utf8("x"));
  await life.until(() => life.program().input.length === 1);
  await life.stop();
});

test("somebody without a user who acknowledges what was never sent gets an end, and no line in the log", async () => {
  const guest = testGuest(new ManualClock());
  const lane = new MemoryLane();
  const bodies: Uint8Array[] = [];
  const decoder = new FrameDecoder();
  void guest.endpoint.servePipe({
    incoming: lane.read(),
    async send(chunk) {
      for (const { body } of decoder.push(chunk).frames) bodies.push(body);
    },
    async close() {},
  });
  const answer = async (type: number): Promise<Uint8Array> => {
    for (;;) {
      const found = bodies.find((body) => body[0] === type);
      if (found !== undefined) return found;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const say = (...sent: readonly Uint8Array[]): void => {
    for (const body of sent) lane.push(encodeFrame(body, "binary"));
  };
  const hello = encodeClientHello({
    nonce: new Uint8Array(32),
    address: "",
    identity: "",
    evidenceTypes: ["simulated"],
    pipe: { encoding: "binary", burst: 0, rate: 0 },
  });
  const { message1, awaiting } = startInitiator(nodeSuite, prologueOf(ID, hello));
  say(helloBody(ID));
  const { cookie } = readWelcome(await answer(FRAME_WELCOME));
  say(...initBodies(ID, cookie, encodeInitMessage(hello, message1), 3000));
  const assembly = new FragmentAssembly();
  await answer(FRAME_PACKET); // behind the whole REPLY
  let message2: Uint8Array | undefined;
  for (const body of bodies) if (body[0] === FRAME_REPLY) message2 ??= assembly.add(readReply(body));
  const handshaken = awaiting.receive(message2 as Uint8Array);
  const sealer = new PacketSealer(nodeSuite, ID, handshaken?.sendKey as Uint8Array);
  expect(guest.endpoint.connectionCount).toBe(1);
  const ackOf16383AndPing = Uint8Array.of(0x01, 1, 0x7f, 0xff, 0, 0x05);
  say(sealer.seal(ackOf16383AndPing).body);
  await answer(FRAME_RETIRED);
  expect(guest.endpoint.connectionCount).toBe(0);
  expect(guest.log).toEqual([]);
  bodies.length = 0;
  say(sealer.seal(ackOf16383AndPing).body, helloBody(ID));
  await answer(FRAME_WELCOME); // a place in the memory of retired connections is not for everybody either
  expect(bodies).toHaveLength(1);
});

test("each side has a token of its own: neither can be sent back as the other's", () => {
  const exporter = seeded(1).bytes(32);
  const tokens = (["guest", "client"] as const).map((who) => retirementToken(nodeSuite, exporter, who));
  expect(tokens[0]).toHaveLength(32);
  expect(tokens[0]).not.toEqual(tokens[1]);
});

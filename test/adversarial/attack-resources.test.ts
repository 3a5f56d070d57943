// What an attacker without a key can make a guest, or a client, spend: each test was a finding once.
import { performance } from "node:perf_hooks";
import { expect, test, vi } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { encodeClientHello, encodeInitMessage, prologueOf } from "../../protocol/handshake/client-hello.ts";
import { startInitiator } from "../../protocol/handshake/initiator.ts";
import {
  FragmentAssembly,
  helloBody,
  initBodies,
  readReply,
  readWelcome,
} from "../../protocol/frames/frame-body.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeFrame } from "../../protocol/frames/frame-encoder.ts";
import {
  MAX_FLIGHT_TO_CLIENT_BYTES,
  MAX_FLIGHT_TO_CLIENT_FRAMES,
  OUTPUT_STREAM_WINDOW,
} from "../../protocol/limits.ts";
import { PacketOpener, PacketSealer } from "../../protocol/packets/packet-cipher.ts";
import { PacketWriter, readPacketFrames } from "../../protocol/packets/packet-frames.ts";
import { ReceivedNumbers } from "../../protocol/packets/received-numbers.ts";
import { GuestAttachment } from "../../protocol/session/guest-attachment.ts";
import { GuestChannel } from "../../protocol/session/guest-channel.ts";
import type { GuestProcess } from "../../protocol/session/guest-process.ts";
import type { SessionAttachment } from "../../protocol/session/guest-sessions.ts";
import { encodeMessage, SERVICE, type SessionMessage } from "../../protocol/session/messages.ts";
import type { SendBuffer } from "../../protocol/streams/send-buffer.ts";
import { StreamConnection } from "../../protocol/streams/stream-connection.ts";
import { MessageStream } from "../../protocol/session/message-stream.ts";
import { fastClock, ManualClock } from "../support/clocks.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { testGuest, type TestGuest } from "../support/session.ts";

/** A client that keeps no rule: it acknowledges what it likes, reads what it likes, sends what it likes. */
async function rawClient(guest: TestGuest, given?: ReturnType<typeof memoryPipes>, clock?: ManualClock) {
  const pipes = given ?? memoryPipes();
  if (given === undefined) void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const id = nodeSuite.randomBytes(4);
  const hello = encodeClientHello({
    nonce: nodeSuite.randomBytes(32),
    address: "x",
    identity: "x",
    evidenceTypes: ["simulated"],
    pipe: { encoding: "binary", burst: 0, rate: 0 },
  });
  const { message1, awaiting } = startInitiator(nodeSuite, prologueOf(id, hello));
  const decoder = new FrameDecoder();
  const bodies: Uint8Array[] = [];
  let onBody: (body: Uint8Array) => void = (body) => void bodies.push(body);
  void (async () => {
    for await (const chunk of pipes.client.incoming)
      for (const { body } of decoder.push(chunk).frames) onBody(body);
  })();
  const until = async (holds: () => boolean) => {
    const end = performance.now() + 60_000;
    while (!holds()) {
      if (performance.now() > end) throw new Error("nothing came");
      clock?.advance(1);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
  await pipes.client.send(encodeFrame(helloBody(id), "binary"));
  await until(() => bodies.length > 0);
  const { cookie } = readWelcome(bodies.shift() as Uint8Array);
  for (const body of initBodies(id, cookie, encodeInitMessage(hello, message1), 752))
    await pipes.client.send(encodeFrame(body, "binary"));
  const assembly = new FragmentAssembly();
  let message2: Uint8Array | undefined;
  await until(() => {
    for (const body of bodies.splice(0)) if (body[0] === 0x14) message2 ??= assembly.add(readReply(body));
    return message2 !== undefined;
  });
  const handshaken = awaiting.receive(message2 as Uint8Array);
  if (handshaken === undefined) throw new Error("handshake");
  const keys = { connectionId: id, sendKey: handshaken.sendKey, receiveKey: handshaken.receiveKey };
  const start = performance.now();
  const now = () => clock?.now() ?? performance.now() - start;
  const connection = new StreamConnection(nodeSuite, keys, { bytes: 65536, frames: 64 }, 0);
  const control = connection.openStream(0, { receive: 131072, send: 131072 });
  const messages = new MessageStream(connection, control);
  const got: SessionMessage[] = [];
  const state = { reading: true, closed: undefined as number | undefined };
  const flush = () => {
    for (let body = connection.next(4000, now()); body !== undefined; body = connection.next(4000, now()))
      void pipes.client.send(encodeFrame(body, "binary")).catch(() => {});
  };
  const read = () => {
    for (
      let m = state.reading ? messages.next(2_000_000) : undefined;
      m !== undefined;
      m = messages.next(2_000_000)
    )
      got.push(m);
  };
  onBody = (body) => {
    if (body[0] !== 0x15 || connection.receive(body, now()) === undefined) return;
    state.closed = connection.peerClose;
    read();
    connection.onTime(now(), 4000);
    flush();
  };
  const timer = setInterval(() => {
    connection.onTime(now(), 4000);
    flush();
  }, 5);
  return {
    connection,
    control,
    got,
    state,
    read,
    flush,
    until,
    send(message: SessionMessage) {
      control.send.write(encodeMessage(message));
    },
    stop() {
      clearInterval(timer);
    },
  };
}

const NO_KEY = { type: "authenticate", user: "x", service: SERVICE } as const;

test("a client without a key that never takes answers cannot make the guest keep any number of them", async () => {
  const guest = testGuest(fastClock(1));
  const client = await rawClient(guest);
  try {
    await client.until(() => client.got.some((message) => message.type === "evidence"));
    client.send(NO_KEY);
    client.flush();
    await client.until(() => client.got.some((message) => message.type === "authenticated"));
    client.state.reading = false; // no more credit for the guest's control stream: its answers stay with it
    const request = { kind: "shell", command: [], term: "x", columns: 1, rows: 1, environment: {} } as const;
    let channel = 0;
    // Both ends run in this process, so turns count what the guest could do, however busy the machine is.
    let before = -1;
    for (let still = 0; still < 1500; still = channel === before ? still + 1 : 0) {
      before = channel;
      while (client.control.send.held < 100_000) client.send({ type: "open", channel: ++channel, request });
      client.flush();
      // Without a bound it goes on for ever: 16 million OPENs and 150 MB of answers for each of 32 connections.
      expect(channel * 9).toBeLessThan(512 * 1024);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const first = channel;
    client.state.reading = true;
    client.read(); // taken at last: the guest hears on
    await client.until(() => client.got.filter(({ type }) => type === "opened").length >= first - 5000);
  } finally {
    client.stop();
  }
}, 120_000);

test("when a refusal comes does not say how long the check took", async () => {
  const clock = new ManualClock();
  const lasts = [0, 300, 999, 1300];
  const begun: number[] = [];
  const guest = testGuest(clock, {
    keysAllowed: true,
    verifyUserKey: async () => {
      begun.push(clock.now());
      clock.advance(lasts[begun.length - 1] ?? 0);
      return undefined;
    },
  });
  const client = await rawClient(guest, undefined, clock);
  const refusals = () => client.got.filter(({ type }) => type === "authenticated").length;
  const key = { publicKey: new Uint8Array(51), sshsig: new Uint8Array(4) };
  try {
    await client.until(() => client.got.some((message) => message.type === "evidence"));
    for (const [i] of lasts.entries()) {
      client.send({ ...NO_KEY, key });
      client.flush();
      await client.until(() => begun.length > i);
      const due = (begun[i] ?? 0) + (i === 3 ? 2000 : 1000);
      clock.advance(due - 1 - clock.now());
      expect(refusals()).toBe(i);
      await client.until(() => refusals() > i);
      expect(clock.now() - due).toBeLessThan(100); // the packet's way: turns of this process, not time
    }
  } finally {
    client.stop();
  }
}, 120_000);

test("a host that takes no frames: no timer runs in circles, and the keys of a closed connection go all the same", async () => {
  const manual = new ManualClock();
  let timers = 0;
  const clock = {
    now: () => manual.now(),
    soon: (callback: () => void) => manual.soon(callback),
    after(delay: number, callback: () => void) {
      if (++timers > 5000) throw new Error("a timer runs in circles");
      return manual.after(delay, callback);
    },
  };
  const guest = testGuest(clock);
  let stalled = false;
  const pipes = memoryPipes();
  const send = pipes.guest.send.bind(pipes.guest);
  pipes.guest.send = (chunk) => (stalled ? new Promise(() => {}) : send(chunk));
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const client = await rawClient(guest, pipes, manual);
  const pass = async () => {
    for (let i = 0; i < 20; i++) {
      manual.advance(30);
      client.flush();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  try {
    await client.until(() => client.got.some((message) => message.type === "evidence"));
    client.send(NO_KEY);
    client.flush();
    await client.until(() => client.got.some((message) => message.type === "authenticated"));
    await pass(); // all is acknowledged, nothing of the guest's is on its way: no timer but the long ones
    stalled = true;
    timers = 0;
    client.connection.ping();
    await pass(); // its acknowledgement is never taken: the pump waits from here on
    expect(timers).toBeLessThan(50);
    client.send({ type: "authenticated", code: 0 }); // breaks a rule: the guest closes
    client.flush();
    await new Promise((resolve) => setTimeout(resolve, 100));
    for (let i = 0; i < 40; i++) manual.advance(100);
    expect(guest.endpoint.connectionCount).toBe(0);
  } finally {
    client.stop();
  }
});

test("after its CLOSE the guest takes no more attempts to authenticate, and starts no program", async () => {
  const guest = testGuest(fastClock(20), { loginAllowed: true, keysAllowed: true });
  const client = await rawClient(guest);
  try {
    await client.until(() => client.got.some((message) => message.type === "evidence"));
    const wrong = { ...NO_KEY, key: { publicKey: new Uint8Array(51), sshsig: new Uint8Array(10) } };
    for (let i = 0; i < 5; i++) client.send(wrong);
    client.send(NO_KEY); // a sixth, which would be accepted
    client.send({ type: "open", channel: 1, request: { kind: "login", term: "x", columns: 1, rows: 1 } });
    client.flush();
    await client.until(() => client.state.closed !== undefined);
    await new Promise((resolve) => setTimeout(resolve, 50));
    client.connection.ping();
    client.flush();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(guest.log).not.toContain("user authenticated by none");
    expect(guest.processes.length).toBe(0);
  } finally {
    client.stop();
  }
});

/** Bytes that typed arrays copy, or hand to a callback, while `work` runs: a cost that no busy machine changes. */
function bytesMoved(work: () => void): number {
  const array = Uint8Array.prototype;
  let moved = 0;
  const spies = [
    vi.spyOn(array, "set").mockImplementation(function (this: Uint8Array, from, at = 0) {
      moved += from.length;
      for (let i = 0; i < from.length; i++) this[at + i] = from[i] as number;
    }),
    vi.spyOn(array, "copyWithin").mockImplementation(function (this: Uint8Array, to, from, end) {
      const piece = Uint8Array.from(this.subarray(from, end));
      moved += piece.length;
      for (let i = 0; i < piece.length; i++) this[to + i] = piece[i] as number;
      return this;
    }),
    vi.spyOn(array, "slice").mockImplementation(function (this: Uint8Array, from, end) {
      const piece = Uint8Array.from(this.subarray(from, end));
      moved += piece.length;
      return piece;
    }),
    vi.spyOn(array, "every").mockImplementation(function (this: Uint8Array, holds) {
      for (let i = 0; i < this.length; i++) {
        moved++;
        if (holds(this[i] as number, i, this) !== true) return false;
      }
      return true;
    }),
  ];
  try {
    work();
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  return moved;
}

for (const [name, make] of [
  ["one byte and a zero, over and over", (i: number) => (i % 2 === 0 ? 0x61 : 0)],
  ["tildes behind an overlong segment", () => 0x7e],
  ["the armour's mark, over and over", (i: number) => "~sealtty1:".charCodeAt(i % 10)],
] as const) {
  test(`host noise costs about its length: ${name}`, () => {
    const chunk = Uint8Array.from({ length: 64 * 1024 }, (_, i) => make(i));
    const decoder = new FrameDecoder();
    decoder.push(chunk);
    decoder.push(chunk); // longer than a segment by now, where no zero ends it
    const moved = bytesMoved(() => void decoder.push(chunk));
    expect(moved).toBeGreaterThan(1000); // the count counts
    expect(moved).toBeLessThan(8 * chunk.length);
  });
}

/** A guest's connection and a client on it that gives any credit, and acknowledges all but one byte of each stream. */
function hoarder() {
  const connectionId = Uint8Array.of(1, 2, 3, 4);
  const [toClient, toGuest] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
  const keys = { connectionId, sendKey: toClient.slice(), receiveKey: toGuest.slice() };
  const flight = { bytes: MAX_FLIGHT_TO_CLIENT_BYTES, frames: MAX_FLIGHT_TO_CLIENT_FRAMES };
  const connection = new StreamConnection(nodeSuite, keys, flight, 0);
  const opener = new PacketOpener(nodeSuite, toClient);
  const sealer = new PacketSealer(nodeSuite, connectionId, toGuest);
  const received = new ReceivedNumbers();
  let now = 0;
  const say = (fill: (writer: PacketWriter) => void) => {
    const writer = new PacketWriter(3900);
    fill(writer);
    connection.receive(sealer.seal(writer.written).body, now);
  };
  const windows = { receive: 65536, send: OUTPUT_STREAM_WINDOW };
  return {
    connection,
    open(channel: number) {
      const [inOut, error] = [2 * channel, 2 * channel + 1].map((id) => connection.openStream(id, windows));
      if (inOut === undefined || error === undefined) throw new Error("no streams");
      for (const { id } of [inOut, error]) say((writer) => writer.window(id, 2 ** 47));
      return { inOut, error };
    },
    /** Takes what there is, for so many turns. @param hole - the byte of each stream that is never acknowledged. */
    async turns(count: number, hole: number | undefined) {
      for (let i = 0; i < count; i++) {
        now += 5;
        connection.onTime(now, 16_500);
        for (
          let body = connection.next(16_500, now);
          body !== undefined;
          body = connection.next(16_500, now)
        ) {
          const packet = opener.open(body);
          if (packet === undefined) throw new Error("not for us");
          const frames = readPacketFrames(packet.plaintext);
          const inHole = frames.some(
            (frame) =>
              frame.type === "stream" &&
              hole !== undefined &&
              frame.offset <= hole &&
              hole < frame.offset + frame.bytes.length,
          );
          if (!inHole) received.add(packet.number);
        }
        if (received.ranges.length > 0) say((writer) => writer.ack(received.ranges));
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
  };
}

const FLOOD = new Uint8Array(32 * 1024).fill(0x61);
const HOLE = 300_000; // when acknowledgements have let the flight grow
const UNSENT_AND_READ = 64 * 1024 + FLOOD.length + 64;
const SILENT_MESSAGES = { send: () => {} } as unknown as MessageStream;

for (const kept of [false, true]) {
  test(`a client that never acknowledges one byte makes the guest keep a bounded amount: ${kept ? "a session" : "channels"}`, async () => {
    const client = hoarder();
    const sends: SendBuffer[] = [];
    let made = 0;
    const read = async () => {
      made += FLOOD.length;
      return FLOOD.slice();
    };
    const ends: (() => void)[] = [];
    for (let channel = 1; channel <= 3; channel++) {
      const streams = client.open(channel);
      sends.push(streams.inOut.send, streams.error.send);
      const program = { exit: new Promise<never>(() => {}), hangUp: () => {}, leave: () => {} };
      if (kept) {
        const place = { ...program, mode: "read-write", read } as unknown as SessionAttachment;
        const attachment = new GuestAttachment(place, client.connection, streams);
        void attachment.run(channel, SILENT_MESSAGES);
        ends.push(() => attachment.end());
      } else {
        let over = false; // a hang-up reads to the end
        const output = { read: async () => (over ? undefined : await read()) };
        const process = { ...program, stdout: output, stderr: output } as unknown as GuestProcess;
        const open = new GuestChannel(process, client.connection, streams, () => false);
        void open.run(channel, SILENT_MESSAGES);
        ends.push(() => {
          over = true;
          open.end();
        });
      }
    }
    const held = () => sends.reduce((sum, { held }) => sum + held, 0);
    const bound = 2 * MAX_FLIGHT_TO_CLIENT_BYTES + sends.length * UNSENT_AND_READ;
    for (let before = -1; made !== before && held() <= bound; ) {
      before = made; // until the programs wait
      await client.turns(500, HOLE);
    }
    expect(held()).toBeLessThanOrEqual(bound);
    expect(held()).toBeGreaterThan(2 * MAX_FLIGHT_TO_CLIENT_BYTES); // it is this that they wait for
    const written = sends.map((send) => send.written);
    const flows = () =>
      sends.every((send, i) => send.ended || send.written > (written[i] ?? 0) + 4 * 1024 * 1024);
    while (!flows()) await client.turns(10, undefined); // and all go on once it is acknowledged
    expect(held()).toBeLessThanOrEqual(bound);
    for (const end of ends) end();
  }, 120_000);
}

test("who waits because another stream keeps too much is told once that was acknowledged", async () => {
  const client = hoarder();
  const { connection } = client;
  const hoarding = client.open(1).inOut;
  const waiting = client.open(2).inOut; // nothing of its own is under way that could wake it
  const usual = 64 * 1024;
  let told = 0;
  waiting.onChange = () => told++;
  while (!connection.isFull(waiting, usual)) {
    while (!connection.isFull(hoarding, usual)) hoarding.send.write(FLOOD);
    await client.turns(10, HOLE);
  }
  told = 0;
  await client.turns(10, HOLE);
  expect(told).toBe(0);
  while (hoarding.send.held > 0) await client.turns(1, undefined);
  expect(told).toBe(1);
  expect(connection.isFull(waiting, usual)).toBe(false);
});

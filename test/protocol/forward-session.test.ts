// Streams and listeners over a whole connection in memory: who may, what is answered, and what ends with what.

import { describe, expect, test } from "vitest";
import { concat, utf8 } from "../../protocol/bytes.ts";
import { LISTEN_IN_USE } from "../../protocol/forward/forward-messages.ts";
import type { ListenPlace, StreamPlace } from "../../protocol/forward/target.ts";
import { encodeClientHello } from "../../protocol/handshake/client-hello.ts";
import { MAX_INCOMING, MAX_LISTENERS } from "../../protocol/limits.ts";
import type { Guest, UserAuth } from "../../protocol/session/api.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { ClientConnection } from "../../protocol/session/client-connection.ts";
import { ClientListeners } from "../../protocol/session/client-listeners.ts";
import { GuestChannels } from "../../protocol/session/guest-channels.ts";
import { MessageStream } from "../../protocol/session/message-stream.ts";
import { StreamConnection } from "../../protocol/streams/stream-connection.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { connect } from "../../protocol/session/connect.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import type {
  GuestStreams,
  ListenerEvents,
  StreamRefusal,
  WaitingStream,
} from "../../protocol/session/guest-streams.ts";
import {
  OPEN_FAILED,
  OPEN_NOT_ALLOWED,
  OPEN_REFUSED,
  OPEN_UNREACHABLE,
} from "../../protocol/session/messages.ts";
import type { IncomingStream } from "../../protocol/session/stream-api.ts";
import { UNRESTRICTED, type UserRestrictions } from "../../protocol/user-auth/restrictions.ts";
import { fastClock, ManualClock } from "../support/clocks.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { acceptAnyKey, clientOptions, FakeProcess, testGuest } from "../support/session.ts";

const DB: StreamPlace = { kind: "tcp", host: "db", port: 5432 };
const HERE: ListenPlace = { kind: "tcp", host: "localhost", port: 0 };
const WITH_KEY: UserAuth = {
  method: "ssh-key",
  user: "root",
  publicKey: Uint8Array.of(1),
  sign: async () => Uint8Array.of(2),
};

/** A guest's streams made of callbacks. */
class FakeStreams implements GuestStreams {
  readonly opened: { readonly user: AuthenticatedUser; readonly place: StreamPlace }[] = [];
  readonly listeners: { readonly place: ListenPlace; readonly events: ListenerEvents; closed: boolean }[] =
    [];
  readonly streams: FakeProcess[] = [];
  refuses: StreamRefusal | undefined;

  async open(user: AuthenticatedUser, place: StreamPlace): Promise<FakeProcess | StreamRefusal> {
    this.opened.push({ user, place });
    if (this.refuses !== undefined) return this.refuses;
    return this.made();
  }
  async listen(_: AuthenticatedUser, place: ListenPlace, events: ListenerEvents) {
    if (this.refuses !== undefined) return this.refuses;
    const own = { place, events, closed: false };
    this.listeners.push(own);
    return { port: 4000 + this.listeners.length, close: () => void (own.closed = true) };
  }
  made(): FakeProcess {
    const stream = new FakeProcess();
    this.streams.push(stream);
    return stream;
  }
  /** Somebody connects. @returns what became of them, and whether there was room. */
  come(listener = 0) {
    const seen = { accepted: undefined as FakeProcess | undefined, dismissed: false, room: false };
    const waiting: WaitingStream = {
      accept: async () => (seen.accepted = this.made()),
      dismiss: () => void (seen.dismissed = true),
    };
    seen.room = this.listeners[listener]?.events.incoming(waiting) ?? false;
    return seen;
  }
}

async function open(auth: UserAuth = WITH_KEY, streams: FakeStreams | undefined = new FakeStreams()) {
  const clock = fastClock(10);
  const guest = testGuest(clock, { keysAllowed: true, verifyUserKey: acceptAnyKey, streams });
  const pipes = memoryPipes();
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const attested = await connect(clientOptions(clock, async () => pipes.client));
  const session: Guest = await attested.authenticate(auth);
  return { clock, guest, pipes, session, streams: streams ?? new FakeStreams() };
}

/** Waits for an event, not for a time. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 2));
}

async function readAll(channel: Channel): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (let chunk = await channel.stdout.read(); chunk !== undefined; chunk = await channel.stdout.read()) {
    parts.push(chunk);
    channel.stdout.consumed(chunk.length);
  }
  return concat(...parts);
}

describe("streams", () => {
  test("bytes go both ways, and each direction ends on its own", async () => {
    const { session, streams } = await open();
    const channel = await session.openChannel({ kind: "stream", target: DB });
    expect(streams.opened).toMatchObject([{ user: { name: "root", method: "ssh-key" }, place: DB }]);
    const [stream] = streams.streams as [FakeProcess];
    stream.print(utf8("hello"));
    stream.endOutput(); // half-closed: it still reads
    expect(await readAll(channel)).toEqual(utf8("hello"));
    await channel.write(utf8("and now?"));
    channel.end();
    await until(() => stream.events.includes("end"));
    expect(concat(...stream.input)).toEqual(utf8("and now?"));
    stream.finish({ kind: "exited", status: 0 });
    expect(await channel.exit).toEqual({ kind: "exited", status: 0 });
    await session.close();
  });

  test.each([
    [OPEN_NOT_ALLOWED, "user-refused", /does not forward this/],
    [OPEN_REFUSED, "program-failed", /Nobody listens there/],
    [OPEN_UNREACHABLE, "program-failed", /cannot get there/],
    [OPEN_FAILED, "program-failed", /could not connect there/],
  ])("code %i is told in words", async (code, name, words) => {
    const { session, streams } = await open();
    streams.refuses = { code };
    await expect(session.openChannel({ kind: "stream", target: DB })).rejects.toMatchObject({
      code: name,
      message: expect.stringMatching(words) as string,
    });
    await session.close();
  });

  test("without a key, without the configuration, and against the key's options there are none", async () => {
    const nobody = await open({ method: "none", user: "root" });
    await expect(nobody.session.openChannel({ kind: "stream", target: DB })).rejects.toThrow(
      /does not forward/,
    );
    await expect(nobody.session.listen(HERE, () => {})).rejects.toThrow(/does not listen/);
    expect(nobody.streams.opened).toEqual([]);
    expect(nobody.streams.listeners).toEqual([]);
    await nobody.session.close();

    const clock = fastClock(10);
    const guest = testGuest(clock, { keysAllowed: true, verifyUserKey: acceptAnyKey });
    const pipes = memoryPipes();
    void guest.endpoint.servePipe(pipes.guest).catch(() => {});
    const session = await (await connect(clientOptions(clock, async () => pipes.client))).authenticate(
      WITH_KEY,
    );
    await expect(session.openChannel({ kind: "stream", target: DB })).rejects.toThrow(
      /\[forward\] allow = true/,
    );
    await expect(session.listen(HERE, () => {})).rejects.toThrow(/\[forward\] allow = true/);
    await session.close();
  });

  test("what ends the connection hangs streams up", async () => {
    const { session, streams } = await open();
    await session.openChannel({ kind: "stream", target: DB });
    await session.close();
    await until(() => streams.streams[0]?.events.includes("hang up") === true);
    expect(streams.opened.length).toBe(1);
  });
});

describe("listeners", () => {
  test("who connects is opened with their own channel, or let go", async () => {
    const { session, streams } = await open();
    const incoming: IncomingStream[] = [];
    const listener = await session.listen(HERE, (stream) => void incoming.push(stream));
    expect(listener.port).toBe(4001);
    const one = streams.come();
    const two = streams.come();
    expect([one.room, two.room]).toEqual([true, true]);
    await until(() => incoming.length === 2);
    const channel = await incoming[0]?.accept();
    one.accepted?.print(utf8("who is there?"));
    one.accepted?.finish({ kind: "exited", status: 0 });
    expect(await readAll(channel as Channel)).toEqual(utf8("who is there?"));
    incoming[1]?.dismiss();
    incoming[1]?.dismiss(); // of no effect
    await until(() => two.dismissed);
    await expect(incoming[1]?.accept()).rejects.toMatchObject({ code: "api-misuse" });

    const three = streams.come();
    await until(() => incoming.length === 3);
    listener.close();
    await until(() => streams.listeners[0]?.closed === true && three.dismissed);
    await expect(incoming[2]?.accept()).rejects.toThrow(/Nobody listens there/); // they have gone
    expect(streams.come().room).toBe(false);
    await session.close();
  });

  test("the connection's end closes them, and lets go who waits", async () => {
    const { session, streams } = await open();
    const incoming: IncomingStream[] = [];
    await session.listen(HERE, (stream) => void incoming.push(stream));
    const one = streams.come();
    await until(() => incoming.length === 1);
    await session.close();
    await until(() => streams.listeners[0]?.closed === true && one.dismissed);
    incoming[0]?.dismiss(); // of no effect, and no error
    await expect(incoming[0]?.accept()).rejects.toMatchObject({ code: "api-misuse" });
  });

  test("there are so many and no more: listeners, and who waits at them", async () => {
    const { session, streams } = await open();
    for (let i = 0; i < MAX_LISTENERS; i++) await session.listen(HERE, () => {});
    await expect(session.listen(HERE, () => {})).rejects.toMatchObject({ code: "limit-exceeded" });
    const came = Array.from({ length: MAX_INCOMING }, (_, i) => streams.come(i % MAX_LISTENERS));
    expect(came.every(({ room }) => room)).toBe(true);
    expect(streams.come().room).toBe(false);
    await session.close();
  });

  test("what cannot be listened on is told in words", async () => {
    const { session, streams } = await open();
    streams.refuses = { code: LISTEN_IN_USE };
    await expect(session.listen(HERE, () => {})).rejects.toThrow(
      /Somebody listens there in the guest already/,
    );
    await session.close();
  });

  test("who waits a minute for the client's word is let go", async () => {
    const clock = new ManualClock();
    const { GuestListeners } = await import("../../protocol/session/guest-listeners.ts");
    const streams = new FakeStreams();
    const sent: string[] = [];
    const listeners = new GuestListeners({
      clock,
      streams,
      isLive: () => true,
      isOver: () => false,
      ending: () => false,
      send: (message) => void sent.push(message.type),
    });
    const user = {
      name: "root",
      method: "ssh-key",
      key: new Uint8Array(32),
      restrictions: UNRESTRICTED,
    } as const;
    listeners.onMessage(user, { type: "listen", listener: 1, place: HERE });
    await until(() => sent.includes("listening"));
    const one = streams.come();
    clock.advance(59_000);
    expect(one.dismissed).toBe(false);
    clock.advance(1000);
    expect(one.dismissed).toBe(true);
    expect(listeners.accept(1)).toBeUndefined();
    expect(clock.timers).toBe(0);
  });
});

test("the key's options decide at each OPEN and LISTEN", async () => {
  const { GuestListeners } = await import("../../protocol/session/guest-listeners.ts");
  const streams = new FakeStreams();
  const restrictions: UserRestrictions = {
    pty: true,
    portForwarding: true,
    permitOpen: ["db:1"],
    permitListen: ["8080"],
  };
  const user: AuthenticatedUser = { name: "root", method: "ssh-key", key: new Uint8Array(32), restrictions };
  const sent: unknown[] = [];
  let over = false;
  const listeners = new GuestListeners({
    clock: new ManualClock(),
    streams,
    isLive: () => true,
    isOver: () => over,
    ending: () => false,
    send: (message) => void sent.push(message),
  });
  const listen = (listener: number, port: number) =>
    listeners.onMessage(user, { type: "listen", listener, place: { kind: "tcp", host: "localhost", port } });
  listen(1, 8080);
  listen(2, 8081);
  await until(() => sent.length === 2);
  expect(sent).toContainEqual({ type: "listening", listener: 1, code: 0, port: 4001 });
  expect(sent).toContainEqual({ type: "listening", listener: 2, code: 1 });
  expect(() => listen(2, 8080)).toThrow(/used again/);
  over = true;
  listen(3, 8080);
  await until(() => sent.length === 3);
  expect(sent).toContainEqual({ type: "listening", listener: 3, code: 1 });

  const key = () => nodeSuite.randomBytes(32);
  const keys = { connectionId: Uint8Array.of(0, 0, 0, 1), sendKey: key(), receiveKey: key() };
  const connection = new StreamConnection(nodeSuite, keys, { bytes: 65_536, frames: 64 }, 0);
  const messages = new MessageStream(connection, connection.openStream(0, { receive: 65_536, send: 65_536 }));
  const channels = new GuestChannels({
    clock: new ManualClock(),
    connection,
    messages,
    services: {
      startProcess: () => Promise.reject(new Error("not asked for")),
      streams,
      wallTime: () => 0,
      log: () => {},
    },
    ending: () => false,
    close: (code) => void sent.push(code),
  });
  const opened = (channel: number, target: StreamPlace): void =>
    channels.onMessage(user, { type: "open", channel, request: { kind: "stream", target } });
  opened(1, { kind: "tcp", host: "db", port: 2 });
  opened(2, { kind: "unix", path: "/x" });
  opened(3, { kind: "service", name: "ssh" });
  opened(4, { kind: "tcp", host: "db", port: 1 });
  await until(() => streams.opened.length > 0);
  expect(streams.opened.map(({ place }) => place)).toEqual([{ kind: "tcp", host: "db", port: 1 }]);
  channels.end();
});

describe("a peer that breaks the rules", () => {
  /** A client without any rule of its own. */
  async function bareClient() {
    const clock = fastClock(10);
    const streams = new FakeStreams();
    const guest = testGuest(clock, { keysAllowed: true, verifyUserKey: acceptAnyKey, streams });
    const pipes = memoryPipes();
    void guest.endpoint.servePipe(pipes.guest).catch(() => {});
    const options = clientOptions(clock, async () => pipes.client);
    const connection = new ClientConnection(options, (pipe) =>
      encodeClientHello({
        nonce: options.suite.randomBytes(32),
        address: "memory:test",
        identity: options.policy.name,
        evidenceTypes: ["simulated"],
        pipe,
      }),
    );
    const { encoded } = await connection.evidence();
    return { connection, streams, digest: options.suite.sha256(encoded) };
  }

  test("a guest ends a connection that listens before its user is in, and one that uses a number again", async () => {
    const early = await bareClient();
    early.connection.sendMessage({ type: "listen", listener: 1, place: HERE });
    expect(await early.connection.closed).toBe("protocol");
    expect(early.streams.listeners).toEqual([]);

    const again = await bareClient();
    await again.connection.authenticate(WITH_KEY, again.digest);
    again.connection.sendMessage({ type: "unlisten", listener: 7 }); // of nothing: ignored
    again.connection.sendMessage({ type: "dismiss", incoming: 7 });
    again.connection.sendMessage({ type: "incoming", listener: 1, incoming: 1 }); // a guest's message
    expect(await again.connection.closed).toBe("protocol");
  });

  const NOBODY = { send: () => {}, openIncoming: () => Promise.reject(new Error("not asked for")) };

  test.each([
    ["an answer to nothing", { type: "listening", listener: 1, code: 0, port: 1 }],
    ["somebody at no listener", { type: "incoming", listener: 1, incoming: 1 }],
    ["a client's message", { type: "listen", listener: 1, place: HERE }],
    ["a client's message", { type: "dismiss", incoming: 1 }],
  ] as const)("a client refuses %s", (_, message) => {
    expect(() => new ClientListeners(NOBODY).onMessage(message)).toThrow(
      expect.objectContaining({ code: "peer-misbehaved" }) as Error,
    );
  });

  test("a client refuses a second answer, a number used again, and more who wait than may", async () => {
    const sent: unknown[] = [];
    const listeners = new ClientListeners({ ...NOBODY, send: (message) => void sent.push(message) });
    const listening = listeners.listen(HERE, () => {});
    expect(() => listeners.onMessage({ type: "incoming", listener: 1, incoming: 1 })).toThrow(
      /nobody listens/,
    );
    listeners.onMessage({ type: "listening", listener: 1, code: 0, port: 9 });
    const listener = await listening;
    expect(() => listeners.onMessage({ type: "listening", listener: 1, code: 0, port: 9 })).toThrow(
      /nobody asked/,
    );
    for (let i = 1; i <= MAX_INCOMING; i++)
      listeners.onMessage({ type: "incoming", listener: 1, incoming: i });
    expect(() => listeners.onMessage({ type: "incoming", listener: 1, incoming: 3 })).toThrow(
      /nobody listens/,
    );
    expect(() => listeners.onMessage({ type: "incoming", listener: 1, incoming: 99 })).toThrow(/More wait/);
    listener.close();
    sent.length = 0;
    const late = new ClientListeners({ ...NOBODY, send: (message) => void sent.push(message) });
    const soonClosed = late.listen(HERE, () => {});
    late.onMessage({ type: "listening", listener: 1, code: 0, port: 9 });
    (await soonClosed).close();
    late.onMessage({ type: "incoming", listener: 1, incoming: 1 }); // it crossed UNLISTEN
    expect(sent.at(-1)).toEqual({ type: "dismiss", incoming: 1 });
  });
});

import { expect, test } from "vitest";
import { concat, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Guest } from "../../protocol/session/api.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { FRAME_PACKET } from "../../protocol/frames/frame-body.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeFrame, type FrameEncoding } from "../../protocol/frames/frame-encoder.ts";
import { encodeClientHello } from "../../protocol/handshake/client-hello.ts";
import {
  INPUT_STREAM_WINDOW,
  MAX_LOGIN_CHANNELS,
  MAX_LOGIN_CONNECTIONS,
  OUTPUT_STREAM_WINDOW,
  WIDE_INPUT_WINDOW,
} from "../../protocol/limits.ts";
import { ClientConnection } from "../../protocol/session/client-connection.ts";
import type { SessionMessage } from "../../protocol/session/messages.ts";
import { connect } from "../../protocol/session/connect.ts";
import { GuestChannel } from "../../protocol/session/guest-channel.ts";
import type { MessageStream } from "../../protocol/session/message-stream.ts";
import { WidePlaces } from "../../protocol/session/wide-places.ts";
import { Stream } from "../../protocol/streams/stream.ts";
import type { StreamConnection } from "../../protocol/streams/stream-connection.ts";
import { fastClock } from "../support/clocks.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { UNRESTRICTED } from "../../protocol/user-auth/restrictions.ts";
import type { KeyGrant } from "../../protocol/user-auth/verify-user.ts";
import { acceptAnyKey, clientOptions, FakeProcess, testGuest } from "../support/session.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";

const LOGIN = { kind: "login", term: "xterm-256color", columns: 80, rows: 24 } as const;

async function readBytes(channel: Channel, length: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let have = 0;
  while (have < length) {
    const chunk = await channel.stdout.read();
    if (chunk === undefined) break;
    parts.push(chunk);
    have += chunk.length;
    channel.stdout.consumed(chunk.length);
  }
  return concat(...parts);
}

async function open(makeProcess?: () => FakeProcess, carry?: Parameters<typeof memoryPipes>[0]) {
  const clock = fastClock(10);
  const guest = testGuest(clock, {}, makeProcess);
  const pipes = memoryPipes(carry);
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const attested = await connect(clientOptions(clock, async () => pipes.client));
  const session: Guest = await attested.authenticate({ method: "none", user: "root" });
  return { clock, guest, pipes, attested, session };
}

test("a session from keys to exit status: what is typed comes back, in order, once", async () => {
  const { session, guest } = await open();
  const channel = await session.openChannel(LOGIN);
  await channel.write(utf8("hello"));
  expect(await readBytes(channel, 5)).toEqual(utf8("hello"));
  channel.resize(100, 30);
  channel.signal("SIGINT");
  await channel.write(utf8("bye\x04"));
  expect(await channel.stdout.read()).toEqual(utf8("bye"));
  expect(await channel.exit).toEqual({ kind: "exited", status: 7 });
  expect(await channel.stdout.read()).toBeUndefined();
  expect(guest.processes[0]?.events.slice(0, 2)).toEqual(["resize 100x30", "SIGINT"]);
  await session.close();
});

test("a flood of SIGNAL: some twenty a second reach the program, and what is typed goes on", async () => {
  const { session, guest } = await open();
  const channel = await session.openChannel(LOGIN);
  for (let i = 0; i < 3000; i++) channel.signal("SIGCONT");
  await channel.write(utf8("hello"));
  expect(await readBytes(channel, 5)).toEqual(utf8("hello"));
  const signals = guest.processes[0]?.events.filter((event) => event === "SIGCONT").length ?? 0;
  expect(signals).toBeGreaterThanOrEqual(20);
  expect(signals).toBeLessThan(1000);
  await session.close();
});

test("10 MB of output arrive whole, and the program is held back by credit", async () => {
  const total = 10 * 1024 * 1024;
  const process = new FakeProcess();
  let asked = 0;
  const chunk = new Uint8Array(64 * 1024).map((_, i) => i * 7);
  process.stdout.read = async () => {
    if (asked >= total) {
      process.finish({ kind: "exited", status: 0 });
      return undefined;
    }
    asked += chunk.length;
    return chunk;
  };
  const { session } = await open(() => process);
  const channel = await session.openChannel(LOGIN);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(asked).toBeLessThan(2 * 1024 * 1024); // nobody reads: credit and buffers only
  let have = 0;
  for (;;) {
    const part = await channel.stdout.read();
    if (part === undefined) break;
    for (let i = 0; i < part.length; i += 997) expect(part[i]).toBe((((have + i) % chunk.length) * 7) & 0xff);
    have += part.length;
    channel.stdout.consumed(part.length);
  }
  expect(have).toBe(total);
  expect(await channel.exit).toEqual({ kind: "exited", status: 0 });
  await session.close();
});

test("a program that does not read holds the writer back, and nothing is lost when it reads again", async () => {
  const process = new FakeProcess();
  let go: () => void = () => {};
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  process.reads = () => gate;
  const { session } = await open(() => process);
  const channel = await session.openChannel(LOGIN);
  const sent = new Uint8Array(3 * 1024 * 1024).map((_, i) => i >> 3);
  let written = false;
  const writing = channel.write(sent).then(() => {
    written = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(written).toBe(false);
  go();
  await writing;
  channel.end();
  while (!process.events.includes("end")) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(Buffer.compare(concat(...process.input), sent)).toBe(0);
  await session.close();
});

test("a program that takes its input has more credit for it, once there is room", async () => {
  const windows = { receive: INPUT_STREAM_WINDOW, send: OUTPUT_STREAM_WINDOW };
  const streams = { inOut: new Stream(2, windows), error: new Stream(3, windows) };
  const connection = { onWork: () => {}, isFull: () => false } as unknown as StreamConnection;
  const process = new FakeProcess();
  let room = false;
  const channel = new GuestChannel(process, connection, streams, () => room);
  void channel.run(1, { send: () => {} } as unknown as MessageStream);
  const { receive } = streams.inOut;
  let at = 0;
  const take = async (length: number): Promise<void> => {
    for (let left = length; left > 0; ) {
      const piece = new Uint8Array(Math.min(left, receive.limit - at));
      receive.push(at, piece, false);
      at += piece.length;
      left -= piece.length;
      streams.inOut.onChange();
      await new Promise((resolve) => setImmediate(resolve)); // the program takes it at once
    }
  };
  await take(8 * INPUT_STREAM_WINDOW);
  expect(receive.limit - at).toBe(INPUT_STREAM_WINDOW);
  room = true;
  await take(1);
  expect(receive.limit - at).toBe(WIDE_INPUT_WINDOW);
});

test("four channels of a connection are wide at a time", () => {
  const wide = new WidePlaces();
  expect([1, 2, 3, 4, 5, 3].map((channel) => wide.admit(channel))).toEqual([
    true,
    true,
    true,
    true,
    false,
    true,
  ]);
  wide.leave(2);
  expect(wide.admit(5)).toBe(true);
  expect(wide.admit(6)).toBe(false);
});

test("closing is authenticated: a cut pipe is never an exit, a CLOSE ends the programs at once", async () => {
  const { session, guest, pipes } = await open();
  const channel = await session.openChannel(LOGIN);
  pipes.cut();
  const raced = await Promise.race([
    channel.exit.then(
      () => "exit",
      () => "failed",
    ),
    new Promise((resolve) => setTimeout(() => resolve("still open"), 200)),
  ]);
  expect(raced).toBe("still open");
  await session.close();
  await expect(channel.exit).rejects.toThrow(SealttyError);
  expect(guest.processes[0]?.events).toEqual([]); // the CLOSE could not arrive: the guest waits for its client
});

test("many channels on one connection, one after the other and at once", async () => {
  const { session } = await open();
  for (let round = 0; round < 50; round++) {
    await Promise.all(
      Array.from({ length: 4 }, async (_, i) => {
        const channel = await session.openChannel(LOGIN);
        await channel.write(utf8(`channel ${round}/${i}\x04`));
        const out: Uint8Array[] = [];
        for (let part = await channel.stdout.read(); part !== undefined; part = await channel.stdout.read()) {
          out.push(part);
          channel.stdout.consumed(part.length);
        }
        expect(concat(...out)).toEqual(utf8(`channel ${round}/${i}`));
        expect(await channel.exit).toEqual({ kind: "exited", status: 7 });
      }),
    );
  }
  await session.close();
});

test("opening channels costs no packet: nothing counts as lost on a pipe that loses nothing", async () => {
  const { session } = await open();
  for (let i = 0; i < 30; i++) {
    const channel = await session.openChannel(LOGIN);
    await channel.write(utf8("\x04"));
    await channel.stdout.read();
    await channel.exit;
  }
  expect(session.stats.packetsLost).toBe(0);
  await session.close();
});

test("hanging up: the program gets it, its end is told, and the channel's place is free again", async () => {
  const { session, guest } = await open();
  for (let i = 0; i < 100; i++) {
    const channel = await session.openChannel(LOGIN);
    await channel.write(utf8("input that nobody reads in time"));
    channel.hangUp();
    for (let part = await channel.stdout.read(); part !== undefined; part = await channel.stdout.read()) {
      channel.stdout.consumed(part.length);
    }
    expect(await channel.exit).toEqual({ kind: "signalled", signal: "SIGHUP" });
  }
  expect(guest.processes.every(({ events }) => events.includes("hang up"))).toBe(true);
  await session.close();
});

test("without a key: few connections and channels, and never the places of users with one", async () => {
  const clock = fastClock(10);
  const guest = testGuest(clock, { keysAllowed: true, verifyUserKey: acceptAnyKey });
  const reach = async () => {
    const pipes = memoryPipes();
    void guest.endpoint.servePipe(pipes.guest).catch(() => {});
    return connect(clientOptions(clock, async () => pipes.client));
  };
  const logins = [];
  for (let i = 0; i < MAX_LOGIN_CONNECTIONS; i++) {
    logins.push(await (await reach()).authenticate({ method: "none", user: "root" }));
  }
  const [first] = logins as [Guest];
  for (let i = 0; i < MAX_LOGIN_CHANNELS; i++) await first.openChannel(LOGIN);
  await expect(first.openChannel(LOGIN)).rejects.toThrow(/too many sessions/);
  await expect((await reach()).authenticate({ method: "none", user: "root" })).rejects.toThrow(/busy/);
  const key = {
    method: "ssh-key",
    user: "root",
    publicKey: new Uint8Array(4),
    sign: async () => new Uint8Array(4),
  } as const;
  const owner = await (await reach()).authenticate(key);
  await owner.openChannel(LOGIN);
  await owner.close();
  for (const login of logins) await login.close();
});

test("a client that closes while its key is being checked is let in no more, and takes no place", async () => {
  const clock = fastClock(10);
  let decide: (grant: KeyGrant | undefined) => void = () => {};
  let asked: () => void = () => {};
  const checking = new Promise<void>((resolve) => {
    asked = resolve;
  });
  const guest = testGuest(clock, {
    keysAllowed: true,
    verifyUserKey: () => {
      asked();
      return new Promise((resolve) => {
        decide = resolve;
      });
    },
  });
  const pipes = memoryPipes();
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const attested = await connect(clientOptions(clock, async () => pipes.client));
  const key = {
    method: "ssh-key",
    user: "root",
    publicKey: new Uint8Array(4),
    sign: async () => new Uint8Array(4),
  } as const;
  const attempt = attested.authenticate(key).catch(() => "gone");
  await checking;
  await attested.close();
  decide({ key: new Uint8Array(32), restrictions: UNRESTRICTED });
  expect(await attempt).toBe("gone");
  await new Promise((resolve) => setImmediate(resolve));
  expect(guest.log.filter((line) => line.includes("user authenticated"))).toEqual([]);
  await guest.endpoint.stop();
});

/** A client of our own making, past the handshake and the user, that may break every rule behind them. */
async function rogue() {
  const clock = fastClock(10);
  const guest = testGuest(clock);
  const pipes = memoryPipes();
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const connection = new ClientConnection(
    clientOptions(clock, async () => pipes.client),
    (pipe) =>
      encodeClientHello({
        nonce: new Uint8Array(32),
        address: "",
        identity: "",
        evidenceTypes: ["simulated"],
        pipe,
      }),
  );
  await connection.evidence();
  await connection.authenticate({ method: "none", user: "root" }, new Uint8Array(32));
  return { guest, connection };
}

test("an answer about sessions that comes while frozen is not given before the user chose", async () => {
  const { guest, connection } = await rogue();
  guest.sessions.list = () => {
    connection.freeze(); // after the question, before the answer
    return [];
  };
  let answered = false;
  const note = (): void => {
    answered = true;
  };
  const first = connection.channels.list([]).then(note);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(answered).toBe(false);
  connection.thaw();
  await first;
  expect(answered).toBe(true);
  answered = false;
  const second = connection.channels.list([]).then(note);
  second.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 50));
  await connection.close("done");
  await expect(second).rejects.toThrow(SealttyError);
  expect(answered).toBe(false);
});

test.each<[string, (send: (message: SessionMessage) => void) => void]>([
  [
    "a channel number twice",
    (send) => {
      send({ type: "open", channel: 1, request: LOGIN });
      send({ type: "hang-up", channel: 1 });
      send({ type: "open", channel: 1, request: LOGIN });
    },
  ],
  [
    "a burst of 200 openings",
    (send) => {
      for (let channel = 1; channel <= 200; channel++) send({ type: "open", channel, request: LOGIN });
    },
  ],
  ["a message that only guests send", (send) => send({ type: "opened", channel: 1, code: 0 })],
  [
    "authenticating twice",
    (send) => send({ type: "authenticate", user: "root", service: "sealtty-session" }),
  ],
])("a rogue client with %s: the guest lives, and serves the next one", async (_name, attack) => {
  const { guest, connection } = await rogue();
  attack((message) => connection.sendMessage(message));
  const outcome = await Promise.race([
    connection.closed,
    new Promise<string>((resolve) => setTimeout(() => resolve("open"), 300)),
  ]);
  expect(["open", "protocol"]).toContain(outcome);
  await connection.close("done");
  expect(guest.processes.length).toBeLessThanOrEqual(MAX_LOGIN_CHANNELS);
  const pipes = memoryPipes();
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const next = await connect(clientOptions(fastClock(10), async () => pipes.client));
  await next.close();
});

test("a packet that the host held back, and lets out in another encoding, changes none; a newer one does", async () => {
  let release: ((bytes: Uint8Array) => void) | undefined; // set while the next packet is to be held back
  let held: Uint8Array | undefined;
  let all: FrameEncoding | undefined; // what every frame is put into
  let holding = false;
  const decoder = new FrameDecoder(nodeSuite.crc32);
  const { attested, session } = await open(undefined, (chunk, deliver, direction) => {
    if (direction !== "to-client") return deliver(chunk);
    for (const { body, encoding } of decoder.push(chunk).frames) {
      if (release === undefined && held === undefined && holding && body[0] === FRAME_PACKET) {
        held = body.slice();
        release = deliver;
      } else deliver(encodeFrame(body, all ?? encoding));
    }
  });
  const encoding = () => attested.stats.carries.encoding;
  const channel = await session.openChannel(LOGIN);
  await channel.write(utf8("a"));
  expect(await readBytes(channel, 1)).toEqual(utf8("a"));
  expect(encoding()).toBe("binary");

  holding = true;
  await channel.write(utf8("b")); // comes back in a later packet than the one that is held
  expect(await readBytes(channel, 1)).toEqual(utf8("b"));
  const before = attested.stats.packetsReceived;
  if (held === undefined || release === undefined) throw new Error("No packet was held back");
  release(encodeFrame(held, "armour"));
  while (attested.stats.packetsReceived === before) await new Promise((resolve) => setImmediate(resolve));
  expect(encoding()).toBe("binary");

  all = "armour";
  await channel.write(utf8("c"));
  expect(await readBytes(channel, 1)).toEqual(utf8("c"));
  expect(encoding()).toBe("armour");
  await session.close();
});

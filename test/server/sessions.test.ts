// Sessions that outlive connections: a guest and its clients in memory, every connection with full handshake and evidence.

import { expect, test, vi } from "vitest";
import { concat, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import {
  INPUT_STREAM_WINDOW,
  MAX_LOGIN_SESSIONS,
  MAX_READ_ONLY,
  MAX_SESSION_CLIENTS,
  MAX_VIEWERS,
  OUTPUT_STREAM_WINDOW,
} from "../../protocol/limits.ts";
import type { Guest, UserAuth } from "../../protocol/session/api.ts";
import { connect } from "../../protocol/session/connect.ts";
import { GuestAttachment } from "../../protocol/session/guest-attachment.ts";
import type { SessionAttachment } from "../../protocol/session/guest-sessions.ts";
import { ATTACH_TOO_MANY, DETACH_LOST } from "../../protocol/session/session-messages.ts";
import type { MessageStream } from "../../protocol/session/message-stream.ts";
import type { SessionChannel } from "../../protocol/session/session-api.ts";
import { ViewersNotice } from "../../protocol/session/viewers-notice.ts";
import { ByteRing } from "../../protocol/streams/byte-ring.ts";
import { Stream } from "../../protocol/streams/stream.ts";
import type { StreamConnection } from "../../protocol/streams/stream-connection.ts";
import { fastClock, ManualClock } from "../support/clocks.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { NOBODY, type Reached, reachGuest } from "../support/reach.ts";
import { UNRESTRICTED } from "../../protocol/user-auth/restrictions.ts";
import {
  acceptAnyKey,
  clientOptions,
  echoProcess,
  FakeProcess,
  SESSION_LIMITS,
  testGuest,
} from "../support/session.ts";
import { ShapedSession } from "../support/shaped-session.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";

const UNCONFIRMED_IDLE = 10 * 60_000;
const KEEP_ENDED = 10 * 60_000;
const KEEP_ENDED_AT_MOST = 6 * 3_600_000;
const SCREEN = { term: "xterm", columns: 80, rows: 24 } as const;
const LOGIN = { kind: "login", ...SCREEN } as const;
const SHELL = { kind: "shell", command: [], environment: {}, ...SCREEN } as const;

function keyed(user: string, key: number): UserAuth {
  return {
    method: "ssh-key",
    user,
    publicKey: new Uint8Array(51).fill(key),
    sign: async () => new Uint8Array(4),
  };
}

function world(makeProcess: () => FakeProcess = echoProcess, limits = SESSION_LIMITS, factor = 10) {
  const clock = fastClock(factor);
  const guest = testGuest(
    clock,
    { keysAllowed: true, verifyUserKey: acceptAnyKey },
    makeProcess,
    nodeSuite,
    limits,
  );
  const reach = (auth: UserAuth = NOBODY, carry?: Parameters<typeof memoryPipes>[0]): Promise<Reached> =>
    reachGuest(guest, clock, auth, memoryPipes(carry));
  return { clock, guest, reach };
}

/** The host takes the pipe away and the client is gone: nobody says goodbye. */
function kill({ attested, pipes }: Reached): void {
  pipes.cut();
  void attested.close();
}

async function readBytes(channel: SessionChannel, length: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (let have = 0; have < length; ) {
    const chunk = await channel.stdout.read();
    if (chunk === undefined) break;
    parts.push(chunk);
    have += chunk.length;
    channel.stdout.consumed(chunk.length);
  }
  return concat(...parts);
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 2));
}

const attachTo = (channel: SessionChannel, own: Partial<Parameters<Guest["attach"]>[0]> = {}) => ({
  session: channel.session,
  mode: "read-write" as const,
  from: 0,
  columns: 80,
  rows: 24,
  ...own,
});

test("a session lives on when its connection is cut, and goes on at the exact byte", async () => {
  const { guest, reach } = world();
  const first = await reach();
  const one = await first.guest.openSession({ request: LOGIN });
  await one.write(utf8("before"));
  expect(await readBytes(one, 6)).toEqual(utf8("before"));
  kill(first);
  guest.processes[0]?.print(utf8(" meanwhile"));
  const second = await reach();
  const two = await second.guest.attach(attachTo(one, { after: one }));
  expect(two).toMatchObject({ lost: 0, nextOffset: 6, inputUnsure: false, mode: "read-write" });
  expect(await readBytes(two, 10)).toEqual(utf8(" meanwhile"));
  await two.write(utf8("bye\x04"));
  expect(await readBytes(two, 3)).toEqual(utf8("bye"));
  expect(await two.exit).toEqual({ kind: "exited", status: 7 });
  expect(await two.ended).toEqual({ kind: "exit", status: { kind: "exited", status: 7 } });
  expect(guest.processes[0]?.events).toEqual([]); // no hang-up, ever
  await second.guest.close();
});

test("an authenticated CLOSE leaves the session as well; HANG_UP ends it", async () => {
  const { guest, reach } = world();
  const first = await reach();
  const one = await first.guest.openSession({ request: LOGIN });
  await first.guest.close();
  const second = await reach();
  const two = await second.guest.attach(attachTo(one));
  expect(guest.processes[0]?.events).toEqual([]);
  two.hangUp();
  expect(await two.exit).toEqual({ kind: "signalled", signal: "SIGHUP" });
  await second.guest.close();
});

test("detaching: its output ends, it is no exit, and the program runs on", async () => {
  const { guest, reach } = world();
  const { guest: user } = await reach();
  const one = await user.openSession({ request: LOGIN });
  await one.write(utf8("abc"));
  expect(await readBytes(one, 3)).toEqual(utf8("abc"));
  await one.detach();
  expect(await one.stdout.read()).toBeUndefined();
  expect(await one.ended).toEqual({ kind: "detached", by: "request" });
  await expect(one.exit).rejects.toThrow(/runs on/);
  await expect(one.write(utf8("x"))).rejects.toThrow(/runs on/);
  const two = await user.attach(attachTo(one)); // on the same connection
  expect(await readBytes(two, 3)).toEqual(utf8("abc"));
  expect(guest.processes[0]?.events).toEqual([]);
  await user.close();
});

test.each(["list", "kill"] as const)(
  "where sessions are kept elsewhere and cannot be asked about: the client is not told that there are none (%s)",
  async (question) => {
    const { guest, reach } = world();
    const client = await reach();
    const one = await client.guest.openSession({ request: LOGIN });
    const answer = vi.spyOn(guest.sessions, question);
    const ask = () =>
      question === "list" ? client.guest.listSessions([one.session]) : client.guest.killSession(one.session);
    answer.mockImplementationOnce(() => {
      throw new SealttyError("user-refused", "Nobody has signed in so");
    });
    expect(await ask()).toEqual(question === "list" ? [] : false); // nobody who is signed in has one
    answer.mockImplementationOnce(() => {
      throw new SealttyError("transport-lost", "The other half of sealttyd is gone");
    });
    await expect(ask()).rejects.toMatchObject({ code: "transport-lost" });
    expect(guest.log).toContain("could not ask about sessions: The other half of sealttyd is gone");
  },
);

test("without a key the session's secret is needed, on every connection and from every user", async () => {
  const { reach } = world();
  const first = await reach();
  const one = await first.guest.openSession({ request: LOGIN });
  expect(one.session.secret?.length).toBe(32);
  const { id, secret } = one.session;
  const wrong = (secret as Uint8Array).slice();
  wrong[31] = (wrong[31] as number) ^ 1;
  const second = await reach();
  for (const session of [
    { id, secret: undefined },
    { id, secret: wrong },
    { id: new Uint8Array(16), secret },
  ]) {
    const attempt = second.guest.attach(attachTo(one, { session }));
    await expect(attempt).rejects.toMatchObject({ code: "session-gone" });
    expect(await second.guest.killSession(session)).toBe(false);
  }
  expect(await second.guest.listSessions()).toEqual([]);
  expect(await second.guest.listSessions([one.session])).toMatchObject([{ title: "login", running: true }]);
  const owner = await reach(keyed("root", 1));
  await expect(owner.guest.attach(attachTo(one))).rejects.toMatchObject({ code: "session-gone" });
  expect(await second.guest.killSession(one.session)).toBe(true);
  for (const each of [first, second, owner]) await each.guest.close();
});

test("with a key: only the same key for the same user attaches, lists and kills", async () => {
  const { reach } = world();
  const owner = await reach(keyed("ada", 1));
  const one = await owner.guest.openSession({ request: SHELL });
  expect(one.session.secret).toBeUndefined();
  for (const auth of [keyed("ada", 2), keyed("eve", 1), NOBODY]) {
    const other = await reach(auth);
    await expect(other.guest.attach(attachTo(one))).rejects.toMatchObject({ code: "session-gone" });
    expect(await other.guest.listSessions([one.session])).toEqual([]);
    expect(await other.guest.killSession(one.session)).toBe(false);
    await other.guest.close();
  }
  const again = await reach(keyed("ada", 1));
  expect(await again.guest.listSessions()).toMatchObject([{ title: "shell", viewers: 1, running: true }]);
  const two = await again.guest.attach(attachTo(one));
  expect(await again.guest.killSession(one.session)).toBe(true);
  expect(await two.exit).toEqual({ kind: "signalled", signal: "SIGHUP" });
  await again.guest.close();
});

test("the older attachment of the same client is fenced off, and its connection's keys go with it", async () => {
  const { guest, reach } = world();
  const first = await reach();
  const one = await first.guest.openSession({ request: LOGIN });
  const second = await reach();
  const two = await second.guest.attach(attachTo(one, { after: one }));
  expect(two.epoch).toBe(one.epoch + 1);
  expect(await first.guest.closed).toBe("superseded");
  await expect(one.write(utf8("late"))).rejects.toThrow(SealttyError);
  // On one connection there is no connection to end: the channel alone does.
  const three = await second.guest.attach(attachTo(two, { after: two }));
  expect(await two.ended).toEqual({ kind: "detached", by: "newer-attachment" });
  await three.write(utf8("here"));
  expect(await readBytes(three, 4)).toEqual(utf8("here"));
  expect(concat(...(guest.processes[0]?.input ?? []))).toEqual(utf8("here"));
  await until(() => guest.endpoint.connectionCount === 1); // lingered, and forgotten
  await second.guest.close();
});

test("a read-only attachment sees all and can neither type, signal, resize nor hang up", async () => {
  const { guest, reach } = world();
  const first = await reach();
  const one = await first.guest.openSession({ request: LOGIN });
  const second = await reach();
  const viewer = await second.guest.attach(attachTo(one, { mode: "read-only", columns: 10, rows: 5 }));
  await expect(viewer.write(utf8("x"))).rejects.toMatchObject({ code: "api-misuse" });
  viewer.resize(20, 10);
  viewer.signal("SIGINT");
  // A client that breaks the rule is not heard either: the bytes below go around our own check.
  const rogue = viewer as unknown as { mode: string };
  Object.defineProperty(rogue, "mode", { value: "read-write" });
  await viewer.write(utf8("rm -rf /\r"));
  await one.write(utf8("hello"));
  expect(await readBytes(viewer, 5)).toEqual(utf8("hello"));
  viewer.hangUp();
  expect(await viewer.ended).toEqual({ kind: "detached", by: "request" });
  await one.write(utf8("!"));
  expect(await readBytes(one, 6)).toEqual(utf8("hello!"));
  expect(concat(...(guest.processes[0]?.input ?? []))).toEqual(utf8("hello!"));
  expect(guest.processes[0]?.events).toEqual([]);
  await first.guest.close();
  await second.guest.close();
});

test("who is attached is told to all, and the size follows the smallest that may type", async () => {
  const { guest, reach } = world();
  const first = await reach(keyed("ada", 1));
  const one = await first.guest.openSession({ request: SHELL });
  const second = await reach(keyed("ada", 1));
  const two = await second.guest.attach(attachTo(one, { columns: 60, rows: 50 }));
  await until(() => one.viewers?.viewers.length === 2);
  expect(one.viewers).toEqual({
    columns: 60,
    rows: 24,
    viewers: [
      { epoch: 1, mode: "read-write", own: true, user: "ada" },
      { epoch: 2, mode: "read-write", own: false, user: "ada" },
    ],
  });
  await two.detach();
  await until(() => one.viewers?.viewers.length === 1);
  expect(guest.processes[0]?.events).toEqual(["resize 60x24", "resize 80x24"]);
  await first.guest.close();
  await second.guest.close();
});

test("the size follows the last active one where the session was opened so", async () => {
  const { guest, reach } = world();
  const { guest: user } = await reach();
  const one = await user.openSession({ request: LOGIN, sizing: "latest" });
  const two = await user.attach(attachTo(one, { columns: 200, rows: 60 }));
  await one.write(utf8("a"));
  await readBytes(one, 1);
  await two.write(utf8("b"));
  await readBytes(two, 2);
  expect(guest.processes[0]?.events).toEqual(["resize 200x60", "resize 80x24", "resize 200x60"]);
  await user.close();
});

test("viewers are told of at once after a quiet time, then seldom, and of the last state always", async () => {
  const clock = new ManualClock();
  const told: number[] = [];
  let state = 1;
  let takes = true;
  const notice = new ViewersNotice(clock, () => {
    if (takes) told.push(state);
    return takes;
  });
  const change = async (to: number): Promise<void> => {
    state = to;
    notice.changed();
    await new Promise((resolve) => setImmediate(resolve));
  };
  expect(told).toEqual([1]);
  clock.advance(10_000);
  state = 2; // and in the same turn
  notice.changed();
  await change(3);
  expect(told).toEqual([1, 3]);
  for (let to = 4; to <= 1003; to++) {
    await change(to);
    clock.advance(10);
  }
  clock.advance(1000);
  expect(told.length).toBeLessThanOrEqual(2 + 2 * 10 + 2);
  expect(told.at(-1)).toBe(1003);
  takes = false; // as one that takes no messages
  await change(2000);
  clock.advance(60_000);
  takes = true;
  clock.advance(1000);
  expect(told.at(-1)).toBe(2000);
  const { length } = told;
  clock.advance(60_000);
  expect(told.length).toBe(length);
  expect(clock.timers).toBe(0);
  await change(2001);
  await change(2002);
  notice.stop();
  clock.advance(60_000);
  expect([told.at(-1), clock.timers]).toEqual([2001, 0]);
});

test.each(["strict", "adaptive"] as const)(
  "a viewer that attaches over and over neither keeps a typist's echo nor fills its slots (%s)",
  async (profile) => {
    const shaped = await ShapedSession.open(profile);
    const kept = await shaped.until(shaped.guest.openSession({ request: LOGIN }));
    const [, program] = shaped.programs;
    if (program === undefined) throw new Error("no program");
    program.onInput = (bytes) => program.print(bytes.slice());
    let told = 0;
    kept.onViewers = () => told++;
    let echoed = 0;
    void (async () => {
      for (let chunk = await kept.stdout.read(); chunk !== undefined; chunk = await kept.stdout.read())
        echoed += chunk.length;
    })().catch(() => {});
    const user = { name: "root", method: "none" } as const;
    const events = { isLive: () => true, fenced: () => {}, forgotten: () => {}, viewersChanged: () => {} };
    const request = {
      client: new Uint8Array(16).fill(7),
      mode: "read-only",
      offset: 0,
      columns: 80,
      rows: 24,
    } as const;
    let newest = 0;
    const storm = async (ms: number): Promise<void> => {
      for (let passed = 0; passed < ms; passed += 20) {
        for (let i = 0; i < 10; i++) {
          const attached = shaped.sessions.attach(user, kept.session, request, events);
          if ("code" in attached) throw new Error(`refused: ${attached.code}`);
          newest = attached.place.epoch;
        }
        await shaped.run(20, 5);
      }
    };
    await storm(4000);
    shaped.restart();
    told = 0;
    void kept.write(utf8("x"));
    await storm(2000);
    expect(echoed).toBe(1);
    expect(told).toBeLessThanOrEqual(6);
    await storm(4000);
    const quiet = Math.min(...shaped.trace["to-client"].map(({ length }) => length));
    expect(new Set(shaped.trace["to-client"].map(({ length }) => length))).toEqual(new Set([quiet]));
    await shaped.run(2000);
    expect(kept.viewers?.viewers.map(({ epoch }) => epoch)).toEqual([kept.epoch, newest]);
    await shaped.close();
  },
);

test("output that left the ring is told: how much, and exactly where", async () => {
  const total = 5 * SESSION_LIMITS.ringBytes;
  const process = new FakeProcess();
  let made = 0;
  let asked = false; // for what is behind the end: the session took all before
  let go: () => void = () => {};
  const detached = new Promise<void>((resolve) => {
    go = resolve;
  });
  process.stdout.read = async () => {
    await detached;
    if (made >= total) {
      asked = true;
      return await new Promise<undefined>(() => {});
    }
    made += 1024;
    return pattern(made - 1024, 1024);
  };
  const { reach } = world(() => process);
  const first = await reach();
  const one = await first.guest.openSession({ request: LOGIN });
  await one.detach();
  go();
  await until(() => asked);
  const second = await reach();
  const two = await second.guest.attach(attachTo(one, { after: one }));
  const lost = total - SESSION_LIMITS.ringBytes;
  expect(two).toMatchObject({ lost, nextOffset: lost, replayEnd: total });
  expect(await readBytes(two, SESSION_LIMITS.ringBytes)).toEqual(pattern(lost, SESSION_LIMITS.ringBytes));
  const beyond = second.guest.attach(attachTo(two, { from: total + 1 }));
  await expect(beyond).rejects.toMatchObject({ code: "session-gone" });
  await first.guest.close();
  await second.guest.close();
});

test("a slow viewer slows nobody, and is told what it missed; its bytes are right behind each gap", async () => {
  const process = new FakeProcess();
  const total = 4 * 1024 * 1024;
  let made = 0;
  process.stdout.read = async () => {
    if (made >= total) return await new Promise<undefined>(() => {});
    made += 16 * 1024;
    return pattern(made - 16 * 1024, 16 * 1024);
  };
  const { reach } = world(() => process);
  const first = await reach();
  const one = await first.guest.openSession({ request: LOGIN });
  const second = await reach();
  const slow = await second.guest.attach(attachTo(one, { mode: "read-only" }));
  let gaps = 0;
  slow.onGap = (lost) => {
    gaps += lost;
  };
  const whole = await readBytes(one, total); // while the slow one takes nothing at all
  expect(Buffer.compare(whole, pattern(0, total))).toBe(0);
  while (slow.nextOffset < total) {
    const chunk = (await slow.stdout.read()) as Uint8Array;
    expect(Buffer.compare(chunk, pattern(slow.nextOffset - chunk.length, chunk.length))).toBe(0);
    slow.stdout.consumed(chunk.length);
  }
  expect(gaps).toBeGreaterThan(1024 * 1024);
  await first.guest.close();
  await second.guest.close();
});

test("the only one that may type holds the program back, as ever; one that is gone does not", async () => {
  const process = new FakeProcess();
  let made = 0;
  process.stdout.read = async () => {
    made += 16 * 1024;
    return await new Promise((resolve) => setImmediate(() => resolve(pattern(made - 16 * 1024, 16 * 1024))));
  };
  const { clock, guest, reach } = world(() => process, SESSION_LIMITS, 100);
  const first = await reach();
  const one = await first.guest.openSession({ request: LOGIN });
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(made).toBeLessThan(2 * 1024 * 1024);
  const held = made;
  kill(first);
  const since = clock.now();
  await until(() => made > held + 1024 * 1024);
  expect(clock.now() - since).toBeGreaterThan(20_000); // it was waited for first
  guest.sessions.stop();
  await until(() => one.epoch === 1);
  await guest.endpoint.stop();
});

test("idle: nobody for as long as configured, and the program is hung up; attaching stops that", async () => {
  const clock = new ManualClock();
  const guest = testGuest(clock);
  const user = {
    name: "ada",
    method: "ssh-key",
    key: new Uint8Array(32),
    restrictions: UNRESTRICTED,
  } as const;
  const events = { isLive: () => true, fenced: () => {}, forgotten: () => {}, viewersChanged: () => {} };
  const own = { client: new Uint8Array(16), sizing: "smallest", idleSeconds: 0 } as const;
  const one = await guest.sessions.open(user, SHELL, own, events);
  if ("code" in one) throw new Error("not opened");
  one.leave();
  clock.advance(SESSION_LIMITS.idleMs - 1);
  expect(guest.processes[0]?.events).toEqual([]);
  const request = { ...own, mode: "read-only", offset: 0, columns: 1, rows: 1 } as const;
  const two = guest.sessions.attach(user, one.place.session, request, events);
  if ("code" in two) throw new Error("not attached");
  clock.advance(10 * SESSION_LIMITS.idleMs);
  expect(guest.processes[0]?.events).toEqual([]);
  two.leave();
  clock.advance(SESSION_LIMITS.idleMs);
  expect(guest.processes[0]?.events).toEqual(["hang up"]);
  const short = await guest.sessions.open(user, SHELL, { ...own, idleSeconds: 60 }, events);
  if ("code" in short) throw new Error("not opened");
  short.leave();
  clock.advance(59_999);
  expect(guest.processes[1]?.events).toEqual([]);
  clock.advance(1);
  expect(guest.processes[1]?.events).toEqual(["hang up"]);
  expect(guest.log).toContain("a session that nobody came back to is hung up");
});

test("without a key a session whose client never showed that it has the secret waits ten minutes, not a day", async () => {
  const events = { isLive: () => true, fenced: () => {}, forgotten: () => {}, viewersChanged: () => {} };
  const own = { client: new Uint8Array(16), sizing: "smallest", idleSeconds: 0 } as const;
  for (const how of ["never", "confirmed", "named", "with a key"]) {
    const clock = new ManualClock();
    const guest = testGuest(clock);
    const user =
      how === "with a key"
        ? ({ name: "root", method: "ssh-key", key: new Uint8Array(32), restrictions: UNRESTRICTED } as const)
        : ({ name: "root", method: "none" } as const);
    const one = await guest.sessions.open(user, how === "with a key" ? SHELL : LOGIN, own, events);
    if ("code" in one) throw new Error("not opened");
    clock.advance(2 * UNCONFIRMED_IDLE); // as long as its connection lives
    if (how === "confirmed") one.confirm();
    one.leave();
    if (how === "named") {
      const request = { ...own, mode: "read-only", offset: 0, columns: 1, rows: 1 } as const;
      const two = guest.sessions.attach(user, one.place.session, request, events);
      if ("code" in two) throw new Error("not attached");
      two.leave();
    }
    const waits = how === "never" ? UNCONFIRMED_IDLE : SESSION_LIMITS.idleMs;
    clock.advance(waits - 1);
    expect(guest.processes[0]?.events, how).toEqual([]);
    clock.advance(1);
    expect(guest.processes[0]?.events, how).toEqual(["hang up"]);
  }
});

test("a client confirms the answer to KEEP by itself; where the host drops that answer nothing does", async () => {
  for (const drops of [false, true]) {
    const { guest, reach } = world();
    const open = guest.sessions.open.bind(guest.sessions);
    let confirmed = 0;
    let left = 0;
    guest.sessions.open = async (...own) => {
      const opened = await open(...own);
      if ("code" in opened) throw new Error("refused");
      const leave = opened.leave.bind(opened);
      opened.confirm = () => void confirmed++;
      opened.leave = () => {
        left++;
        leave();
      };
      return opened;
    };
    let dropping = false;
    let dropped = 0;
    const first = await reach(NOBODY, (chunk, deliver, direction) => {
      if (dropping && direction === "to-client") dropped++;
      else deliver(chunk);
    });
    dropping = drops;
    const opening = first.guest.openSession({ request: LOGIN });
    if (drops) {
      opening.catch(() => {});
      await until(() => guest.processes.length === 1);
      const before = dropped;
      await until(() => dropped > before);
    } else {
      await opening;
      await until(() => confirmed > 0);
    }
    await first.guest.close();
    await until(() => left > 0);
    expect(confirmed > 0).toBe(!drops);
  }
});

test("limits: sessions of each kind, viewers of one, and a place again once one ended", async () => {
  const { guest, reach } = world();
  const { guest: user } = await reach();
  const opened: SessionChannel[] = [];
  for (let i = 0; i < MAX_LOGIN_SESSIONS; i++) {
    const one = await user.openSession({ request: LOGIN });
    opened.push(one);
    await one.detach();
  }
  await expect(user.openSession({ request: LOGIN })).rejects.toMatchObject({ code: "limit-exceeded" });
  await expect(user.openSession({ request: SHELL })).rejects.toMatchObject({ code: "user-refused" });
  guest.processes[0]?.finish({ kind: "exited", status: 3 });
  await until(() => guest.processes.length === MAX_LOGIN_SESSIONS);
  // The end of one that nobody saw waits for its client, until its place is needed.
  const seen = await user.attach(attachTo(opened[0] as SessionChannel));
  expect(await seen.exit).toEqual({ kind: "exited", status: 3 });
  const next = await user.openSession({ request: LOGIN });
  await expect(user.attach(attachTo(opened[0] as SessionChannel))).rejects.toMatchObject({
    code: "session-gone",
  });
  const owner = await reach(keyed("ada", 1)); // has places of its own
  const mine = await owner.guest.openSession({ request: SHELL });
  const viewers = [];
  for (let i = 1; i < MAX_VIEWERS; i++) viewers.push(await owner.guest.attach(attachTo(mine)));
  const more = owner.guest.attach(attachTo(mine));
  await expect(more).rejects.toMatchObject({ code: "limit-exceeded" });
  await owner.guest.attach(attachTo(mine, { client: mine.client })); // takes its own place
  expect(viewers.length).toBe(MAX_VIEWERS - 1);
  await next.detach();
  await user.close();
  await owner.guest.close();
});

test("the host replays a connection with its ATTACH, days later: the keys are gone, nothing happens", async () => {
  const { guest, reach } = world();
  const first = await reach();
  const one = await first.guest.openSession({ request: LOGIN });
  await one.write(utf8("once"));
  await readBytes(one, 4);
  await first.guest.close();
  const recorded: Uint8Array[] = [];
  const second = await reach(NOBODY, (chunk, deliver, direction) => {
    if (direction === "to-guest") recorded.push(chunk.slice());
    deliver(chunk);
  });
  const two = await second.guest.attach(attachTo(one, { after: one }));
  await two.write(utf8("more"));
  expect(await readBytes(two, 4)).toEqual(utf8("more"));
  await second.guest.close();
  await until(() => guest.endpoint.connectionCount === 0);
  const pipes = memoryPipes();
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  for (let round = 0; round < 3; round++) {
    for (const chunk of recorded) {
      await pipes.client.send(chunk);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  expect(concat(...(guest.processes[0]?.input ?? []))).toEqual(utf8("oncemore"));
  const third = await reach();
  expect(await third.guest.listSessions([one.session])).toMatchObject([{ viewers: 0 }]);
  const three = await third.guest.attach(attachTo(one, { after: two }));
  expect(three.epoch).toBe(two.epoch + 1);
  await third.guest.close();
});

test("an ended session that is killed is forgotten whole: no timer, and none of its output, stays", async () => {
  const clock = new ManualClock();
  const guest = testGuest(clock, {}, () => {
    const process = new FakeProcess();
    process.print(new Uint8Array(SESSION_LIMITS.ringBytes));
    return process;
  });
  const user = { name: "root", method: "none" } as const;
  const events = { isLive: () => true, fenced: () => {}, forgotten: () => {}, viewersChanged: () => {} };
  const own = { client: new Uint8Array(16), sizing: "smallest", idleSeconds: 0 } as const;
  for (let i = 0; i < 50; i++) {
    const one = await guest.sessions.open(user, LOGIN, own, events);
    if ("code" in one) throw new Error(`refused: ${one.code}`);
    expect(await one.read()).toBeInstanceOf(Uint8Array);
    one.leave();
    expect(guest.sessions.kill(user, one.place.session)).toBe(true); // hangs up
    await new Promise((resolve) => setImmediate(resolve));
    expect(clock.timers).toBe(1);
    expect(guest.sessions.kill(user, one.place.session)).toBe(true); // forgets
    expect(clock.timers).toBe(0);
  }
  expect(guest.processes).toHaveLength(50);
});

test("a killed session leaves with everyone attached: a stalled viewer holds none of its output, and is told what it lost", async () => {
  const total = 4 * 1024 * 1024;
  const process = new FakeProcess();
  process.print(new Uint8Array(total));
  const { reach } = world(() => process, { ...SESSION_LIMITS, ringBytes: total });
  const first = await reach();
  const one = await first.guest.openSession({ request: LOGIN });
  const second = await reach();
  const stalled = await second.guest.attach(attachTo(one, { mode: "read-only" }));
  await readBytes(one, total);
  expect(await first.guest.killSession(one.session)).toBe(true);
  expect(await one.exit).toEqual({ kind: "signalled", signal: "SIGHUP" });
  expect(await first.guest.listSessions([one.session])).toMatchObject([{ running: false, viewers: 1 }]);
  expect(await first.guest.killSession(one.session)).toBe(true);
  expect(await first.guest.listSessions([one.session])).toEqual([]);
  let lost = 0;
  stalled.onGap = (bytes) => {
    lost += bytes;
  };
  const seen = await readBytes(stalled, total);
  expect(seen.length).toBeGreaterThan(0);
  expect(seen.length).toBeLessThan(1024 * 1024); // what was under way
  expect(lost).toBe(total - seen.length);
  await expect(stalled.ended).rejects.toMatchObject({ code: "session-gone" }); // no end that looks clean
  await expect(stalled.exit).rejects.toMatchObject({ code: "session-gone" });
  await first.guest.close();
  await second.guest.close();
});

test("an ended session is kept while somebody who lives is attached, and no longer; who is behind is told what is lost", async () => {
  for (const ends of ["leaves", "dies", "stays"]) {
    const clock = new ManualClock();
    const guest = testGuest(clock);
    const user = { name: "root", method: "none" } as const;
    const lost: number[] = [];
    let live = true;
    const events = {
      isLive: () => live,
      fenced: () => {},
      forgotten: (bytes: number) => void lost.push(bytes),
      viewersChanged: () => {},
    };
    const own = { client: new Uint8Array(16), sizing: "smallest", idleSeconds: 0 } as const;
    const one = await guest.sessions.open(user, LOGIN, own, events);
    if ("code" in one) throw new Error("not opened");
    const listed = (): number => guest.sessions.list(user, [one.place.session]).length;
    guest.processes[0]?.print(utf8("shown, "));
    await new Promise((resolve) => setImmediate(resolve));
    expect(await one.read()).toEqual(utf8("shown, "));
    guest.processes[0]?.print(utf8("not shown"));
    guest.processes[0]?.finish({ kind: "exited", status: 0 });
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(3 * KEEP_ENDED);
    expect(listed()).toBe(1);
    if (ends === "leaves") one.leave();
    if (ends === "dies") live = false;
    clock.advance((ends === "stays" ? KEEP_ENDED_AT_MOST - 3 * KEEP_ENDED : KEEP_ENDED) - 1);
    expect(listed()).toBe(1);
    clock.advance(1);
    expect(listed()).toBe(0);
    expect(lost).toEqual(ends === "leaves" ? [] : ["not shown".length]);
    expect(await one.read()).toBeUndefined();
    expect(clock.timers).toBe(0);
  }
});

test("an ended session makes room where nobody who lives is attached, and not where somebody is", async () => {
  const guest = testGuest(new ManualClock());
  const user = { name: "root", method: "none" } as const;
  let live = true;
  let told = 0;
  const events = {
    isLive: () => live,
    fenced: () => {},
    forgotten: () => void told++,
    viewersChanged: () => {},
  };
  const own = { client: new Uint8Array(16), sizing: "smallest", idleSeconds: 0 } as const;
  for (let i = 0; i < MAX_LOGIN_SESSIONS; i++) {
    await guest.sessions.open(user, LOGIN, own, events);
    guest.processes[i]?.print(utf8("not taken"));
    guest.processes[i]?.finish({ kind: "exited", status: 0 });
  }
  await new Promise((resolve) => setImmediate(resolve));
  expect(await guest.sessions.open(user, LOGIN, own, events)).toEqual({ code: ATTACH_TOO_MANY });
  live = false;
  expect(await guest.sessions.open(user, LOGIN, own, events)).toHaveProperty("place");
  expect(told).toBe(1);
});

/** Ignores SIGHUP: its terminal is gone, its output ends, and it goes on. */
class Stubborn extends FakeProcess {
  #end: () => void = () => {};
  readonly #ended = new Promise<undefined>((resolve) => {
    this.#end = () => resolve(undefined);
  });
  override readonly stdout = { read: () => this.#ended };
  override hangUp(): void {
    this.events.push("hang up");
    this.#end();
  }
}

test.each(["killed", "hung up", "idle, then attached to"])(
  "a session whose program ignores its hang-up: whoever is attached is told of it, not left waiting (%s)",
  async (how) => {
    const { guest, reach } = world(() => new Stubborn(), { ...SESSION_LIMITS, idleMs: 2000 }, 30);
    const { guest: user, attested } = await reach();
    let one = await user.openSession({ request: LOGIN });
    if (how === "killed") expect(await user.killSession(one.session)).toBe(true);
    else if (how === "hung up") one.hangUp();
    else {
      await one.detach();
      await until(() => guest.processes[0]?.events.includes("hang up") === true);
      one = await user.attach(attachTo(one));
    }
    expect(await one.stdout.read()).toBeUndefined();
    await expect(one.ended).rejects.toMatchObject({ code: "session-gone" });
    const late = await user.attach(attachTo(one)); // it is still kept
    await expect(late.ended).rejects.toMatchObject({ code: "session-gone" });
    await attested.close();
    await guest.endpoint.stop();
  },
);

test("a program that closes its terminal and runs on: its end is told, or that nobody waits for it any longer", async () => {
  for (const ends of [true, false]) {
    const clock = new ManualClock();
    const guest = testGuest(clock);
    const user = { name: "root", method: "none" } as const;
    const forgotten: number[] = [];
    const events = {
      isLive: () => true,
      fenced: () => {},
      forgotten: (lost: number) => void forgotten.push(lost),
      viewersChanged: () => {},
    };
    const own = { client: new Uint8Array(16), sizing: "smallest", idleSeconds: 0 } as const;
    const one = await guest.sessions.open(user, LOGIN, own, events);
    if ("code" in one) throw new Error("not opened");
    const [process] = guest.processes;
    process?.endOutput();
    expect(await one.read()).toBeUndefined();
    clock.advance(KEEP_ENDED - 1);
    if (ends) {
      process?.finish({ kind: "exited", status: 3 });
      expect(await one.exit).toEqual({ kind: "exited", status: 3 });
      continue;
    }
    expect(forgotten).toEqual([]);
    clock.advance(1); // nothing is left to take: it is not kept for hours
    expect(forgotten).toEqual([0]);
    expect(clock.timers).toBe(0);
  }
});

test("an ended session whose output was taken makes room, yet not while its exit status may just be on its way", async () => {
  const clock = new ManualClock();
  const guest = testGuest(clock);
  const user = { name: "root", method: "none" } as const;
  const events = { isLive: () => true, fenced: () => {}, forgotten: () => {}, viewersChanged: () => {} };
  const own = { client: new Uint8Array(16), sizing: "smallest", idleSeconds: 0 } as const;
  for (let i = 0; i < MAX_LOGIN_SESSIONS; i++) {
    await guest.sessions.open(user, LOGIN, own, events);
    guest.processes[i]?.endOutput();
  }
  await new Promise((resolve) => setImmediate(resolve));
  expect(await guest.sessions.open(user, LOGIN, own, events)).toEqual({ code: ATTACH_TOO_MANY });
  clock.advance(60_000);
  expect(await guest.sessions.open(user, LOGIN, own, events)).toHaveProperty("place");
});

test.each([false, true])(
  "a session that is forgotten between the end of its output and the program's: the channel ends (while output waits: %s)",
  async (waits) => {
    const connection = { onWork: () => {}, isFull: () => waits } as unknown as StreamConnection;
    const windows = { receive: INPUT_STREAM_WINDOW, send: OUTPUT_STREAM_WINDOW };
    const streams = { inOut: new Stream(2, windows), error: new Stream(3, windows) };
    const attachment = {
      mode: "read-write",
      read: async () => undefined,
      leave: () => {},
      exit: new Promise(() => {}),
    } as unknown as SessionAttachment;
    const open = new GuestAttachment(attachment, connection, streams);
    const said: unknown[] = [];
    const run = open.run(1, { send: (message: unknown) => said.push(message) } as unknown as MessageStream);
    await new Promise((resolve) => setImmediate(resolve));
    open.forgotten(0);
    await run;
    expect(said).toEqual([{ type: "detached", channel: 1, why: DETACH_LOST }]);
  },
);

test("a killed session ends though the one that may type takes nothing", async () => {
  const process = new FakeProcess();
  const read = process.stdout.read;
  let over = false;
  process.stdout.read = async () => (over ? await read() : new Uint8Array(16 * 1024));
  process.hangUp = () => {
    over = true;
    process.finish({ kind: "signalled", signal: "SIGHUP" });
  };
  const guest = testGuest(new ManualClock(), {}, () => process);
  const user = { name: "root", method: "none" } as const;
  const events = { isLive: () => true, fenced: () => {}, forgotten: () => {}, viewersChanged: () => {} };
  const own = { client: new Uint8Array(16), sizing: "smallest", idleSeconds: 0 } as const;
  const one = await guest.sessions.open(user, LOGIN, own, events);
  if ("code" in one) throw new Error("not opened");
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(guest.sessions.kill(user, one.place.session)).toBe(true);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(guest.sessions.list(user, [one.place.session])).toMatchObject([{ running: false }]);
});

test("a program that does not read holds on to no one who left: their input is settled, counted or not", async () => {
  const process = new FakeProcess();
  let go = (): void => {};
  process.reads = () =>
    new Promise((resolve) => {
      go = resolve;
    });
  const guest = testGuest(new ManualClock(), {}, () => process);
  const user = { name: "root", method: "none" } as const;
  const events = { isLive: () => true, fenced: () => {}, forgotten: () => {}, viewersChanged: () => {} };
  const own = { client: new Uint8Array(16), sizing: "smallest", idleSeconds: 0 } as const;
  const first = await guest.sessions.open(user, LOGIN, own, events);
  if ("code" in first) throw new Error("not opened");
  const settled: boolean[] = [];
  const type = (attachment: SessionAttachment, bytes: string): void =>
    void attachment.write(utf8(bytes)).then((taken) => settled.push(taken));
  type(first, "held by the program");
  type(first, "never counted");
  let last: SessionAttachment = first;
  const request = { ...own, mode: "read-write", offset: 0, columns: 80, rows: 24 } as const;
  for (let i = 0; i < 100; i++) {
    const next = guest.sessions.attach(user, first.place.session, request, events);
    if ("code" in next) throw new Error("not attached");
    expect(next.place.input).toBe(19);
    last = next;
    if (i < 99) type(next, "neither");
  }
  await new Promise((resolve) => setImmediate(resolve));
  expect(settled).toEqual([true, ...Array.from({ length: 100 }, () => false)]);
  type(last, ", and on");
  go();
  await new Promise((resolve) => setImmediate(resolve));
  go();
  await new Promise((resolve) => setImmediate(resolve));
  expect(settled.at(-1)).toBe(true);
  expect(concat(...process.input)).toEqual(utf8("held by the program, and on"));
});

test("a client that the guest forgot is never taken for a new one: what it kept is dropped, not typed again", async () => {
  const { guest, reach } = world();
  const first = await reach();
  const one = await first.guest.openSession({ request: LOGIN });
  await one.write(utf8("once")); // so little that no credit is told: the client keeps all of it
  await readBytes(one, 4);
  await first.guest.close();
  const second = await reach();
  const come = async (mode: "read-write" | "read-only"): Promise<void> => {
    const other = await second.guest.attach(attachTo(one, { mode }));
    await other.detach();
  };
  for (let i = 0; i <= MAX_SESSION_CLIENTS; i++) await come("read-write");
  const two = await second.guest.attach(attachTo(one, { after: one }));
  expect(two.inputUnsure).toBe(true);
  await two.write(utf8(", twice"));
  expect((await readBytes(two, 7)).length).toBe(7);
  await two.detach();
  // And again, with a count that began above.
  for (let i = 0; i <= MAX_SESSION_CLIENTS; i++) await come("read-write");
  const three = await second.guest.attach(attachTo(one, { after: two }));
  expect(three.inputUnsure).toBe(true);
  await three.write(utf8("!"));
  expect((await readBytes(three, 1)).length).toBe(1);
  const four = await second.guest.attach(attachTo(one, { after: three }));
  expect(four.inputUnsure).toBe(false); // known, and told the count that it has
  expect(concat(...(guest.processes[0]?.input ?? []))).toEqual(utf8("once, twice!"));
  await second.guest.close();
});

test("a crowd that only looks on keeps nobody out who types: not out of a place, and not out of the counts", async () => {
  const { guest, reach } = world();
  const first = await reach();
  const one = await first.guest.openSession({ request: LOGIN });
  await one.write(utf8("kept")); // so little that no credit is told: the client keeps all of it
  await readBytes(one, 4);
  await first.guest.close();
  const second = await reach(); // of a connection without a key: four channels
  for (let i = 0; i <= MAX_SESSION_CLIENTS; i++) {
    const looking = await second.guest.attach(attachTo(one, { mode: "read-only" }));
    await looking.detach();
  }
  const events = { isLive: () => true, fenced: () => {}, forgotten: () => {}, viewersChanged: () => {} };
  const look = (i: number) => {
    const client = new Uint8Array(16).fill(i);
    const request = { client, mode: "read-only", offset: 0, columns: 80, rows: 24 } as const;
    return guest.sessions.attach({ name: "root", method: "none" }, one.session, request, events);
  };
  for (let i = 0; i < MAX_READ_ONLY; i++) expect(look(i)).toHaveProperty("place");
  expect(look(MAX_READ_ONLY)).toEqual({ code: ATTACH_TOO_MANY });
  expect(look(0)).toHaveProperty("place"); // its own place again
  const two = await second.guest.attach(attachTo(one, { after: one }));
  expect(two.inputUnsure).toBe(false);
  await two.write(utf8(", on"));
  expect((await readBytes(two, 4)).length).toBe(4);
  expect(concat(...(guest.processes[0]?.input ?? []))).toEqual(utf8("kept, on"));
  await second.guest.close();
});

test("who was silent for long leaves its place to one that comes, whoever lives keeps it", async () => {
  const { guest, reach } = world();
  const { guest: own } = await reach();
  const one = await own.openSession({ request: LOGIN });
  const ended: number[] = [];
  let silent = new Set<number>();
  const look = (i: number, mode: "read-only" | "read-write") => {
    const request = { client: new Uint8Array(16).fill(i), mode, offset: 0, columns: 80, rows: 24 } as const;
    return guest.sessions.attach({ name: "root", method: "none" }, one.session, request, {
      isLive: () => !silent.has(i),
      fenced: () => void ended.push(i),
      forgotten: () => {},
      viewersChanged: () => {},
    });
  };
  for (let i = 1; i < MAX_VIEWERS; i++)
    expect(look(i, i <= MAX_READ_ONLY ? "read-only" : "read-write")).toHaveProperty("place");
  expect(look(20, "read-write")).toEqual({ code: ATTACH_TOO_MANY });
  silent = new Set([7, 2]);
  expect(look(21, "read-only")).toHaveProperty("place");
  expect(ended).toEqual([2]);
  expect(look(22, "read-write")).toHaveProperty("place");
  expect(ended).toEqual([2, 7]);
  expect(look(23, "read-write")).toEqual({ code: ATTACH_TOO_MANY });
  await own.close();
});

test("the connection ends while the program is being started: it is hung up, nobody could ever attach", async () => {
  const clock = fastClock(10);
  const process = new FakeProcess();
  let started = (): void => {};
  const startProcess = () =>
    new Promise<FakeProcess>((resolve) => {
      started = () => resolve(process);
    });
  const guest = testGuest(clock, { startProcess });
  const pipes = memoryPipes();
  void guest.endpoint.servePipe(pipes.guest).catch(() => {});
  const attested = await connect(clientOptions(clock, async () => pipes.client));
  const user = await attested.authenticate(NOBODY);
  const opening = user.openSession({ request: LOGIN });
  opening.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 50));
  await user.close();
  started();
  await expect(opening).rejects.toThrow(SealttyError);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(process.events).toEqual(["hang up"]);
});

test("a terminal that cannot be resized, and a viewer that cannot be told, keep nobody from coming and going", async () => {
  const guest = testGuest(new ManualClock());
  const user = { name: "root", method: "none" } as const;
  const broken = (): never => {
    throw new Error("broken");
  };
  const events = { isLive: () => true, fenced: () => {}, forgotten: () => {}, viewersChanged: broken };
  const own = { client: new Uint8Array(16), sizing: "smallest", idleSeconds: 0 } as const;
  const one = await guest.sessions.open(user, LOGIN, own, events);
  if ("code" in one) throw new Error("not opened");
  (guest.processes[0] as FakeProcess).resize = broken;
  const request = { client: new Uint8Array(16).fill(1), mode: "read-write", offset: 0 } as const;
  const two = guest.sessions.attach(
    user,
    one.place.session,
    { ...request, columns: 10, rows: 10 },
    { ...events, viewersChanged: () => {} },
  );
  if ("code" in two) throw new Error("not attached");
  two.leave();
  one.leave();
  expect(guest.sessions.list(user, [one.place.session])).toMatchObject([{ viewers: 0 }]);
  expect(guest.log).toContain("a session's terminal cannot be resized");
});

test("output that cannot be taken hangs up that session, and no other", async () => {
  const guest = testGuest(new ManualClock());
  const user = { name: "root", method: "none" } as const;
  const events = { isLive: () => true, fenced: () => {}, forgotten: () => {}, viewersChanged: () => {} };
  const own = { client: new Uint8Array(16), sizing: "smallest", idleSeconds: 0 } as const;
  const one = await guest.sessions.open(user, LOGIN, own, events);
  const other = await guest.sessions.open(user, LOGIN, own, events);
  if ("code" in one || "code" in other) throw new Error("not opened");
  const [broken, well] = guest.processes;
  if (broken === undefined || well === undefined) throw new Error("not started");
  broken.stdout.read = () => Promise.reject(new Error("broken"));
  broken.print(utf8("the last"));
  expect(await one.read()).toEqual(utf8("the last"));
  expect(await one.read()).toBeUndefined();
  expect(broken.events).toEqual(["hang up"]);
  expect(await one.exit).toEqual({ kind: "signalled", signal: "SIGHUP" });
  expect(guest.log).toContain("a session's output cannot be taken: it is hung up");
  const names = [one, other].map((each) => each.place.session);
  expect(guest.sessions.list(user, names)).toMatchObject([{ running: false }, { running: true }]);
  well.print(utf8("goes on"));
  expect(await other.read()).toEqual(utf8("goes on"));
  expect(well.events).toEqual([]);
});

test("no credit for input that was not counted: its client must keep it", async () => {
  for (const taken of [true, false]) {
    const connection = {
      onWork: () => {},
      isFull: () => false,
    } as unknown as StreamConnection;
    const windows = { receive: INPUT_STREAM_WINDOW, send: OUTPUT_STREAM_WINDOW };
    const streams = { inOut: new Stream(2, windows), error: new Stream(3, windows) };
    const attachment = {
      mode: "read-write",
      confirm: () => {},
      read: () => new Promise(() => {}),
      write: async () => taken,
      leave: () => {},
      exit: new Promise(() => {}),
    } as unknown as SessionAttachment;
    const open = new GuestAttachment(attachment, connection, streams);
    streams.inOut.receive.push(0, new Uint8Array(INPUT_STREAM_WINDOW), false);
    void open.run(1, { send: () => {} } as unknown as MessageStream);
    await new Promise((resolve) => setImmediate(resolve));
    expect(streams.inOut.windowDue).toBe(taken);
  }
});

test("a ring that is wiped gives its memory back, and goes on at the same offset", () => {
  const ring = new ByteRing();
  ring.append(new Uint8Array(100_000).fill(1));
  const held = ring.view(0, 1).buffer;
  ring.wipe();
  expect(new Uint8Array(held).every((byte) => byte === 0)).toBe(true);
  expect(ring.view(ring.end, 1).buffer.byteLength).toBe(0);
  ring.append(utf8("on"));
  expect([ring.start, ring.end, ring.view(ring.start, 2).slice()]).toEqual([100_000, 100_002, utf8("on")]);
});

/** Bytes that say where they stand. */
function pattern(from: number, length: number): Uint8Array {
  return new Uint8Array(length).map((_, i) => {
    const at = from + i;
    return (at * 31 + (at >>> 8) * 7 + (at >>> 16)) & 0xff;
  });
}

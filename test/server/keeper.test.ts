// Kept sessions in another process than the connections to them: what a front has of them, over a real socket, is what it would have in
// its own memory; and what a front says badly ends its link, and nothing else.

import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import * as fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import type { Clock } from "../../protocol/clock.ts";
import { nodeClock } from "../../node/clock.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { concat, u32, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import type { AttachmentEvents, SessionAttachment } from "../../protocol/session/guest-sessions.ts";
import { ATTACH_UNKNOWN } from "../../protocol/session/session-messages.ts";
import { UNRESTRICTED } from "../../protocol/user-auth/restrictions.ts";
import { Fronts } from "../../server/keeper/fronts.ts";
import { RemoteSessions } from "../../server/keeper/remote-sessions.ts";
import {
  askedBody,
  CALLS,
  readReadAnswer,
  readAnswerBody,
  readExit,
  exitBody,
} from "../../server/keeper/wire.ts";
import { Link } from "../../server/monitor/link.ts";
import type { NamedUser } from "../../server/monitor/operations.ts";
import { SessionRegistry } from "../../server/sessions/registry.ts";
import { ManualClock } from "../support/clocks.ts";
import { testSeed } from "../support/seeded.ts";
import { echoProcess, FakeProcess, SESSION_LIMITS } from "../support/session.ts";

const seed = testSeed();
const LOGIN = { kind: "login", term: "xterm", columns: 80, rows: 24 } as const;
const SHELL = { ...LOGIN, kind: "shell", command: [], environment: {} } as const;
const alice = {
  name: "alice",
  method: "ssh-key" as const,
  key: new Uint8Array(32).fill(1),
  restrictions: UNRESTRICTED,
  ticket: 1,
};
const nobody: AuthenticatedUser = { name: "", method: "none" };
const OWN = { client: new Uint8Array(16).fill(9), sizing: "smallest", idleSeconds: 0 } as const;
const PLACE = { client: OWN.client, mode: "read-write", offset: 0, columns: 80, rows: 24 } as const;

const cleanUp: (() => void)[] = [];
afterEach(() => {
  for (const step of cleanUp.splice(0).reverse()) step();
});

const PASS = new Uint8Array(16).fill(3);
const NEXT_PASS = new Uint8Array(16).fill(4);

/** @param answered - the monitor answers about a user once this has resolved. */
function keeper({
  makeProcess = echoProcess,
  answered = () => Promise.resolve(),
  begun = () => Promise.resolve(),
  clock = nodeClock,
}: {
  readonly makeProcess?: () => FakeProcess;
  readonly answered?: () => Promise<void>;
  /** Programs run once this has resolved. */
  readonly begun?: () => Promise<void>;
  readonly clock?: Clock;
} = {}) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-keeper-"));
  const socket = path.join(directory, "s");
  const processes: FakeProcess[] = [];
  const asked: NamedUser[] = [];
  const sessions = new SessionRegistry({
    suite: nodeSuite,
    clock: nodeClock,
    limits: SESSION_LIMITS,
    startProcess: async () => {
      const made = makeProcess();
      processes.push(made);
      await begun();
      return made;
    },
    log: () => {},
  });
  const fronts = new Set<net.Socket>();
  const taking = new Fronts({
    sessions,
    clock,
    async whoIs(user) {
      asked.push(user);
      await answered();
      if (user.ticket === undefined) return { name: user.name, method: "none" };
      if (user.ticket === alice.ticket && user.name === alice.name) return alice;
      throw new SealttyError("user-refused", "Nobody has signed in so");
    },
  });
  taking.admit(PASS);
  const server = net.createServer((front) => {
    fronts.add(front);
    void taking.take(front);
  });
  server.listen(socket);
  cleanUp.push(() => {
    sessions.stop();
    for (const front of fronts) front.destroy();
    server.close();
    fs.rmSync(directory, { recursive: true });
  });
  const front = (pass = PASS, isThere = true) => {
    const find = async () => (isThere ? { socket, pass } : undefined);
    const own = new RemoteSessions({ clock: nodeClock, find, log: () => {} });
    cleanUp.push(() => own.stop());
    return own;
  };
  return {
    socket,
    front,
    processes,
    asked,
    sessions,
    taking,
    cut: () => fronts.forEach((each) => each.destroy()),
  };
}

function watching(): AttachmentEvents & { readonly heard: string[] } {
  const heard: string[] = [];
  return {
    heard,
    isLive: () => true,
    fenced: () => void heard.push("fenced"),
    forgotten: (lost) => void heard.push(`forgotten ${lost}`),
    unreachable: () => void heard.push("unreachable"),
    viewersChanged: () => void heard.push("viewers"),
  };
}

function attached(answer: SessionAttachment | { readonly code: number }): SessionAttachment {
  if ("code" in answer) throw new Error(`refused: ${answer.code}`);
  return answer;
}

async function text(attachment: SessionAttachment, length: number): Promise<string> {
  let all = "";
  while (all.length < length) {
    const next = await attachment.read();
    if (!(next instanceof Uint8Array)) throw new Error(`no output, but ${JSON.stringify(next)}`);
    all += Buffer.from(next).toString();
  }
  return all;
}

async function closed(socket: net.Socket): Promise<void> {
  if (!socket.closed) await once(socket, "close");
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 2));
}

test("a session is opened, typed into, seen by two, listed and killed", async () => {
  const { front, processes, asked } = keeper();
  const own = front();
  const events = watching();
  const one = attached(await own.open(alice, SHELL, OWN, events));
  expect(one.viewers).toMatchObject({ columns: 80, rows: 24, viewers: [{ own: true, user: "alice" }] });
  expect(await one.write(utf8("abc"))).toBe(true);
  expect(await text(one, 3)).toBe("abc");
  const { session } = one.place;
  const client = new Uint8Array(16).fill(8);
  const two = attached(await own.attach(alice, session, { ...PLACE, client, columns: 70 }, watching()));
  expect(await text(two, 3)).toBe("abc"); // from the ring
  await until(() => one.viewers.viewers.length === 2);
  expect(one.viewers.columns).toBe(70);
  expect(events.heard).toContain("viewers");
  two.signal("SIGINT");
  two.leave();
  await until(() => one.viewers.viewers.length === 1);
  expect(processes[0]?.events).toEqual(["resize 70x24", "SIGINT", "resize 80x24"]);
  expect(await two.write(utf8("x"))).toBe(false);
  expect(await two.read()).toBeUndefined();
  expect(await two.exit).toBeUndefined();
  expect(await own.list(alice, [])).toMatchObject([{ id: session.id, running: true, title: "shell" }]);
  expect(await own.list(nobody, [])).toEqual([]);
  expect(await own.kill(alice, { id: new Uint8Array(16), secret: undefined })).toBe(false);
  expect(await own.kill(alice, session)).toBe(true);
  expect(await one.exit).toEqual({ kind: "signalled", signal: "SIGHUP" });
  expect(asked.every(({ name, ticket }) => (name === "alice") === (ticket === 1))).toBe(true);
});

test("a front ends: with a key the next one's client goes on at the next byte; without one it is hung up", async () => {
  const { front, processes, taking } = keeper();
  const first = front();
  const events = watching();
  const one = attached(await first.open(alice, SHELL, OWN, events));
  const login = attached(await first.open(nobody, LOGIN, OWN, watching()));
  await one.write(utf8("before"));
  expect(await text(one, 6)).toBe("before");
  const reading = one.read();
  taking.ended();
  expect(await reading).toBeUndefined();
  await until(() => events.heard.at(-1) === "unreachable"); // nobody says that the session is gone: it is not
  expect(await login.write(utf8("x"))).toBe(false);
  await until(() => processes[1]?.events.includes("hang up") === true);
  expect(processes[0]?.events).toEqual([]);
  processes[0]?.print(utf8(" meanwhile"));
  taking.admit(NEXT_PASS);
  const second = front(NEXT_PASS);
  const two = attached(await second.attach(alice, one.place.session, { ...PLACE, offset: 6 }, watching()));
  expect(two.place).toMatchObject({ from: 6, lost: 0, input: 6 });
  expect(await text(two, 10)).toBe(" meanwhile");
});

test("a connection that breaks while its front lives: its clients come back over another, sessions without a key, too", async () => {
  const { front, processes, cut } = keeper();
  const own = front();
  const events = watching();
  const one = attached(await own.open(nobody, LOGIN, OWN, events));
  cut();
  await until(() => events.heard.at(-1) === "unreachable");
  const again = attached(await own.attach(nobody, one.place.session, PLACE, watching()));
  await again.write(utf8("here"));
  expect(await text(again, 4)).toBe("here");
  expect(processes[0]?.events).toEqual([]);
});

describe("whoever may connect and is not the front", () => {
  const link = async (socket: string, pass: Uint8Array | undefined) => {
    const stream = net.connect(socket);
    await once(stream, "connect");
    if (pass !== undefined) stream.write(pass);
    const ended = once(stream, "close");
    const made = new Link(stream, { onNotice: () => {}, onEnd: () => {} });
    cleanUp.push(() => made.close());
    const list = () => made.call(CALLS.list, askedBody(alice, { type: "list", question: 0, proofs: [] }));
    return { list, ended };
  };

  test("gets nothing without this front's number, of an earlier one's neither, and is cut off", async () => {
    const { socket, front, asked, taking } = keeper();
    const [none, wrong] = [await link(socket, undefined), await link(socket, NEXT_PASS)];
    for (const each of [none, wrong]) {
      await expect(each.list()).rejects.toMatchObject({ code: "transport-lost" });
      await each.ended;
    }
    await front().list(alice, []);
    const left = await link(socket, PASS); // of the same front
    await left.list();
    const before = asked.length;
    taking.ended();
    await left.ended; // what it holds open is of no use any more
    for (const pass of [PASS, new Uint8Array(16)]) {
      const late = await link(socket, pass);
      await expect(late.list()).rejects.toMatchObject({ code: "transport-lost" });
    }
    taking.admit(NEXT_PASS);
    await expect((await link(socket, PASS)).list()).rejects.toMatchObject({ code: "transport-lost" });
    expect(asked).toHaveLength(before);
    expect(await front(NEXT_PASS).list(alice, [])).toEqual([]);
  });

  test("says nothing for long, or is there many times: cut off, and the front's own is not", async () => {
    const clock = new ManualClock();
    const { socket, front } = keeper({ clock });
    const own = front();
    expect(await own.list(alice, [])).toEqual([]);
    const silent: net.Socket[] = [];
    for (let i = 0; i < 20; i++) {
      const each = net.connect(socket);
      each.on("error", () => {});
      cleanUp.push(() => each.destroy());
      await once(each, "connect");
      silent.push(each);
    }
    await Promise.all(silent.slice(0, 4).map(closed));
    await until(() => clock.timers === 16);
    clock.advance(5000);
    await Promise.all(silent.map(closed));
    expect(await own.list(alice, [])).toEqual([]);
  });

  test("a second connection of the front's takes the first one's place", async () => {
    const { socket } = keeper();
    const first = await link(socket, PASS);
    await first.list();
    const second = await link(socket, PASS);
    await second.list();
    await first.ended;
    await expect(first.list()).rejects.toMatchObject({ code: "transport-lost" });
    await second.list();
  });
});

describe("a front that asks for as much as it can", () => {
  test("about users: so many questions reach the monitor at a time, over however many connections", async () => {
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const { socket, front, asked } = keeper({ answered: () => gate });
    const list = askedBody(alice, { type: "list", question: 0, proofs: [] });
    let cut: Promise<unknown> = Promise.resolve(); // of the one before
    for (let i = 0; i < 3; i++) {
      const stream = net.connect(socket);
      stream.write(PASS);
      const link = new Link(stream, { onEnd: () => {} });
      cleanUp.push(() => link.close());
      for (let n = 0; n < 1000; n++) link.call(CALLS.list, list).catch(() => {});
      await cut;
      cut = once(stream, "close");
      await until(() => asked.length >= 64);
    }
    const listed = front().list(alice, []);
    await cut;
    expect(asked).toHaveLength(64);
    open();
    expect(await listed).toEqual([]); // what the cut ones had asked, nobody waits for
    expect(asked.length).toBeLessThan(64 * 3);
  });

  test("of one attachment: a read and a write at a time", async () => {
    const { socket, front } = keeper({ makeProcess: () => new FakeProcess() });
    const one = attached(await front().open(alice, SHELL, OWN, watching()));
    const stream = net.connect(socket);
    stream.write(PASS);
    const link = new Link(stream, { onNotice: () => {}, onEnd: () => {} });
    cleanUp.push(() => link.close());
    const { session } = one.place;
    const attach = { type: "attach", channel: 1, session, ...PLACE, screenLines: undefined } as const;
    await link.call(CALLS.attach, askedBody(alice, attach));
    const first = link.call(CALLS.read, u32(1));
    first.catch(() => {});
    await expect(link.call(CALLS.read, u32(1))).rejects.toMatchObject({ code: "peer-misbehaved" });
  });

  test("of the keeper: an honest front's clients cannot ask so much at once that its only connection ends", async () => {
    let open = (): void => {};
    let gate = Promise.resolve();
    const { front } = keeper({ answered: () => gate });
    const own = front();
    const events = watching();
    const one = attached(await own.open(alice, SHELL, OWN, events));
    gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const lists = Array.from({ length: 3000 }, () => own.list(alice, []));
    await one.write(utf8("still")); // what is typed waits for none of them
    expect(await text(one, 5)).toBe("still");
    open();
    for (const listed of await Promise.all(lists)) expect(listed).toHaveLength(1);
    expect(events.heard).not.toContain("unreachable");
  });
});

test("what a front asked for and did not live to hear: no program for it, and one that had begun is hung up", async () => {
  for (const which of ["answered", "begun"] as const) {
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const { front, processes, asked, taking } = keeper({ [which]: () => gate });
    const own = front();
    const opening = own.open(alice, SHELL, OWN, watching());
    await until(() => (which === "begun" ? processes.length === 1 : asked.length === 1));
    taking.ended();
    await expect(opening).rejects.toMatchObject({ code: "transport-lost" });
    open();
    if (which === "begun") await until(() => processes[0]?.events.includes("hang up") === true);
    else {
      taking.admit(NEXT_PASS);
      await front(NEXT_PASS).list(alice, []); // asked behind it
      expect(processes).toEqual([]);
    }
  }
});

test("whoever signed in to no front: refused, whatever the front says", async () => {
  const { front } = keeper();
  const own = front();
  const one = attached(await own.open(alice, SHELL, OWN, watching()));
  for (const user of [
    { ...alice, ticket: 2 },
    { ...alice, name: "root" },
  ]) {
    const refused = { code: "user-refused" };
    await expect(own.open(user, SHELL, OWN, watching())).rejects.toMatchObject(refused);
    await expect(own.attach(user, one.place.session, PLACE, watching())).rejects.toMatchObject(refused);
    await expect(own.list(user, [])).rejects.toMatchObject(refused);
    await expect(own.kill(user, one.place.session)).rejects.toMatchObject(refused);
  }
  expect(await own.attach(nobody, one.place.session, PLACE, watching())).toEqual({ code: ATTACH_UNKNOWN });
});

test("whether somebody could come back from another front is told once it changes, and before there is a program", async () => {
  const held: boolean[] = [];
  let [toldAtStart, fails] = [-1, true];
  const sessions = new SessionRegistry({
    suite: nodeSuite,
    clock: nodeClock,
    limits: SESSION_LIMITS,
    startProcess: async () => {
      toldAtStart = held.length;
      if (fails) throw new SealttyError("program-failed", "No such shell");
      return echoProcess();
    },
    log: () => {},
    holds: (any) => void held.push(any),
  });
  cleanUp.push(() => sessions.stop());
  await expect(sessions.open(alice, SHELL, OWN, watching())).rejects.toThrow("No such shell");
  expect([toldAtStart, held]).toEqual([1, [true, false]]);
  fails = false;
  attached(await sessions.open(nobody, LOGIN, OWN, watching()));
  expect(held).toEqual([true, false]);
  const [first, second] = [
    attached(await sessions.open(alice, SHELL, OWN, watching())),
    attached(await sessions.open(alice, SHELL, OWN, watching())),
  ];
  expect([toldAtStart, held]).toEqual([3, [true, false, true]]);
  for (const each of [first, second]) each.hangUp();
  await until(() => sessions.list(alice, []).every(({ running }) => !running));
  for (const { place } of [first, second]) {
    expect(held).toEqual([true, false, true]); // one that ended has output that somebody may come back for
    sessions.kill(alice, { id: place.session.id, secret: undefined });
  }
  expect(held).toEqual([true, false, true, false]);
});

test("where no keeper runs there is no session, and nobody starts one to find that out", async () => {
  const { front } = keeper();
  const own = front(PASS, false);
  expect(await own.list(alice, [])).toEqual([]);
  expect(await own.kill(alice, { id: new Uint8Array(16), secret: undefined })).toBe(false);
  const name = { id: new Uint8Array(16), secret: undefined };
  expect(await own.attach(alice, name, PLACE, watching())).toEqual({ code: ATTACH_UNKNOWN });
});

test("answers are what they were", () => {
  const count = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  const answer = fc.oneof(
    fc.record({ kind: fc.constant("bytes" as const), bytes: fc.uint8Array({ maxLength: 300 }) }),
    fc.record({ kind: fc.constant("lost" as const), lost: fc.maxSafeNat() }),
    fc.record({
      kind: fc.constant("screen" as const),
      screen: fc.record({
        begin: fc.maxSafeNat(),
        end: fc.maxSafeNat(),
        columns: count,
        rows: count,
        lines: count,
        cut: count,
      }),
      length: fc.integer({ min: 0, max: 4 * 1024 * 1024 }),
    }),
    fc.constant({ kind: "end" as const }),
  );
  fc.assert(
    fc.property(answer, (each) => {
      expect(readReadAnswer(readAnswerBody(each))).toEqual(each);
    }),
    { seed },
  );
  for (const status of [
    undefined,
    { kind: "exited", status: 7 },
    { kind: "signalled", signal: "SIGHUP" },
  ] as const)
    expect(readExit(exitBody(status))).toEqual(status);
});

test("bytes that are no call are errors of the front's, and end no session", async () => {
  const { socket, front } = keeper();
  const own = front();
  const one = attached(await own.open(alice, SHELL, OWN, watching()));
  const bodies = [
    new Uint8Array(),
    u32(1),
    u32(7),
    concat(u32(1), new Uint8Array(40)),
    utf8("x".repeat(300)),
  ];
  const connected = async (): Promise<net.Socket> => {
    const other = net.connect(socket);
    await once(other, "connect");
    other.write(PASS);
    return other;
  };
  for (const operation of [...Object.values(CALLS), 0, 99]) {
    for (const body of bodies) {
      const link = new Link(await connected(), { onNotice: () => {}, onEnd: () => {} });
      const failed: unknown = await link.call(operation, body).catch((error: unknown) => error);
      expect(failed).toBeInstanceOf(SealttyError);
      expect(failed).not.toMatchObject({ code: "transport-lost" }); // it was read
      link.close();
    }
  }
  // A notice that is none ends that link.
  const other = await connected();
  await new Promise<void>((resolve) => {
    const link = new Link(other, { onNotice: () => {}, onEnd: () => resolve() });
    link.notify(99);
  });
  const again = attached(await own.attach(alice, one.place.session, PLACE, watching()));
  await again.write(utf8("still"));
  expect(await text(again, 5)).toBe("still");
});

// Kept sessions in another process than the connections to them: what a front has of them, over a real socket, is what it would have in
// its own memory; and what a front says badly ends its link, and nothing else.

import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import * as fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { concat, u32, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import type { AttachmentEvents, SessionAttachment } from "../../protocol/session/guest-sessions.ts";
import { ATTACH_UNKNOWN } from "../../protocol/session/session-messages.ts";
import { UNRESTRICTED } from "../../protocol/user-auth/restrictions.ts";
import { RemoteSessions } from "../../server/keeper/remote-sessions.ts";
import { serveSessions } from "../../server/keeper/serve-sessions.ts";
import { CALLS, readReadAnswer, readAnswerBody, readExit, exitBody } from "../../server/keeper/wire.ts";
import { Link } from "../../server/monitor/link.ts";
import type { NamedUser } from "../../server/monitor/operations.ts";
import { SessionRegistry } from "../../server/sessions/registry.ts";
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

function keeper(makeProcess: () => FakeProcess = echoProcess) {
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
      return made;
    },
    log: () => {},
  });
  const fronts = new Set<net.Socket>();
  const server = net.createServer((front) => {
    fronts.add(front);
    void serveSessions(front, {
      sessions,
      async whoIs(user) {
        asked.push(user);
        if (user.ticket === undefined) return { name: user.name, method: "none" };
        if (user.ticket === alice.ticket && user.name === alice.name) return alice;
        throw new SealttyError("user-refused", "Nobody has signed in so");
      },
    }).then(() => sessions.hangUpKeyless());
  });
  server.listen(socket);
  cleanUp.push(() => {
    sessions.stop();
    for (const front of fronts) front.destroy();
    server.close();
    fs.rmSync(directory, { recursive: true });
  });
  const front = (find: () => string | undefined = () => socket) => {
    const own = new RemoteSessions({ clock: nodeClock, find: async () => find(), log: () => {} });
    cleanUp.push(() => own.stop());
    return own;
  };
  return { socket, front, processes, asked, sessions, cut: () => fronts.forEach((each) => each.destroy()) };
}

function watching(): AttachmentEvents & { readonly heard: string[] } {
  const heard: string[] = [];
  return {
    heard,
    isLive: () => true,
    fenced: () => void heard.push("fenced"),
    forgotten: (lost) => void heard.push(`forgotten ${lost}`),
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
  const { front, processes, cut } = keeper();
  const first = front();
  const events = watching();
  const one = attached(await first.open(alice, SHELL, OWN, events));
  const login = attached(await first.open(nobody, LOGIN, OWN, watching()));
  await one.write(utf8("before"));
  expect(await text(one, 6)).toBe("before");
  const reading = one.read();
  cut();
  expect(await reading).toBeUndefined();
  expect(events.heard.at(-1)).toBe("forgotten 0");
  expect(await login.write(utf8("x"))).toBe(false);
  await until(() => processes[1]?.events.includes("hang up") === true);
  expect(processes[0]?.events).toEqual([]);
  processes[0]?.print(utf8(" meanwhile"));
  const second = front();
  const two = attached(await second.attach(alice, one.place.session, { ...PLACE, offset: 6 }, watching()));
  expect(two.place).toMatchObject({ from: 6, lost: 0, input: 6 });
  expect(await text(two, 10)).toBe(" meanwhile");
  // The first, too: its next session takes another connection.
  const again = attached(await first.attach(alice, one.place.session, { ...PLACE, offset: 6 }, watching()));
  expect(await text(again, 10)).toBe(" meanwhile");
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

test("where no keeper runs there is no session, and nobody starts one to find that out", async () => {
  const { front } = keeper();
  const own = front(() => undefined);
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
  for (const operation of [...Object.values(CALLS), 0, 99]) {
    for (const body of bodies) {
      const other = net.connect(socket);
      await once(other, "connect");
      const link = new Link(other, { onNotice: () => {}, onEnd: () => {} });
      await expect(link.call(operation, body)).rejects.toBeInstanceOf(SealttyError);
      link.close();
    }
  }
  // A notice that is none ends that link.
  const other = net.connect(socket);
  await once(other, "connect");
  await new Promise<void>((resolve) => {
    const link = new Link(other, { onNotice: () => {}, onEnd: () => resolve() });
    link.notify(99);
  });
  await one.write(utf8("still"));
  expect(await text(one, 5)).toBe("still");
});

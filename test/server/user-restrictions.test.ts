// What a restricted key can do in a guest, and what it cannot: channels, kept sessions, forced commands, time.

import os from "node:os";
import { afterEach, expect, test } from "vitest";
import { SealttyError } from "../../protocol/errors.ts";
import type { Guest, UserAuth } from "../../protocol/session/api.ts";
import { AuthTurns } from "../../protocol/session/auth-turns.ts";
import type { Channel, ChannelRequest } from "../../protocol/session/channel-api.ts";
import { connect } from "../../protocol/session/connect.ts";
import type { GuestServices } from "../../protocol/session/guest-connection.ts";
import type { StartProcess } from "../../protocol/session/guest-process.ts";
import {
  allowsKind,
  allowsSession,
  bothRestrictions,
  commandLine,
  UNRESTRICTED,
  type UserRestrictions,
} from "../../protocol/user-auth/restrictions.ts";
import type { UsersConfig } from "../../server/config.ts";
import { planPrograms, startPlanned } from "../../server/sessions/user-programs.ts";
import { fastClock, ManualClock } from "../support/clocks.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { clientOptions, echoProcess, type TestGuest, testGuest } from "../support/session.ts";

const SCREEN = { term: "xterm", columns: 80, rows: 24 } as const;
const LOGIN = { kind: "login", ...SCREEN } as const;
const SHELL = { kind: "shell", command: [], environment: {}, ...SCREEN } as const;
const EXEC = { kind: "exec", command: ["id", "a b"], environment: {} } as const;
const ATTACH = { mode: "read-write", from: 0, columns: 80, rows: 24 } as const;

const running: TestGuest[] = [];
afterEach(async () => {
  for (const guest of running.splice(0)) {
    guest.sessions.stop();
    await guest.endpoint.stop();
  }
});

/** A guest where each connection's key is the same one, restricted as `granted` says at that moment. */
function world(own: Partial<GuestServices> = {}) {
  const clock = fastClock(10);
  let granted: UserRestrictions = UNRESTRICTED;
  let time = 0;
  const started: { user: Parameters<StartProcess>[0]; request: ChannelRequest }[] = [];
  const guest = testGuest(clock, {
    keysAllowed: true,
    verifyUserKey: async () => ({ key: new Uint8Array(32).fill(7), restrictions: granted }),
    wallTime: () => time,
    startProcess: async (user, request) => {
      started.push({ user, request });
      return echoProcess();
    },
    ...own,
  });
  running.push(guest);
  const auth: UserAuth = {
    method: "ssh-key",
    user: os.userInfo().username,
    publicKey: new Uint8Array(51),
    sign: async () => new Uint8Array(4),
  };
  return {
    started,
    setTime: (now: number) => {
      time = now;
    },
    reach: async (restrictions: UserRestrictions): Promise<Guest> => {
      granted = restrictions;
      const pipes = memoryPipes();
      void guest.endpoint.servePipe(pipes.guest).catch(() => {});
      const attested = await connect(clientOptions(clock, async () => pipes.client));
      return await attested.authenticate(auth);
    },
  };
}

const refused = expect.objectContaining({ code: "user-refused" }) as unknown;

test("no-pty: programs without a terminal only; no shell, no login, no kept session", async () => {
  const { reach, started } = world();
  const guest = await reach({ ...UNRESTRICTED, pty: false });
  await expect(guest.openChannel(SHELL)).rejects.toEqual(refused);
  await expect(guest.openChannel({ ...SHELL, command: ["id"] })).rejects.toEqual(refused);
  await expect(guest.openChannel(LOGIN)).rejects.toEqual(refused);
  await expect(guest.openSession({ request: SHELL })).rejects.toEqual(refused);
  expect(started).toEqual([]);
  await guest.openChannel(EXEC);
  expect(started).toHaveLength(1);
});

test("command=: no login prompt beside it; the program that starts it is told of it", async () => {
  const { reach, started } = world();
  const guest = await reach({ ...UNRESTRICTED, command: "backup" });
  await expect(guest.openChannel(LOGIN)).rejects.toEqual(refused);
  await guest.openChannel(EXEC);
  await guest.openChannel(SHELL);
  for (const { user } of started) expect(user).toMatchObject({ restrictions: { command: "backup" } });
});

test("a key with command= comes to no session that was opened without it, and the other way round it may", async () => {
  const { reach } = world();
  const free = await reach(UNRESTRICTED);
  const open = await free.openSession({ request: SHELL });
  const forced = await reach({ ...UNRESTRICTED, command: "backup" });
  expect(await forced.listSessions()).toEqual([]);
  await expect(forced.attach({ session: open.session, ...ATTACH })).rejects.toMatchObject({
    code: "session-gone",
  });
  await expect(forced.attach({ session: open.session, ...ATTACH, mode: "read-only" })).rejects.toMatchObject({
    code: "session-gone",
  });
  expect(await forced.killSession(open.session)).toBe(false);

  const own = await forced.openSession({ request: SHELL });
  expect((await forced.listSessions()).map(({ title }) => title)).toEqual(["backup"]);
  const other = await reach({ ...UNRESTRICTED, command: "restore" });
  expect(await other.listSessions()).toEqual([]);
  expect(await other.killSession(own.session)).toBe(false);
  const again = await reach({ ...UNRESTRICTED, command: "backup" });
  await again.attach({ session: own.session, ...ATTACH });
  const noTerminal = await reach({ ...UNRESTRICTED, pty: false });
  expect(await noTerminal.listSessions()).toEqual([]);
  await expect(noTerminal.attach({ session: own.session, ...ATTACH })).rejects.toBeInstanceOf(SealttyError);

  expect((await free.listSessions()).map(({ title }) => title).sort()).toEqual(["backup", "shell"]);
  await free.attach({ session: own.session, ...ATTACH });
  expect(await free.killSession(own.session)).toBe(true);
});

test("what expires: nothing more is opened, attached, listed or killed; what runs goes on", async () => {
  const { reach, setTime } = world();
  const guest = await reach({ ...UNRESTRICTED, expires: 1000 });
  const channel = await guest.openChannel(EXEC);
  const session = await guest.openSession({ request: SHELL });
  setTime(999);
  await guest.openChannel(EXEC);
  setTime(1000);
  await expect(guest.openChannel(EXEC)).rejects.toEqual(refused);
  await expect(guest.openSession({ request: SHELL })).rejects.toEqual(refused);
  await expect(guest.attach({ session: session.session, ...ATTACH })).rejects.toEqual(refused);
  expect(await guest.listSessions()).toEqual([]);
  expect(await guest.killSession(session.session)).toBe(false);
  await channel.write(Uint8Array.of(65, 4)); // prints it, and ends
  expect(await channel.stdout.read()).toEqual(Uint8Array.of(65));
  channel.stdout.consumed(1);
  expect(await channel.stdout.read()).toBeUndefined();
  expect(await channel.exit).toEqual({ kind: "exited", status: 7 });
  setTime(0);
  expect(await guest.listSessions()).toHaveLength(1);
});

async function outputOf(channel: Channel): Promise<string> {
  const parts: Uint8Array[] = [];
  for (;;) {
    const part = await channel.stdout.read();
    if (part === undefined) return Buffer.concat(parts).toString();
    parts.push(part);
    channel.stdout.consumed(part.length);
  }
}

test("a forced command runs by the user's shell, in place of anything asked for, on a terminal or not", async () => {
  const users: UsersConfig = {
    authorizedKeys: undefined,
    names: "any",
    login: undefined,
    shell: ["/bin/false"],
    passkeyOrigins: [],
    pam: "auto",
    maxPrograms: 512,
  };
  const { reach } = world({ startProcess: startPlanned(planPrograms(users, undefined)) });
  const command = 'printf "%s|%s|%s" forced "${SSH_ORIGINAL_COMMAND-none}" "$LANG"';
  const guest = await reach({ ...UNRESTRICTED, command });
  const environment = { LANG: "C" };
  const run = async (request: ChannelRequest): Promise<string> => {
    const channel = await guest.openChannel(request);
    channel.end();
    const output = await outputOf(channel);
    expect(await channel.exit).toEqual({ kind: "exited", status: 0 });
    return output;
  };
  expect(await run({ ...EXEC, environment })).toBe("forced|id 'a b'|C");
  expect(await run({ ...EXEC, command: ["sh", "-c", "it's; $(id)"], environment })).toBe(
    "forced|sh -c 'it'\\''s; $(id)'|C",
  );
  expect(await run({ ...SHELL, environment })).toBe("forced|none|C");
  expect(await run({ ...SHELL, command: ["top"], environment })).toBe("forced|top|C");
  // What would change the meaning of the forced command is refused.
  for (const other of [
    { ...EXEC, environment: { SSH_ORIGINAL_COMMAND: "mine" } },
    { ...EXEC, environment: { LD_PRELOAD: "/opt/x.so" } },
    { ...EXEC, directory: "/tmp" },
    { ...SHELL, directory: "/tmp" },
  ])
    await expect(guest.openChannel(other)).rejects.toMatchObject({ code: "program-failed" });
  const long = await guest.openChannel({ ...EXEC, command: ["x".repeat(100_000)] });
  expect(await outputOf(long)).toContain("forced|xxx");
  await expect(guest.openChannel({ ...EXEC, command: ["'".repeat(60_000)] })).rejects.toMatchObject({
    code: "program-failed",
  });
});

test("both restrictions hold, and differing commands refuse", () => {
  const open: UserRestrictions = UNRESTRICTED;
  expect(bothRestrictions(open, open)).toEqual(open);
  expect(bothRestrictions({ ...open, pty: false }, { ...open, portForwarding: false })).toEqual({
    pty: false,
    portForwarding: false,
  });
  expect(bothRestrictions({ ...open, command: "a" }, { ...open, command: "b" })).toBeUndefined();
  expect(bothRestrictions({ ...open, command: "a" }, open)).toEqual({ ...open, command: "a" });
  expect(bothRestrictions({ ...open, expires: 5 }, { ...open, expires: 3 })?.expires).toBe(3);
  expect(bothRestrictions({ ...open, expires: 0 }, open)?.expires).toBe(0);
  const lists = bothRestrictions(
    { ...open, permitOpen: ["a:1", "b:2"] },
    { ...open, permitOpen: ["b:2", "c:3"] },
  );
  expect(lists?.permitOpen).toEqual(["b:2"]);
  expect(bothRestrictions({ ...open, permitListen: ["*:1"] }, open)?.permitListen).toEqual(["*:1"]);
});

test("which kinds and sessions are open to whom", () => {
  const kinds = ["login", "shell", "exec", "stream", "files", "prompts", "service"] as const;
  const allowed = (own: Partial<UserRestrictions>) =>
    kinds.filter((kind) => allowsKind({ ...UNRESTRICTED, ...own }, kind));
  expect(allowed({})).toEqual([...kinds]);
  expect(allowed({ pty: false })).toEqual(["exec", "stream", "files", "prompts", "service"]);
  expect(allowed({ command: "" })).toEqual(["shell", "exec", "stream"]);
  expect(allowsSession({ ...UNRESTRICTED, command: "" }, undefined)).toBe(false);
  expect(allowsSession({ ...UNRESTRICTED, command: "" }, "")).toBe(true);
  expect(allowsSession(UNRESTRICTED, "a")).toBe(true);
  expect(commandLine([])).toBe("");
  expect(commandLine(["a", "", "b c", "-x=y:/z.,@%+"])).toBe("a '' 'b c' -x=y:/z.,@%+");
});

test("keys are checked at a rate over all connections; the newest goes first, and nobody waits behind the dead", async () => {
  const clock = new ManualClock();
  const turns = new AuthTurns(clock, 10, 2);
  const done: string[] = [];
  const dead = new Set<string>();
  const take = (name: string): void => {
    void turns.take(() => dead.has(name)).then(() => done.push(name));
  };
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  for (const name of ["a", "b", "c", "d", "e", "f"]) take(name);
  await settle();
  expect(done).toEqual(["a", "b"]);
  dead.add("e");
  clock.advance(100);
  await settle();
  expect(done).toEqual(["a", "b", "f"]);
  take("g");
  clock.advance(100);
  await settle();
  expect(done).toEqual(["a", "b", "f", "g"]);
  clock.advance(1000);
  await settle();
  expect(done).toEqual(["a", "b", "f", "g", "d", "c"]);
  expect(clock.timers).toBe(0);
});

test("a guest checks twenty keys at once and then twenty a second, over all connections; the others wait", async () => {
  const clock = new ManualClock();
  let checks = 0;
  const guest = testGuest(clock, {
    keysAllowed: true,
    verifyUserKey: async () => {
      checks++;
      return undefined;
    },
  });
  const connectOne = async () => {
    const pipes = memoryPipes();
    void guest.endpoint.servePipe(pipes.guest).catch(() => {});
    return await connect(clientOptions(fastClock(1), async () => pipes.client));
  };
  const attested = [];
  for (let i = 0; i < 20; i++) attested.push(await connectOne());
  clock.advance(1000); // for more handshakes: twenty at once there, too
  for (let i = 0; i < 5; i++) attested.push(await connectOne());
  const sign = async (): Promise<Uint8Array> => new Uint8Array(4);
  const auth = { method: "ssh-key", user: "root", publicKey: new Uint8Array(51), sign } as const;
  const refusals = attested.map((each) => each.authenticate(auth).catch((error: unknown) => error));
  const until = async (holds: () => boolean): Promise<void> => {
    while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await until(() => checks === 20);
  clock.advance(49); // not yet one more
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(checks).toBe(20);
  clock.advance(1000);
  await until(() => checks === 25);
  clock.advance(1000); // each refusal goes out a second late
  for (const refusal of refusals) expect(await refusal).toMatchObject({ code: "user-refused" });
  const closing = attested.map((each) => each.close());
  clock.advance(1000);
  await Promise.all(closing);
  const stopping = guest.endpoint.stop();
  clock.advance(1000);
  await stopping;
});

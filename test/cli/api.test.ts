// The API's terminals, kept sessions and changed guests, against a whole guest in memory. test/interop/api.test.ts has the rest.

import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Readable } from "node:stream";
import { describe, expect, test, vi } from "vitest";
import { connectFrom } from "../../cli/api/index.ts";
import type {
  ConnectOptions,
  EvidenceEvent,
  Guest,
  GuestChange,
  OutputMark,
  SessionName,
  Viewers,
} from "../../cli/api/types.ts";
import { run } from "../../cli/program.ts";
import type { Services } from "../../cli/services.ts";
import { nodeClock } from "../../node/clock.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { encodeAux } from "../../protocol/attestation/aux.ts";
import { signSimulatedQuote, simulatedParts } from "../../protocol/attestation/simulated.ts";
import { utf8 } from "../../protocol/bytes.ts";
import type { Clock } from "../../protocol/clock.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { connect } from "../../protocol/session/connect.ts";
import type { GuestServices } from "../../protocol/session/guest-connection.ts";
import type { StartScreenThread } from "../../server/sessions/screen-keeper.ts";
import { fastClock } from "../support/clocks.ts";
import { memoryPipes } from "../support/memory-pipe.ts";
import { nearThreads } from "../support/screen-thread.ts";
import { acceptAnyKey, echoProcess, FakeProcess, SESSION_LIMITS, testGuest } from "../support/session.ts";
import { fakeCli, POLICY_TEXT } from "./fake-cli.ts";

const SIZE = { columns: 80, rows: 24 } as const;
/** However loaded the machine is. */
const waitFor = (holds: () => void): Promise<void> => vi.waitFor(holds, { timeout: 30_000 });
const refusal = (code: string): object => expect.objectContaining({ name: "SealttyError", code }) as object;

/** A simulated machine: with another key it is another one. */
class Machine {
  secretKey = nodeSuite.randomBytes(32);
  /** It can collect no evidence. */
  sick = false;

  readonly collect: GuestServices["collectEvidence"] = ({ makeBinder }) => {
    if (this.sick) return Promise.reject(new SealttyError("evidence-unavailable", "sick"));
    const { secretKey } = this;
    const publicKey = nodeSuite.ed25519PublicKey(secretKey);
    const aux = encodeAux(simulatedParts({ publicKey, instance: "test" }));
    const quote = signSimulatedQuote(nodeSuite, secretKey, makeBinder("simulated", aux));
    return Promise.resolve({ type: "simulated", quote, aux });
  };
  change(): void {
    this.secretKey = nodeSuite.randomBytes(32);
  }
}

/** A guest, and programs that reach it. */
function world({
  makeProcess = echoProcess,
  ringBytes = 4 * 1024 * 1024,
  startScreenThread,
  clock = nodeClock,
}: {
  readonly makeProcess?: () => FakeProcess;
  readonly ringBytes?: number;
  readonly startScreenThread?: StartScreenThread;
  readonly clock?: Clock;
} = {}) {
  const machine = new Machine();
  const own = { keysAllowed: true, verifyUserKey: acceptAnyKey, collectEvidence: machine.collect };
  const limits = { ...SESSION_LIMITS, ringBytes };
  const guest = testGuest(clock, own, makeProcess, nodeSuite, limits, startScreenThread);
  const way: Partial<Services> = {
    clock,
    connect,
    dial: () => {
      const pair = memoryPipes();
      void guest.endpoint.servePipe(pair.guest).catch(() => {});
      return Promise.resolve(pair.client);
    },
  };
  const from = fakeCli(way).services;
  const reach = (more: Partial<ConnectOptions> = {}): Promise<Guest> =>
    connectFrom(from, {
      guest: "tcp:h:1",
      policy: { text: POLICY_TEXT },
      simulated: true,
      timeout: 600_000,
      ...more,
    });
  return { guest, machine, reach, way };
}

/** Reads until it ends with that. */
async function readTo(output: Readable, end: string): Promise<string> {
  let text = "";
  while (!text.endsWith(end)) {
    const chunk = output.read() as Buffer | null;
    if (chunk === null) await once(output, "readable");
    else text += chunk.toString();
  }
  return text;
}

async function readAll(output: Readable): Promise<string> {
  let text = "";
  for await (const chunk of output) text += String(chunk);
  return text;
}

describe("kept sessions", () => {
  test("detached from, listed, and come back to from another connection: all that it printed, and what is new", async () => {
    const { guest, reach } = world();
    const first = await reach();
    const kept = await first.keepShell({ ...SIZE, command: ["top", "-b"] });
    expect(kept).toMatchObject({ mode: "read-write", lost: 0, replays: false, inputUnsure: false });
    expect(kept.session).toEqual({ id: expect.stringMatching(/^[0-9a-f]{32}$/) as string }); // a key: no secret
    kept.input.write("one ");
    expect(await readTo(kept.output, "one ")).toBe("one ");
    await kept.detach();
    expect(await readAll(kept.output)).toBe("");
    expect(await kept.ended).toEqual({ kind: "detached", by: "request" });
    await expect(kept.exit).rejects.toEqual(refusal("transport-lost"));
    await first.close();
    expect(guest.processes[0]?.events).toEqual([]);
    guest.processes[0]?.print(utf8("two "));

    const second = await reach();
    const { id } = kept.session;
    expect(await second.listSessions()).toMatchObject([
      { id, running: true, viewers: 0, title: "top -b", ...SIZE },
    ]);
    const marks: OutputMark[] = [];
    const viewers: Viewers[] = [];
    const again = await second.attach(kept.session, {
      columns: 100,
      rows: 30,
      onMark: (mark) => marks.push(mark),
      onViewers: (all) => viewers.push(all),
    });
    expect(again.replays).toBe(true);
    expect(await readTo(again.output, "two ")).toBe("one two ");
    expect(marks).toEqual([{ kind: "new", at: 8 }]);
    await waitFor(() => expect(viewers.at(-1)?.viewers).toMatchObject([{ own: true, mode: "read-write" }]));
    again.input.end("three\x04");
    expect(await readAll(again.output)).toBe("three");
    expect(await again.exit).toEqual({ status: 7 });
    expect(await again.ended).toEqual({ kind: "exit", exit: { status: 7 } });
    await expect(second.attach({ id: "0".repeat(32) }, SIZE)).rejects.toEqual(refusal("session-gone"));
    await second.close();
    expect(guest.processes).toHaveLength(1);
  });

  test("without a key: the guest's login, and who has the secret of a session has the session", async () => {
    const { reach } = world();
    const guest = await reach({ identity: false });
    await expect(guest.shell(SIZE)).rejects.toEqual(refusal("user-refused"));
    const kept = await guest.keepShell({ ...SIZE, login: true });
    const { session } = kept;
    expect(session).toEqual({
      id: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
      secret: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      guest: guest.key,
    });
    const other = await reach({ identity: false });
    expect(other.key).toBe(guest.key);
    expect(await other.listSessions()).toEqual([]);
    // More than a question holds, and those without a secret among them: the last count.
    const many: SessionName[] = Array.from({ length: 40 }, (_, n) => ({
      id: String(n).padStart(32, "0"),
      ...(n % 2 === 0 ? {} : { secret: "0".repeat(64), guest: guest.key }),
    }));
    expect(await other.listSessions([...many, session])).toMatchObject([{ id: session.id, title: "login" }]);
    const wrong = { ...session, secret: "0".repeat(64) };
    await expect(other.attach(wrong, SIZE)).rejects.toEqual(refusal("session-gone"));
    expect(await other.endSession(wrong)).toBe(false);
    const again = await other.attach(session, SIZE);
    expect(again.session).toEqual(session);
    expect(await other.endSession(session)).toBe(true);
    expect(await kept.exit).toMatchObject({ signal: "SIGHUP" });
    expect(await again.exit).toMatchObject({ signal: "SIGHUP" });
    await guest.close();
    await other.close();
  });

  test("a secret goes to the guest that drew it, and to none other that meets the same policy", async () => {
    const drew = world();
    const first = await drew.reach({ identity: false });
    const { session } = await first.keepShell({ ...SIZE, login: true });
    const { guest, reach } = world();
    const heard: string[] = [];
    const { sessions } = guest;
    const [list, attach, kill] = [
      sessions.list.bind(sessions),
      sessions.attach.bind(sessions),
      sessions.kill.bind(sessions),
    ];
    sessions.list = (user, named) => {
      heard.push(`list of ${named.length}`);
      return list(user, named);
    };
    sessions.attach = (...args) => {
      heard.push("attach");
      return attach(...args);
    };
    sessions.kill = (...args) => {
      heard.push("kill");
      return kill(...args);
    };
    const other = await reach({ identity: false });
    const { guest: _, ...nobodys } = session;
    await expect(other.attach(session, SIZE)).rejects.toEqual(refusal("session-gone"));
    await expect(other.endSession(session)).rejects.toEqual(refusal("session-gone"));
    for (const connected of [first, other]) {
      await expect(connected.attach(nobodys, SIZE)).rejects.toEqual(refusal("api-misuse"));
      await expect(connected.endSession(nobodys)).rejects.toEqual(refusal("api-misuse"));
    }
    expect(await other.listSessions([session, nobodys])).toEqual([]);
    expect(heard).toEqual(["list of 0"]);
    expect(await first.listSessions([nobodys])).toEqual([]);
    expect(await first.listSessions([nobodys, session])).toMatchObject([{ id: session.id }]);
    await first.close();
    await other.close();
  });

  test("who looks on types nothing, ends nothing, and is seen by the other", async () => {
    const { guest, reach } = world();
    const connected = await reach();
    const viewers: Viewers[] = [];
    const kept = await connected.keepShell({ ...SIZE, onViewers: (all) => viewers.push(all) });
    const looking = await (await reach()).attach(kept.session, { ...SIZE, mode: "read-only" });
    await waitFor(() =>
      expect(viewers.at(-1)?.viewers.map(({ mode, own }) => [mode, own])).toEqual([
        ["read-write", true],
        ["read-only", false],
      ]),
    );
    const refused = once(looking.input, "error");
    looking.input.write("typed");
    expect(await refused).toEqual([refusal("api-misuse")]);
    kept.input.write("by the owner.");
    expect(await readTo(looking.output, ".")).toBe("by the owner.");
    looking.hangUp();
    expect(await looking.ended).toEqual({ kind: "detached", by: "request" });
    await waitFor(() => expect(viewers.at(-1)?.viewers).toHaveLength(1));
    kept.resize(90, 20);
    await waitFor(() => expect(viewers.at(-1)).toMatchObject({ columns: 90, rows: 20 }));
    expect(Buffer.concat(guest.processes[0]?.input ?? []).toString()).toBe("by the owner.");
    expect(guest.processes[0]?.events).toEqual(["resize 90x20"]);
    await connected.close();
  });

  test("a reader that leaves, and a connection that ends, leave the program alone; a hang-up ends it", async () => {
    const { guest, reach } = world();
    const connected = await reach();
    const kept = await connected.keepShell(SIZE);
    kept.output.destroy();
    expect(await kept.ended).toEqual({ kind: "detached", by: "request" });
    const again = await connected.attach(kept.session, SIZE);
    await connected.close();
    await expect(again.exit).rejects.toEqual(refusal("transport-lost"));
    await expect(again.ended).rejects.toEqual(refusal("transport-lost"));
    await expect(readAll(again.output)).rejects.toEqual(refusal("transport-lost"));
    expect(guest.processes[0]?.events).toEqual([]);
    const third = await (await reach()).attach(kept.session, SIZE);
    third.hangUp();
    expect(await third.ended).toEqual({ kind: "exit", exit: { status: 129, signal: "SIGHUP" } });
    expect(guest.processes[0]?.events).toEqual(["hang up"]);
  });

  test("who looks on and reads too slowly holds nobody up: marks say where what is gone would be", async () => {
    const { guest, reach } = world({ ringBytes: 64 * 1024 });
    const connected = await reach();
    const kept = await connected.keepShell(SIZE);
    const marks: OutputMark[] = [];
    const slow = await (await reach()).attach(kept.session, {
      ...SIZE,
      mode: "read-only",
      onMark: (mark) => marks.push(mark),
    });
    const piece = new Uint8Array(16 * 1024).fill(0x78);
    const printed = 256 * piece.length; // more than credit, buffers and the ring together
    for (let n = 0; n < printed; n += piece.length) guest.processes[0]?.print(piece);
    guest.processes[0]?.print(utf8("end."));
    let taken = 0;
    for await (const chunk of kept.output) {
      taken += (chunk as Buffer).length;
      if (taken === printed + 4) break;
    }
    const text = await readTo(slow.output, ".");
    let before = -1;
    let lost = 0;
    for (const mark of marks) {
      if (mark.kind !== "gap") throw new Error(`a mark of another kind: ${mark.kind}`);
      expect(mark.at).toBeGreaterThan(before);
      before = mark.at;
      lost += mark.lost;
    }
    expect(lost).toBeGreaterThan(0);
    expect(text.length + lost).toBe(printed + 4);
    expect(before).toBeLessThanOrEqual(text.length);
    await connected.close();
  });

  test("a screen comes in place of what is gone, for who asks for one", async () => {
    const { guest, reach } = world({ ringBytes: 64 * 1024, startScreenThread: nearThreads().start });
    const connected = await reach();
    const kept = await connected.keepShell(SIZE);
    const lines = Array.from({ length: 12_000 }, (_, index) => `line ${index}\r\n`).join("");
    guest.processes[0]?.print(utf8(`${lines}$ `));
    await readTo(kept.output, "$ ");
    await kept.detach();
    const marks: OutputMark[] = [];
    const onMark = (mark: OutputMark): void => void marks.push(mark);
    const shown = await connected.attach(kept.session, { ...SIZE, screenLines: 100, onMark });
    guest.processes[0]?.print(utf8("more."));
    const text = await readTo(shown.output, "more.");
    expect(text).toContain("line 11999");
    expect(text).not.toContain("line 1000\r\n");
    expect(marks[0]).toMatchObject({ kind: "screen", at: 0, ...SIZE, lines: 100, end: lines.length + 2 });
    expect(marks[1]).toEqual({ kind: "new", at: text.length - "more.".length });
    const plain = await connected.attach(kept.session, SIZE);
    expect(plain.lost).toBeGreaterThan(0);
    await connected.close();
  });
});

describe("a guest that is another one", () => {
  test.each([
    ["nobody is there to ask", {}],
    ["no", { onChanged: () => false }],
    ["no, later", { onChanged: () => Promise.resolve(false) }],
    ["what is nearly a yes", { onChanged: () => "yes" as unknown as boolean }],
    ["nothing", { onChanged: (() => {}) as unknown as () => boolean }],
    [
      "a failure",
      {
        onChanged: () => {
          throw new Error("the database is gone");
        },
      },
    ],
    ["a failure, later", { onChanged: () => Promise.reject(new Error("the database is gone")) }],
  ])("%s: all fails with why, the connection ends, and a session runs on", async (_, more) => {
    const { guest, machine, reach } = world({ clock: fastClock(10) });
    const events: EvidenceEvent[] = [];
    const connected = await reach({ ...more, onEvidence: (event) => void events.push(event) });
    const terminal = await connected.shell(SIZE);
    const kept = await connected.keepShell(SIZE);
    machine.change();
    await connected.reattest().catch(() => undefined);
    for (const each of [terminal.exit, kept.exit, kept.ended])
      await expect(each).rejects.toEqual(refusal("evidence-refused"));
    await connected.closed;
    await expect(connected.exec(["true"])).rejects.toEqual(refusal("evidence-refused"));
    expect(events).toEqual([]);
    await waitFor(() => expect(guest.processes[0]?.events).toContain("hang up"));
    expect(guest.processes[1]?.events).toEqual([]);
  });

  test("asked, told what is different, nothing passes until the answer; with yes all goes on", async () => {
    const { guest, machine, reach } = world({ clock: fastClock(10) });
    const events: EvidenceEvent[] = [];
    const changes: GuestChange[] = [];
    let answer: (meant: boolean) => void = () => {};
    const connected = await reach({
      onEvidence: (event) => void events.push(event),
      onChanged(change) {
        changes.push(change);
        return new Promise((resolve) => {
          answer = resolve;
        });
      },
    });
    const kept = await connected.keepShell(SIZE);
    await connected.reattest();
    expect(events.map(({ kind }) => kind)).toEqual(["renewed"]);
    const { instance } = connected.claims;
    machine.change();
    let settled = false;
    const asking = connected.reattest().finally(() => {
      settled = true;
    });
    await waitFor(() => expect(changes).toHaveLength(1));
    expect(changes).toMatchObject([
      { reason: expect.stringMatching(/./) as string, changes: [{ name: "simulated.key", scope: "boot" }] },
    ]);
    kept.input.write("typed meanwhile.");
    const opening = connected.exec(["true"]);
    let opened = false;
    opening.then(
      () => (opened = true),
      () => undefined,
    );
    await new Promise((resolve) => setTimeout(resolve, 100)); // to show that nothing happens
    expect([opened, settled]).toEqual([false, false]);
    expect(guest.processes).toHaveLength(1);
    expect(guest.processes[0]?.input).toEqual([]);
    answer(true);
    await asking;
    expect(events.at(-1)?.kind).toBe("accepted");
    expect(await readTo(kept.output, ".")).toBe("typed meanwhile.");
    (await opening).hangUp();
    expect(events.map(({ kind }) => kind)).toEqual(["renewed", "accepted"]);
    expect(connected.claims.instance).toBe(instance);
    // It counts from here on; another one is asked about again.
    await connected.reattest();
    expect(events.at(-1)?.kind).toBe("renewed");
    machine.change();
    const again = connected.reattest();
    again.catch(() => undefined);
    await waitFor(() => expect(changes).toHaveLength(2));
    const besides = connected.reattest(); // while it stands
    answer(false);
    for (const each of [again, besides]) await expect(each).rejects.toEqual(refusal("evidence-refused"));
    await expect(kept.exit).rejects.toEqual(refusal("evidence-refused"));
    await connected.closed;
    await expect(connected.reattest()).rejects.toEqual(refusal("evidence-refused"));
  });

  test("a yes counts where nobody listens for evidence, and a connection that is closed meanwhile ends the wait", async () => {
    const { machine, reach } = world({ clock: fastClock(10) });
    let answer: (meant: boolean) => void = () => {};
    let asked = 0;
    const connected = await reach({
      onChanged: () =>
        new Promise((resolve) => {
          asked++;
          answer = resolve;
        }),
    });
    machine.change();
    const asking = connected.reattest();
    await waitFor(() => expect(asked).toBe(1));
    answer(true);
    await asking;
    (await connected.exec(["true"])).hangUp();
    machine.change();
    const waiting = connected.reattest();
    waiting.catch(() => undefined);
    await waitFor(() => expect(asked).toBe(2));
    await connected.close();
    await expect(waiting).rejects.toEqual(refusal("transport-lost"));
  });
});

describe("a hook that fails", () => {
  const broken = (): never => {
    throw new Error("broken");
  };
  const later = async (): Promise<void> => {
    await Promise.resolve();
    broken();
  };
  const failed: object = expect.objectContaining({
    code: "api-misuse",
    cause: expect.objectContaining({ message: "broken" }) as Error,
  }) as object;

  test.each<[string, () => unknown]>([
    ["at once", broken],
    ["later", later],
  ])("onEvidence, %s: the connection ends with it, also where the guest is silent", async (_, hook) => {
    for (const silent of [false, true]) {
      const { machine, reach } = world({ clock: fastClock(10) });
      const changes: GuestChange[] = [];
      const connected = await reach({
        onEvidence: () => hook(),
        onChanged: (change) => changes.push(change) > 0,
      });
      const terminal = await connected.shell(SIZE);
      const kept = await connected.keepShell(SIZE);
      machine.sick = silent;
      await expect(connected.reattest()).rejects.toEqual(failed);
      for (const each of [terminal.exit, kept.exit, kept.ended]) await expect(each).rejects.toEqual(failed);
      await connected.closed;
      await expect(connected.exec(["true"])).rejects.toEqual(failed);
      expect(changes).toEqual([]);
    }
  });

  test("onEvidence that is told of a yes: the connection ends with it", async () => {
    const { machine, reach } = world({ clock: fastClock(10) });
    const connected = await reach({
      onEvidence: ({ kind }) => kind === "accepted" && broken(),
      onChanged: () => true,
    });
    const kept = await connected.keepShell(SIZE);
    machine.change();
    await expect(connected.reattest()).rejects.toEqual(failed);
    await expect(kept.exit).rejects.toEqual(failed);
    await connected.closed;
  });

  test.each<[string, () => unknown]>([
    ["dialing", broken],
    ["appraising", broken],
    ["attested", broken],
    ["attested", later],
  ])("onState, told of %s: nothing is connected", async (at, hook) => {
    const { guest, reach } = world();
    const phases: string[] = [];
    const connecting = reach({
      onState({ phase }) {
        phases.push(phase);
        return phase === at ? hook() : undefined;
      },
    });
    await expect(connecting).rejects.toEqual(failed);
    await waitFor(() => expect(phases.at(-1)).toBe("closed"));
    expect(guest.processes).toHaveLength(0);
  });

  test("onState, told of the end: nothing is left to end, and what ended it is told", async () => {
    const { reach } = world();
    const connected = await reach({ onState: ({ phase }) => phase === "closed" && broken() });
    const terminal = await connected.shell(SIZE);
    await connected.close();
    await expect(terminal.exit).rejects.toEqual(refusal("transport-lost"));
  });

  test.each<[string, () => unknown]>([
    ["onViewers", broken],
    ["onViewers", later],
    ["onMark", broken],
    ["onMark", later],
  ])(
    "%s: its attachment ends with it, its session runs on, and there is a handle of it",
    async (name, hook) => {
      const { guest, reach } = world();
      const connected = await reach();
      const other = await connected.keepShell(SIZE);
      other.input.write("old ");
      expect(await readTo(other.output, "old ")).toBe("old ");
      const opened =
        name === "onViewers"
          ? await connected.keepShell({ ...SIZE, onViewers: () => hook() })
          : await connected.attach(other.session, { ...SIZE, onMark: () => hook() });
      opened.output.resume();
      await expect(opened.exit).rejects.toEqual(failed);
      await expect(opened.ended).rejects.toEqual(failed);
      const again = await connected.attach(opened.session, SIZE);
      again.input.write("on.");
      expect((await readTo(again.output, "on.")).endsWith("on.")).toBe(true);
      expect(guest.processes.map(({ events }) => events)).toEqual(guest.processes.map(() => []));
      await connected.close();
    },
  );
});

test("connect asks a person over this: nothing is shown or sent until ~G, and what is typed meanwhile never", async () => {
  const { guest, machine, way } = world({ clock: fastClock(10) });
  const home = mkdtempSync(path.join(tmpdir(), "sealtty-api-test-"));
  const policy = path.join(home, "policy.toml");
  writeFileSync(policy, POLICY_TEXT);
  const cli = fakeCli({ ...way, environment: { TERM: "xterm", HOME: home } });
  cli.stdin.isTTY = true;
  const args = ["connect", "tcp:h:1", "--policy", policy, "--simulated", "--timeout", "600", "--keep"];
  const done = run(args, cli.services);
  await waitFor(() => expect(cli.stdin.rawModes).toEqual([true]));
  cli.stdin.write("before\r");
  await waitFor(() => expect(cli.out()).toContain("before\r"));
  machine.change();
  cli.stdin.write("~A");
  await waitFor(() => expect(cli.errors()).toContain("FROZEN"));
  expect(cli.errors()).toContain("Enter ~G goes on");
  guest.processes[0]?.print(utf8("secret prompt: "));
  cli.stdin.write("password\r");
  await new Promise((resolve) => setTimeout(resolve, 100)); // to show that nothing happens
  expect(cli.out()).not.toContain("prompt");
  cli.stdin.write("~Gls"); // right behind it: this is typed at the guest as it is now
  await waitFor(() => expect(cli.out()).toContain("secret prompt: ls"));
  expect(cli.errors()).toContain("going on with the guest as it is now");
  expect(Buffer.concat(guest.processes[0]?.input ?? []).toString()).toBe("before\rls");
  cli.stdin.write("\r~d");
  expect(await done).toBe(0);
  expect(guest.processes[0]?.events).toEqual([]);
  rmSync(home, { recursive: true });
});

test("a terminal's program may run for so long: SIGTERM, and then its end is not its own", async () => {
  class Obedient extends FakeProcess {
    override signal(name: string): void {
      super.signal(name);
      this.finish({ kind: "signalled", signal: name });
    }
  }
  const { guest, reach } = world({ makeProcess: () => new Obedient() });
  const connected = await reach();
  const terminal = await connected.shell({ ...SIZE, timeout: 1 });
  await expect(terminal.exit).rejects.toEqual(refusal("timeout"));
  expect(guest.processes[0]?.events).toEqual(["SIGTERM"]);
  await connected.close();
});

test("what no call can mean is refused with a sentence, says no secret, and nothing is sent", async () => {
  const { guest, reach } = world();
  const connected = await reach();
  const id = "0".repeat(32);
  // As from JavaScript, where no type is in the way.
  const keep = (more: object) => connected.keepShell({ ...SIZE, ...more });
  const attach = (name: unknown, more: object = {}) =>
    connected.attach(name as SessionName, { ...SIZE, ...more });
  const wrong: readonly (readonly [string, () => Promise<unknown>])[] = [
    ["keepShell() takes its options as an object", () => connected.keepShell(undefined as never)],
    ['keepShell() has no option "signal"', () => keep({ signal: AbortSignal.abort() })],
    ["A terminal has 1 to 10000", () => keep({ columns: 0 })],
    ["A command is a list of words", () => keep({ command: "ls" })],
    ["sizing is", () => keep({ sizing: "largest" })],
    ["idleSeconds is", () => keep({ idleSeconds: 0 })],
    ["idleSeconds is", () => keep({ idleSeconds: 2 ** 32 })],
    ["screenLines is", () => keep({ screenLines: -1 })],
    ["screenLines is", () => attach({ id }, { screenLines: 10_001 })],
    ["login is true or false", () => connected.shell({ ...SIZE, login: "yes" as never })],
    ["takes no command, env or cwd", () => keep({ login: true, command: ["sh"] })],
    ["takes no command, env or cwd", () => connected.shell({ ...SIZE, login: true, cwd: "/" })],
    ["A session is { id }", () => attach(id)],
    ["A session is { id }", () => attach({ id: "0" })],
    ["A session is { id }", () => attach({ id: `${"0".repeat(31)}G` })],
    ["A session is { id }", () => attach({ id, secret: "feed" })],
    ["A session is { id }", () => attach({ id, secret: "feed", guest: connected.key })],
    ["A session is { id }", () => attach({ id, guest: "feed" })],
    ["A session is { id }", () => connected.endSession({ id: 7 as never })],
    ["A session is { id }", () => connected.listSessions([{ id, secret: "feed" }])],
    ["Known sessions are a list", () => connected.listSessions({ id } as never)],
    ['attach() has no option "command"', () => attach({ id }, { command: ["sh"] })],
    ["A terminal has 1 to 10000", () => attach({ id }, { rows: 10_001 })],
    ["mode is", () => attach({ id }, { mode: "write-only" })],
    ["sizing is", () => keep({ sizing: null })],
    ["onMark is a function", () => keep({ onMark: true })],
    ["onViewers is a function", () => attach({ id }, { onViewers: {} })],
    ["term is a text", () => keep({ term: 7 })],
    ["exec(): timeout is a number", () => connected.exec(["ls"], { timeout: "5" as never })],
    ["exec(): signal is an AbortSignal", () => connected.exec(["ls"], { signal: {} as never })],
    ["exec(): stdin is true, a text", () => connected.exec(["ls"], { stdin: 7 as never })],
    ["shell(): timeout is a number", () => connected.shell({ ...SIZE, timeout: 0 })],
    ["put(): recursive is true or false", () => connected.put("/x", "/y", { recursive: "no" as never })],
    ["get(): follow is", () => connected.get("/x", "/y", { follow: "sometimes" as never })],
    ["get(): onProgress is a function", () => connected.get("/x", "/y", { onProgress: 1 as never })],
    ["onStderr is a function", () => connected.openStream({ path: "/x" }, { onStderr: [] as never })],
    [
      "onFailed is a function",
      () => connected.forwardLocal({ port: 0 }, "socks", { onFailed: "x" as never }),
    ],
  ];
  for (const [words, call] of wrong) {
    const error: unknown = await call().catch((thrown: unknown) => thrown);
    expect(error, words).toEqual(refusal("api-misuse"));
    expect(String(error)).toContain(words);
    expect(String(error)).not.toContain("feed");
  }
  expect(guest.processes).toHaveLength(0);
  await connected.close();
});

test("connect() takes no option for another: what is no true or false is no yes to simulated evidence", async () => {
  const { reach } = world();
  const wrong: readonly (readonly [string, object])[] = [
    ["simulated is true or false", { simulated: "false" }],
    ["simulated is true or false", { simulated: 1 }],
    ["simulated is true or false", { simulated: null }],
    ["timeout is a number", { timeout: Number.NaN }],
    ["timeout is a number", { timeout: Infinity }],
    ["timeout is a number", { timeout: 0 }],
    ["timeout is a number", { timeout: "1000" }],
    ['encoding is "auto", "binary" or "armour"', { encoding: "base64" }],
    ['obfuscate is "strict", "adaptive" or "off"', { obfuscate: true }],
    ["identity is the path of a file, or false", { identity: true }],
    ["user is the name of a user", { user: 0 }],
    ["user is the name of a user", { user: "root\n" }],
    ["collateral is a text", { collateral: ["/x"] }],
    ["guest is a text", { guest: {} }],
    ["policy is the path of a file, or { text }", { policy: { file: "feed" } }],
    ["policy is the path of a file, or { text }", { policy: ["feed"] }],
    ["onChanged is a function", { onChanged: true }],
    ["onEvidence is a function", { onEvidence: "log" }],
    ["onState is a function", { onState: {} }],
  ];
  for (const [words, more] of wrong) {
    let told = 0;
    const connecting = reach({ onState: () => void told++, ...more });
    const error: unknown = await connecting.catch((thrown: unknown) => thrown);
    expect(error, words).toEqual(refusal("api-misuse"));
    expect(String(error)).toContain(`connect(): ${words}`);
    expect(String(error)).not.toContain("feed");
    expect(told).toBe(0);
  }
  // Left out.
  const connected = await reach({ onChanged: undefined, encoding: undefined } as object);
  await connected.close();
});

// `connect --keep`, `--attach` and `sessions` against a whole guest in memory; their small parts by themselves.

import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { DetachKeys } from "../../cli/escape-keys.ts";
import { parseDetachKeys } from "../../cli/kept-session.ts";
import { run } from "../../cli/program.ts";
import { ReplayAnswers } from "../../cli/replay-answers.ts";
import { SessionStore } from "../../cli/session-store.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { connect } from "../../protocol/session/connect.ts";
import { nodeClock } from "../../node/clock.ts";
import { memoryPipes, type PipePair } from "../support/memory-pipe.ts";
import { echoProcess, FakeProcess, testGuest } from "../support/session.ts";
import { fakeCli, POLICY_TEXT } from "./fake-cli.ts";

let directory: string;
let policy: string;
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-sessions-test-"));
  policy = path.join(directory, "policy.toml");
  writeFileSync(policy, POLICY_TEXT);
});
afterAll(() => rmSync(directory, { recursive: true }));

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

/** A guest, and terminals that reach it, each with the same home. */
function world(makeProcess: () => FakeProcess = echoProcess) {
  const home = mkdtempSync(path.join(directory, "home-"));
  const own = { keysAllowed: true, verifyUserKey: async () => true };
  const guest = testGuest(nodeClock, own, makeProcess);
  const pipes: PipePair[] = [];
  const terminal = () => {
    const cli = fakeCli({
      environment: { TERM: "xterm", HOME: home },
      connect,
      dial: async () => {
        const pair = memoryPipes();
        pipes.push(pair);
        void guest.endpoint.servePipe(pair.guest).catch(() => {});
        return pair.client;
      },
    });
    cli.stdin.isTTY = true;
    return cli;
  };
  const start = (command: string, ...more: string[]) => {
    const cli = terminal();
    const done = run([command, "tcp:h:1", "--policy", policy, "--simulated", ...more], cli.services);
    return { ...cli, done, shows: (what: string) => vi.waitFor(() => expect(cli.out()).toContain(what)) };
  };
  return { home, guest, pipes, start };
}

const idIn = (said: string): string => /session ([0-9a-f]{12})/.exec(said)?.[1] ?? "none";

describe("connect --keep", () => {
  test("~d detaches with status 0; --attach last shows it all again and goes on; its exit passes through", async () => {
    const { guest, home, start } = world();
    const one = start("connect", "--keep");
    await vi.waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
    one.stdin.write("first line\r");
    await one.shows("first line\r");
    one.stdin.write("~d");
    expect(await one.done).toBe(0);
    expect(one.stdin.rawModes).toEqual([true, false]);
    expect(one.errors()).toContain(`--attach ${idIn(one.errors())}`);
    expect(guest.processes[0]?.events).toEqual([]);
    const [file] = readdirSync(path.join(home, ".local/state/sealtty/sessions")) as [string];
    expect(statSync(path.join(home, ".local/state/sealtty/sessions", file)).mode & 0o777).toBe(0o600);

    const two = start("connect", "--attach", "last");
    await two.shows("first line\r");
    two.stdin.write("second\x04");
    expect(await two.done).toBe(7);
    expect(two.out()).toContain("first line\rsecond");
    const three = start("connect", "--attach", "last");
    expect(await three.done).toBe(255);
    expect(three.errors()).toContain("session-gone");
    expect(guest.processes).toHaveLength(1);
  });

  test("--detach-keys, anywhere in a line; what only began like them is typed", async () => {
    const { guest, start } = world();
    const cli = start("connect", "--detach-keys", "ctrl-p,ctrl-q");
    await vi.waitFor(() => expect(cli.stdin.rawModes).toEqual([true]));
    cli.stdin.write("ab\x10c\x10");
    cli.stdin.write("\x11never typed");
    expect(await cli.done).toBe(0);
    await vi.waitFor(() => expect(text(Buffer.concat(guest.processes[0]?.input ?? []))).toBe("ab\x10c"));
  });

  test("without --keep there is nothing to detach from: ~d is typed, ~. ends the program as ever", async () => {
    const { guest, start } = world();
    const cli = start("connect");
    await vi.waitFor(() => expect(cli.stdin.rawModes).toEqual([true]));
    cli.stdin.write("~d");
    await cli.shows("~d");
    cli.stdin.write("\r~.");
    expect(await cli.done).toBe(255);
    await vi.waitFor(() => expect(guest.processes[0]?.events).toContain("hang up"));
  });

  test("a closed terminal leaves the session, ~. ends it", async () => {
    const { guest, start } = world();
    const one = start("connect", "--keep");
    await vi.waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
    one.signal("SIGHUP");
    expect(await one.done).toBe(129);
    expect(guest.processes[0]?.events).toEqual([]);
    const two = start("connect", "--attach", idIn(one.errors()));
    await vi.waitFor(() => expect(two.stdin.rawModes).toEqual([true]));
    two.stdin.write("~.");
    expect(await two.done).toBe(255);
    await vi.waitFor(() => expect(guest.processes[0]?.events).toContain("hang up"));
  });

  test("read-only: shows, types nothing, and its ~. ends nothing; the other is told", async () => {
    const { guest, start } = world();
    const one = start("connect", "--keep", "-i", "key");
    await vi.waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
    const two = start("connect", "--attach", "last", "--read-only", "-i", "key");
    await vi.waitFor(() => expect(two.stdin.rawModes).toEqual([true]));
    await vi.waitFor(() => expect(one.errors()).toContain("attached besides you: me (read-only)"));
    two.stdin.write("typed by the viewer\r");
    one.stdin.write("by the owner\r");
    await two.shows("by the owner\r");
    two.stdin.write("~.");
    expect(await two.done).toBe(255);
    await vi.waitFor(() => expect(one.errors()).toContain("nobody else is attached any more"));
    one.stdin.write("~d");
    expect(await one.done).toBe(0);
    expect(text(Buffer.concat(guest.processes[0]?.input ?? []))).toBe("by the owner\r");
    expect(guest.processes[0]?.events).toEqual([]);
  });

  test("what the terminal answers to old questions is not typed again; keys are", async () => {
    const { guest, start } = world();
    const one = start("connect", "--keep");
    await vi.waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
    guest.processes[0]?.print(utf8("\x1b[6n question"));
    await one.shows("question");
    one.stdin.write("~d");
    await one.done;
    const two = start("connect", "--attach", "last");
    await two.shows("question");
    two.stdin.write("a\x1b[24;80Rb");
    await vi.waitFor(() => expect(text(Buffer.concat(guest.processes[0]?.input ?? []))).toBe("ab"));
    await new Promise((resolve) => setTimeout(resolve, 300));
    two.stdin.write("\x1b[24;80R"); // to a new question: it is the guest's
    await vi.waitFor(() =>
      expect(text(Buffer.concat(guest.processes[0]?.input ?? []))).toBe("ab\x1b[24;80R"),
    );
    two.stdin.write("\r~d");
    expect(await two.done).toBe(0);
  });

  test.each([
    [["--read-only"], "goes with --attach"],
    [["--size", "latest"], "goes with --keep"],
    [["--keep", "--size", "huge"], "smallest or latest"],
    [["--attach", "xyz"], "hex digits"],
    [["--detach-keys", "ctrl-"], "--detach-keys takes"],
    [["--attach", "last", "--size", "latest"], "when the session is opened"],
  ])("%j is refused before the guest is bothered", async (more, why) => {
    const { pipes, start } = world();
    const cli = start("connect", ...more);
    expect(await cli.done).toBe(255);
    expect(cli.errors()).toContain(why);
    expect(pipes).toHaveLength(0);
  });
});

describe("sessions", () => {
  test("lists what runs on, by its id; kills by the beginning of one", async () => {
    const { guest, start } = world();
    const none = start("sessions");
    expect(await none.done).toBe(0);
    expect(none.out()).toBe("no sessions\n");
    const one = start("connect", "--keep");
    await vi.waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
    const id = idIn(one.errors());
    const list = start("sessions");
    expect(await list.done).toBe(0);
    expect(list.out()).toMatch(new RegExp(`^ID +STATE .*\\n${id} +running +\\ds +\\ds +80x24 +1 +login\\n$`));
    const json = start("sessions", "--json");
    expect(await json.done).toBe(0);
    expect(JSON.parse(json.out())).toMatchObject({ running: true, viewers: 1, title: "login" });
    const wrong = start("sessions", "--kill", "ffff0000ffff");
    expect(await wrong.done).toBe(255);
    expect(wrong.errors()).toContain("session-gone");
    const kill = start("sessions", "--kill", id);
    expect(await kill.done).toBe(0);
    expect(await one.done).toBe(129); // its program ended by SIGHUP
    expect(guest.processes[0]?.events).toEqual(["hang up"]);
  });
});

describe("small parts", () => {
  test("detach keys are docker's", () => {
    expect([...parseDetachKeys("ctrl-p,ctrl-q")]).toEqual([0x10, 0x11]);
    expect([...parseDetachKeys("^],d")]).toEqual([0x1d, 0x64]);
    for (const wrong of ["", "ctrl-", "ab", "ctrl-1", "a,,b"])
      expect(() => parseDetachKeys(wrong)).toThrow("--detach-keys");
  });
  test("DetachKeys finds its keys however they are cut, and keeps nothing else back", () => {
    for (const [typed, sent] of [
      ["aab", ""],
      ["aaab", "a"],
      ["xaaxaab", "xaax"],
    ] as const) {
      for (let cut = 0; cut <= typed.length; cut++) {
        const keys = new DetachKeys(utf8("aab"));
        const first = keys.push(utf8(typed.slice(0, cut)));
        const second = first.detach ? first : keys.push(utf8(typed.slice(cut)));
        expect(second.detach, typed).toBe(true);
        expect(text(first.send) + (first.detach ? "" : text(second.send)), typed).toBe(sent);
      }
    }
  });
  test("ReplayAnswers drops reports only, however they are cut", () => {
    const typed = "k\x1b[24;80R\x1b[A\x1b]11;rgb:0/0/0\x07\x1bxq";
    for (let cut = 0; cut <= typed.length; cut++) {
      const answers = new ReplayAnswers(true);
      const passed =
        text(answers.filter(Buffer.from(typed.slice(0, cut), "latin1"))) +
        text(answers.filter(Buffer.from(typed.slice(cut), "latin1")));
      // A lone ESC at the end of a chunk is the key Escape: terminals answer in one piece.
      if (typed[cut - 1] !== "\x1b") expect(passed, `cut at ${cut}`).toBe("k\x1b[A\x1bxq");
    }
    expect(text(new ReplayAnswers(false).filter(utf8("\x1b[1;1R")))).toBe("\x1b[1;1R");
  });
  test("the store takes no file that is not its own, and forgets the oldest", async () => {
    const environment = { XDG_STATE_HOME: mkdtempSync(path.join(directory, "state-")) };
    const store = new SessionStore("p", { environment });
    expect(await store.all()).toEqual([]);
    for (let i = 0; i < 40; i++) {
      const secret = i % 2 === 0 ? undefined : new Uint8Array(32).fill(i);
      expect(await store.remember({ id: new Uint8Array(16).fill(i), secret })).toBe(true);
    }
    const all = await store.all();
    expect(all).toHaveLength(32);
    expect(all.at(-1)).toEqual({ id: new Uint8Array(16).fill(39), secret: new Uint8Array(32).fill(39) });
    await store.forget({ id: new Uint8Array(16).fill(39) });
    expect((await store.all()).at(-1)?.secret).toBeUndefined();
    const folder = path.join(environment.XDG_STATE_HOME, "sealtty/sessions");
    for (const bad of ["{", '{"version":1,"sessions":[{"id":"00","secret":null}]}', '{"version":2}']) {
      writeFileSync(path.join(folder, readdirSync(folder)[0] as string), bad);
      expect(await store.all()).toEqual([]);
    }
    expect(
      await new SessionStore("p", { environment: {} }).remember({
        id: new Uint8Array(16),
        secret: undefined,
      }),
    ).toBe(false);
  });
});

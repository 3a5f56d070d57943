// `connect --keep`, `--attach` and `sessions` against a whole guest in memory; their small parts by themselves.

import fs, {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { DetachKeys } from "../../cli/escape-keys.ts";
import { comeBackCommand, parseDetachKeys, SessionNews } from "../../cli/kept-session.ts";
import { run } from "../../cli/program.ts";
import { RecordingFile } from "../../cli/recording-file.ts";
import { ReplayAnswers } from "../../cli/replay-answers.ts";
import { SessionStore } from "../../cli/session-store.ts";
import { fromHex, utf8 } from "../../protocol/bytes.ts";
import { connect } from "../../protocol/session/connect.ts";
import type { StartScreenThread } from "../../server/sessions/screen-keeper.ts";
import { nodeClock } from "../../node/clock.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { memoryPipes, type PipePair } from "../support/memory-pipe.ts";
import { readCast } from "../support/read-cast.ts";
import { nearThreads } from "../support/screen-thread.ts";
import { UNRESTRICTED } from "../../protocol/user-auth/restrictions.ts";
import { acceptAnyKey, echoProcess, FakeProcess, SESSION_LIMITS, testGuest } from "../support/session.ts";
import { fakeCli, POLICY_TEXT } from "./fake-cli.ts";

let directory: string;
let policy: string;
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-sessions-test-"));
  policy = path.join(directory, "policy.toml");
  writeFileSync(policy, POLICY_TEXT);
});
afterAll(() => rmSync(directory, { recursive: true }));

/** However loaded the machine is. */
const waitFor = (holds: () => void): Promise<void> => vi.waitFor(holds, { timeout: 30_000 });
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

/** A guest, and terminals that reach it, each with the same home. */
function world(
  makeProcess: () => FakeProcess = echoProcess,
  home = mkdtempSync(path.join(directory, "home-")),
  connectTo = connect,
  startScreenThread?: StartScreenThread,
) {
  const own = { keysAllowed: true, verifyUserKey: acceptAnyKey };
  const limits = { ...SESSION_LIMITS, ringBytes: (startScreenThread === undefined ? 4096 : 64) * 1024 };
  const guest = testGuest(nodeClock, own, makeProcess, nodeSuite, limits, startScreenThread);
  const pipes: PipePair[] = [];
  const terminal = () => {
    const cli = fakeCli({
      environment: { TERM: "xterm", HOME: home },
      connect: connectTo,
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
  const startOn = (screen: boolean, command: string, ...more: string[]) => {
    const cli = terminal();
    cli.stdout.isTTY = screen;
    const done = run([command, "tcp:h:1", "--policy", policy, "--simulated", ...more], cli.services);
    return { ...cli, done, shows: (what: string) => waitFor(() => expect(cli.out()).toContain(what)) };
  };
  const start = (command: string, ...more: string[]) => startOn(false, command, ...more);
  return { home, guest, pipes, start, startOn };
}

const idIn = (said: string): string => /session ([0-9a-f]{12})/.exec(said)?.[1] ?? "none";

describe("connect --keep", () => {
  test("on a terminal a screen comes for what is gone, below what stood there; into a file output comes, and the gap is said", async () => {
    const { guest, startOn } = world(echoProcess, undefined, undefined, nearThreads().start);
    const one = startOn(true, "connect", "--keep");
    await waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
    const lines = Array.from({ length: 12_000 }, (_, index) => `line ${index}\r\n`).join("");
    guest.processes[0]?.print(utf8(`${lines}\x1b[?2004h$ `));
    await one.shows("line 11999");
    one.stdin.write("~d");
    expect(await one.done).toBe(0);

    const two = startOn(true, "connect", "--attach", "last");
    await two.shows("line 11999");
    expect(two.errors()).toContain("the screen comes back with 10000 lines above it");
    const clear = two.out().indexOf(`${"\n".repeat(24)}\x1b[H\x1b[2J`);
    expect(clear).toBeGreaterThan(0);
    expect(two.out().slice(0, clear)).toContain("\x1b[!p");
    expect(two.out().indexOf("line ")).toBeGreaterThan(clear);
    await two.shows("\x1b[?2004h"); // the program's mode, after ours were put back
    two.stdin.write("\r~d");
    expect(await two.done).toBe(0);
    expect(two.out().lastIndexOf("\x1b[?2004l")).toBeGreaterThan(two.out().lastIndexOf("\x1b[?2004h"));

    const three = startOn(false, "connect", "--attach", "last");
    await three.shows("line 11999");
    expect(three.errors()).toMatch(/bytes of output are gone/);
    expect(three.out()).not.toContain("\x1b[2J");
    three.stdin.write("\r~d");
    expect(await three.done).toBe(0);
  });

  test("~d detaches with status 0; --attach last shows it all again and goes on; its exit passes through", async () => {
    const { guest, home, start } = world();
    const one = start("connect", "--keep");
    await waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
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

  test("--record: what was shown, its sizes and its end, in a new file of the user's alone", async () => {
    const { home, start, startOn } = world();
    const file = path.join(home, "shown.cast");
    const one = startOn(true, "connect", "--keep", "--record", file);
    await waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
    one.stdin.write("h\u00e9llo\r");
    await one.shows("h\u00e9llo\r");
    Object.assign(one.stdout, { columns: 100, rows: 50 });
    one.stdout.emit("resize");
    one.stdin.write("~d");
    expect(await one.done).toBe(0);
    expect(one.errors()).not.toContain("--record"); // the line that comes back would be refused
    const cast = readCast(readFileSync(file, "utf8"));
    expect(cast.shown).toBe("h\u00e9llo\r");
    expect(cast.events.map(({ code, data }) => (code === "o" ? code : `${code} ${data}`)).slice(-2)).toEqual([
      "r 100x50",
      "m The recording ends here: this terminal left the session, or lost it.",
    ]);
    expect(statSync(file).mode & 0o777).toBe(0o600);

    const two = start("connect", "--attach", "last", "--record", file);
    expect(await two.done).toBe(255);
    expect(two.errors()).toContain("it is there already");
    expect(readCast(readFileSync(file, "utf8"))).toEqual(cast);
    const whole = path.join(home, "whole.cast");
    const three = start("connect", "--attach", "last", "--record", whole);
    await three.shows("h\u00e9llo\r");
    three.stdin.write("end\x04");
    expect(await three.done).toBe(7);
    const again = readCast(readFileSync(whole, "utf8"));
    expect(again.shown).toBe("h\u00e9llo\rend");
    expect(again.events.at(-1)).toMatchObject({ code: "x", data: "7" });
  });

  test("--record: a full disk ends the recording, and not the session; where nothing began, no file stays", async () => {
    const { home, start } = world();
    const file = path.join(home, "shown.cast");
    const refused = start("connect", "--record", file, "--read-only");
    expect(await refused.done).toBe(255);
    const missing = start("connect", "--attach", "last", "--record", file);
    expect(await missing.done).toBe(255);
    expect(existsSync(file)).toBe(false);
    const nowhere = start("connect", "--record", path.join(home, "none/x"));
    expect(await nowhere.done).toBe(255);
    expect(nowhere.errors()).toContain("ENOENT");
    const said: string[] = [];
    const reporter = { warn: (line: string) => void said.push(line) };
    const recording = new RecordingFile(file, { clock: nodeClock, wallTime: () => 0 }, reporter);
    const real = fs.writeSync;
    fs.writeSync = () => {
      throw Object.assign(new Error("full"), { code: "ENOSPC" });
    };
    try {
      recording.begin({ columns: 80, rows: 24 });
      recording.output(utf8("x"));
      recording.exit({ status: 0 });
    } finally {
      fs.writeSync = real;
    }
    expect(said).toEqual([expect.stringContaining("cannot be written: ENOSPC") as string]);
  });

  test("--detach-keys, anywhere in a line; what only began like them is typed", async () => {
    const { guest, start } = world();
    const cli = start("connect", "--detach-keys", "ctrl-p,ctrl-q");
    await waitFor(() => expect(cli.stdin.rawModes).toEqual([true]));
    cli.stdin.write("ab\x10c\x10");
    cli.stdin.write("\x11never typed");
    expect(await cli.done).toBe(0);
    await waitFor(() => expect(text(Buffer.concat(guest.processes[0]?.input ?? []))).toBe("ab\x10c"));
  });

  test("without --keep there is nothing to detach from: ~d is typed, ~. ends the program as ever", async () => {
    const { guest, start } = world();
    const cli = start("connect");
    await waitFor(() => expect(cli.stdin.rawModes).toEqual([true]));
    cli.stdin.write("~d");
    await cli.shows("~d");
    cli.stdin.write("\r~.");
    expect(await cli.done).toBe(255);
    await waitFor(() => expect(guest.processes[0]?.events).toContain("hang up"));
  });

  test("a closed terminal leaves the session, ~. ends it", async () => {
    const { guest, start } = world();
    const one = start("connect", "--keep");
    await waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
    one.signal("SIGHUP");
    expect(await one.done).toBe(129);
    expect(guest.processes[0]?.events).toEqual([]);
    const two = start("connect", "--attach", idIn(one.errors()));
    await waitFor(() => expect(two.stdin.rawModes).toEqual([true]));
    two.stdin.write("~.");
    expect(await two.done).toBe(255);
    await waitFor(() => expect(guest.processes[0]?.events).toContain("hang up"));
  });

  test("read-only: shows, types nothing, and its ~. ends nothing; the other is told", async () => {
    const { guest, start } = world();
    const one = start("connect", "--keep", "-i", "key");
    await waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
    const two = start("connect", "--attach", "last", "--read-only", "-i", "key");
    await waitFor(() => expect(two.stdin.rawModes).toEqual([true]));
    await waitFor(() => expect(one.errors()).toContain("attached besides you: me (read-only)"));
    two.stdin.write("typed by the viewer\r");
    one.stdin.write("by the owner\r");
    await two.shows("by the owner\r");
    two.stdin.write("~?");
    await waitFor(() => expect(two.errors()).toContain("~.   leave; the session runs on"));
    expect(two.errors()).not.toMatch(/hang-up|~d/);
    two.stdin.write("~.");
    expect(await two.done).toBe(0);
    expect(two.errors()).toContain(
      `--attach ${idIn(two.errors())} --policy ${policy} --identity key --simulated --read-only`,
    );
    await waitFor(() => expect(one.errors()).toContain("nobody else is attached any more"));
    one.stdin.write("~d");
    expect(await one.done).toBe(0);
    expect(text(Buffer.concat(guest.processes[0]?.input ?? []))).toBe("by the owner\r");
    expect(guest.processes[0]?.events).toEqual([]);
  });

  test("what the terminal answers to old questions is not typed again; keys are", async () => {
    const { guest, start } = world();
    const one = start("connect", "--keep");
    await waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
    guest.processes[0]?.print(utf8("\x1b[6n question"));
    await one.shows("question");
    one.stdin.write("~d");
    await one.done;
    const two = start("connect", "--attach", "last");
    await two.shows("question");
    two.stdin.write("a\x1b[24;80Rb");
    await waitFor(() => expect(text(Buffer.concat(guest.processes[0]?.input ?? []))).toBe("ab"));
    await new Promise((resolve) => setTimeout(resolve, 300));
    two.stdin.write("\x1b[24;80R"); // to a new question: it is the guest's
    await waitFor(() => expect(text(Buffer.concat(guest.processes[0]?.input ?? []))).toBe("ab\x1b[24;80R"));
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

test("comeBackCommand() says again how the guest was reached, each word as a shell needs it", () => {
  const given: Readonly<Record<string, string>> = { policy: "it's mine.toml", login: "root" };
  const input = {
    text: (name: string) => given[name],
    has: (name: string) => name in given,
    texts: (name: string) => (name === "option" ? ["user=me", "encoding=armour"] : []),
  };
  const command = comeBackCommand("tcp:h:1", "0123abcd", input);
  expect(command).toBe(
    "sealtty connect tcp:h:1 --attach 0123abcd --option user=me --option encoding=armour " +
      "--policy 'it'\\''s mine.toml' --login root",
  );
  const everything = { ...input, has: () => true, text: () => "from guests.toml" };
  expect(comeBackCommand("tcp:h:1", "0123abcd", { ...everything, said: input, alias: "db1" })).toBe(
    command.replace("tcp:h:1", "db1"),
  );
});

test("a guest that tells of gaps without end, and prints nothing, takes no memory", () => {
  const { marks, listeners } = new SessionNews();
  for (let n = 0; n < 1000; n++) listeners.onMark?.({ kind: "gap", at: 7, lost: 2 });
  listeners.onMark?.({ kind: "new", at: 7 });
  for (const at of [7, 8, 8]) listeners.onMark?.({ kind: "gap", at, lost: 3 });
  expect(marks).toEqual([
    { kind: "gap", at: 7, lost: 2000 },
    { kind: "new", at: 7 },
    { kind: "gap", at: 7, lost: 3 },
    { kind: "gap", at: 8, lost: 6 },
  ]);
});

describe("what is remembered", () => {
  test("a secret goes to the guest that drew it, and to none other that meets the same policy", async () => {
    const one = world();
    const other = world(echoProcess, one.home);
    const proofs: number[] = [];
    for (const { guest } of [one, other]) {
      const list = guest.sessions.list.bind(guest.sessions);
      guest.sessions.list = (user, named) => {
        proofs.push(named.length);
        return list(user, named);
      };
    }
    const cli = one.start("connect", "--keep");
    await waitFor(() => expect(cli.stdin.rawModes).toEqual([true]));
    cli.stdin.write("~d");
    expect(await cli.done).toBe(0);
    const elsewhere = other.start("sessions");
    expect(await elsewhere.done).toBe(0);
    expect(elsewhere.out()).toBe("no sessions\n");
    const attach = other.start("connect", "--attach", idIn(cli.errors()));
    expect(await attach.done).toBe(255);
    const there = one.start("sessions");
    expect(await there.done).toBe(0);
    expect(there.out()).toContain(idIn(cli.errors()));
    expect(proofs).toEqual([0, 0, 1]);
  });

  test.each([
    [[], "nobody can come back to it once this program ends", "nobody can come back to it"],
    [["-i", "key"], "--attach last will not know it", "come back with"],
  ])(
    "a session that could not be remembered (%j): it is said, and what that means",
    async (more, lost, then) => {
      const { home, start } = world();
      writeFileSync(path.join(home, ".local"), "no directory");
      const cli = start("connect", "--keep", "-q", ...more);
      await waitFor(() => expect(cli.stdin.rawModes).toEqual([true]));
      expect(cli.errors()).toContain("could not be remembered");
      expect(cli.errors()).toContain(lost);
      cli.stdin.write("~d");
      expect(await cli.done).toBe(0);
      const talking = start("connect", "--keep", ...more);
      await waitFor(() => expect(talking.stdin.rawModes).toEqual([true]));
      talking.stdin.write("~d");
      expect(await talking.done).toBe(0);
      expect(talking.errors()).toMatch(new RegExp(`detached from session [0-9a-f]{12}; ${then}`));
    },
  );

  test("a session whose last output is lost ends with an error, not like its program, and is not remembered", async () => {
    const { guest, home, start } = world();
    const folder = path.join(home, ".local/state/sealtty/sessions");
    const cli = start("connect", "--keep", "-i", "key");
    await waitFor(() => expect(cli.stdin.rawModes).toEqual([true]));
    cli.stdout.pause(); // its reader takes nothing for now
    guest.processes[0]?.print(new Uint8Array(2 * 1024 * 1024).fill(0x78));
    const id = fromHex((readdirSync(folder)[0] as string).split(".")[1] as string);
    const owner = {
      name: "me",
      method: "ssh-key",
      key: nodeSuite.sha256(Uint8Array.of(1)),
      restrictions: UNRESTRICTED,
    } as const;
    expect(guest.sessions.kill(owner, { id, secret: undefined })).toBe(true);
    await waitFor(() => expect(guest.sessions.list(owner, [])).toMatchObject([{ running: false }]));
    expect(guest.sessions.kill(owner, { id, secret: undefined })).toBe(true); // whole
    cli.stdout.resume();
    expect(await cli.done).toBe(255);
    expect(cli.errors()).toMatch(/[0-9]+ bytes of output are gone/);
    expect(cli.errors()).toContain("session-gone");
    expect(cli.errors()).not.toContain("runs on");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("the last keys may or may not have counted: said in plain words, once", async () => {
    const unsure: typeof connect = async (options) => {
      const attested = await connect(options);
      const authenticate = attested.authenticate.bind(attested);
      attested.authenticate = async (auth) => {
        const guest = await authenticate(auth);
        const attach = guest.attach.bind(guest);
        guest.attach = async (request) =>
          Object.defineProperty(await attach(request), "inputUnsure", { value: true });
        return guest;
      };
      return attested;
    };
    const { start } = world(echoProcess, undefined, unsure);
    const one = start("connect", "--keep");
    await waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
    one.stdin.write("~d");
    expect(await one.done).toBe(0);
    expect(one.errors()).not.toContain("it is not known whether");
    const two = start("connect", "--attach", "last");
    await waitFor(() => expect(two.stdin.rawModes).toEqual([true]));
    two.stdin.write("~d");
    expect(await two.done).toBe(0);
    expect(two.errors().split("it is not known whether the last keys")).toHaveLength(2);
  });
});

describe("sessions", () => {
  test("lists what runs on, by its id; kills by the beginning of one", async () => {
    const { guest, pipes, start } = world();
    const none = start("sessions");
    expect(await none.done).toBe(0);
    expect(none.out()).toBe("no sessions\n");
    const one = start("connect", "--keep");
    await waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
    const id = idIn(one.errors());
    const list = start("sessions");
    expect(await list.done).toBe(0);
    expect(list.out()).toMatch(new RegExp(`^ID +STATE .*\\n${id} +running +\\ds +\\ds +80x24 +1 +login\\n$`));
    const json = start("sessions", "--json");
    expect(await json.done).toBe(0);
    expect(JSON.parse(json.out())).toMatchObject({ running: true, viewers: 1, title: "login" });
    const before = pipes.length;
    const unlike = start("sessions", "--kill", "zz");
    expect(await unlike.done).toBe(255);
    expect(unlike.errors()).toContain("4 to 32 hex digits");
    expect(pipes.length).toBe(before); // nobody was asked
    const wrong = start("sessions", "--kill", "ffff0000ffff");
    expect(await wrong.done).toBe(255);
    expect(wrong.errors()).toContain("session-gone");
    const kill = start("sessions", "--kill", id);
    expect(await kill.done).toBe(0);
    expect(kill.errors()).toContain(`session ${id} is hung up; one client was attached`);
    expect(await one.done).toBe(129); // its program ended by SIGHUP
    expect(one.errors()).toContain("was hung up in the guest, and not from here");
    expect(guest.processes[0]?.events).toEqual(["hang up"]);
  });

  test("who ends a session by ~. is not told that somebody else did; who only looks on is", async () => {
    const { start } = world();
    const one = start("connect", "--keep");
    await waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
    const two = start("connect", "--attach", "last", "--read-only");
    await waitFor(() => expect(one.errors()).toContain("attached besides you"));
    one.stdin.write("~.");
    expect(await one.done).toBe(255);
    expect(one.errors()).not.toContain("not from here");
    expect(await two.done).toBe(129);
    expect(two.errors()).toContain("was hung up in the guest, and not from here");
  });

  test("one that ended while nobody was attached is listed as ended, and killing it says so", async () => {
    const { guest, start } = world();
    const one = start("connect", "--keep");
    await waitFor(() => expect(one.stdin.rawModes).toEqual([true]));
    one.stdin.write("~d");
    expect(await one.done).toBe(0);
    guest.processes[0]?.finish({ kind: "exited", status: 0 });
    const state = async (): Promise<string | undefined> => {
      const list = start("sessions");
      expect(await list.done).toBe(0);
      return /\n[0-9a-f]{12} +(\w+) /.exec(list.out())?.[1];
    };
    while ((await state()) === "running");
    expect(await state()).toBe("ended");
    const kill = start("sessions", "--kill", idIn(one.errors()));
    expect(await kill.done).toBe(0);
    expect(kill.errors()).toContain("had ended already");
    const none = start("sessions");
    expect(await none.done).toBe(0);
    expect(none.out()).toBe("no sessions\n");
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
  describe("the store", () => {
    const hexOf = (n: number, bytes: number) => n.toString(16).padStart(2, "0").repeat(bytes);
    const idOf = (n: number) => hexOf(n, 16);
    const made = (key = 1, state = mkdtempSync(path.join(directory, "state-"))) => {
      const services = { environment: { XDG_STATE_HOME: state }, wallTime: () => 1000 };
      const folder = path.join(state, "sealtty/sessions");
      return { store: new SessionStore(hexOf(key, 32), services), state, folder };
    };

    test("the newest is last, though the clock stands; nothing but the files stays", async () => {
      const { store, folder } = made();
      expect(await store.all()).toEqual([]);
      for (const n of [1, 2, 3]) {
        const secret = n === 2 ? undefined : hexOf(n, 32);
        expect(await store.remember({ id: idOf(n), secret })).toBe(true);
      }
      expect(await store.remember({ id: idOf(1), secret: hexOf(1, 32) })).toBe(true);
      expect(await store.all()).toEqual([
        { id: idOf(2), secret: undefined },
        { id: idOf(3), secret: hexOf(3, 32), guest: hexOf(1, 32) },
        { id: idOf(1), secret: hexOf(1, 32), guest: hexOf(1, 32) },
      ]);
      await store.forget({ id: idOf(3) });
      expect((await store.all()).map(({ id }) => id)).toEqual([idOf(2), idOf(1)]);
      expect(readdirSync(folder)).toHaveLength(2);
    });

    test("many commands at once take nothing away from each other", async () => {
      const { state } = made();
      await Promise.all(
        Array.from({ length: 30 }, (_, n) =>
          made(1, state).store.remember({ id: idOf(n), secret: undefined }),
        ),
      );
      await Promise.all([
        made(1, state).store.forget({ id: idOf(0) }),
        ...Array.from({ length: 10 }, (_, n) =>
          made(1, state).store.remember({ id: idOf(30 + n), secret: undefined }),
        ),
      ]);
      const all = (await made(1, state).store.all()).map(({ id }) => id);
      expect(all.sort()).toEqual(Array.from({ length: 39 }, (_, n) => idOf(n + 1)));
    });

    test("the oldest of all guests go, above 256", async () => {
      const { store, state, folder } = made();
      await store.remember({ id: idOf(0), secret: undefined });
      const [first = ""] = readdirSync(folder);
      for (let n = 1; n < 250; n++) {
        const name = first.replace(/[0-9a-f]{32}\.json$/, `${idOf(n)}.json`);
        writeFileSync(path.join(folder, name), `{"version":1,"at":${1000 + n},"secret":null}`);
      }
      const other = made(2, state).store;
      for (let n = 0; n < 10; n++) await other.remember({ id: idOf(n), secret: undefined });
      expect(readdirSync(folder)).toHaveLength(256);
      expect((await store.all()).length + (await other.all()).length).toBe(256);
      expect((await store.all()).at(-1)?.id).toEqual(idOf(249));
    });

    test("files that are not its own are none of its business", async () => {
      const { store, folder } = made();
      await store.remember({ id: idOf(1), secret: undefined });
      const file = path.join(folder, readdirSync(folder)[0] as string);
      for (const bad of [
        "{",
        '{"version":1,"at":1,"secret":"00"}',
        '{"version":2,"at":1,"secret":null}',
        "x".repeat(5000),
      ]) {
        writeFileSync(file, bad);
        expect(await store.all()).toEqual([]);
      }
      writeFileSync(file, '{"version":1,"at":1,"secret":null}');
      writeFileSync(path.join(folder, "notes.json"), "mine");
      expect(await store.all()).toHaveLength(1);
    });

    test("where there is no home, or it cannot be written to, it says so", async () => {
      const session = { id: idOf(1), secret: undefined };
      const nowhere = new SessionStore(hexOf(0, 32), { environment: {}, wallTime: () => 0 });
      expect(await nowhere.remember(session)).toBe(false);
      const { store, state } = made();
      writeFileSync(path.join(state, "sealtty"), "no directory");
      expect(await store.remember(session)).toBe(false);
      expect(await store.all()).toEqual([]);
    });
  });
});

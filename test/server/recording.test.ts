// Recordings in the guest: which sessions, what is in them, and what becomes of one that cannot go on.

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { utf8 } from "../../protocol/bytes.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import { UNRESTRICTED } from "../../protocol/user-auth/restrictions.ts";
import { Audit } from "../../server/audit/audit.ts";
import type { CarrierEvent } from "../../server/audit/events.ts";
import type { RecordingConfig } from "../../server/config.ts";
import { createLog } from "../../server/log.ts";
import { CarriedProcess } from "../../server/recording/carried-process.ts";
import { Recording } from "../../server/recording/recording.ts";
import { Recordings } from "../../server/recording/recordings.ts";
import type { GuestProcess } from "../../server/sessions/guest-process.ts";
import { readCast } from "../support/read-cast.ts";

let directory: string;
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-recordings-"));
});
afterEach(() => fs.rmSync(directory, { recursive: true }));

const root: AuthenticatedUser = {
  name: "root",
  method: "ssh-key",
  key: new Uint8Array(32),
  restrictions: UNRESTRICTED,
};
const nobody: AuthenticatedUser = { name: "whoever", method: "none" };
const launch = { environment: { TERM: "xterm-256color", TOKEN: "canary" } };
const asked = { user: root, service: "shell", program: 1, columns: 80, rows: 24, launch };

function recordingsWith(own: Partial<RecordingConfig> = {}) {
  const lines: string[] = [];
  const log = createLog({ journal: true, write: (line) => void lines.push(line) });
  const common = { log, clock: nodeClock, wallTime: () => Date.UTC(2026, 5, 15, 14, 15) };
  const audit = new Audit({ ...common, config: { file: undefined, required: false }, speaker: "monitor" });
  const config: RecordingConfig = {
    directory,
    users: undefined,
    services: ["login", "shell"],
    notice: true,
    required: false,
    maxMib: 1,
    userMib: 2,
    totalMib: 2,
    ...own,
  };
  return { recordings: new Recordings({ ...common, config, audit }), lines };
}

const read = (name: string) => readCast(fs.readFileSync(path.join(directory, name), "utf8"));

describe("which sessions", () => {
  test("those of the users and services that are named; a login is anybody's", () => {
    const { recordings } = recordingsWith({ users: ["alice"], services: ["login", "shell"] });
    expect(recordings.open(asked)).toBeUndefined();
    expect(recordings.open({ ...asked, user: { ...root, name: "alice" } })).toBeDefined();
    expect(recordings.open({ ...asked, user: nobody, service: "login", program: 2 })).toBeDefined();
    expect(recordings.open({ ...asked, service: "exec", program: 3 })).toBeUndefined();
    const only = recordingsWith({ services: ["shell"] }).recordings;
    expect(only.open({ ...asked, user: nobody, service: "login", program: 4 })).toBeUndefined();
    recordings.close();
    expect(fs.readdirSync(directory).sort()).toEqual([
      "20260615T141500Z-=login-2.cast",
      "20260615T141500Z-alice-1.cast",
    ]);
  });

  test("a name that is taken, as after the clock was set back: that file stays as it is, the new one has another name", async () => {
    const file = path.join(directory, "20260615T141500Z-root-1.cast");
    fs.writeFileSync(file, "before");
    const { recordings, lines } = recordingsWith({ required: true, userMib: 10, totalMib: 10 });
    const recording = recordings.open(asked);
    expect(recording?.name).toMatch(/^20260615T141500Z-root-1\.[0-9a-f]{12}\.cast$/);
    expect(recordings.open(asked)?.name).not.toBe(recording?.name);
    await recording?.output(utf8("shown"));
    expect(fs.readFileSync(file, "utf8")).toBe("before");
    expect(read(recording?.name ?? "").shown).toBe("shown");
    recordings.close();
    expect(lines.join("")).not.toContain("CANNOT BE RECORDED");
  });

  test("where every name is taken it is not tried for ever", () => {
    const { recordings, lines } = recordingsWith();
    const real = fs.openSync;
    let tries = 0;
    fs.openSync = () => {
      tries++;
      throw Object.assign(new Error("taken"), { code: "EEXIST" });
    };
    try {
      expect(recordings.open(asked)).toBeUndefined();
    } finally {
      fs.openSync = real;
    }
    expect(tries).toBe(8);
    expect(lines.join("")).toContain("SESSIONS CANNOT BE RECORDED");
  });
});

describe("room", () => {
  const login = (program: number) => ({ ...asked, user: nobody, service: "login", program });
  const of = (name: string, program: number) => ({ ...asked, user: { ...root, name }, program });
  const whole = (recording: Recording | undefined): void => {
    recording?.outputEnded();
    recording?.ended({ kind: "exited", status: 0 });
  };

  test("one that is being written counts as large as it may become, and as it is once it has ended", () => {
    const { recordings, lines } = recordingsWith({ maxMib: 1, userMib: 3, totalMib: 3 });
    const open = [1, 2, 3].map((program) => recordings.open(of("alice", program)));
    expect(open.every(Boolean)).toBe(true);
    expect(recordings.open(of("alice", 4))).toBeUndefined();
    expect(lines.join("")).toContain("SESSIONS CANNOT BE RECORDED");
    whole(open[0]);
    expect(recordings.open(of("alice", 5))).toBeUndefined(); // a block, and three of a MiB
    whole(open[1]);
    expect(recordings.open(of("alice", 6))).toBeDefined();
    recordings.close();
  });

  test("each name its own: of first.last, first_last and a user called login nobody uses up another's", () => {
    const { recordings } = recordingsWith({ maxMib: 1, userMib: 1, totalMib: 8 });
    for (const [index, name] of ["first.last", "first_last", "first=2elast", "login"].entries())
      expect(recordings.open(of(name, index))).toBeDefined();
    expect(recordings.open(login(7))).toBeDefined();
    expect(recordings.open(of("first.last", 8))).toBeUndefined();
    expect(fs.readdirSync(directory).sort()).toEqual([
      "20260615T141500Z-=login-7.cast",
      "20260615T141500Z-first=2elast-0.cast",
      "20260615T141500Z-first=3d2elast-2.cast",
      "20260615T141500Z-first_last-1.cast",
      "20260615T141500Z-login-3.cast",
    ]);
    recordings.close();
  });

  test.each([
    ["those that are being written", false],
    ["those that are kept", true],
  ])("logins without a key use up their own share, %s, and nobody else's", (_, kept) => {
    const { recordings } = recordingsWith({ required: true, maxMib: 1, userMib: 2, totalMib: 6 });
    const full = { code: "device-unavailable" };
    if (kept) {
      const file = path.join(directory, "20250615T141500Z-=login-7.0123456789ab.cast");
      fs.writeFileSync(file, "");
      fs.truncateSync(file, 2 * 1024 * 1024);
    } else for (const program of [1, 2]) expect(recordings.open(login(program))).toBeDefined();
    expect(() => recordings.open(login(3))).toThrow(expect.objectContaining(full));
    // Users have theirs, each their own, as far as all together go.
    for (const program of [4, 5]) expect(recordings.open(of("alice", program))).toBeDefined();
    expect(() => recordings.open(of("alice", 6))).toThrow(expect.objectContaining(full));
    for (const program of [7, 8]) expect(recordings.open(of("bob-login", program))).toBeDefined();
    expect(() => recordings.open(of("carol", 9))).toThrow(expect.objectContaining(full));
    recordings.close();
  });

  test("without a size, too: nobody has more than half of the files", () => {
    const { recordings } = recordingsWith({ maxMib: 1, userMib: 500, totalMib: 1000 });
    for (let i = 0; i < 10_000; i++)
      fs.writeFileSync(path.join(directory, `20250615T141500Z-=login-${i}.cast`), "");
    expect(recordings.open(login(1))).toBeUndefined();
    expect(recordings.open(of("alice", 2))).toBeDefined();
    recordings.close();
  });
});

describe("a directory that cannot be used", () => {
  const NOTHING = (): void => {};
  test.each<readonly [string, () => () => void]>([
    ["others may write in it", () => (fs.chmodSync(directory, 0o777), NOTHING)],
    [
      "it is a link",
      () => {
        const real = `${directory}.real`;
        fs.renameSync(directory, real);
        fs.symlinkSync(real, directory);
        return () => {
          fs.rmSync(directory);
          fs.renameSync(real, directory);
        };
      },
    ],
    [
      "there is none",
      () => {
        fs.rmdirSync(directory);
        return () => fs.mkdirSync(directory);
      },
    ],
    [
      "it is full",
      () => {
        fs.writeFileSync(path.join(directory, "old.cast"), "");
        fs.truncateSync(path.join(directory, "old.cast"), 2 * 1024 * 1024);
        return NOTHING;
      },
    ],
  ])("%s: no recording, or where it is required no session", (_, spoil) => {
    const good = recordingsWith({ required: true }).recordings;
    const undo = spoil();
    expect(recordingsWith().recordings.open(asked)).toBeUndefined();
    expect(() => good.open(asked)).toThrow(expect.objectContaining({ code: "device-unavailable" }));
    undo();
  });
});

describe("what is in one", () => {
  test("output, sizes and the end; 0600; whole in the audit", async () => {
    const { recordings, lines } = recordingsWith();
    const recording = recordings.open(asked);
    await recording?.output(Buffer.from([0x68, 0xc3]));
    await recording?.output(Buffer.from([0xa9, 0x0a]));
    recording?.resize(100, 50);
    recording?.ended({ kind: "exited", status: 4 });
    expect(lines).toEqual([]); // its last output may still come
    await recording?.output(utf8("last"));
    recording?.outputEnded();
    const name = recording?.name ?? "";
    const cast = read(name);
    expect(cast.header).toMatchObject({
      version: 3,
      term: { cols: 80, rows: 24, type: "xterm-256color" },
      timestamp: Date.UTC(2026, 5, 15, 14, 15) / 1000,
      title: "shell of root",
    });
    expect(cast.events.map(({ code, data }) => [code, data])).toEqual([
      ["o", "h"],
      ["o", "é\n"],
      ["r", "100x50"],
      ["o", "last"],
      ["x", "4"],
    ]);
    const stat = fs.statSync(path.join(directory, name));
    expect(stat.mode & 0o777).toBe(0o600);
    expect(lines).toEqual([
      `<6>audit event=recording-end by=monitor program=1 recording=${name} bytes=${stat.size} why=whole\n`,
    ]);
    await recording?.output(utf8("more")); // nothing happens any more
    expect(fs.statSync(path.join(directory, name)).size).toBe(stat.size);
  });

  test("the limit: a mark, and nothing behind it; the session goes on", async () => {
    const { recordings, lines } = recordingsWith();
    const recording = recordings.open(asked);
    const piece = utf8("x".repeat(64 * 1024));
    for (let i = 0; i < 20; i++) await recording?.output(piece);
    recording?.ended({ kind: "exited", status: 0 });
    recording?.outputEnded();
    const cast = read(recording?.name ?? "");
    expect(cast.shown.length).toBe(15 * 64 * 1024);
    expect(cast.events.at(-1)).toMatchObject({ code: "m", data: expect.stringContaining("limit") as string });
    expect(lines.join("")).toMatch(/recording-end .*why=limit/);
  });

  test("sealttyd ends: a mark", () => {
    const { recordings } = recordingsWith();
    const recording = recordings.open(asked);
    recordings.close();
    expect(read(recording?.name ?? "").events.at(-1)).toMatchObject({
      code: "m",
      data: expect.stringContaining("sealttyd ended") as string,
    });
  });
});

/** Says `output`, then waits for its end. */
function talker(output: readonly string[]) {
  const pieces = output.map(utf8);
  let hungUp = false;
  const process: GuestProcess = {
    stdout: { read: async () => (hungUp ? undefined : pieces.shift()) },
    stderr: { read: async () => undefined },
    exit: Promise.resolve({ kind: "exited", status: 0 }),
    write: async () => {},
    endInput: () => {},
    resize: () => {},
    signal: () => {},
    hangUp() {
      hungUp = true;
    },
  };
  return { process, isHungUp: () => hungUp };
}

async function readAll(process: GuestProcess): Promise<string> {
  let all = "";
  for (let chunk = await process.stdout.read(); chunk !== undefined; chunk = await process.stdout.read())
    all += Buffer.from(chunk).toString();
  return all;
}

describe("a program whose output is recorded", () => {
  test("its user is told, and its bytes are counted: what is typed is not recorded", async () => {
    const { recordings } = recordingsWith();
    const recording = recordings.open(asked);
    const said: CarrierEvent[] = [];
    const carried = new CarriedProcess(talker(["one", "two"]).process, {
      program: 7,
      clock: nodeClock,
      terminal: true,
      sink: recording,
      notice: recordings.notice,
      say: (event) => void said.push(event),
    });
    await carried.write(utf8("canary-typed"));
    carried.resize(10, 20);
    expect(await readAll(carried)).toBe("This session is recorded.\r\nonetwo");
    recording?.ended({ kind: "exited", status: 0 });
    const cast = read(recording?.name ?? "");
    expect(cast.shown).toBe("onetwo");
    expect(fs.readFileSync(path.join(directory, recording?.name ?? ""), "utf8")).not.toContain("canary");
    await carried.exit;
    await new Promise(setImmediate);
    expect(said).toEqual([
      { event: "carried", program: 7, bytes_in: 12, bytes_out: 6, seconds: expect.any(Number) as number },
    ]);
  });

  test.each([
    ["required: it is hung up, and nothing unrecorded is shown", true, "", true],
    ["not required: it goes on", false, "onetwo", false],
  ])("the disk is full, %s", async (_, required, shown, hungUp) => {
    const ends: string[] = [];
    const file = path.join(directory, "small.cast");
    const fd = fs.openSync(file, "ax");
    const recording = new Recording({
      fd,
      name: "small.cast",
      clock: nodeClock,
      header: { columns: 80, rows: 24, startedAt: 0 },
      maxBytes: 1024 * 1024,
      required,
      onEnd: (__, why) => void ends.push(why),
    });
    const full = fs.openSync("/dev/full", "w");
    const real = fs.writeSync;
    const { process, isHungUp } = talker(["one", "two"]);
    const carried = new CarriedProcess(process, {
      program: 1,
      clock: nodeClock,
      terminal: true,
      sink: recording,
      say: () => {},
    });
    // The kernel's own refusal, in place of a disk that is really full.
    fs.writeSync = ((_fd: number, bytes: Buffer) => real(full, bytes)) as typeof fs.writeSync;
    try {
      expect(await readAll(carried)).toBe(shown);
    } finally {
      fs.writeSync = real;
      fs.closeSync(full);
    }
    expect(isHungUp()).toBe(hungUp);
    expect(ends).toEqual(["ENOSPC"]);
    expect(readCast(fs.readFileSync(file, "utf8")).events).toEqual([]); // whole lines only
  });
});

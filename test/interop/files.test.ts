// `sealtty cp` as people run it: the real programs, a real sealttyd, real files; and each way in which that goes wrong.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { newSshKey } from "../../cli/ssh-key-file.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { FilesSource } from "../../node/files/source.ts";
import { FilesDecoder } from "../../protocol/files/decoder.ts";
import type { FilesMessage } from "../../protocol/files/messages.ts";
import { encodeFilesMessage } from "../../protocol/files/messages-codec.ts";
import { runCli, type RunningCli, startCli } from "../support/cli.ts";
import { residentMiB } from "../support/process-cost.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const bin = path.resolve(import.meta.dirname, "../../dist/bin");
const FILES_PROGRAM = path.join(bin, "sealttyd-files.js");
const SEALTTY = path.join(bin, "sealtty.js");
const MiB = 1024 * 1024;

let guest: RunningGuest;
let scratch: string;
let directory: string;
let counter = 0;
const at = (...names: string[]): string => path.join(directory, ...names);

beforeAll(async () => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-cp-"));
  fs.chmodSync(scratch, 0o755);
  const key = newSshKey(nodeSuite, "cp");
  fs.writeFileSync(path.join(scratch, "key"), key.privateFile, { mode: 0o600 });
  fs.writeFileSync(path.join(scratch, "key.pub"), key.publicLine);
  guest = await startSealttyd({ authorizedKeys: `${key.publicLine}\n` });
});
beforeEach(() => {
  directory = path.join(scratch, String(counter++));
  fs.mkdirSync(directory);
});
afterAll(async () => {
  await guest?.stop();
  fs.rmSync(scratch, { recursive: true, force: true });
});

const cpArgs = (user: string, ...args: string[]): string[] => [
  ...["cp", "--policy", guest.policyFile, "--simulated", "-l", user, "-i", path.join(scratch, "key")],
  ...["--guest", `unix:${guest.socket}`, ...args],
];
const own = os.userInfo().username;
const cp = (...args: string[]) => runCli(cpArgs(own, ...args));
const events = (stderr: string, kind: string): Record<string, unknown>[] =>
  stderr
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ event }) => event === kind);
const errorLines = (stderr: string): string[] =>
  stderr
    .split("\n")
    .filter((line) => line.startsWith("sealtty: ") && !/^sealtty: (?:warning|verified)/.test(line));
const sha256 = (file: string): string => createHash("sha256").update(fs.readFileSync(file)).digest("hex");
const same = (a: string, b: string): boolean =>
  spawnSync("diff", ["-r", "--no-dereference", a, b]).status === 0;
const unfinished = (): string[] =>
  (fs.readdirSync(directory, { recursive: true }) as string[]).filter((name) =>
    name.endsWith(".sealtty-part"),
  );

function makeTree(root: string): void {
  fs.mkdirSync(path.join(root, "sub", "empty"), { recursive: true });
  fs.writeFileSync(path.join(root, "new\nline"), "a");
  fs.writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff, 0xfe])]), "not UTF-8");
  fs.writeFileSync(path.join(root, "sub", "big"), randomBytes(3 * MiB));
  fs.writeFileSync(path.join(root, "sub", "script"), "#!/bin/sh\n", { mode: 0o750 });
  fs.symlinkSync("../nowhere", path.join(root, "sub", "link"));
  fs.utimesSync(path.join(root, "sub"), 1e9, 1e9);
}

/** A copy that succeeds, and takes neither end more than 350 MiB. */
async function copiedInBoundedMemory(what: string, ...args: string[]): Promise<void> {
  const cli = startCli(cpArgs(own, ...args));
  let peak = 0;
  let guestPeak = 0;
  const sampling = setInterval(() => {
    try {
      peak = Math.max(peak, residentMiB(cli.child.pid as number) || 0);
      guestPeak = Math.max(guestPeak, residentMiB(guest.child.pid as number));
    } catch {
      // It has just ended.
    }
  }, 50);
  try {
    expect(await cli.ended(), cli.stderr()).toBe(0);
  } finally {
    clearInterval(sampling);
  }
  process.stdout.write(
    `FILES ${what}: client at most ${peak.toFixed(0)} MiB, sealttyd ${guestPeak.toFixed(0)} MiB\n`,
  );
  expect(peak).toBeLessThan(350);
  expect(guestPeak).toBeLessThan(350);
}

describe("copies", () => {
  test("a tree: to the guest, from it, within it; modes and times with -p", async () => {
    makeTree(at("tree"));
    for (const [from, to] of [
      [at("tree"), `:${at("up")}`],
      [`:${at("up")}`, at("down")],
      [`[unix:${guest.socket}]:${at("down")}`, `:${at("within")}`],
    ] as const) {
      const outcome = await cp("-r", "-p", from, to);
      expect(outcome.status, outcome.stderr).toBe(0);
      expect(outcome.stdout).toBe("");
      expect(outcome.stderr).not.toContain("\x1b");
    }
    for (const name of ["up", "down", "within"]) {
      expect(same(at("tree"), at(name))).toBe(true);
      expect(fs.statSync(at(name, "sub")).mtimeMs).toBe(1e12);
      expect(fs.statSync(at(name, "sub", "script")).mode & 0o777).toBe(0o750);
    }
    expect(unfinished()).toEqual([]);
  });
  test("several files into a directory; relative to the user's home; ~", async () => {
    fs.writeFileSync(at("a"), "a");
    fs.writeFileSync(at("b"), "b");
    fs.mkdirSync(at("to"));
    expect((await cp(at("a"), at("b"), `:${at("to")}`)).status).toBe(0);
    expect(fs.readdirSync(at("to"))).toEqual(["a", "b"]);
    const relative = path.relative(os.homedir(), at("a"));
    expect((await cp(`:${relative}`, `:~/${relative}`, at("to"))).status).toBe(0);
  });
  test("standard input and output, byte for byte", async () => {
    const bytes = randomBytes(300_000);
    const up = await runCli(cpArgs(own, "-", `:${at("file")}`), bytes);
    expect(up.status, up.stderr).toBe(0);
    expect(fs.readFileSync(at("file")).equals(bytes)).toBe(true);
    const child = spawn(process.execPath, [SEALTTY, ...cpArgs(own, `:${at("file")}`, "-")], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    expect((await once(child, "close"))[0]).toBe(0);
    expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
  });
  test("--json: each file with its SHA-256, the sum, and what failed", async () => {
    makeTree(at("tree"));
    for (const [from, to] of [
      [at("tree"), `:${at("up")}`],
      [`:${at("tree")}`, at("down")],
      [`:${at("tree")}`, `:${at("within")}`],
    ] as const) {
      const { status, stderr } = await cp("-r", "--json", from, to, "-q");
      expect(status, stderr).toBe(0);
      const files = events(stderr, "file");
      expect(files).toHaveLength(4);
      const digests = files.map(({ sha256 }) => sha256);
      expect(digests).toContain(sha256(at("tree", "sub", "big")));
      expect(files.filter(({ pathBase64 }) => pathBase64 !== undefined)).toHaveLength(1);
      expect(events(stderr, "total")).toEqual([{ event: "total", files: 4, bytes: expect.any(Number) }]);
      expect(events(stderr, "done")).toMatchObject([{ files: 4, directories: 3, links: 1, failed: 0 }]);
    }
  });
  test("a hundred megabytes in bounded memory, at both ends", async () => {
    const file = fs.openSync(at("big"), "w");
    const block = randomBytes(MiB);
    for (let i = 0; i < 100; i++) fs.writeSync(file, block);
    fs.closeSync(file);
    for (const [from, to] of [
      [at("big"), `:${at("up")}`],
      [`:${at("big")}`, at("down")],
    ] as const) {
      await copiedInBoundedMemory("100 MB", from, to);
    }
    expect(sha256(at("up"))).toBe(sha256(at("big")));
    expect(sha256(at("down"))).toBe(sha256(at("big")));
  });
  // A million takes half an hour: SEALTTY_TEST_FILES=1000000.
  const files = Number(process.env.SEALTTY_TEST_FILES ?? 20_000);
  test(
    `${files} files of one directory in the same memory`,
    async () => {
      fs.mkdirSync(at("many"));
      for (let i = 0; i < files; i++) fs.writeFileSync(at("many", `${i} ${"n".repeat(200)}`), "");
      await copiedInBoundedMemory(`${files} files`, "-r", at("many"), `:${at("up")}`);
      await copiedInBoundedMemory(`${files} files`, "-r", `:${at("up")}`, at("down"));
      expect(fs.readdirSync(at("down")).sort()).toEqual(fs.readdirSync(at("many")).sort());
    },
    120_000 + files * 5,
  );
});

test("from one guest to another, each with its own policy; --resume; a policy of the other is refused", async () => {
  const other = await startSealttyd({
    authorizedKeys: `${fs.readFileSync(path.join(scratch, "key.pub"), "utf8")}\n`,
    instance: "other",
  });
  try {
    makeTree(at("tree"));
    const between = [`:${at("tree")}`, `[unix:${other.socket}]:${at("copy")}`];
    const refused = await cp("-r", "-p", ...between);
    expect(refused.status).toBe(255);
    expect(refused.stderr).toContain("evidence-refused");
    expect(fs.existsSync(at("copy"))).toBe(false);
    const policies = ["--target-policy", other.policyFile];
    const outcome = await cp("-r", "-p", "--json", ...policies, ...between);
    expect(outcome.status, outcome.stderr).toBe(0);
    expect(same(at("tree"), at("copy"))).toBe(true);
    expect(events(outcome.stderr, "verified")).toHaveLength(2);
    // Now the large one is not sent again, though both ends are guests.
    const again = await cp(
      "-r",
      "-p",
      "--json",
      "--resume",
      ...policies,
      `:${at("tree")}/.`,
      between[1] as string,
    );
    expect(again.status, again.stderr).toBe(0);
    expect(events(again.stderr, "file")).toHaveLength(3);
    expect(events(again.stderr, "done")).toMatchObject([{ files: 4, failed: 0 }]);
    // A trouble says at which of them.
    const none = await cp(...policies, `:${at("none")}`, between[1] as string);
    expect(none.stderr).toContain(`in the source's guest: ${at("none")}: there is no such file`);
    const nowhere = await cp(...policies, `:${at("tree", "sub", "big")}`, `${between[1]}/none/x`);
    expect(nowhere.stderr).toContain("in the target's guest: ");
    expect([none.status, nowhere.status]).toEqual([1, 1]);
  } finally {
    await other.stop();
  }
});

describe("one clear sentence, the right status, and nothing half-written", () => {
  test.each([
    [["a"], /at least one SOURCE and a TARGET/],
    [["a", "b"], /neither side is a guest's/],
    [["unix:/x:/etc", "b"], /write \[ADDRESS\]:PATH, or :PATH with --guest/],
    [[":/a", "[unix:/y]:/b", "c"], /of several guests/],
    [[":/a", "./b", "c"], /some sources are a guest's and some are not/],
    [["-", ":/a", "--guest", "nonsense"], /there is no guest "nonsense"/],
    [["-r", ":/a", "-"], /takes one file/],
    [["-r", ":/a", ":/a/b"], /lies within a source/],
    [["x:y:z", "-"], /there is no guest "x"/],
    [["what is:this", ":x"], /write \.\/NAME/],
  ] as const)("%j", async (args, words) => {
    const outcome = await cp(...args);
    expect(outcome.stderr).toMatch(words);
    expect(errorLines(outcome.stderr)).toHaveLength(1);
    expect(outcome.status).toBe(255);
  });
  test("a source or target that is not there", async () => {
    fs.writeFileSync(at("a"), "a");
    for (const [args, words] of [
      [[at("none"), `:${at("x")}`], `${at("none")}: there is no such file or directory`],
      [[`:${at("none")}`, at("x")], `in the guest: ${at("none")}: there is no such file or directory`],
      [[at("a"), `:${at("none")}/x`], `in the guest: ${at("none")}/x: there is no such file or directory`],
      [[`:${at("a")}`, `${at("none")}/x`], `${at("none")}/x: there is no such file or directory`],
      [[directory, `:${at("x")}`], `${directory}: is a directory: -r (recursive) copies it`],
      [[`:${directory}`, at("x")], `in the guest: ${directory}: is a directory: -r (recursive) copies it`],
      [["-", `:${directory}`], `in the guest: ${directory}: is a directory, and takes no file's place`],
    ] as const) {
      const { status, stderr } = await cp(...args);
      expect(errorLines(stderr), stderr).toHaveLength(1);
      expect(stderr).toContain(`sealtty: ${words}`);
      expect(status, stderr).toBe(1);
    }
    expect(fs.readdirSync(directory)).toEqual(["a"]);
  });
  test("some of several: the rest is copied, the status is 1", async () => {
    fs.writeFileSync(at("good"), "good");
    fs.mkdirSync(at("to"));
    const { status, stderr } = await cp(at("none"), at("good"), `:${at("to")}`);
    expect([status, fs.readdirSync(at("to"))]).toEqual([1, ["good"]]);
    expect(errorLines(stderr)).toHaveLength(1);
  });
  test("a name that would move the cursor is told and does not", async () => {
    const { stderr } = await cp(`:${at("x\x1b]0;owned\x07\n")}`, at("y"));
    expect(stderr).not.toMatch(/[\x1b\x07]/);
    expect(errorLines(stderr)).toHaveLength(1);
  });
  test("whoever reads our output left: quiet, as with SIGPIPE", async () => {
    fs.writeFileSync(at("big"), randomBytes(4 * MiB));
    const command = [process.execPath, SEALTTY, ...cpArgs(own, "-q", `:${at("big")}`, "-")];
    const quoted = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
    const outcome = spawnSync("bash", ["-c", `${quoted} | head -c 10 >/dev/null; echo \${PIPESTATUS[0]}`]);
    expect(outcome.stdout.toString().trim()).toBe("141");
    expect(errorLines(outcome.stderr.toString())).toEqual([]);
  });
});

/** A hidden unfinished file with at least so many bytes, in `directory`. */
async function untilUnfinished(cli: RunningCli, bytes: number): Promise<void> {
  for (;;) {
    const [name] = unfinished();
    if (name !== undefined && fs.statSync(at(name)).size >= bytes) return;
    if (cli.child.exitCode !== null) throw new Error(`It ended: ${cli.stderr()}`);
    await sleep(20);
  }
}

describe("in the middle", () => {
  test.each(["SIGINT", "SIGTERM"] as const)(
    "%s ends it, and nothing is left in the guest",
    async (signal) => {
      const cli = startCli(cpArgs(own, "-", `:${at("x")}`));
      cli.child.stdin?.write(randomBytes(200_000));
      await untilUnfinished(cli, 200_000);
      cli.child.kill(signal);
      expect(await cli.ended()).toBe(signal === "SIGINT" ? 130 : 143);
      while (unfinished().length > 0) await sleep(20); // the guest's end hears of it a moment later
      expect(fs.readdirSync(directory)).toEqual([]);
    },
  );
  test("SIGINT ends a copy from the guest, and nothing is left here", async () => {
    execFileSync("truncate", ["-s", "4T", at("endless")]);
    fs.mkdirSync(at("to"));
    const cli = startCli(cpArgs(own, `:${at("endless")}`, at("to")));
    while (unfinished().length === 0) await sleep(20);
    cli.child.kill("SIGINT");
    expect(await cli.ended()).toBe(130);
    expect(fs.readdirSync(at("to"))).toEqual([]);
  });
  test.each([
    ["to it", () => ["-", `:${at("x")}`]],
    ["from it", () => [`:${at("endless")}`, at("x")]],
  ] as const)(
    "the guest's program is killed, %s: one sentence, 255, and nothing under the name",
    async (_, args) => {
      execFileSync("truncate", ["-s", "4T", at("endless")]);
      const cli = startCli(cpArgs(own, ...args()));
      cli.child.stdin?.write(randomBytes(200_000));
      while (unfinished().length === 0) await sleep(20);
      const { pid } = guest.child;
      const children = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
      expect(children).toHaveLength(1);
      process.kill(Number(children[0]), "SIGKILL");
      expect(await cli.ended(), cli.stderr()).toBe(255);
      expect(errorLines(cli.stderr())).toHaveLength(1);
      expect(fs.existsSync(at("x"))).toBe(false);
    },
  );
  test.each(["up", "down"])(
    "a client that is killed in the middle goes on with --resume: %s",
    async (way) => {
      const size = 64 * MiB;
      fs.writeFileSync(at("big"), randomBytes(size));
      const args = way === "up" ? [at("big"), `:${at("copy")}`] : [`:${at("big")}`, at("copy")];
      const cli = startCli(cpArgs(own, "--resume", ...args));
      await untilUnfinished(cli, 2 * MiB);
      cli.child.kill("SIGKILL");
      expect(await cli.ended()).toBe("SIGKILL");
      expect(fs.existsSync(at("copy"))).toBe(false);
      expect(unfinished()).toEqual([".copy.sealtty-part"]);
      const again = await cp("--resume", "--json", ...args);
      expect(again.status, again.stderr).toBe(0);
      expect(sha256(at("copy"))).toBe(sha256(at("big")));
      expect(unfinished()).toEqual([]);
      const once_more = await cp("--resume", "--json", ...args);
      expect(once_more.status, once_more.stderr).toBe(0);
      expect(events(once_more.stderr, "done")).toMatchObject([{ files: 1, bytes: size, failed: 0 }]);
    },
  );
});

const canMount = spawnSync("unshare", ["-rm", "true"]).status === 0;
/** A shell's line in which `$D` is a file system of its own, of 300 KiB or read-only. */
const inOwnMount = (options: string, line: string): string[] => [
  "-rm",
  "sh",
  "-c",
  `mount -t tmpfs -o ${options} none "$D" && ${line}`,
];

describe.runIf(canMount)("a full disk, and one that is read-only", () => {
  test.each([
    ["size=300k", /x: no space is left/],
    ["ro", /x: the file system is read-only/],
  ])("here: %s", async (options, words) => {
    fs.writeFileSync(at("big"), randomBytes(MiB));
    fs.mkdirSync(at("mount"));
    const line = `"$@"; status=$?; ls -A "$D"; exit $status`;
    const child = spawn(
      "unshare",
      [
        ...inOwnMount(options, line),
        "sh",
        ...[process.execPath, SEALTTY, ...cpArgs(own, `:${at("big")}`, at("mount", "x"))],
      ],
      { env: { ...process.env, D: at("mount") }, stdio: ["ignore", "pipe", "pipe"] },
    );
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    let error = "";
    child.stderr.on("data", (chunk: Buffer) => (error += chunk.toString()));
    expect((await once(child, "close"))[0], error).toBe(1);
    expect(error).toMatch(words);
    expect(errorLines(error)).toHaveLength(1);
    expect(output).toBe(""); // nothing half-written
  });
  test.each([
    ["size=300k", "no-space"],
    ["ro", "read-only"],
  ])("in the guest: %s", async (options, code) => {
    fs.writeFileSync(at("a"), randomBytes(MiB));
    fs.mkdirSync(at("mount"));
    const line = `"$@"; status=$?; ls -A "$D" >&2; exit $status`;
    const child = spawn("unshare", [...inOwnMount(options, line), "sh", process.execPath, FILES_PROGRAM], {
      env: { ...process.env, D: at("mount") },
      stdio: ["pipe", "pipe", "pipe"],
    });
    child.stdin.on("error", () => {}); // it ends before all was written to it
    const decoder = new FilesDecoder();
    const got: FilesMessage[] = [];
    const source = new FilesSource({ recursive: false, links: "named", resume: false }, async (bytes) => {
      if (child.stdin.writable) child.stdin.write(Buffer.from(bytes));
    });
    child.stdout.on("data", (chunk: Buffer) => {
      for (const message of decoder.push(chunk)) {
        got.push(message);
        source.receive(message);
      }
    });
    let error = "";
    child.stderr.on("data", (chunk: Buffer) => (error += chunk.toString()));
    const flags = { recursive: false, preserve: false, resume: false, intoDirectory: false, count: false };
    const start = {
      type: "start",
      role: "sink",
      flags,
      links: "named",
      target: Buffer.from(at("mount")),
      names: [Buffer.from("a")],
    } as const;
    await source.run([{ path: Buffer.from(at("a")) }], start);
    expect((await once(child, "close"))[0], error).toBe(1);
    expect(got).toMatchObject([
      { type: "trouble", code, fatal: true },
      { type: "finished", files: 0, failed: 1 },
    ]);
    expect(error).toBe("");
  });
});

describe("the guest's program", () => {
  const run = (input: Uint8Array | string, env: NodeJS.ProcessEnv = {}) =>
    spawnSync(process.execPath, [FILES_PROGRAM], { input, env: { ...process.env, ...env }, timeout: 60_000 });
  test.each([
    ["nothing", Buffer.alloc(0), 0],
    ["nonsense", Buffer.from("GET / HTTP/1.1\r\n\r\n"), 255],
    ["an entry before a start", encodeFilesMessage({ type: "root", index: 0 }), 255],
    ["half a message", Buffer.from([1, 0, 0, 9, 1]), 255],
  ])("%s: ends by itself, and says why in a line", (_, input, status) => {
    const outcome = run(input);
    expect(outcome.status).toBe(status);
    const error = outcome.stderr.toString();
    if (status === 0) expect(error).toBe("");
    else expect(error).toMatch(/^sealttyd-files: [^\n]+\n$/);
  });
  test("a stream that ends in the middle leaves nothing", () => {
    const flags = { recursive: false, preserve: false, resume: false, intoDirectory: false, count: false };
    const time = { seconds: 0, nanoseconds: 0 };
    const messages: FilesMessage[] = [
      {
        type: "start",
        role: "sink",
        flags,
        links: "named",
        target: Buffer.from(at("x")),
        names: [Buffer.from("x")],
      },
      { type: "root", index: 0 },
      {
        type: "file",
        name: new Uint8Array(0),
        attributes: { mode: 0o644, accessed: time, modified: time },
        size: 9,
        sparse: false,
        asks: false,
      },
      { type: "data", bytes: Buffer.from("half") },
    ];
    expect(run(Buffer.concat(messages.map(encodeFilesMessage))).status).toBe(255);
    expect(fs.readdirSync(directory)).toEqual([]);
  });
});

const NOBODY = 65_534;
/** Another user has to be able to start the guest's program, and we to become that user, who needs a shell to log in at all. */
const canBecomeNobody =
  process.getuid?.() === 0 &&
  spawnSync("unshare", ["-m", "true"]).status === 0 &&
  spawnSync(
    "setpriv",
    [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", process.execPath, FILES_PROGRAM],
    {
      input: "",
    },
  ).status === 0;

describe.runIf(canBecomeNobody)("as another user the kernel decides", () => {
  test("what may not be read or written is told, and what is written is that user's", async () => {
    fs.chmodSync(directory, 0o777);
    const passwd = fs.readFileSync("/etc/passwd", "utf8").replace(/^(nobody:.*:)[^:\n]*$/m, "$1/bin/sh");
    fs.writeFileSync(at("passwd"), passwd);
    const authorizedKeys = fs.readFileSync(path.join(scratch, "key.pub"), "utf8");
    const withShell = await startSealttyd({ authorizedKeys, passwd: at("passwd") });
    onTestFinished(() => withShell.stop());
    fs.writeFileSync(at("secret"), "root's", { mode: 0o600 });
    fs.writeFileSync(at("open"), "for all", { mode: 0o644 });
    fs.mkdirSync(at("closed"), { mode: 0o700 });
    const options = [
      "--policy",
      withShell.policyFile,
      "--simulated",
      "-l",
      "nobody",
      "-i",
      path.join(scratch, "key"),
    ];
    const asNobody = (...args: string[]) =>
      runCli(["cp", ...options, "--guest", `unix:${withShell.socket}`, ...args]);
    for (const [args, words] of [
      [[`:${at("secret")}`, at("x")], `in the guest: ${at("secret")}: no permission`],
      [[at("open"), `:${at("closed", "x")}`], `in the guest: ${at("closed", "x")}: no permission`],
      [[at("open"), `:${at("secret")}`], undefined],
    ] as const) {
      const { status, stderr } = await asNobody(...args);
      if (words !== undefined) expect(stderr).toContain(words);
      expect(status, stderr).toBe(words === undefined ? 0 : 1);
    }
    // It may not write into the file, but may put one of its own in its place: its directory is open to it.
    expect(fs.statSync(at("secret")).uid).toBe(NOBODY);
  });
});

// Programs on a pty and without one, with real ones: nothing lost, nothing blocked, nothing inherited.

import { createHash, randomBytes } from "node:crypto";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import { findAccount, sessionEnvironment } from "../../server/sessions/account.ts";
import type { Account } from "../../server/sessions/account.ts";
import type { Clock } from "../../protocol/clock.ts";
import { startExec } from "../../server/sessions/exec-process.ts";
import type { GuestProcess } from "../../server/sessions/guest-process.ts";
import { MAX_INPUT_QUEUED } from "../../server/sessions/guest-process.ts";
import { startOnPty } from "../../server/sessions/pty-process.ts";
import { ManualClock } from "../support/clocks.ts";
import { untilStill } from "../support/pipe-contract.ts";

const environment = { PATH: process.env["PATH"] ?? "/usr/bin:/bin", TERM: "xterm", HOME: "/" };
const isRoot = process.getuid?.() === 0;
const running: GuestProcess[] = [];

async function onPty(command: readonly string[], account?: Account, clock?: Clock): Promise<GuestProcess> {
  const process = await startOnPty({
    command,
    environment,
    directory: "/",
    columns: 80,
    rows: 24,
    ...(account === undefined ? {} : { account }),
    ...(clock === undefined ? {} : { clock }),
  });
  running.push(process);
  return process;
}
function exec(command: readonly string[], account?: Account): GuestProcess {
  const process = startExec({
    command,
    environment,
    directory: "/",
    ...(account === undefined ? {} : { account }),
  });
  running.push(process);
  return process;
}
const sh = (script: string) => onPty(["sh", "-c", script]);

afterEach(() => {
  for (const process of running.splice(0)) process.hangUp();
});

async function all(output: GuestProcess["stdout"]): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for (let chunk = await output.read(); chunk !== undefined; chunk = await output.read()) chunks.push(chunk);
  return Buffer.concat(chunks);
}
async function finish(process: GuestProcess): Promise<{ output: string; status: ExitStatus }> {
  const output = (await all(process.stdout)).toString();
  return { output, status: await process.exit };
}
/** Reads until the text appears. */
async function until(process: GuestProcess, text: string): Promise<string> {
  let seen = "";
  while (!seen.includes(text)) {
    const chunk = await process.stdout.read();
    if (chunk === undefined) throw new Error(`ended before ${text}: ${seen}`);
    seen += Buffer.from(chunk).toString("latin1");
  }
  return seen;
}
const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

test("pty: a fast exit after 1 MB loses nothing, 50 times", async () => {
  for (let round = 0; round < 50; round++) {
    const process = await sh("stty -opost; head -c 1000000 /dev/zero | tr '\\0' x; printf END; exit 3");
    const output = await all(process.stdout);
    expect(output.length).toBe(1_000_003);
    expect(output.subarray(-4).toString()).toBe("xEND");
    expect(await process.exit).toEqual({ kind: "exited", status: 3 });
  }
});

test("pty: the last word of many short programs at once is heard", async () => {
  await Promise.all(
    Array.from({ length: 30 }, async (_, i) => {
      const { output, status } = await finish(await sh(`printf word${i}; exit ${i}`));
      expect(output).toBe(`word${i}`);
      expect(status).toEqual({ kind: "exited", status: i });
    }),
  );
});

test("pty: seq 1 200000 arrives unchanged, also when read slowly after the exit", async () => {
  const wanted = digest(execFileSync("seq", ["1", "200000"], { maxBuffer: 1e8 }));
  const process = await sh("stty -opost; seq 1 200000");
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = await process.stdout.read();
    if (chunk === undefined) break;
    chunks.push(chunk);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  expect(digest(Buffer.concat(chunks))).toBe(wanted);
});

test("pty: exit status, signal, a program that does not exist", async () => {
  expect((await finish(await sh("exit 37"))).status).toEqual({ kind: "exited", status: 37 });
  expect((await finish(await sh("kill -KILL $$"))).status).toEqual({ kind: "signalled", signal: "SIGKILL" });
  const missing = await finish(await onPty(["no-such-program"]));
  expect(missing.status).toEqual({ kind: "exited", status: 127 });
  expect(missing.output).toContain("no-such-program");
});

test("pty: it is the program's controlling terminal, of the right size, and knows UTF-8", async () => {
  const { output } = await finish(await sh("stty size; tty </dev/tty; ps -o sid=,pid= -p $$; stty -a"));
  expect(output).toMatch(/^24 80\r\n\/dev\/(?:tty|pts\/\d+)\r\n\s*(\d+)\s+\1\r\n/);
  expect(output).toContain(" iutf8");
});

test("pty: a resize reaches the program", async () => {
  const process = await sh("trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.02; done");
  await until(process, "ready");
  process.resize(132, 43);
  expect(await until(process, "43 132")).toContain("43 132");
  expect(() => process.resize(0, 5)).toThrow(/columns/);
});

test("pty: all 256 byte values pass both ways on a raw terminal", async () => {
  const process = await sh(
    "stty raw -echo; echo ready; head -c 256 | od -An -v -tu1; head -c 256 /dev/fd/3 3<&0 | cat",
  );
  await until(process, "ready\n");
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
  await process.write(bytes);
  const dump = await until(process, "255");
  expect(dump.trim().split(/\s+/).map(Number)).toEqual([...bytes]);
  await process.write(bytes);
  const echoed = await all(process.stdout);
  expect([...echoed.subarray(-256)]).toEqual([...bytes]);
});

test("pty: signals go to the foreground job, control keys work, hang-up ends the session", async () => {
  const process = await onPty(["bash", "--norc", "--noprofile", "-i"]);
  await process.write(Buffer.from("sleep 1000; echo status=$((100 + $?))\n"));
  await until(process, "status=$((100");
  await jobInFront("sleep 1000");
  process.signal("SIGTERM");
  await until(process, "status=243"); // 128 + 15: the sleep died, the shell lives
  await process.write(Buffer.from("sleep 1001\n"));
  await jobInFront("sleep 1001");
  await process.write(Uint8Array.of(3));
  await until(process, "^C");
  await process.write(Buffer.from("echo again=$((100 + $?))\n"));
  await until(process, "again=230");
  process.hangUp();
  process.hangUp();
  expect((await process.exit).kind).toMatch(/signalled|exited/);
  expect(await process.stdout.read()).toBeUndefined();
});

/** Waits until a shell has put its job in front: asks the kernel through ps, not through us. */
async function jobInFront(command: string): Promise<void> {
  for (;;) {
    const rows = execFileSync("ps", ["-eo", "stat=,args="], { encoding: "utf8" });
    if (rows.split("\n").some((row) => row.split(/\s+/, 1)[0]?.includes("+") && row.endsWith(` ${command}`)))
      return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("pty: endInput() is an end of file, on a fresh line and on one already begun", async () => {
  const fresh = await onPty(["cat"]);
  await fresh.write(Buffer.from("line\n"));
  fresh.endInput();
  expect((await finish(fresh)).status).toEqual({ kind: "exited", status: 0 });
  const begun = await onPty(["cat"]);
  await begun.write(Buffer.from("line"));
  begun.endInput();
  expect((await finish(begun)).status).toEqual({ kind: "exited", status: 0 });
});

test("pty: the end of input reaches a program that throws away what came before it asks, and one typist does not end another's", async () => {
  // As login does.
  const flushing = [
    "perl",
    "-MPOSIX",
    "-e",
    '$| = 1; $SIG{USR1} = sub { tcflush(0, TCIFLUSH); exec "cat" }; print "up\n"; sleep 1 while 1;',
  ];
  const ended = await onPty(flushing);
  await until(ended, "up");
  ended.endInput();
  ended.signal("SIGUSR1");
  expect((await finish(ended)).status).toEqual({ kind: "exited", status: 0 });

  const clock = new ManualClock();
  const shared = await onPty(
    ["sh", "-c", "stty raw -echo; echo up; exec od -An -v -tx1 -w1"],
    undefined,
    clock,
  );
  await until(shared, "up");
  shared.endInput();
  await until(shared, "04"); // as it is: nothing ends
  clock.advance(60_000);
  await until(shared, "04"); // typed again
  await shared.write(Buffer.from("x"));
  await until(shared, "78");
  clock.advance(60_000);
  await shared.write(Buffer.from("y"));
  expect(await until(shared, "79")).not.toContain("04");
  shared.hangUp();
});

test("pty: a program that floods is stopped while nobody reads, and memory stays flat", async () => {
  const process = await onPty(["yes"]);
  await until(process, "y");
  const cpuTime = () =>
    Number(
      execFileSync("ps", ["-C", "yes", "-o", "cputimes=", "--sort=-start_time"], { encoding: "utf8" }).split(
        "\n",
      )[0],
    );
  await untilStill(cpuTime, 300);
  const before = globalThis.process.memoryUsage();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const after = globalThis.process.memoryUsage();
  expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(1024 * 1024);
  const state = execFileSync("ps", ["-C", "yes", "-o", "stat="], { encoding: "utf8" });
  expect(state).toMatch(/^S/m); // asleep in write(), not running
});

test.each([
  ["line editing", ""],
  ["raw", "stty raw -echo;"],
])("pty: 10 MB of input that nobody reads are bounded and hold nothing up (%s)", async (_, mode) => {
  const process = await sh(`${mode} echo ready; (sleep 0.3; echo still talking) & sleep 1000`);
  await until(process, "ready");
  const chunk = new Uint8Array(64 * 1024).fill(0x61);
  const started = performance.now();
  const results: Promise<void>[] = [];
  for (let i = 0; i < 160; i++) results.push(process.write(chunk));
  expect(performance.now() - started).toBeLessThan(10_000);
  const settled = Promise.allSettled(results);
  await until(process, "still talking");
  process.hangUp();
  const refused = (await settled).filter((result) => result.status === "rejected").length;
  // In line editing the kernel itself throws away what is beyond a line's 4095 characters.
  if (mode !== "") expect(refused).toBeGreaterThanOrEqual(160 - MAX_INPUT_QUEUED / chunk.length - 3);
});

test("pty: input that the program takes late arrives whole", async () => {
  const bytes = randomBytes(2_000_000);
  const process = await sh("stty raw -echo; echo ready; sleep 0.2; head -c 2000000 | sha256sum");
  await until(process, "ready\n");
  const writing = process.write(bytes);
  expect(await until(process, "-")).toContain(digest(bytes));
  await writing;
});

test("pty: a background job that keeps the terminal delays the end only until it is quiet", async () => {
  const started = performance.now();
  const { output, status } = await finish(
    await sh("trap '' HUP; (sleep 0.1; echo late; exec sleep 1000) & echo pid=$!; echo early; exit 5"),
  );
  expect(status).toEqual({ kind: "exited", status: 5 });
  expect(output).toContain("early");
  expect(output).toContain("late");
  expect(performance.now() - started).toBeLessThan(30_000);
  process.kill(Number(/pid=(\d+)/.exec(output)?.[1]));
});

test("pty: one that floods after the end is cut off", async () => {
  const process = await sh("trap '' HUP; yes & exit 6");
  expect((await finish(process)).status).toEqual({ kind: "exited", status: 6 });
});

test("neither a pty's program nor an exec inherits a descriptor of another session", async () => {
  const first = await onPty(["sleep", "1000"]);
  const list = ["sh", "-c", "ls -l /proc/self/fd | grep -c ptmx; exit 0"];
  const second = await finish(await onPty(list));
  expect(second.output.trim()).toBe("0");
  const third = exec(list);
  expect((await all(third.stdout)).toString().trim()).toBe("0");
  first.hangUp(); // and so it really hangs up
  expect(await first.exit).toEqual({ kind: "signalled", signal: "SIGHUP" });
});

test.skipIf(!isRoot)("login keeps its terminal although it closes and reopens it", async () => {
  const process = await onPty(["/bin/login", "-f", "root"]);
  await process.write(Buffer.from("echo 4$((1+1))2; exit 9\n"));
  expect(await until(process, "422")).toContain("422");
  await all(process.stdout);
  expect((await process.exit).kind).toBe("exited");
});

test.skipIf(!isRoot)("another user: ids, groups and terminal are theirs, and root's are gone", async () => {
  const account = await findAccount("nobody");
  if (account === undefined) throw new Error("no such user");
  const script = "id -u; id -g; id -G; stat -c %u $(tty 2>/dev/null) 2>/dev/null; echo HOME=$HOME";
  const onTty = (await finish(await onPty(["sh", "-c", script], account))).output.split("\r\n");
  expect(onTty.slice(0, 5)).toEqual([
    `${account.uid}`,
    `${account.gid}`,
    `${account.gid}`,
    `${account.uid}`,
    "HOME=/",
  ]);
  const plain = (await all(exec(["sh", "-c", script], account).stdout)).toString().split("\n");
  expect(plain.slice(0, 3)).toEqual([`${account.uid}`, `${account.gid}`, `${account.gid}`]);
});

test.skipIf(!isRoot)(
  "what the user puts into the environment does not reach a program that still runs as root",
  async () => {
    const account = await findAccount("nobody");
    if (account === undefined) throw new Error("no such user");
    const { prepareLaunch } = await import("../../server/sessions/launch.ts");
    const prepared = prepareLaunch({
      command: ["id"],
      environment: { PATH: "/bin", LD_LIBRARY_PATH: "/nowhere", "BAD NAME": "x" },
      wished: { LD_PRELOAD: "/nowhere/evil.so", PATH: "/nowhere", "BAD NAME": "x" },
      directory: "/nonexistent",
      account,
    });
    expect(prepared.options.env).toEqual({
      PATH: "/bin",
      SEALTTY_SET_LD_LIBRARY_PATH: "/nowhere",
      SEALTTY_SET_LD_PRELOAD: "/nowhere/evil.so",
      SEALTTY_SET_PATH: "/nowhere",
    });
    expect(prepared.options.cwd).toBe("/");
    // Other users of the machine see arguments, and values are secret.
    expect(prepared.command.join(" ")).not.toContain("evil.so");
  },
);

/** Values that a shell would trip over. */
const AWKWARD = "a 'b' \"c\" $HOME `id` \\ \n ; = %s é";

test.each([
  ["as the daemon's own user", undefined],
  ["as another user", "nobody"],
])("exec: variables arrive as they were set, %s", async (_, name) => {
  if (name !== undefined && !isRoot) return expect(isRoot).toBe(false);
  const account = name === undefined ? undefined : await findAccount(name);
  const process = startExec({
    command: ["env", "-0"],
    environment: { ...environment, AWKWARD, IFS: "x", LANG: "C" },
    directory: "/",
    ...(account === undefined ? {} : { account }),
  });
  const seen = (await all(process.stdout)).toString().split("\0");
  expect(seen).toContain(`AWKWARD=${AWKWARD}`);
  expect(seen).toContain("IFS=x");
  expect(seen.filter((line) => line.startsWith("SEALTTY_SET_"))).toEqual([]);
});

test("exec: a directory is entered, or the program does not start, with words and a status", async () => {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-exec-"));
  const there = path.join(home, "-a b'c\n$d");
  fs.mkdirSync(there);
  for (const name of ["~", "~x"]) fs.mkdirSync(path.join(home, name));
  const start = (enter: string) => {
    const process = startExec({ command: ["pwd", "-P"], environment, directory: home, enter });
    running.push(process);
    return process;
  };
  const real = fs.realpathSync(home);
  for (const [enter, expected] of [
    [there, path.join(real, path.basename(there))],
    [path.basename(there), path.join(real, path.basename(there))],
    [".", real],
    ["/", "/"],
    ["~", real],
    ["~/", real],
    [`~/${path.basename(there)}`, path.join(real, path.basename(there))],
    ["./~", path.join(real, "~")],
    ["~x", path.join(real, "~x")],
  ] as const) {
    const { output, status } = await finish(start(enter));
    expect(output).toBe(`${expected}\n`);
    expect(status).toEqual({ kind: "exited", status: 0 });
  }
  const missing = start("no\u001bsuch");
  const [out, error] = await Promise.all([all(missing.stdout), all(missing.stderr)]);
  expect(out.length).toBe(0);
  expect(error.toString()).toMatch(
    /^sealttyd: .*no\\x1bsuch: no such directory, or it may not be entered\n$/,
  );
  expect(await missing.exit).toEqual({ kind: "exited", status: 126 });
});

test.skipIf(!isRoot)("a directory that only root may enter is none for another user", async () => {
  const account = await findAccount("nobody");
  if (account === undefined) throw new Error("no such user");
  const closed = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-closed-")); // mode 0700
  for (const enter of [closed, path.join(closed, "below"), "/etc/passwd"]) {
    const process = startExec({ command: ["pwd"], environment, directory: "/", enter, account });
    const [out, error] = await Promise.all([all(process.stdout), all(process.stderr)]);
    expect(out.length).toBe(0);
    expect(error.toString()).toContain(`${enter}: no such directory, or it may not be entered`);
    expect(await process.exit).toEqual({ kind: "exited", status: 126 });
  }
  const terminal = await finish(
    await startOnPty({
      command: ["pwd"],
      environment,
      directory: "/",
      enter: closed,
      account,
      columns: 80,
      rows: 24,
    }),
  );
  expect(terminal.output).toContain("it may not be entered");
  expect(terminal.status).toEqual({ kind: "exited", status: 126 });
});

test("exec: 10 MB through cat and back, and nothing on stderr", async () => {
  const process = exec(["cat"]);
  const bytes = randomBytes(10_000_000);
  const writing = (async () => {
    for (let at = 0; at < bytes.length; at += 32_768) await process.write(bytes.subarray(at, at + 32_768));
    process.endInput();
  })();
  const [stdout, stderr] = await Promise.all([all(process.stdout), all(process.stderr), writing]);
  expect(digest(stdout)).toBe(digest(bytes));
  expect(stderr.length).toBe(0);
  expect(await process.exit).toEqual({ kind: "exited", status: 0 });
});

test("exec: stdout and stderr apart, status passed on, after half-close", async () => {
  const process = exec(["sh", "-c", "cat; echo wrong >&2; exit 37"]);
  await process.write(Buffer.from("right"));
  process.endInput();
  const [stdout, stderr] = await Promise.all([all(process.stdout), all(process.stderr)]);
  expect([stdout.toString(), stderr.toString()]).toEqual(["right", "wrong\n"]);
  expect(await process.exit).toEqual({ kind: "exited", status: 37 });
});

test("exec: a signal reaches the whole group and shows in the status", async () => {
  const process = exec(["sh", "-c", "sleep 1000 & echo up; wait"]);
  await until(process, "up");
  process.signal("SIGKILL");
  expect((await all(process.stdout)).length).toBe(0); // ends only when the sleep is dead as well
  expect(await process.exit).toEqual({ kind: "signalled", signal: "SIGKILL" });
  expect(() => process.signal("SIGNIFICANT")).toThrow(/Unknown signal/);
});

/** A copy of setpriv that makes root of whoever runs it, as sudo does of those it knows. */
function likeSudo(): string {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-sudo-")), "sudo");
  fs.chmodSync(path.dirname(file), 0o755);
  fs.copyFileSync("/usr/bin/setpriv", file);
  fs.chmodSync(file, 0o4755);
  return file;
}
/** A shell's script for a process of root's, in the group of whoever runs it: it says what was sent it. */
const rootsOwn = (file: string) =>
  `${file} --reuid=0 --regid=0 --clear-groups sh -c '` +
  [
    'trap "got=told" TERM INT HUP USR1',
    'trap "echo root=$(id -u) heard=\\${got:-nothing}." USR2',
    'echo "pid=$$."; while :; do sleep 0.02; done',
  ].join("; ") +
  "'";
async function nobody(): Promise<Account> {
  const account = await findAccount("nobody");
  if (account === undefined) throw new Error("no such user");
  return account;
}

if (isRoot) {
  test.each(["SIGTERM", "SIGHUP", "SIGUSR1"])(
    "exec: a client's %s reaches the user's processes, and none of the group that has become root's",
    async (name) => {
      const file = likeSudo();
      const process = exec(
        [
          "sh",
          "-c",
          `trap 'echo user-heard' TERM HUP USR1; ${rootsOwn(file)} & wait; while :; do sleep 0.02; done`,
        ],
        await nobody(),
      );
      const root = await firstNumber(process.stdout);
      try {
        expect(fs.readFileSync(`/proc/${root}/status`, "utf8")).toMatch(/^Uid:\t0\t/m);
        process.signal(name);
        await until(process, "user-heard");
        globalThis.process.kill(root, "SIGUSR2");
        expect(await until(process, "heard=")).toContain("root=0 heard=nothing.");
        process.signal("SIGKILL"); // the shell ends, root's process holds its output
        while (fs.readFileSync(`/proc/${root}/stat`, "utf8").split(" ")[3] !== "1")
          await new Promise((resolve) => setTimeout(resolve, 10));
        expect(isThere(root)).toBe(true);
      } finally {
        globalThis.process.kill(root, "SIGKILL");
        fs.rmSync(path.dirname(file), { recursive: true });
      }
      expect(await process.exit).toEqual({ kind: "signalled", signal: "SIGKILL" });
    },
  );

  test("pty: its group may write to it where that is the system's, not where it is that of whoever opened it", async () => {
    const { loadPtyAddon } = await import("../../server/sessions/pty-addon.ts");
    const { giveTerminal } = await import("../../server/sessions/pty-process.ts");
    const { master, slave } = loadPtyAddon().open(80, 24);
    const owner = () => {
      const { uid, gid, mode } = fs.fstatSync(slave);
      return { uid, gid, mode: mode & 0o777 };
    };
    try {
      const { gid } = owner();
      giveTerminal(slave, { uid: 12_345, gid: 12_346 }, { gid: gid + 1 });
      expect(owner()).toEqual({ uid: 12_345, gid, mode: 0o620 });
      giveTerminal(slave, { uid: 12_345, gid: 12_346 }, { gid });
      expect(owner()).toEqual({ uid: 12_345, gid: 12_346, mode: 0o600 });
    } finally {
      fs.closeSync(master);
      fs.closeSync(slave);
    }
  });

  test("pty: nor do they on a terminal; sealttyd's own hang-up does", async () => {
    const file = likeSudo();
    const account = await nobody();
    const { loadPtyAddon } = await import("../../server/sessions/pty-addon.ts");
    const { giveTerminal } = await import("../../server/sessions/pty-process.ts");
    const { runOnTerminal } = await import("../../server/sessions/running-program.ts");
    const { master, slave } = loadPtyAddon().open(80, 24);
    try {
      giveTerminal(slave, account, { gid: 0 });
      const at = path.join(path.dirname(file), "said");
      fs.writeFileSync(at, "", { mode: 0o666 });
      fs.chmodSync(at, 0o666);
      const command = [
        "sh",
        "-c",
        `trap 'echo user-heard' TERM; { ${rootsOwn(file)} & } ; while :; do sleep 0.02; done`,
      ];
      const launch = {
        command: ["sh", "-c", 'exec >"$1"; shift; exec "$@"', "sh", at, ...command],
        environment,
        directory: "/",
        account,
      };
      const program = runOnTerminal(launch, slave);
      const said = async (what: RegExp): Promise<string> => {
        for (;;) {
          const found = what.exec(fs.readFileSync(at, "utf8"));
          if (found !== null) return found[1] ?? "";
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
      };
      const root = Number(await said(/pid=(\d+)\./));
      program.signal("SIGTERM");
      await said(/(user-heard)/);
      globalThis.process.kill(root, "SIGUSR2");
      expect(await said(/heard=(\w+)\./)).toBe("nothing");
      program.hangUp();
      expect((await program.ended).status).toEqual({ kind: "signalled", signal: "SIGHUP" });
      globalThis.process.kill(root, "SIGUSR2");
      await said(/heard=(told)\./);
      globalThis.process.kill(root, "SIGKILL");
    } finally {
      fs.closeSync(master);
      fs.closeSync(slave);
      fs.rmSync(path.dirname(file), { recursive: true });
    }
  });

  test("pty: of a login they are those of who has logged in, to whom it gave the terminal", async () => {
    const account = await nobody();
    const become = `setpriv --reuid=${account.uid} --regid=${account.gid} --clear-groups`;
    const script = [
      'trap "echo login-heard" TERM',
      "echo before; read line",
      `chown ${account.uid} "$(tty)"`,
      `${become} sh -c 'trap "echo user-heard" TERM; echo in; while :; do sleep 0.02; done'`,
      "while :; do sleep 0.02; done",
    ].join("\n");
    const process = await sh(`stty -echo; ${script}`);
    await until(process, "before");
    process.signal("SIGTERM");
    await process.write(Buffer.from("\n"));
    expect(await until(process, "in\r\n")).toContain("login-heard"); // nobody else's yet
    process.signal("SIGTERM");
    await until(process, "user-heard");
    process.signal("SIGKILL");
    // Only now the shell of root's takes the traps that it holds: none.
    expect(await until(process, "Killed")).not.toContain("login-heard");
    process.hangUp();
  });

  test("a flood of a client's signals is one process at a time, and each name once", async () => {
    const process = exec(
      ["sh", "-c", 'trap "echo heard" USR1; echo up; while :; do sleep 0.02; done'],
      await nobody(),
    );
    await until(process, "up");
    const count = () =>
      Number(
        execFileSync(
          "sh",
          ["-c", "ps -eo args= | grep -cE '^/[^ ]*(sh -c kill -s|sealtty-session signal)' || true"],
          {
            encoding: "utf8",
          },
        ),
      );
    for (let i = 0; i < 2000; i++) for (const name of ["SIGUSR1", "SIGCONT"]) process.signal(name);
    expect(count()).toBeLessThanOrEqual(1);
    await until(process, "heard");
    expect(count()).toBeLessThanOrEqual(1);
    process.signal("SIGKILL");
    await Promise.all([all(process.stdout), all(process.stderr)]);
    expect(await process.exit).toEqual({ kind: "signalled", signal: "SIGKILL" });
  });
}

test("what a signal may cost is asked of those that the launch allows, and a hang-up goes out in any case", async () => {
  const { runOnStreams } = await import("../../server/sessions/running-program.ts");
  const launch = {
    command: ["sleep", "1000"],
    environment,
    directory: "/",
    signals: ["SIGHUP", "SIGCONT"],
  } as const;
  const { program } = runOnStreams(launch, "ignore");
  let asked = 0;
  const no = (): boolean => {
    asked++;
    return false;
  };
  for (let i = 0; i < 10; i++) program.signal("SIGKILL", no);
  expect(asked).toBe(0);
  program.signal("SIGCONT", no);
  expect(asked).toBe(1);
  for (let i = 0; i < 10; i++) program.signal("SIGHUP", no);
  expect(asked).toBe(2); // the others are the one that waits
  expect((await program.ended).status).toEqual({ kind: "signalled", signal: "SIGHUP" });
});

test("of a program that its user did not choose, a client may send the signals that end it in order", async () => {
  const process = startExec({
    command: [
      "sh",
      "-c",
      'trap "echo heard=$got" INT; trap "got=usr1" USR1; echo up; while :; do sleep 0.02; done',
    ],
    environment,
    directory: "/",
    signals: ["SIGHUP", "SIGINT", "SIGTERM"],
  });
  running.push(process);
  await until(process, "up");
  for (const name of ["SIGKILL", "SIGSTOP", "SIGQUIT", "SIGUSR1", "SIGALRM"]) process.signal(name);
  expect(() => process.signal("SIGNIFICANT")).toThrow(/Unknown signal/);
  process.signal("SIGINT");
  expect(await until(process, "heard")).toContain("heard=\n");
  process.signal("SIGTERM");
  expect(await process.exit).toEqual({ kind: "signalled", signal: "SIGTERM" });
});

test("exec: a program that is stopped hears that it is hung up", async () => {
  const process = exec(["sh", "-c", "echo $$ up; kill -STOP $$; echo never"]);
  const pid = Number.parseInt(await until(process, "up"), 10);
  const stopped = (): boolean => / T /.test(fs.readFileSync(`/proc/${pid}/stat`, "latin1"));
  while (!stopped()) await new Promise((resolve) => setTimeout(resolve, 5));
  process.hangUp();
  expect(await process.exit).toEqual({ kind: "signalled", signal: "SIGHUP" });
});

if (isRoot)
  test("pty: a login that is still root's is not stopped by its client", async () => {
    const process = await sh('trap "echo heard" USR1; echo up; while :; do sleep 0.02; done');
    await until(process, "up");
    for (const name of ["SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGUSR1"]) process.signal(name);
    expect(await until(process, "heard")).toContain("heard");
  });

test("exec: a missing program is 127, one that may not run is 126", async () => {
  const missing = exec(["no-such\u001b[31m-program"]);
  expect((await all(missing.stderr)).toString()).toBe("sealttyd: no-such\\x1b[31m-program: not found\n");
  expect(await missing.exit).toEqual({ kind: "exited", status: 127 });
  expect(await missing.stdout.read()).toBeUndefined();
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-exec-")), "plain");
  fs.writeFileSync(file, "", { mode: 0o644 });
  expect(await exec([file]).exit).toEqual({ kind: "exited", status: 126 });
  expect(() => exec([])).toThrow(/needs a program/);
  expect(() => exec(["true", "x".repeat(300_000)])).toThrow(/too long/);
});

test("exec: a program that does not read its input neither blocks nor grows, and may end before reading it", async () => {
  const process = exec(["sh", "-c", "echo out; sleep 0.2; exit 4"]);
  const writes = Array.from({ length: 200 }, () => process.write(new Uint8Array(64 * 1024)));
  const settled = Promise.allSettled(writes);
  expect((await all(process.stdout)).toString()).toBe("out\n");
  expect(await process.exit).toEqual({ kind: "exited", status: 4 });
  expect((await settled).filter((result) => result.status === "rejected").length).toBeGreaterThan(150);
});

test("exec: output is taken only as it is read", async () => {
  const process = exec(["sh", "-c", "yes"]);
  await process.stdout.read();
  const before = globalThis.process.memoryUsage().arrayBuffers;
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(globalThis.process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024);
  process.hangUp();
  expect((await process.exit).kind).toBe("signalled");
});

test("accounts come from passwd lines that are whole; the environment from nowhere else", async () => {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-passwd-")), "passwd");
  fs.writeFileSync(
    file,
    "broken:x:0:0\nann:x:1000:1001:Ann:/home/ann:/bin/zsh\nbob:x:x:1::/:/bin/sh\nnone:x:7:7:::\n",
  );
  const ann = await findAccount("ann", file);
  expect(ann).toEqual({ name: "ann", uid: 1000, gid: 1001, home: "/home/ann", shell: "/bin/zsh" });
  expect(await findAccount("none", file)).toMatchObject({ home: "/", shell: "/bin/sh" });
  for (const name of ["broken", "bob", "", "nobody-here"])
    expect(await findAccount(name, file)).toBeUndefined();
  globalThis.process.env["SEALTTY_TEST_SECRET"] = "1";
  expect(sessionEnvironment(ann as Account, "xterm")).toMatchObject({ USER: "ann", TERM: "xterm" });
  expect(sessionEnvironment(ann as Account, undefined)).not.toHaveProperty("SEALTTY_TEST_SECRET");
});

/** The first so many that it says, as "pid=7.". */
async function numbersOf(output: GuestProcess["stdout"], count: number): Promise<readonly number[]> {
  let text = "";
  for (;;) {
    const numbers = [...text.matchAll(/pid=(\d+)\./g)].map(([, number]) => Number(number));
    if (numbers.length >= count) return numbers;
    const chunk = await output.read();
    if (chunk === undefined) throw new Error(`Too few numbers: ${text}`);
    text += Buffer.from(chunk).toString();
  }
}
const firstNumber = async (output: GuestProcess["stdout"]): Promise<number> =>
  (await numbersOf(output, 1))[0] ?? 0;

const isThere = (pid: number): boolean => fs.existsSync(`/proc/${pid}`);
const untilGone = async (pid: number): Promise<void> => {
  while (isThere(pid)) await new Promise((resolve) => setTimeout(resolve, 10));
};

test("the program has ended, others of its group hold its output: signals still reach them", async () => {
  const process = exec(["sh", "-c", "echo pid=$$.; sleep 300 & exit 0"]);
  const pid = await firstNumber(process.stdout);

  await untilGone(pid);
  process.signal("SIGTERM");
  expect(await process.stdout.read()).toBeUndefined();
});

/** What was signalled as long as `during` lasts; nothing is. */
async function signalled(during: () => void): Promise<readonly number[]> {
  const kill = vi.spyOn(globalThis.process, "kill").mockReturnValue(true);
  during();
  const pids = kill.mock.calls.map(([pid]) => pid);
  kill.mockRestore();
  return pids;
}

// Where nobody of the group is left, its number may be a stranger's by now.
test("the program has ended, and who holds its output left the group: no signal to the group's number", async () => {
  const process = exec(["sh", "-c", "echo pid=$$.; setsid sh -c 'echo pid=$$.; exec sleep 300' & exit 0"]);
  const [pid = 0, holder = 0] = (await numbersOf(process.stdout, 2)).toSorted((a, b) => a - b);
  await untilGone(pid);
  expect(await signalled(() => process.signal("SIGTERM"))).toEqual([]);
  expect(await signalled(() => process.hangUp())).toEqual([]);
  globalThis.process.kill(holder, "SIGKILL");
});

test("on a terminal whose foreground group has ended: no signal to the group's number, the program gets it", async () => {
  const script = [
    'use POSIX; $SIG{TTOU} = "IGNORE"; $| = 1; my $p = fork();',
    "if (!$p) { select(undef, undef, undef, 0.3); POSIX::_exit(0) }",
    'setpgrp($p, $p); POSIX::tcsetpgrp(0, $p); waitpid($p, 0); print "pid=$p.\\n"; sleep 300',
  ].join("\n");
  const process = await onPty(["perl", "-e", script]);
  const group = await firstNumber(process.stdout);
  const pids = await signalled(() => process.signal("SIGTERM"));
  expect(pids).toHaveLength(1);
  expect(pids).not.toContain(-group);
  expect(pids[0]).toBeGreaterThan(1);
});

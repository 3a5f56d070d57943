// The small native program in place of `sealtty exec --master`: what it finds and when it stands back, its standard streams, and
// a keeper that answers nonsense. What it has in common with the other is in master.test.ts.

import * as fc from "fast-check";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { encodeFrame, type FrameType, TYPES } from "../../cli/master/wire.ts";
import { VERSION } from "../../node/version.ts";
import { u32 } from "../../protocol/bytes.ts";
import { runCli, SEALTTY_EXEC, startCli } from "../support/cli.ts";
import { hasOpenssh, makeScratch, sshKeygen, tellIfOpensshIsAbsent } from "../support/openssh.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

tellIfOpensshIsAbsent();
const user = os.userInfo().username;
let scratch: ReturnType<typeof makeScratch>;
let guest: RunningGuest;
let env: NodeJS.ProcessEnv;
/** Without Node: whatever falls back to it fails. */
let alone: NodeJS.ProcessEnv;
let runtime: string;
let tests = 0;

beforeAll(async () => {
  if (!hasOpenssh) return;
  scratch = makeScratch();
  mkdirSync(scratch.path("nothing"));
  guest = await startSealttyd({ authorizedKeys: `${sshKeygen(scratch.path("key"))}\n` });
});
afterAll(async () => {
  await guest?.stop();
  scratch?.remove();
});
beforeEach(() => {
  if (!hasOpenssh) return;
  runtime = scratch.path(`run${++tests}`);
  mkdirSync(runtime, { mode: 0o700 });
  env = { ...process.env, XDG_RUNTIME_DIR: runtime, XDG_STATE_HOME: scratch.path("state"), NO_COLOR: "1" };
  alone = { ...env, PATH: scratch.path("nothing") };
});
afterEach(async () => {
  if (hasOpenssh && existsSync(path.join(runtime, "sealtty")))
    await runCli(["master", `unix:${guest.socket}`, ...options(), "--stop", "--all"], "", { env });
});

const options = (policy = guest.policyFile): string[] => [
  ...["--policy", policy, "-i", scratch.path("key"), "-l", user, "--simulated"],
];
const words = (...more: string[]): string[] => [`unix:${guest.socket}`, ...options(), ...more];
const run = (more: string[], input?: string | Buffer, own: NodeJS.ProcessEnv = alone, cwd?: string) =>
  runCli(words(...more), input, { program: SEALTTY_EXEC, env: own, ...(cwd === undefined ? {} : { cwd }) });
const sockets = (): string[] => readdirSync(path.join(runtime, "sealtty"));
const lines = (text: string): string[] =>
  text.split("\n").filter((line) => line !== "" && !line.includes("SIMULATED"));
/** A connection is kept from now on. */
async function keep(...more: string[]): Promise<void> {
  const { status, stderr } = await runCli(["exec", "--master", ...words(...more, "-q", "--", "true")], "", {
    env,
  });
  expect([status, lines(stderr)]).toEqual([0, []]);
}
const NO_NODE = /^sealtty: device-unavailable: Cannot start node, which sealtty runs on; put it on PATH\.$/;

describe.runIf(hasOpenssh)("who does it", () => {
  test("nobody keeps a connection: it becomes `sealtty exec --master`, and the next ones need no Node", async () => {
    expect(await run(["-q", "--", "echo", "one"], "", env)).toMatchObject({ status: 0, stdout: "one\n" });
    expect(sockets()).toHaveLength(1);
    expect(await run(["-q", "--", "echo", "two"])).toMatchObject({ status: 0, stdout: "two\n" });
  });
  test("nobody keeps one, and there is no Node: a sentence, and 255", async () => {
    const { status, stderr } = await run(["--", "true"]);
    expect([status, lines(stderr)]).toEqual([255, [expect.stringMatching(NO_NODE)]]);
  });
  test.each([
    ["a terminal", ["-t", "--", "sh", "-c", "test -t 1 && echo yes"], "yes\r\n"],
    ["help", ["--help"], expect.stringContaining("Usage: sealtty exec")],
  ])("%s is for sealtty itself", async (_, more, stdout) => {
    await keep();
    expect(await run(more, "", env)).toMatchObject({ status: 0, stdout });
  });
  test("words that are no UTF-8 are refused as by sealtty", async () => {
    await keep();
    const script = '"$@" -- echo "$(printf "a\\377")"';
    const { status, stderr } = spawnSync("sh", ["-c", script, "sh", SEALTTY_EXEC, ...words("-q")], {
      env,
      encoding: "utf8",
    });
    expect([status, lines(stderr)]).toEqual([
      255,
      [expect.stringContaining("words and variables have to be UTF-8")],
    ]);
  });
  test("of two that are kept the right one: by the policy, wherever it was named from", async () => {
    const other = `${readFileSync(guest.policyFile, "utf8")}\n# another one\n`;
    mkdirSync(scratch.path("elsewhere"), { recursive: true });
    writeFileSync(scratch.path("elsewhere/p.toml"), other);
    const relative = ["--policy", "p.toml", "-i", "../key", "-l", user, "--simulated", "-q"];
    await keep();
    const cwd = scratch.path("elsewhere");
    const missing = await runCli([`unix:${guest.socket}`, ...relative, "--", "true"], "", {
      program: SEALTTY_EXEC,
      env: alone,
      cwd,
    });
    expect([missing.status, lines(missing.stderr)]).toEqual([255, [expect.stringMatching(NO_NODE)]]); // none yet for this policy
    const made = await runCli([`unix:${guest.socket}`, ...relative, "--", "true"], "", {
      program: SEALTTY_EXEC,
      env,
      cwd,
    });
    expect(made.status).toBe(0);
    expect(sockets()).toHaveLength(2);
    for (const more of [[], ["-o", "policy=p.toml"]]) {
      const said = more.length === 0 ? relative : relative.slice(2);
      const again = await runCli([`unix:${guest.socket}`, ...said, ...more, "--", "echo", "it"], "", {
        ...{ program: SEALTTY_EXEC, env: alone, cwd },
      });
      expect(again).toMatchObject({ status: 0, stdout: "it\n" });
    }
    expect(await run(["-q", "--", "echo", "first"])).toMatchObject({ status: 0, stdout: "first\n" });
    expect(sockets()).toHaveLength(2);
  });
  test("a name of guests.toml", async () => {
    const config = scratch.path("guests.toml");
    writeFileSync(
      config,
      `[guests.here]\naddress = "unix:${guest.socket}"\npolicy = "${guest.policyFile}"\nidentity = "key"\nuser = "${user}"\n`,
    );
    await keep();
    const said = ["-F", "guests.toml", "here", "--simulated", "-q", "--", "echo", "named"];
    const { status, stdout } = await runCli(said, "", {
      program: SEALTTY_EXEC,
      env: alone,
      cwd: path.dirname(config),
    });
    expect([status, stdout]).toEqual([0, "named\n"]);
  });
  test("a mistake in the words is said by the keeper, as by sealtty", async () => {
    await keep();
    const { status, stderr } = await run(["--no-such-option", "--", "true"]);
    expect(status).toBe(255);
    expect(stderr).toMatch(/^sealtty: bad-config: Unknown option '--no-such-option'/);
    const json = await run(["--json", "--", "echo", "x"]);
    expect(json).toMatchObject({ status: 0, stdout: "x\n" });
    const events = json.stderr
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { event: string }).event);
    expect(events).toEqual(["verified", "exit"]);
  });
  test("variables are those of who runs it, not of the keeper", async () => {
    await keep();
    const own = { ...alone, OWN: "mine", LANG: "xx_YY" };
    const { status, stdout } = await run(
      ["-q", "--env", "OWN", "--", "sh", "-c", 'echo "$OWN $LANG"'],
      "",
      own,
    );
    expect([status, stdout]).toEqual([0, "mine xx_YY\n"]);
  });
  test("one that hangs does not hold it up", async () => {
    mkdirSync(path.join(runtime, "sealtty"), { mode: 0o700 });
    const asked: net.Socket[] = [];
    const silent = net.createServer((socket) => {
      asked.push(socket);
      socket.on("error", () => {}); // nothing is read
    });
    const place = path.join(runtime, "sealtty", `${"a".repeat(12)}-${"b".repeat(32)}`);
    await new Promise<void>((resolve) => silent.listen(place, resolve));
    try {
      const { status, stderr } = await run(["--", "true"]);
      expect([status, lines(stderr)]).toEqual([255, [expect.stringMatching(NO_NODE)]]); // would be done by sealtty
      expect(asked).toHaveLength(1);
      const much = { ...alone, MUCH: "x".repeat(200_000 / 2), MORE: "y".repeat(100_000) };
      expect(lines((await run(["--", "true"], "", much)).stderr)).toEqual([expect.stringMatching(NO_NODE)]);
    } finally {
      for (const socket of asked) socket.destroy();
      await new Promise((resolve) => silent.close(resolve));
    }
  });
  test("one that has other files than ours under the same names is not asked", async () => {
    await keep();
    const other = scratch.path("other.toml");
    writeFileSync(
      other,
      readFileSync(guest.policyFile, "utf8").replace('instance = "test"', 'instance = "other"'),
    );
    const script = 'mount --bind "$0" "$1"; shift; exec "$@"';
    const command = [SEALTTY_EXEC, ...words("-q", "--", "echo", "ran")];
    const done = spawnSync("unshare", ["-m", "sh", "-c", script, other, guest.policyFile, ...command], {
      env,
      encoding: "utf8",
    });
    expect([done.status, done.stdout]).toEqual([255, ""]);
    expect(done.stderr).toContain("sealtty: evidence-refused");
    const link = scratch.path("link");
    mkdirSync(scratch.path("there/below"), { recursive: true });
    symlinkSync(scratch.path("there/below"), link);
    writeFileSync(scratch.path("there/p.toml"), readFileSync(other));
    writeFileSync(scratch.path("p.toml"), readFileSync(guest.policyFile));
    for (const [policy, cwd] of [
      [`${link}/../p.toml`, "/"],
      ["link/../p.toml", scratch.path("")],
    ] as const) {
      const said = [`unix:${guest.socket}`, ...options(policy), "-q", "--", "echo", "ran"];
      const behind = await runCli(said, "", { program: SEALTTY_EXEC, env, cwd });
      expect([behind.status, behind.stdout]).toEqual([255, ""]);
      expect(behind.stderr).toContain("sealtty: evidence-refused");
    }
  });
  test("what was asked and did not hear the answer is not done", async () => {
    await keep();
    const [name = ""] = sockets();
    const file = scratch.path(`done${tests}`);
    const socket = net.connect(path.join(runtime, "sealtty", name));
    let heard = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => (heard = Buffer.concat([heard, chunk])));
    const launch = launchOf(words("-q", "--", "touch", file));
    socket.write(launch);
    while (!heard.includes(Buffer.from(encodeFrame("here")))) await once(socket, "data");
    socket.destroy();
    // The next one is done behind it.
    expect((await run(["-q", "--", "true"])).status).toBe(0);
    expect(existsSync(file)).toBe(false);
  });
});

const canMount = spawnSync("unshare", ["-rm", "true"]).status === 0;
const text = (value: string): Buffer => Buffer.concat([u32(Buffer.byteLength(value)), Buffer.from(value)]);
function launchOf(args: readonly string[]): Uint8Array {
  const variables = Object.entries(env).map(([name, value]) => text(`${name}=${value}`));
  return encodeFrame(
    "launch",
    ...[text(VERSION), text("/"), Buffer.of(0)],
    ...[u32(args.length), ...args.map(text), u32(variables.length), ...variables],
  );
}

describe.runIf(hasOpenssh)("standard streams", () => {
  /** By a shell, which makes them: `$@` is the program with its words. */
  const shell = (script: string, ...more: string[]) =>
    spawnSync("bash", ["-c", script, "bash", SEALTTY_EXEC, ...words("-q", ...more)], {
      env: { ...env, PATH: `${process.env["PATH"]}`, NODE_OPTIONS: "--no-such-option-of-node" }, // it would not start
      encoding: "utf8",
      cwd: scratch.path(""),
      maxBuffer: 64 * 1024 * 1024,
    });
  beforeEach(() => keep());

  test.each([
    ["an empty input", '"$@" </dev/null', ["--", "wc", "-c"], 0, "0\n"],
    ["a file", 'head -c 300000 /dev/zero >file; "$@" <file', ["--", "wc", "-c"], 0, "300000\n"],
    ["a pipe", 'head -c 3000000 /dev/zero | "$@"', ["--", "wc", "-c"], 0, "3000000\n"],
    [
      "none at all, and input that waits",
      'yes | "$@"',
      ["-n", "--", "sh", "-c", "cat; echo end"],
      0,
      "end\n",
    ],
    ["a program that does not read", 'yes | "$@"', ["--", "sh", "-c", "exec <&-; echo end"], 0, "end\n"],
    ["what nohup leaves", '"$@" 0>/dev/null', ["--", "sh", "-c", "cat; echo end"], 0, "end\n"],
    ["a file, appended to", 'echo a >out; "$@" >>out; cat out', ["--", "echo", "b"], 0, "a\nb\n"],
    [
      "both into one pipe",
      '"$@" 2>&1 | cat',
      ["--", "sh", "-c", "echo a; echo b >&2"],
      0,
      /^a\nb\n$|^b\na\n$/,
    ],
    [
      "words of ours that nobody takes",
      '"$@" 2>/dev/full',
      ["--", "sh", "-c", "echo out; exit 3"],
      3,
      "out\n",
    ],
    ["a reader of errors that left", '"$@" 2> >(true)', ["--", "sh", "-c", "echo out; exit 3"], 3, "out\n"],
    ["the rest is another's", '(read line; "$@"; cat) <<<"$(seq 3)"', ["-n", "--", "true"], 0, "2\n3\n"],
  ])("%s", (_, script, more, status, stdout) => {
    const done = shell(script, ...more);
    expect([lines(done.stderr), done.status]).toEqual([[], status]);
    const output = done.stdout.replace(/^sealtty: warning: SIMULATED.*\n/, "");
    if (typeof stdout === "string") expect(output).toBe(stdout);
    else expect(output).toMatch(stdout);
  });
  test.each([
    [
      "an input that is a directory",
      '"$@" </',
      "Cannot read the standard input: EISDIR: illegal operation on a directory, read",
    ],
    [
      "a full disk",
      '"$@" >/dev/full',
      "Cannot write the output: no space is left where it goes; make room there (ENOSPC)",
    ],
  ])("%s: a sentence, and 255", (_, script, words) => {
    const done = shell(script, "--", "sh", "-c", "echo x; cat");
    expect([lines(done.stderr), done.status]).toEqual([[`sealtty: device-unavailable: ${words}`], 255]);
  });
  test.runIf(canMount)("a disk that is full for the last bytes: an error, and not status 0", () => {
    const script = 'mount -t tmpfs -o size=100k none run && "$@" >run/file';
    mkdirSync(scratch.path("run"), { recursive: true });
    const done = spawnSync(
      "unshare",
      [
        "-rm",
        "bash",
        "-c",
        script,
        "bash",
        SEALTTY_EXEC,
        ...words("-q", "--", "head", "-c", "110000", "/dev/zero"),
      ],
      { env, encoding: "utf8", cwd: scratch.path("") },
    );
    expect([lines(done.stderr), done.status]).toEqual([[expect.stringContaining("no space is left")], 255]);
  });
  test("a reader that waits for errors first: neither stream holds up the other", async () => {
    // More than a pipe has room for, and less than is carried ahead.
    const program = "head -c 200000 /dev/zero; echo now >&2; cat";
    const child = spawn(SEALTTY_EXEC, words("-q", "--", "sh", "-c", program), { env: alone });
    let error = "";
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (error += chunk));
    while (!error.includes("now")) await once(child.stderr, "data");
    child.stdin.end("rest");
    let length = 0;
    child.stdout.on("data", (chunk: Buffer) => (length += chunk.length));
    expect(await once(child, "close")).toEqual([0, null]);
    expect(length).toBe(200_004);
  });
  test("a terminal's other end is what it was opened as", async () => {
    const script =
      "import os,sys,subprocess\nm,s=os.openpty()\np=subprocess.Popen(sys.argv[1:],stdout=m,stdin=subprocess.DEVNULL,stderr=subprocess.DEVNULL)\nprint(os.read(s,100).decode(),end='');sys.exit(p.wait())";
    const command = [SEALTTY_EXEC, ...words("-q"), "--", "sh", "-c", "echo hello; exit 4"];
    const done = spawnSync("python3", ["-c", script, ...command], { env, encoding: "utf8" });
    expect([done.status, done.stdout]).toEqual([4, "hello\n"]);
  });
  test("an error ends it: what came before is written, and who does not read is not waited for", async () => {
    const program = "head -c 200000 /dev/zero; exec sleep 100";
    const child = spawn(SEALTTY_EXEC, words("-q", "-n", "--run-timeout", "1", "--", "sh", "-c", program), {
      env: alone,
    });
    let [error, length] = ["", 0];
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (error += chunk));
    while (!error.includes("did not end within")) await once(child.stderr, "data");
    child.stdout.on("data", (chunk: Buffer) => (length += chunk.length));
    expect(await once(child, "close")).toEqual([255, null]);
    expect(length).toBe(200_000);
    const stuck = spawn(SEALTTY_EXEC, words("-q", "-n", "--run-timeout", "1", "--", "yes"), { env: alone });
    stuck.stderr.resume();
    expect(await once(stuck, "exit")).toEqual([255, null]); // nobody reads its output
    stuck.stdout.destroy();
  });
  test("both into one file keep their order", () => {
    const program = "for i in 1 2 3 4 5 6; do echo o$i; echo e$i >&2; done";
    const script =
      '"$@" >both 2>&1 & p=$!; kill -STOP $p; sleep 0.5; kill -CONT $p; wait $p; grep -v SIM both';
    const { stdout } = shell(script, "-n", "--", "sh", "-c", program);
    const letters = (letter: string) => stdout.split("\n").filter((line) => line.startsWith(letter));
    expect(letters("o")).toEqual(["o1", "o2", "o3", "o4", "o5", "o6"]);
    expect(letters("e")).toEqual(["e1", "e2", "e3", "e4", "e5", "e6"]);
  });
  test("what is shared with others blocks as it did", () => {
    const done = shell(
      '(cat /proc/self/fdinfo/0 /proc/self/fdinfo/1 | grep flags; "$@" >&2; cat /proc/self/fdinfo/0 /proc/self/fdinfo/1 | grep flags) < <(sleep 0.1) | cat',
      ...["--", "cat"],
    );
    const flags = done.stdout.split("\n").filter((line) => line !== "");
    expect(flags).toHaveLength(4);
    expect(flags.slice(2)).toEqual(flags.slice(0, 2));
  });
});

describe.runIf(hasOpenssh)("signals", () => {
  beforeEach(() => keep());
  test("the third of a kind ends it, whatever the program does", async () => {
    const cli = startCli(
      words("-q", "--", "sh", "-c", "trap 'echo no' TERM; echo up; while :; do sleep 0.1; done"),
      {
        ...{ program: SEALTTY_EXEC, env: alone },
      },
    );
    await cli.waitFor(/^up$/m);
    for (let i = 1; i < 3; i++) {
      cli.child.kill("SIGTERM");
      await cli.waitFor(new RegExp(`(?:no\\n){${i}}`));
    }
    cli.child.kill("SIGTERM");
    expect(await cli.ended()).toBe(128 + 15);
  });
  test("an alarm of whoever started it ends it, as any program", () => {
    const script = "import os,signal,sys;signal.alarm(1);os.execv(sys.argv[1],sys.argv[1:])";
    const command = [SEALTTY_EXEC, ...words("-q", "-n", "--", "sleep", "600")];
    expect(spawnSync("python3", ["-c", script, ...command], { env }).signal).toBe("SIGALRM");
  });
  test("one that nohup keeps away is not passed on", async () => {
    const script = 'trap "" HUP; exec "$@"';
    const program = "trap 'echo hup; exit 9' HUP; echo up; read line; echo $line";
    const child = spawn("sh", ["-c", script, "sh", SEALTTY_EXEC, ...words("-q", "--", "sh", "-c", program)], {
      env,
      stdio: ["pipe", "pipe", "inherit"],
    });
    let out = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (out += chunk));
    while (!out.includes("up")) await once(child.stdout, "data");
    child.kill("SIGHUP");
    child.stdin.end("end\n");
    expect(await once(child, "close")).toEqual([0, null]);
    expect(out).toBe("up\nend\n");
  });
  test("a terminal that is gone: it ends by SIGHUP, as programs of a terminal do", async () => {
    const cli = startCli(
      words("-q", "--", "sh", "-c", "trap 'echo hup; exit 9' HUP; echo up; while :; do sleep 0.1; done"),
      {
        ...{ program: SEALTTY_EXEC, env: alone },
      },
    );
    await cli.waitFor(/^up$/m);
    cli.child.kill("SIGHUP");
    expect(await cli.ended()).toBe("SIGHUP");
    expect(cli.stdout()).toContain("hup");
  });
});

test.runIf(hasOpenssh)("a keeper that says anything: one sentence and 255, or what it did say", async () => {
  const directory = path.join(runtime, "sealtty");
  mkdirSync(directory, { mode: 0o700 });
  const place = path.join(directory, `${"a".repeat(12)}-${"b".repeat(32)}`);
  let answer: readonly Uint8Array[] = [];
  const server = net.createServer((socket) => {
    socket.on("error", () => {}).resume();
    for (const part of answer) socket.write(part);
    socket.end();
  });
  await new Promise<void>((resolve) => server.listen(place, resolve));
  const types = Object.keys(TYPES) as FrameType[];
  const frame = fc
    .tuple(fc.constantFrom(...types), fc.uint8Array({ maxLength: 40 }))
    .map(([type, body]) => encodeFrame(type, body));
  try {
    await fc.assert(
      fc.asyncProperty(
        fc.boolean(),
        fc.array(fc.oneof(frame, fc.uint8Array({ maxLength: 20 })), { maxLength: 8 }),
        async (here, parts) => {
          answer = here ? [encodeFrame("here"), ...parts] : parts;
          const { status, stderr } = await run(["--", "true"]);
          expect(typeof status).toBe("number"); // no signal ended it
          if (status === 255 && !stderr.includes("sealtty: "))
            expect(answer.some((part) => part[4] === TYPES.ended || part[4] === TYPES.errors)).toBe(true);
        },
      ),
      { numRuns: 150 },
    );
  } finally {
    await new Promise((resolve) => server.close(resolve));
    rmSync(directory, { recursive: true });
  }
});

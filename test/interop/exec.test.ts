// `sealtty exec` as a process, against a real sealttyd: what a script counts on.

import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runCli, startCli } from "../support/cli.ts";
import { hasOpenssh, makeScratch, sshKeygen, tellIfOpensshIsAbsent } from "../support/openssh.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const SEALTTY = path.resolve(import.meta.dirname, "../../dist/bin/sealtty.js");

tellIfOpensshIsAbsent();
let scratch: ReturnType<typeof makeScratch>;
let guest: RunningGuest;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  if (!hasOpenssh) return;
  scratch = makeScratch();
  const line = sshKeygen(scratch.path("key"));
  guest = await startSealttyd({ authorizedKeys: `${line}\n` });
  env = { XDG_STATE_HOME: scratch.path("state") };
});
afterAll(async () => {
  await guest?.stop();
  scratch?.remove();
});

const args = (...more: string[]): string[] => [
  ...["exec", `unix:${guest.socket}`, "--policy", guest.policyFile, "--simulated"],
  ...["-i", scratch.path("key"), "-l", os.userInfo().username, ...more],
];
const exec = (more: string[], input?: string | Buffer) => runCli(args(...more), input, { env });
/** Without what is said of simulated evidence. */
const complaints = (stderr: string): string[] =>
  stderr.split("\n").filter((line) => line !== "" && !line.includes("SIMULATED"));

test.runIf(hasOpenssh)(
  "binary both ways, streams apart, the end of input, the status, the place",
  async () => {
    const bytes = randomBytes(1_000_000);
    const line = 'cat; pwd >&2; printf %s "$A" >&2; exit 37';
    const more = ["-q", "--cwd", "/usr", "--env", "A=b c\n'd'", "--", "sh", "-c", line];
    const child = spawn(process.execPath, [path.resolve("dist/bin/sealtty.js"), ...args(...more)], {
      env: { ...process.env, ...env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    const out: Buffer[] = [];
    let error = "";
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => (error += chunk.toString()));
    child.stdin.end(bytes);
    expect(await once(child, "close")).toEqual([37, null]);
    expect(Buffer.concat(out).equals(bytes)).toBe(true);
    expect(complaints(error)).toEqual(["/usr", "b c", "'d'"]);
  },
);

test.runIf(hasOpenssh)(
  "no terminal unless asked; -n has no input; -T is the default said aloud",
  async () => {
    const { status, stdout } = await exec(["-T", "-n", "--", "sh", "-c", "tty; wc -c"], "not for it");
    expect([status, stdout]).toEqual([0, "not a tty\n0\n"]);
    const terminal = await exec(["-t", "--cwd", "/", "--", "sh", "-c", "test -t 1 && pwd; exit 4"]);
    expect([terminal.status, terminal.stdout]).toEqual([4, "/\r\n"]);
    const nowhere = await exec(["-t", "--cwd", "/no/such", "--", "true"]);
    expect(nowhere.status).toBe(126);
    expect(nowhere.stdout).toContain("sealttyd: /no/such: no such directory, or it may not be entered");
  },
);

test.runIf(hasOpenssh)(
  "signals go to the program; one that a signal ends is 128 + n, and --json has both",
  async () => {
    const cli = startCli(
      args("--", "sh", "-c", "trap 'echo got; exit 9' TERM; echo up; while :; do sleep 0.1; done"),
      { env },
    );
    await cli.waitFor(/^up$/m);
    cli.child.kill("SIGTERM");
    expect(await cli.ended()).toBe(9);
    expect(cli.stdout()).toContain("got\n");
    const killed = await exec(["--json", "--", "sh", "-c", "kill -9 $$"]);
    expect(killed.status).toBe(137);
    const events = killed.stderr
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { event: string });
    expect(events.at(-1)).toEqual({ event: "exit", kind: "signalled", signal: "SIGKILL", status: 137 });
  },
);

test.runIf(hasOpenssh)("a reader that leaves: nothing is said, 141, and the program is hung up", async () => {
  const file = scratch.path("yes.pid");
  const words = args("-q", "--", "sh", "-c", `echo $$ >${file}; exec yes`);
  const line = words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
  const script = `'${process.execPath}' dist/bin/sealtty.js ${line} | head -c 2 >/dev/null; echo "\${PIPESTATUS[0]}"`;
  const child = spawn("bash", ["-c", script], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [out, error] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (error += chunk.toString()));
  await once(child, "close");
  expect([out, complaints(error)]).toEqual(["141\n", []]);
  const pid = Number(readFileSync(file, "utf8"));
  for (let alive = true; alive; await sleep(20)) {
    try {
      process.kill(pid, 0);
    } catch {
      alive = false;
    }
  }
});

test.runIf(hasOpenssh && existsSync("/proc/self/cmdline"))(
  "a word that is no UTF-8 is refused, and never another one in its place",
  async () => {
    const withByte = (...before: string[]) =>
      spawnSync("sh", ["-c", `"$@" "$(printf 'a\\377')"`, "sh", process.execPath, SEALTTY, ...before], {
        encoding: "utf8",
        env: { ...process.env, ...env },
      });
    const refused = withByte(...args("--", "echo"));
    expect([refused.status, complaints(refused.stderr)]).toEqual([
      255,
      [
        `sealtty: bad-config: "a\ufffd" is not what was given: words and variables have to be UTF-8; let a shell of the guest make it, as in: -- sh -c 'rm "$(printf "\\377")"'`,
      ],
    ]);
    const copied = withByte("cp", "--guest", ...args().slice(1), ":/etc/hosts");
    expect([copied.status, complaints(copied.stderr)]).toEqual([
      255,
      [
        'sealtty: bad-config: "a\ufffd" is not what was given: words and variables have to be UTF-8; copy the directory that it is in, with -r',
      ],
    ]);
    const variable = spawnSync(
      "sh",
      [
        "-c",
        `A="$(printf 'a\\377')" "$@"`,
        "sh",
        process.execPath,
        SEALTTY,
        ...args("--env", "A", "--", "env"),
      ],
      { encoding: "utf8", env: { ...process.env, ...env } },
    );
    expect([variable.status, complaints(variable.stderr)]).toEqual([
      255,
      [expect.stringContaining("is not what was given: words and variables have to be UTF-8")],
    ]);
    // Whoever means this very character may have it.
    expect(await exec(["--", "echo", "a\ufffd"])).toMatchObject({ status: 0, stdout: "a\ufffd\n" });
  },
);

test.runIf(hasOpenssh)("what is ours is 255, with one sentence, a code, and nothing else", async () => {
  const words = Array.from({ length: 15 }, () => "x".repeat(100_000));
  const long = await exec(["--", "echo", ...words]);
  expect(long.status).toBe(255);
  expect(complaints(long.stderr)).toEqual([
    "sealtty: bad-config: the command is too long: at most 4096 words and 131072 bytes; send data through stdin",
  ]);
  const nobody = await exec(["-l", "ro\not", "--", "true"]);
  expect(nobody.status).toBe(255);
  expect(nobody.stderr).toBe('sealtty: bad-config: "ro\ufffdot" is no name of a user; give -l USER\n');
  const late = await exec(["-q", "-n", "--run-timeout", "0.3", "--", "sleep", "600"]);
  expect(late.status).toBe(255);
  expect(complaints(late.stderr)).toEqual([
    "sealtty: timeout: The command did not end within 0.3 s, and was ended. Give it more time, or find out what it waits for.",
  ]);
  const json = await runCli(["exec", "unix:/no/such", ...args().slice(2), "--json", "--", "true"], "", {
    env,
  });
  expect(json.status).toBe(255);
  const last = JSON.parse(json.stderr.trim().split("\n").at(-1) ?? "") as { event: string; code: string };
  expect(last).toMatchObject({ event: "error", code: "device-unavailable" });
});

test.runIf(hasOpenssh)("what cannot be started: 126 and 127, said as a shell says it", async () => {
  const started = async (...more: string[]) => {
    const { status, stderr } = await exec(["-n", ...more, "true"]);
    return [status, ...complaints(stderr)];
  };
  expect(await started("--", "/etc")).toEqual([126, expect.stringContaining("Permission denied")]);
  expect(await started("--", "no-such-program")).toEqual([127, expect.stringContaining("not found")]);
  expect(await started("--cwd", "/no/such", "--")).toEqual([
    126,
    "sealttyd: /no/such: no such directory, or it may not be entered",
  ]);
});

test.runIf(hasOpenssh)("a program that ends with 255 by itself is told from us by --json", async () => {
  const { status, stderr } = await exec(["--json", "-n", "--", "sh", "-c", "exit 255"]);
  expect(status).toBe(255);
  expect(stderr).toContain('{"event":"exit","kind":"exited","status":255}');
  expect(stderr).not.toContain('"event":"error"');
});

test.runIf(hasOpenssh)("what sealttyd was started with is no program's", async () => {
  const key = readFileSync(`${scratch.path("key")}.pub`, "utf8");
  const through = ["bash", "-c", 'exec 200</etc/hostname && exec "$@"', "bash"];
  const own = await startSealttyd({ authorizedKeys: key, through });
  try {
    const words = args("-q", "-n", "--", "sh", "-c", "test -e /proc/$$/fd/200 || echo closed");
    words[1] = `unix:${own.socket}`;
    const { status, stdout } = await runCli(words, "", { env });
    expect([status, stdout]).toEqual([0, "closed\n"]);
  } finally {
    await own.stop();
  }
});

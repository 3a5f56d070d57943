// `exec --master` as processes: one connection kept, and every exec over it like one over its own.

import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { runCli, SEALTTY_EXEC, startCli } from "../support/cli.ts";
import { hasOpenssh, makeScratch, sshKeygen, tellIfOpensshIsAbsent } from "../support/openssh.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

tellIfOpensshIsAbsent();
const user = os.userInfo().username;
let scratch: ReturnType<typeof makeScratch>;
let guest: RunningGuest;
let env: NodeJS.ProcessEnv;
let runtime: string;
let tests = 0;

beforeAll(async () => {
  if (!hasOpenssh) return;
  scratch = makeScratch();
  const line = sshKeygen(scratch.path("key"));
  guest = await startSealttyd({ authorizedKeys: `${line}\n` });
});
afterAll(async () => {
  await guest?.stop();
  scratch?.remove();
});
beforeEach(() => {
  if (!hasOpenssh) return;
  runtime = scratch.path(`run${++tests}`);
  mkdirSync(runtime, { mode: 0o700 });
  env = { XDG_RUNTIME_DIR: runtime, XDG_STATE_HOME: scratch.path("state") };
});
afterEach(async () => {
  if (hasOpenssh && existsSync(path.join(runtime, "sealtty"))) await master("--stop");
});

const connection = (policy = guest.policyFile): string[] => [
  `unix:${guest.socket}`,
  ...["--policy", policy, "-i", scratch.path("key"), "-l", user, "--simulated"],
];
const execArgs = (...more: string[]): string[] => ["exec", ...connection(), "--master", ...more];
const exec = (more: string[], input?: string | Buffer) => runCli(execArgs(...more), input, { env });
const master = (...more: string[]) => runCli(["master", ...connection(), ...more], "", { env });
async function pidOfMaster(): Promise<number> {
  const { stdout, stderr } = await master("--check", "--json");
  expect(stderr).toBe("");
  return (JSON.parse(stdout) as { pid: number }).pid;
}
const logins = (): number => guest.log().split("user authenticated").length - 1;
const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(20);
}
const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test.runIf(hasOpenssh)(
  "the first starts it, the next use it: one login; what was verified is said each time",
  async () => {
    const before = logins();
    expect(await master("--check")).toMatchObject({ status: 255 });
    for (const word of ["one", "two", "three"]) {
      const { status, stdout, stderr } = await exec([
        "-v", // else it is not said where standard error is no terminal
        "--",
        "sh",
        "-c",
        'echo "$0"; echo err >&2; exit 7',
        word,
      ]);
      expect([status, stdout]).toEqual([7, `${word}\n`]);
      expect(stderr).toContain("SIMULATED");
      expect(stderr).toContain('verified "test"');
      expect(stderr).toMatch(/^err$/m);
    }
    expect(logins()).toBe(before + 1);
    const pid = await pidOfMaster();
    const stopped = await master("--stop");
    expect(stopped.stdout).toBe(`ended process ${pid}\n`);
    await until(() => !alive(pid));
    expect(readdirSync(path.join(runtime, "sealtty"))).toEqual([]);
  },
);

/** The two ways to run a program over it. */
interface Way {
  readonly name: string;
  /** The program's own words, and these. */
  words(...more: string[]): string[];
  start(...more: string[]): ReturnType<typeof startCli>;
  exec(more: string[], input?: string | Buffer): ReturnType<typeof runCli>;
}
const ways: readonly Way[] = [
  {
    name: "sealtty exec --master",
    words: (...more) => [process.execPath, path.resolve("dist/bin/sealtty.js"), ...execArgs(...more)],
    start: (...more) => startCli(execArgs(...more), { env }),
    exec,
  },
  {
    name: "sealtty-exec",
    words: (...more) => [SEALTTY_EXEC, ...connection(), ...more],
    start: (...more) => startCli([...connection(), ...more], { env, program: SEALTTY_EXEC }),
    exec: (more, input) => runCli([...connection(), ...more], input, { env, program: SEALTTY_EXEC }),
  },
];

describe.runIf(hasOpenssh).each(ways)("$name", (way) => {
  beforeEach(async () => {
    await exec(["-q", "--", "true"]); // somebody keeps one
  });
  test("bytes as they are, both ways; the end of input; variables and directory", async () => {
    const bytes = randomBytes(3_000_000);
    const script = 'cat; pwd >&2; echo "$A" >&2';
    const { child } = way.start("-q", "--cwd", "/usr", "--env", "A=b c", "--", "sh", "-c", script);
    const out: Buffer[] = [];
    let error = "";
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => (error += chunk.toString()));
    child.stdin.end(bytes);
    expect(await once(child, "close")).toEqual([0, null]);
    expect(digest(Buffer.concat(out))).toBe(digest(bytes));
    expect(error).toMatch(/\/usr\nb c\n$/);
  });

  test("how a program ends: by a signal, not there, its directory not there, out of time", async () => {
    const killed = await way.exec(["--json", "--", "sh", "-c", "kill -9 $$"]);
    expect(killed.status).toBe(137);
    expect(killed.stderr).toContain('{"event":"exit","kind":"signalled","signal":"SIGKILL","status":137}');
    expect((await way.exec(["--", "no-such-program"])).status).toBe(127);
    const nowhere = await way.exec(["--cwd", "/no/such", "--", "true"]);
    expect(nowhere.status).toBe(126);
    expect(nowhere.stderr).toContain("sealttyd: /no/such: no such directory");
    const late = await way.exec(["-n", "--run-timeout", "0.2", "--", "sleep", "600"]);
    expect(late.status).toBe(255);
    expect(late.stderr).toContain("sealtty: timeout: The command did not end within 0.2 s");
  });

  test("a signal gets through although input waits that nobody reads", async () => {
    const cli = way.start(
      ...["--", "sh", "-c", "trap 'echo caught; exit 5' INT; echo up; while :; do sleep 0.1; done"],
    );
    cli.child.stdin.write(Buffer.alloc(4_000_000));
    await cli.waitFor(/^up$/m);
    cli.child.kill("SIGINT");
    expect(await cli.ended()).toBe(5);
    expect(cli.stdout()).toContain("caught");
  });

  test("a reader that leaves: quiet, 141, and the program is hung up", async () => {
    const file = scratch.path("yes.pid");
    const line = way
      .words("-q", "--", "sh", "-c", `echo $$ >${file}; exec yes`)
      .map((word) => `'${word.replaceAll("'", "'\\''")}'`)
      .join(" ");
    const script = `${line} | head -c 2 >/dev/null; echo "\${PIPESTATUS[0]}"`;
    const child = spawn("bash", ["-c", script], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [out, error] = ["", ""];
    child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (error += chunk.toString()));
    await once(child, "close");
    expect(out).toBe("141\n");
    expect(error.split("\n").filter((each) => !each.includes("SIMULATED"))).toEqual([""]);
    const pid = Number(readFileSync(file, "utf8"));
    await until(() => !alive(pid));
  });

  test("a client that is killed takes its program with it; the master lives on", async () => {
    const file = scratch.path("sleep.pid");
    const cli = way.start("--", "sh", "-c", `echo $$ >${file}; echo up; exec sleep 600`);
    await cli.waitFor(/^up$/m);
    const keeper = await pidOfMaster();
    cli.child.kill("SIGKILL");
    await cli.ended();
    const pid = Number(readFileSync(file, "utf8"));
    await until(() => !alive(pid));
    expect((await way.exec(["--", "true"])).status).toBe(0);
    expect(await pidOfMaster()).toBe(keeper);
  });

  test("a master that is killed: 255 and a next step; the next one starts another", async () => {
    const cli = way.start("--", "sh", "-c", "echo up; exec sleep 600");
    await cli.waitFor(/^up$/m);
    process.kill(await pidOfMaster(), "SIGKILL");
    expect(await cli.ended()).toBe(255);
    expect(cli.stderr()).toMatch(/sealtty: transport-lost: .*Run the command again/);
    expect(await way.exec(["--", "echo", "again"])).toMatchObject({ status: 0, stdout: "again\n" });
  });

  test("many at once, and nonsense on the socket beside them", async () => {
    expect((await way.exec(["--", "true"])).status).toBe(0);
    const [name] = readdirSync(path.join(runtime, "sealtty"));
    const nonsense = [
      Buffer.from([0, 0, 0, 0]),
      Buffer.from([255, 255, 255, 255]),
      Buffer.from([0, 0, 0, 1, 99]),
      Buffer.from([0, 0, 0, 2, 1, 2]),
      randomBytes(100),
    ];
    const closed = nonsense.map(async (bytes) => {
      const socket = net.connect(path.join(runtime, "sealtty", name ?? ""));
      socket.on("error", () => {});
      socket.resume();
      socket.end(bytes);
      await once(socket, "close");
    });
    const words = Array.from({ length: 20 }, (_, i) => `word${i}`);
    const start = performance.now();
    const all = await Promise.all(words.map((word) => way.exec(["-q", "-n", "--", "echo", word])));
    process.stdout.write(
      `MASTER 20 exec at once: ${Math.round(performance.now() - start)} ms, processes of Node included\n`,
    );
    expect(all.map(({ status, stdout }) => [status, stdout])).toEqual(words.map((word) => [0, `${word}\n`]));
    await Promise.all(closed);
  });
});
test.runIf(hasOpenssh)("-t: a terminal of its own, with its size", async () => {
  const { status, stdout } = await exec(["-t", "--", "sh", "-c", "tty; stty size; exit 3"]);
  expect(status).toBe(3);
  expect(stdout).toMatch(/^\/dev\/pts\/\d+\r\n24 80\r\n$/);
  // Its traffic is shaped by default, so it is another connection than that of an exec without one.
  expect((await exec(["--", "true"])).status).toBe(0);
  expect(readdirSync(path.join(runtime, "sealtty"))).toHaveLength(2);
  const shaped = await runCli(["master", ...connection(), "--obfuscate", "adaptive", "--stop"], "", { env });
  expect(shaped.status).toBe(0);
});

test.runIf(hasOpenssh)("another policy never shares: not by its name, by what it says", async () => {
  expect((await exec(["--", "true"])).status).toBe(0);
  const keeper = await pidOfMaster();
  const policy = scratch.path("other.toml");
  writeFileSync(
    policy,
    readFileSync(guest.policyFile, "utf8").replace('instance = "test"', 'instance = "other"'),
  );
  const args = ["exec", ...connection(policy), "--master", "--", "true"];
  const refused = await runCli(args, "", { env });
  expect(refused.status).toBe(255);
  expect(refused.stderr).toContain("sealtty: evidence-refused");
  expect(refused.stderr).toContain("expected:");
  writeFileSync(policy, readFileSync(guest.policyFile));
  expect((await runCli(args, "", { env })).status).toBe(0); // the same words: the same connection
  expect(await pidOfMaster()).toBe(keeper);
  expect(readdirSync(path.join(runtime, "sealtty"))).toHaveLength(1);
});

test.runIf(hasOpenssh)(
  "the policy was edited meanwhile: the keeper of before is still found, and ended",
  async () => {
    expect((await exec(["--", "true"])).status).toBe(0);
    const keeper = await pidOfMaster();
    const policy = scratch.path("edited.toml");
    writeFileSync(policy, `${readFileSync(guest.policyFile, "utf8")}\n# edited\n`);
    const edited = (...more: string[]) => runCli(["master", ...connection(policy), ...more], "", { env });
    const unknown = await edited("--stop");
    expect(unknown.status).toBe(255);
    expect(unknown.stderr).toMatch(
      /nobody keeps a connection to .* with these options; 1 with others does: add --all/,
    );
    const stopped = await edited("--stop", "--all");
    expect(stopped).toMatchObject({ status: 0 });
    expect(stopped.stdout).toBe(`ended process ${keeper}\n`);
    await until(() => !alive(keeper));
    expect((await edited("--stop", "--all")).stderr).toContain("nobody keeps a connection");
  },
);

test.runIf(hasOpenssh)(
  "a pipe with one place: who finds it held is told by whom, and what to do",
  async () => {
    const pipe = path.join(runtime, "one.sock");
    const sockets: net.Socket[] = [];
    const server = net.createServer((socket) => {
      sockets.push(socket);
      socket.on("error", () => {});
      if (sockets.length > 1) return; // nobody hears it, as with QEMU
      const there = net.connect(guest.socket);
      there.on("error", () => {});
      socket.pipe(there).pipe(socket);
    });
    await new Promise<void>((resolve) => server.listen(pipe, resolve));
    const place = [`unix:${pipe}`, ...connection().slice(1)];
    try {
      expect((await runCli(["exec", ...place, "--master", "--", "true"], "", { env })).status).toBe(0);
      const held = await runCli(["exec", ...place, "--timeout", "2", "--", "true"], "", { env });
      expect(held.status).toBe(255);
      expect(held.stderr).toMatch(
        /guest-silent: .*A sealtty master of yours .* sealtty master unix:.*one\.sock --stop --all/,
      );
      expect((await runCli(["master", ...place, "--stop", "--all"], "", { env })).status).toBe(0);
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  },
);

test.runIf(hasOpenssh)("a wrong key is refused as ever, and nothing is left behind", async () => {
  sshKeygen(scratch.path(`stranger${tests}`));
  const args = ["exec", `unix:${guest.socket}`, "--policy", guest.policyFile, "--simulated", "-l", user];
  const { status, stderr } = await runCli(
    [...args, "-i", scratch.path(`stranger${tests}`), "--master", "--", "true"],
    "",
    { env },
  );
  expect(status).toBe(255);
  expect(stderr).toContain("sealtty: user-refused: The guest refused this key");
  await until(() => readdirSync(path.join(runtime, "sealtty")).length === 0);
});

test.runIf(hasOpenssh)("a directory that others may enter is refused", async () => {
  mkdirSync(path.join(runtime, "sealtty"), { mode: 0o700 });
  chmodSync(path.join(runtime, "sealtty"), 0o755);
  const { status, stderr } = await exec(["--", "true"]);
  expect(status).toBe(255);
  expect(stderr).toMatch(/sealtty: device-unavailable: .* is not yours alone/);
  chmodSync(path.join(runtime, "sealtty"), 0o700);
});

test.runIf(hasOpenssh)(
  "nobody uses it: it ends, and its name with it; two at once: one is kept",
  async () => {
    const keepers = [1, 2].map(() => startCli(["master", ...connection(), "--idle", "1"], { env }));
    expect(await Promise.all(keepers.map((keeper) => keeper.ended()))).toEqual([0, 0]);
    expect(readdirSync(path.join(runtime, "sealtty"))).toEqual([]);
  },
);

test.runIf(hasOpenssh)("several at once where there is none yet: one connection is made", async () => {
  const before = logins();
  const words = ["a", "b", "c", "d", "e"];
  const all = await Promise.all(words.map((word) => exec(["-q", "-n", "--", "echo", word])));
  expect(all.map(({ status, stdout }) => [status, stdout])).toEqual(words.map((word) => [0, `${word}\n`]));
  expect(logins()).toBe(before + 1);
});

// sealttyd in two halves: the one that talks to the host has no rights. sealttyd is split only where root starts it.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startChild } from "../../server/monitor/child.ts";
import { loadPtyAddon } from "../../server/sessions/pty-addon.ts";
import { type KeyHolder, keyHolder } from "../support/key-holder.ts";
import { sshKeygen } from "../support/openssh.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const isRoot = process.getuid?.() === 0;
const NOBODY = Number(/^nobody:[^:]*:(\d+):/m.exec(readFileSync("/etc/passwd", "utf8"))?.[1]);

let holder: KeyHolder;
beforeAll(() => {
  holder = keyHolder();
});
afterAll(() => holder.remove());

const start = () => startSealttyd({ authorizedKeys: holder.publicKey, daemonUser: "nobody" });
const cli: KeyHolder["cli"] = (guest, command, ...more) => holder.cli(guest, command, ...more);

/** @returns what /proc/PID/status says. */
function statusOf(pid: number): Map<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, "utf8").trim().split("\n");
  return new Map(lines.map((line) => [line.split(":")[0] ?? "", (line.split(":")[1] ?? "").trim()]));
}

function childrenOf(pid: number | undefined): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
    .trim()
    .split(" ")
    .filter(Boolean)
    .map(Number);
}

const isAlive = (pid: number): boolean =>
  existsSync(`/proc/${pid}`) && statusOf(pid).get("State")?.[0] !== "Z";

async function until(what: () => boolean, words: string): Promise<void> {
  const end = Date.now() + 60_000;
  while (!what()) {
    if (Date.now() > end) throw new Error(`Still not: ${words}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

if (!isRoot)
  test("NOT RUN: sealttyd is split only where root starts it", () => {
    expect(isRoot).toBe(false);
  });

function hasBytes(fd: number): boolean {
  try {
    return readSync(fd, Buffer.alloc(1024)) > 0;
  } catch {
    return false; // not yet
  }
}

describe.runIf(isRoot)("a front without rights", () => {
  let guest: RunningGuest;
  let front: number;
  beforeAll(async () => {
    guest = await start();
    [front = 0] = childrenOf(guest.child.pid);
  });
  afterAll(() => guest.stop());

  test("it is nobody, in no group, without capabilities, and holds nothing of root's open", () => {
    const status = statusOf(front);
    expect(status.get("Uid")).toBe([NOBODY, NOBODY, NOBODY, NOBODY].join("\t"));
    expect(status.get("Groups")).toBe("");
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb"]) expect(status.get(set)).toMatch(/^0+$/);
    if (existsSync("/usr/bin/setpriv")) {
      expect(status.get("CapBnd")).toMatch(/^0+$/);
      expect(status.get("NoNewPrivs")).toBe("1");
    }
    expect(guest.log()).toContain("the half that talks to the host has no rights user=nobody");
    // The key files and the configuration were read by the monitor, before and elsewhere.
    expect(readFileSync(`/proc/${front}/cmdline`, "latin1")).not.toContain("sealttyd.toml");
  });

  test("exec: as the user, with streams apart, input to its end, exit status, signals, and a program that is not there", async () => {
    const whole = cli(guest, "exec", "--", "sh", "-c", "id -un; cat; echo error >&2; exit 7");
    whole.child.stdin.end("some input");
    expect(await whole.ended()).toBe(7);
    expect(whole.stdout()).toBe("root\nsome input");
    expect(whole.stderr()).toMatch(/^error$/m);

    const killed = cli(guest, "exec", "-n", "--json", "--", "sh", "-c", "kill -9 $$");
    expect(await killed.ended()).toBe(137);

    const missing = cli(guest, "exec", "-n", "--", "no-such-program");
    expect(await missing.ended()).toBe(127);
    expect(missing.stderr()).toContain("sealttyd: no-such-program: not found");

    const told = cli(
      guest,
      "exec",
      "-n",
      "--",
      "sh",
      "-c",
      "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.05; done",
    );
    await told.waitFor(/ready/);
    told.child.kill("SIGTERM");
    expect(await told.ended()).toBe(3);
    expect(told.stdout()).toContain("told");
  });

  test("exec: 20 MB each way are whole", async () => {
    const back = cli(guest, "exec", "--", "sha256sum");
    const data = Buffer.alloc(20_000_000, "all of it, in order. ");
    back.child.stdin.end(data);
    expect(await back.ended()).toBe(0);
    const digest = execFileSync("sha256sum", { input: data, encoding: "utf8" });
    expect(back.stdout()).toBe(digest);
    const out = cli(guest, "exec", "-n", "--", "sh", "-c", "yes | head -c 20000000");
    expect(await out.ended()).toBe(0);
    expect(out.stdout().length).toBe(20_000_000);
  });

  test("a terminal: its owner is the user, its size and its control keys work", async () => {
    const shell = cli(
      guest,
      "exec",
      "-t",
      "--",
      "sh",
      "-c",
      "stty size; stat -c %U:%a $(tty); sleep 100; echo no",
    );
    // Where the terminals of this machine have no group of their own, nobody else's may write to one.
    const hasGroup = /^\S+ \/dev\/pts devpts \S*\bgid=/m.test(readFileSync("/proc/mounts", "utf8"));
    await shell.waitFor(new RegExp(`\\d+ \\d+\\r?\\nroot:${hasGroup ? 620 : 600}`));
    shell.child.stdin.write("\x03");
    expect(await shell.ended()).not.toBe(0);
    expect(shell.stdout()).not.toContain("no");
  });

  test("login: a session without a key gets the login program and nothing else", async () => {
    const login = holder.cliWithoutKey(guest, "connect");
    login.child.stdin.write("echo in-$((40+2)); exit 5\n");
    await login.waitFor(/in-42/);
    expect(await login.ended()).toBe(5);
  });

  test("a key that is not this user's is refused", async () => {
    const other = holder.path("other");
    sshKeygen(other);
    const refused = holder.cliWithoutKey(guest, "exec", "-l", "root", "-i", other, "-n", "--", "id");
    expect(await refused.ended()).toBe(255);
    expect(refused.stderr()).toContain("user-refused");
  });
});

describe.runIf(isRoot)("as in emergency mode", () => {
  /** /run stays as it is; /dev and the rest have file systems of their own. */
  const READ_ONLY = 'mount --bind /run /run && mount -o remount,bind,ro / && exec "$@"';
  const temporary = process.env["TMPDIR"];
  let scratch: string;
  beforeAll(() => {
    scratch = mkdtempSync("/run/sealtty-split-");
    chmodSync(scratch, 0o755); // whoever the front becomes has to pass
    process.env["TMPDIR"] = scratch;
  });
  afterAll(() => {
    if (temporary === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = temporary;
    rmSync(scratch, { recursive: true });
  });

  test("a root that cannot be written to, and no network: exec, and a session that is kept", async () => {
    const guest = await startSealttyd({
      authorizedKeys: holder.publicKey,
      daemonUser: "nobody",
      through: ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", READ_ONLY, "sh"],
    });
    try {
      const whole = cli(
        guest,
        "exec",
        "-n",
        "--",
        "sh",
        "-c",
        "id -un; touch /var/x; sed 1d /proc/net/route | wc -l",
      );
      expect(await whole.ended()).toBe(0);
      expect(whole.stdout()).toBe("root\n0\n");
      expect(whole.stderr()).toContain("Read-only file system");
      const kept = cli(guest, "connect", "--keep");
      kept.child.stdin.write("echo kept-$((6*7)); exit 5\n");
      await kept.waitFor(/kept-42/);
      expect(await kept.ended()).toBe(5);
    } finally {
      await guest.stop();
    }
  });
});

describe.runIf(isRoot)("one half without the other", () => {
  test("the front is killed: sealttyd ends and says so, and programs are hung up", async () => {
    const guest = await start();
    try {
      const [front = 0] = childrenOf(guest.child.pid);
      const running = cli(
        guest,
        "exec",
        "-n",
        "--",
        "sh",
        "-c",
        "trap 'exit 1' HUP; echo pid=$$; while :; do sleep 0.05; done",
      );
      const pid = Number((await running.waitFor(/pid=(\d+)/))[1]);
      process.kill(front, "SIGKILL");
      await until(() => guest.child.exitCode !== null, "sealttyd ends");
      expect(guest.child.exitCode).toBe(255);
      expect(guest.log()).toContain("The half of sealttyd that talks to the host ended");
      await until(() => !isAlive(pid), "the program was hung up");
      running.child.kill("SIGKILL"); // it would go on dialling
    } finally {
      await guest.stop();
    }
  });

  test("the front is killed while a session is kept: another one serves, and not a byte of the session's is lost", async () => {
    const guest = await start();
    try {
      const [first = 0] = childrenOf(guest.child.pid);
      const kept = cli(guest, "connect", "--keep");
      kept.child.stdin.write("i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo n-$i-; sleep 0.02; done\n");
      await kept.waitFor(/n-20-/);
      const [, keeper = 0] = childrenOf(guest.child.pid);
      // As one that was taken over, and is in no sandbox, could: they are its user's.
      const own = path.dirname(path.dirname(readlinkSync(guest.socket)));
      for (const shut of ["keeper/keeper.sock", "keeper", "console"]) chmodSync(path.join(own, shut), 0);
      process.kill(first, "SIGKILL");
      await until(() => guest.log().includes("serves again"), "another front");
      kept.child.kill("SIGKILL"); // for ten minutes it would wait for the one that is gone
      const next = cli(guest, "connect", "--attach", "last");
      next.child.stdin.write("echo typed-$((6*7))\n");
      await next.waitFor(/^typed-42\r?$/m);
      const numbers = [...next.stdout().matchAll(/^n-(\d+)-\r?$/gm)].map(([, n]) => Number(n));
      expect(numbers).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1));
      expect(guest.child.exitCode).toBeNull();

      // The keeper, too: its sessions end with it, and whoever asks for them hears that, and the front goes on.
      process.kill(keeper, "SIGKILL");
      expect(await next.ended()).toBe(255);
      const listed = cli(guest, "sessions");
      expect([await listed.ended(), listed.stdout()]).toEqual([0, "no sessions\n"]);
      const again = cli(guest, "connect", "--keep");
      again.child.stdin.write("echo another-$((6*7)); exit 3\n");
      await again.waitFor(/^another-42\r?$/m);
      expect(await again.ended()).toBe(3);
    } finally {
      await guest.stop();
    }
  });

  test("the front is killed while the keeper has nothing that anybody could come back to: sealttyd ends", async () => {
    const guest = await start();
    try {
      const kept = holder.cliWithoutKey(guest, "connect", "--keep");
      kept.child.stdin.write("echo kept-$((6*7))\n");
      await kept.waitFor(/^kept-42\r?$/m);
      const [front = 0, keeper = 0] = childrenOf(guest.child.pid);
      expect(isAlive(keeper)).toBe(true);
      process.kill(front, "SIGKILL");
      await until(() => guest.child.exitCode !== null, "sealttyd ends");
      expect(guest.child.exitCode).toBe(255);
      await until(() => !isAlive(keeper), "the keeper ends");
      kept.child.kill("SIGKILL"); // it would go on dialling
    } finally {
      await guest.stop();
    }
  });

  test("a half that leaves others behind: those of its group are killed with it, and none holds up its end", async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-child-"));
    const script = path.join(directory, "half.cjs");
    // One in its group, and one that left it, as only without a sandbox one can; both hold its log and its link open.
    writeFileSync(
      script,
      `const { spawn } = require("node:child_process");
       const left = [false, true].map((detached) =>
         spawn("sleep", ["1000"], { detached, stdio: ["ignore", "ignore", 2, 3] }).pid);
       require("node:fs").writeSync(3, left.join(" ") + ".");
       process.exit(0);`,
    );
    const [own = ""] = process.argv.splice(1, 1, script);
    let outside = 0;
    try {
      const account = { name: "root", uid: 0, gid: 0, home: "/", shell: "/bin/sh" };
      const child = startChild({ option: "--x", name: "x", account, sandbox: [], logLevel: "info" });
      let said = "";
      child.stream.on("data", (bytes: Buffer) => {
        said += bytes.toString();
      });
      await until(() => said.endsWith("."), "both are there");
      const [inside = 0, other = 0] = said.slice(0, -1).split(" ").map(Number);
      outside = other;
      await child.exited;
      await until(() => !isAlive(inside), "the one of its group was killed");
      await child.kill();
      expect(isAlive(outside)).toBe(true); // so its end was not waited for
    } finally {
      process.argv.splice(1, 1, own);
      if (outside > 0) process.kill(outside, "SIGKILL");
      rmSync(directory, { recursive: true });
    }
  });

  test("a front that hangs before it serves holds up no stop", async () => {
    const lineOf = (pid: number): string => readFileSync(`/proc/${pid}/cmdline`, "utf8");
    const before = new Set(childrenOf(process.pid));
    const starting = startSealttyd({ daemonUser: "nobody" });
    const ended = starting.then(
      () => "serves",
      (error: unknown) => String(error),
    );
    let monitor = 0;
    let front = 0;
    await until(() => {
      [monitor = 0] = childrenOf(process.pid).filter((pid) => !before.has(pid));
      [front = 0] =
        monitor === 0 ? [] : childrenOf(monitor).filter((pid) => lineOf(pid).endsWith("\0--front\0"));
      return front !== 0;
    }, "there is a front");
    process.kill(front, "SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, 1000)); // its own start would be over by then
    process.kill(monitor, "SIGTERM");
    const late = new Promise<string>((resolve) => setTimeout(() => resolve("still there"), 10_000));
    const how = await Promise.race([ended, late]);
    if (isAlive(monitor)) process.kill(monitor, "SIGKILL");
    if (isAlive(front)) process.kill(front, "SIGKILL");
    expect(how).toMatch(/sealttyd ended with 0:.*sealttyd stops, and has not served/s);
  });

  test.each([
    [1, "SIGTERM"], // a thread is at the device: Node's own exit would wait for it
    [2, "SIGKILL"],
  ] as const)(
    "a device of the host's that never answers holds up no stop, nor an end: %d asked for",
    async (times, signal) => {
      const { master, slave, pty } = loadPtyAddon().open(80, 24);
      execFileSync("stty", ["-F", pty, "raw", "-echo"]);
      const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-deaf-"));
      try {
        const config = path.join(directory, "sealttyd.toml");
        const pipe = `[pipe]\ntype = "unix"\npath = "${directory}/sock"\n`;
        const users = '[users]\nlogin = ["/bin/sh"]\n[daemon]\nuser = "nobody"\n';
        writeFileSync(config, `${pipe}[evidence]\ntype = "tpm"\ndevice = "${pty}"\npcrs = [0]\n${users}`);
        const child = spawn(process.execPath, [path.resolve("dist/bin/sealttyd.js"), "--config", config], {
          stdio: ["ignore", "ignore", "inherit"],
        });
        const gone = once(child, "exit");
        while (!hasBytes(master)) await new Promise((resolve) => setTimeout(resolve, 20)); // it asks
        for (let i = 0; i < times; i++) {
          child.kill("SIGTERM");
          await new Promise((resolve) => setTimeout(resolve, 1200)); // those of a second count as one
        }
        const late = new Promise<string>((resolve) => setTimeout(() => resolve("still there"), 60_000));
        const how = await Promise.race([gone, late]);
        child.kill("SIGKILL");
        expect(how).toEqual([null, signal]);
      } finally {
        rmSync(directory, { recursive: true });
        closeSync(master);
        closeSync(slave);
      }
    },
  );

  test("a stop ends both, and leaves neither socket nor directory", async () => {
    const directories = () => readdirSync("/run").filter((name) => name.startsWith("sealttyd-"));
    const before = directories();
    const guest = await start();
    const [front = 0] = childrenOf(guest.child.pid);
    const own = directories().filter((name) => !before.includes(name));
    await guest.stop();
    expect(isAlive(front), guest.log()).toBe(false);
    expect(existsSync(guest.socket)).toBe(false);
    expect(directories().filter((name) => own.includes(name))).toHaveLength(own.length - 1); // others may run beside
  });

  test("what the front left in its directory is not deleted by root: a name in it may lead anywhere", async () => {
    const guest = await start();
    const own = path.dirname(readlinkSync(guest.socket));
    // Where everything below is deleted, a process of the front's could put a link in the place of `kept` meanwhile.
    mkdirSync(path.join(own, "kept"));
    writeFileSync(path.join(own, "kept", "file"), "");
    try {
      await guest.stop();
      expect(existsSync(path.join(own, "pipe.sock"))).toBe(false);
      expect(existsSync(path.join(own, "kept", "file"))).toBe(true);
    } finally {
      rmSync(path.dirname(own), { recursive: true });
    }
  });

  test("the monitor is killed: the front ends", async () => {
    const guest = await start();
    const [front = 0] = childrenOf(guest.child.pid);
    expect(isAlive(front)).toBe(true);
    guest.child.kill("SIGKILL");
    await until(() => !isAlive(front), "the front ends");
    rmSync(guest.socket, { force: true });
    await guest.stop();
  });

  test("a user that does not exist is said before anything is opened", async () => {
    await expect(startSealttyd({ daemonUser: "no-such-user" })).rejects.toThrow(
      /There is no user "no-such-user" .*useradd --system.*code=bad-config/,
    );
  });
});

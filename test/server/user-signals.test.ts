// Signals as the user: who sends them is started as root, so that nothing of the user's stops sealttyd's event loop.

import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs, { existsSync, readFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { prepareLaunch } from "../../server/sessions/launch.ts";
import { UserSignals } from "../../server/sessions/user-signals.ts";
import { SESSION_PROGRAM } from "./support/pam-world.ts";

/** No account's. */
const UID = 1_917_481_000 + (process.pid % 100_000);
const isRoot = process.getuid?.() === 0;
const scratch: string[] = [];
const children: ChildProcess[] = [];

afterEach(async () => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }
  for (const directory of scratch.splice(0)) fs.rmSync(directory, { recursive: true });
});

function directoryWith(program?: string): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-signals-"));
  fs.chmodSync(directory, 0o755);
  scratch.push(directory);
  if (program !== undefined)
    fs.writeFileSync(path.join(directory, "sealtty-session"), program, { mode: 0o755 });
  return directory;
}

/** By setpriv, which is what it is when it is there. */
function asUser(uid: number, command: readonly string[]): ChildProcess {
  const become = [`--reuid=${uid}`, "--regid=65534", "--clear-groups", "--"];
  const child = spawn("setpriv", [...become, ...command], { stdio: ["ignore", "pipe", "inherit"], cwd: "/" });
  children.push(child);
  return child;
}

/** @returns once it is the user's and runs. */
async function sleeper(uid: number): Promise<ChildProcess & { readonly pid: number }> {
  const child = asUser(uid, ["sh", "-c", "echo up; exec sleep 1000"]);
  if (child.stdout !== null) await once(child.stdout, "data");
  const { pid } = child;
  if (pid === undefined) throw new Error("setpriv does not start");
  return Object.assign(child, { pid });
}

/** Real user of each process that lives. */
function processesOf(uid: number): number[] {
  return fs
    .readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const status = readFileSync(`/proc/${pid}/status`, "latin1");
        return status.includes(`\nUid:\t${uid}\t`) && !/^State:\tZ/m.test(status);
      } catch {
        return false; // ended meanwhile
      }
    });
}

const tick = () => new Promise<void>((resolve) => setTimeout(resolve, 5));

if (isRoot) {
  const ways = [["setpriv", "/nowhere"]];
  if (existsSync(SESSION_PROGRAM)) ways.push(["sealtty-session", path.dirname(SESSION_PROGRAM)]);

  test.each(ways)(
    "by %s: a user who stops every process of theirs does not stop the event loop",
    async (_, native) => {
      vi.stubEnv("SEALTTY_NATIVE", native);
      const target = await sleeper(UID);
      // It ends by itself, and lets all go on: with an event loop that stands still the test fails, and does not hang.
      const loop = [
        "now() { read up rest </proc/uptime; up=${up%%.*}; }",
        "now; end=$((up + 60)); echo up",
        "while now; [ $up -lt $end ]; do",
        "  i=0; while [ $i -lt 1000 ]; do kill -STOP -1; i=$((i + 1)); done",
        "done",
        "kill -CONT -1",
      ].join("\n");
      const stopper = asUser(UID, ["sh", "-c", `(${loop}\n) 2>/dev/null`]);
      if (stopper.stdout !== null) await once(stopper.stdout, "data");
      let longest = 0;
      for (let i = 0; i < 100; i++) {
        const before = performance.now();
        new UserSignals().send("SIGCONT", () => ({ pid: target.pid, uid: UID }));
        await tick();
        longest = Math.max(longest, performance.now() - before);
      }
      expect(stopper.exitCode).toBeNull();
      expect(longest).toBeLessThan(5000);
      // All of the loop's are gone first: it is a process of the shell's, or the shell itself.
      for (let left = processesOf(UID); left.length > 0; left = processesOf(UID)) {
        for (const pid of left) {
          try {
            process.kill(pid, "SIGKILL"); // of this test's own user, which nobody else has
          } catch {
            // ended meanwhile
          }
        }
        await tick();
      }
      const next = await sleeper(UID);
      const ended = once(next, "exit");
      new UserSignals().send("SIGTERM", () => ({ pid: next.pid, uid: UID }));
      expect(await ended).toEqual([null, "SIGTERM"]);
    },
    120_000,
  );

  test("a sender that the user has stopped is ended, and the next signal goes out", async () => {
    const stops = `[ "$5" != ${os.constants.signals.SIGUSR1} ] || exec setpriv --reuid=$2 --regid=$3 --clear-groups sh -c 'kill -STOP $$'`;
    const native = directoryWith(`#!/bin/sh\n${stops}\nkill -s "$5" -- "$4"\n`);
    vi.stubEnv("SEALTTY_NATIVE", native);
    const target = await sleeper(UID);
    const ended = once(target, "exit");
    const signals = new UserSignals();
    signals.send("SIGUSR1", () => ({ pid: target.pid, uid: UID }));
    signals.send("SIGTERM", () => ({ pid: target.pid, uid: UID }));
    expect(signals.isWaiting("SIGTERM")).toBe(true);
    expect(await ended).toEqual([null, "SIGTERM"]);
    expect(processesOf(UID)).toEqual([]);
  }, 120_000);

  test("where sealtty-session cannot be started, setpriv sends", async () => {
    vi.stubEnv("SEALTTY_NATIVE", directoryWith("#!/nowhere/ld.so\n"));
    const target = await sleeper(UID);
    const ended = once(target, "exit");
    new UserSignals().send("SIGTERM", () => ({ pid: target.pid, uid: UID }));
    expect(await ended).toEqual([null, "SIGTERM"]);
  });
}

const account = { name: "nobody", uid: 65_534, gid: 65_534, home: "/", shell: "/bin/sh" };
const launch = { command: ["id", "-u"], environment: { PATH: "/usr/bin:/bin" }, directory: "/", account };

function withoutSetpriv(): void {
  const real = fs.accessSync;
  vi.spyOn(fs, "accessSync").mockImplementation((file, mode) => {
    if (String(file).endsWith("/setpriv")) throw Object.assign(new Error("not there"), { code: "ENOENT" });
    real(file, mode);
  });
}

describe("where nothing becomes the user", () => {
  test("a program is not started, and never by Node's own change of user", () => {
    withoutSetpriv();
    vi.stubEnv("SEALTTY_NATIVE", directoryWith());
    expect(() => prepareLaunch({ ...launch, account: { ...account, uid: UID } })).toThrow(
      expect.objectContaining({
        code: "device-unavailable",
        message: expect.stringContaining("Install setpriv"),
      }),
    );
  });

  if (isRoot) {
    test("no signal is sent", async () => {
      const target = await sleeper(UID);
      withoutSetpriv();
      vi.stubEnv("SEALTTY_NATIVE", directoryWith());
      const signals = new UserSignals();
      let asked = 0;
      // The second one's turn comes once the first is done with.
      for (const name of ["SIGKILL", "SIGCONT"] as const)
        signals.send(name, () => {
          asked++;
          return { pid: target.pid, uid: UID };
        });
      while (asked < 2) await tick();
      expect(processesOf(UID)).toEqual([target.pid]);
    });
  }
});

if (isRoot && existsSync(SESSION_PROGRAM)) {
  describe("sealtty-session", () => {
    test("become: the user, with its groups, and an environment that is the program's alone", () => {
      withoutSetpriv();
      vi.stubEnv("SEALTTY_NATIVE", path.dirname(SESSION_PROGRAM));
      const script = 'id -u; id -g; id -G; echo "$FREE $LD_PRELOAD"; grep -c . /proc/self/environ >/dev/null';
      const { command, options } = prepareLaunch({
        ...launch,
        command: ["sh", "-c", script],
        wished: { FREE: "yes" },
      });
      expect(command.slice(0, 5)).toEqual([SESSION_PROGRAM, "become", "nobody", "65534", "65534"]);
      expect(options).not.toHaveProperty("uid");
      const [file, ...args] = command;
      const said = execFileSync(file, args, { ...options, encoding: "utf8" });
      const groups = execFileSync("id", ["-G", "nobody"], { encoding: "utf8" }).trim();
      expect(said.split("\n")).toEqual(["65534", "65534", groups, "yes ", ""]);
      const status = (...of: string[]) => spawnSync(SESSION_PROGRAM, ["become", ...of]).status;
      expect(status("nobody", "65534", "65534", "/nowhere")).toBe(127);
      expect(status("nobody", "65534", "65534", "/")).toBe(126);
      for (const wrong of ["-1", "", "x", "4294967295", " 1"])
        expect([wrong, status("nobody", wrong, "1", "true"), status("nobody", "1", wrong, "true")]).toEqual([
          wrong,
          126,
          126,
        ]);
    });

    test("signal: to whom the user may send it, and nothing else is taken", async () => {
      const status = (...of: (string | number)[]) =>
        spawnSync(SESSION_PROGRAM, ["signal", ...of.map(String)]).status;
      const target = await sleeper(UID);
      const other = await sleeper(UID + 1);
      const good = [UID, 65_534, target.pid, 15] as const;
      expect(status(UID, 65_534, other.pid, 15)).toBe(1);
      const wrong: Record<number, readonly (string | number)[]> = {
        0: ["0", "-1", "", "x", "4294967295", `${UID} `, `0x1`, `+${UID}`],
        1: ["-1", "", "x", "4294967295"],
        2: [
          "0",
          "1",
          "-0",
          "-1",
          "--2",
          "-",
          "",
          "2147483648",
          "-2147483648",
          `${target.pid}x`,
          ` ${target.pid}`,
        ],
        3: ["0", "-15", "65", "TERM", "SIGTERM", "", "15 ", "4294967311"],
      };
      for (const [at, values] of Object.entries(wrong))
        for (const value of values)
          expect([at, value, status(...good.map((each, i) => (i === Number(at) ? value : each)))]).toEqual([
            at,
            value,
            126,
          ]);
      expect(status(UID, 65_534, target.pid)).toBe(126);
      expect(status(...good, "more")).toBe(126);
      expect([target.exitCode, target.signalCode, other.signalCode]).toEqual([null, null, null]);
      const ended = once(target, "exit");
      expect(status(...good)).toBe(0);
      expect(await ended).toEqual([null, "SIGTERM"]);
    });
  });
}

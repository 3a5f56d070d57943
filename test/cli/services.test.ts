// `sealtty log`, `sysrq` and `provision` against a guest that does what the test says: what is asked, how it may end, and that
// nothing of the guest's is printed as it came.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { run } from "../../cli/program.ts";
import { concat, utf8 } from "../../protocol/bytes.ts";
import { encodeKernelLog } from "../../protocol/kernel-log/messages.ts";
import { encodeSeed } from "../../protocol/provision/seed.ts";
import { ManualClock } from "../support/clocks.ts";
import { type FakeCli, fakeCli, POLICY_TEXT } from "./fake-cli.ts";

let directory: string;
let policy: string;
let userData: string;
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), "sealtty-services-test-"));
  policy = path.join(directory, "policy.toml");
  writeFileSync(policy, POLICY_TEXT);
  userData = path.join(directory, "user-data");
  writeFileSync(userData, "#cloud-config\n");
});
afterAll(() => rmSync(directory, { recursive: true }));

const EXITED = (status: number) => ({ kind: "exited", status }) as const;

/** Resolves `done` with the exit status; `opened` once the guest was asked. */
function start(cli: FakeCli, command: string, ...more: readonly string[]) {
  const [guest, ...rest] = ["tcp:h:1", ...more];
  const done = run([command, guest, ...rest, "--policy", policy, "--simulated"], cli.services);
  const opened = vi.waitFor(() => expect(cli.requests).toHaveLength(1), { timeout: 60_000 });
  return { done, opened };
}

describe("sysrq", () => {
  test("asks for that key, with a key of the user's, and says what it does", async () => {
    const cli = fakeCli();
    const { done, opened } = start(cli, "sysrq", "s");
    await opened;
    cli.channel.finish(EXITED(0));
    expect(await done).toBe(0);
    expect(cli.requests).toEqual([{ kind: "service", service: { name: "sysrq", key: "s" } }]);
    expect(cli.auths[0]?.method).toBe("ssh-key");
    expect(cli.errors()).toContain("SysRq s is pressed: sync all file systems");
  });
  test.each(["b", "c", "o"])(
    "after %s no answer is waited for long, and silence is no success",
    async (key) => {
      const clock = new ManualClock();
      const cli = fakeCli({ clock });
      const { done, opened } = start(cli, "sysrq", key);
      await opened;
      const end = done.then((status) => ["ended", status]);
      for (let i = 0; i < 200; i++) {
        clock.advance(100);
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(await end).toEqual(["ended", 1]);
      expect(cli.errors()).toContain(`SysRq ${key}: no answer came within 5 s: not confirmed`);
      expect(cli.errors()).not.toContain("is pressed");
      expect(cli.channel.events).toContain("hang-up");
    },
  );
  test("with --json what is not confirmed is an event of its own", async () => {
    const cli = fakeCli();
    const { done, opened } = start(cli, "sysrq", "b", "--json");
    await opened;
    cli.channel.lose();
    expect(await done).toBe(1);
    expect(cli.errors()).toContain('{"event":"sysrq-not-confirmed","key":"b"}');
    expect(cli.errors()).not.toContain('"event":"sysrq"');
  });
  test("an answer that came after all is one", async () => {
    const cli = fakeCli();
    const { done, opened } = start(cli, "sysrq", "b");
    await opened;
    cli.channel.finish(EXITED(0));
    expect(await done).toBe(0);
  });
  test("a connection that is gone confirms nothing: b may have ended it, or the host", async () => {
    for (const [key, status] of [
      ["b", 1],
      ["s", 255],
    ] as const) {
      const cli = fakeCli();
      const { done, opened } = start(cli, "sysrq", key);
      await opened;
      cli.channel.lose();
      expect(await done).toBe(status);
    }
  });
  test("what the guest says of its failure is shown, and moves no cursor", async () => {
    const cli = fakeCli();
    const { done, opened } = start(cli, "sysrq", "s");
    await opened;
    cli.channel.stderr.push("the system refuses: \x1b[2JENOENT\n");
    cli.channel.finish(EXITED(1));
    expect(await done).toBe(255);
    expect(cli.errors()).toContain("The guest could not press the key: the system refuses: \\x1b[2JENOENT");
    expect(cli.errors()).not.toContain("\x1b");
  });
  test.each([[["S"]], [["su"]], [[]], [["s", "u"]]])(
    "%j is no key: the guest is not asked",
    async (operands) => {
      const cli = fakeCli();
      expect(await run(["sysrq", "tcp:h:1", ...operands, "--policy", policy], cli.services)).toBe(255);
      expect(cli.errors()).toContain("bad-config");
      expect(cli.connects).toEqual([]);
    },
  );
});

describe("log", () => {
  const clock = encodeKernelLog({ type: "clock", uptime: 1, wall: 0 });
  const record = encodeKernelLog({ type: "record", bytes: utf8("6,0,0,-;hello\n") });
  const all = encodeKernelLog({ type: "caught-up" });

  test("ends with the guest's program; all that it took was given back", async () => {
    const cli = fakeCli();
    const { done, opened } = start(cli, "log");
    await opened;
    cli.channel.stdout.push(concat(clock, record, all));
    cli.channel.finish(EXITED(0));
    expect(await done).toBe(0);
    expect(cli.out()).toMatch(/^\[.{11}\] hello\n$/);
    expect(cli.channel.stdout.consumedBytes).toBe(clock.length + record.length + all.length);
    expect(cli.requests).toEqual([{ kind: "service", service: { name: "kernel-log", follow: false } }]);
  });
  test("a log that was cut is no whole log, whatever the status", async () => {
    const cli = fakeCli();
    const { done, opened } = start(cli, "log");
    await opened;
    cli.channel.stdout.push(concat(clock, record));
    cli.channel.finish(EXITED(0));
    expect(await done).toBe(255);
    expect(cli.errors()).toContain("program-failed: The guest could not read its kernel's log");
  });
  test("what is no log ends it", async () => {
    const cli = fakeCli();
    const { done, opened } = start(cli, "log");
    await opened;
    cli.channel.stdout.push("\x1b]0;hello\x07");
    expect(await done).toBe(255);
    expect(cli.errors()).toContain("peer-misbehaved");
    expect(cli.channel.events).toContain("hang-up");
  });
  test("a signal ends -f, with the shell's status", async () => {
    const cli = fakeCli();
    const { done, opened } = start(cli, "log", "-f");
    await opened;
    cli.signal("SIGTERM");
    expect(await done).toBe(143);
    expect(cli.channel.events).toContain("hang-up");
  });
  test.each([[["-n", "x"]], [["-n", "1000000"]], [["--level", "loud"]], [["-n", "1", "--since-boot"]]])(
    "%j is refused before the guest is asked",
    async (options) => {
      const cli = fakeCli();
      expect(await run(["log", "tcp:h:1", "--policy", policy, ...options], cli.services)).toBe(255);
      expect(cli.errors()).toContain("bad-config");
      expect(cli.connects).toEqual([]);
    },
  );
});

describe("provision", () => {
  test("hands over all of it, then its end", async () => {
    const network = path.join(directory, "network");
    writeFileSync(network, "version: 2\n");
    const cli = fakeCli();
    cli.channel.onEnd = () => cli.channel.finish(EXITED(0));
    const { done } = start(cli, "provision", "--user-data", userData, "--network-config", network);
    expect(await done).toBe(0);
    const expected = encodeSeed({ userData: utf8("#cloud-config\n"), networkConfig: utf8("version: 2\n") });
    expect(cli.channel.inputText).toBe(Buffer.from(expected).toString());
    expect(cli.errors()).not.toContain("#cloud-config");
  });
  test("a guest that has had one says so", async () => {
    const cli = fakeCli();
    cli.channel.onEnd = () => {
      cli.channel.stderr.push("this machine has its seed already\n");
      cli.channel.finish(EXITED(3));
    };
    const { done } = start(cli, "provision", "--user-data", userData);
    expect(await done).toBe(255);
    expect(cli.errors()).toContain(
      "user-refused: The guest takes no seed: this machine has its seed already",
    );
  });
  test("a guest's program that ended before it took anything holds nobody", async () => {
    const cli = fakeCli();
    cli.channel.takes = () => new Promise(() => {});
    const { done, opened } = start(cli, "provision", "--user-data", userData);
    await opened;
    cli.channel.finish(EXITED(1));
    expect(await done).toBe(255);
    expect(cli.errors()).toContain("program-failed: The guest could not take the seed (status 1)");
  });
  test.each([
    [[], "--user-data FILE is missing"],
    [["--user-data", "/nowhere"], "cannot read the user-data"],
  ])("%j is refused before the guest is asked", async (options, words) => {
    const cli = fakeCli();
    expect(await run(["provision", "tcp:h:1", "--policy", policy, ...options], cli.services)).toBe(255);
    expect(cli.errors()).toContain(words);
    expect(cli.connects).toEqual([]);
  });
});

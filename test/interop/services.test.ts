// Services of a whole sealttyd in two halves, by the command: the kernel's log, SysRq, a seed for cloud-init; who may have them.

import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readdirSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openKernelLog } from "../../server/services/kernel-log.ts";
import { isProvisioned } from "../../server/provision/seed-files.ts";
import { startCli } from "../support/cli.ts";
import { eventProblem } from "../support/json-events.ts";
import { makeScratch, sshKeygen } from "../support/openssh.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";

const scratch = makeScratch();
const key = scratch.path("key");
const forced = scratch.path("forced");
const audit = scratch.path("audit.jsonl");
const seed = scratch.path("cloud/seed/nocloud");
const state = scratch.path("state/provisioned");
const userData = scratch.path("user-data");
const SECRET = "#cloud-config\npassword: canary-of-a-password\n";

const isRoot = process.getuid?.() === 0;

/** A container may have none, or not let its root read or write there. */
function hasKernelLog(): boolean {
  try {
    closeSync(openSync("/dev/kmsg", "r"));
    closeSync(openSync("/dev/kmsg", "w"));
    return true;
  } catch {
    return false;
  }
}

/** As a program of the guest writes into it; the kernel drops what comes too often. @returns what marks the record. */
async function writeRecord(text: string): Promise<string> {
  const mark = `sealtty-test-${process.pid}-${Math.floor(performance.now() * 1000)}`;
  const read = openKernelLog();
  const isThere = (): boolean => {
    for (;;) {
      const record = read();
      if (record === undefined) return false;
      if (record !== "lost" && Buffer.from(record).includes(mark)) return true;
    }
  };
  for (;;) {
    const fd = openSync("/dev/kmsg", "w");
    writeSync(fd, `<3>${mark} ${text}`);
    closeSync(fd);
    await new Promise((resolve) => setTimeout(resolve, 50));
    if (isThere()) return mark;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

let guest: RunningGuest;
beforeAll(async () => {
  sshKeygen(key);
  sshKeygen(forced);
  writeFileSync(userData, SECRET);
  const passwd = readFileSync("/etc/passwd", "utf8");
  writeFileSync(scratch.path("passwd"), `${passwd.trimEnd()}\nalice:x:12345:12345::/:/bin/sh\n`);
  const publicHalf = (file: string): string => readFileSync(`${file}.pub`, "utf8");
  guest = await startSealttyd({
    authorizedKeys: `${publicHalf(key)}command="id" ${publicHalf(forced)}`,
    daemonUser: isRoot ? "nobody" : "root",
    pam: "off",
    ...(isRoot ? { passwd: scratch.path("passwd") } : {}),
    more: [
      "[audit]",
      `file = ${JSON.stringify(audit)}`,
      "[services]",
      'kernel_log = ["root"]',
      'sysrq = ["root"]',
      'sysrq_keys = ["h"]',
      "[provision]",
      'users = ["root"]',
      `directory = ${JSON.stringify(seed)}`,
      `state = ${JSON.stringify(state)}`,
    ],
  });
});
afterAll(async () => {
  await guest.stop();
  scratch.remove();
});

function cli(args: readonly string[], { as = "root", by = key } = {}) {
  const [command = "", ...more] = args;
  const own = ["--policy", guest.policyFile, "--simulated", "-l", as, "-i", by];
  return startCli([command, `unix:${guest.socket}`, ...own, ...more], { env: { HOME: scratch.path("") } });
}

async function refused(running: ReturnType<typeof cli>): Promise<string> {
  expect(await running.ended()).toBe(255);
  return running.stderr();
}

if (!isRoot)
  test("NOT RUN: services are root's, and only root can start sealttyd for them", () => {
    expect(isRoot).toBe(false);
  });

if (isRoot)
  describe("who may have a service", () => {
    test("a user whom the configuration does not name has none", async () => {
      for (const args of [["log"], ["sysrq", "h"], ["provision", "--user-data", userData]])
        expect(await refused(cli(args, { as: "alice" }))).toContain(
          "user-refused: The guest does not do this",
        );
      expect(existsSync(seed)).toBe(false);
    });

    test("a key with a forced command has none", async () => {
      for (const args of [["log"], ["sysrq", "h"], ["provision", "--user-data", userData]])
        expect(await refused(cli(args, { by: forced }))).toContain("user-refused");
      expect(existsSync(seed)).toBe(false);
    });

    test("a SysRq key that is not in the list is not pressed; both are written down", async () => {
      expect(await refused(cli(["sysrq", "b"]))).toContain("user-refused");
      const events = readFileSync(audit, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(events).toContainEqual(
        expect.objectContaining({
          event: "program-refused",
          service: "sysrq-b",
          user: "root",
          why: "user-refused",
        }),
      );
    });

    test("one that is in it is written where this kernel has the file, else the guest says what it says", async () => {
      const running = cli(["sysrq", "h"]);
      const status = await running.ended();
      if (existsSync("/proc/sysrq-trigger")) expect(status).toBe(0);
      else expect(running.stderr()).toContain("the system refuses: ENOENT");
      expect(readFileSync(audit, "utf8")).toMatch(/"event":"program-start".*"service":"sysrq-h"/);
    });
  });

if (isRoot && !hasKernelLog())
  test("NOT RUN: this machine's root may not read and write /dev/kmsg", () => {
    expect(hasKernelLog()).toBe(false);
  });

if (isRoot && hasKernelLog())
  describe("sealtty log", () => {
    test("has what is in the kernel's log, safe for a terminal", async () => {
      const mark = await writeRecord("evil \x1b]0;title\x07 \u202etxt.exe\rover");
      const running = cli(["log", "-n", "1000"]);
      expect(await running.ended()).toBe(0);
      const line = running
        .stdout()
        .split("\n")
        .find((each) => each.includes(mark));
      expect(line).toMatch(
        /^\[.{11}\] sealtty-test-\S+ evil \ufffd\]0;title\ufffd \ufffdtxt\.exe\ufffdover$/,
      );
      expect(running.stdout()).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f\u202e]/);
    });

    test("--level leaves out what is less urgent; --json has it all, one event a line", async () => {
      const mark = await writeRecord("of level err \x1b[2J");
      const [all, urgent] = [
        cli(["log", "--json", "-n", "200"]),
        cli(["log", "--level", "crit", "-n", "200"]),
      ];
      expect(await all.ended()).toBe(0);
      expect(await urgent.ended()).toBe(0);
      expect(urgent.stdout()).not.toContain(mark);
      const lines = all.stdout().trim().split("\n");
      expect(lines.flatMap((line) => eventProblem(line, "stdout") ?? [])).toEqual([]);
      const record = lines.map((line) => JSON.parse(line)).find(({ text }) => text.includes(mark));
      expect(record).toMatchObject({ level: "err", text: `${mark} of level err \x1b[2J` });
      expect(Math.abs(Date.parse(record.wall) - Date.now())).toBeLessThan(3_600_000);
    });

    test("-f goes on with what comes, and ends with the signal's status", async () => {
      const running = cli(["log", "-f", "-n", "0"]);
      // It may not have begun yet: once a record came through, the next one is live.
      let seen = false;
      const writer = (async () => {
        while (!seen) {
          await writeRecord("live");
          await new Promise((resolve) => setTimeout(resolve, 1000));
        }
      })();
      await running.waitFor(/sealtty-test-\S+ live/);
      seen = true;
      await writer;
      const last = await writeRecord("last");
      await running.waitFor(new RegExp(last));
      running.child.kill("SIGINT");
      expect(await running.ended()).toBe(130);
    });

    test("-n takes the latest; --since-boot begins with the first that the kernel has", async () => {
      const mark = await writeRecord("latest");
      const [latest, all] = [cli(["log", "-n", "1", "--json"]), cli(["log", "--since-boot", "--json"])];
      expect(await latest.ended()).toBe(0);
      expect(await all.ended()).toBe(0);
      const numbers = (text: string): number[] =>
        text
          .trim()
          .split("\n")
          .map((line) => (JSON.parse(line) as { number: number }).number);
      expect(numbers(latest.stdout())).toHaveLength(1);
      expect(all.stdout()).toContain(mark);
      const [first = -1] = numbers(all.stdout());
      const lost = /"event":"records-lost","count":(\d+),"atStart":true/.exec(all.stderr())?.[1] ?? "0";
      expect(Number(lost)).toBe(first);
    });
  });

if (isRoot)
  describe("sealtty provision", () => {
    test("user-data that cloud-init would ignore is refused before the guest is asked", async () => {
      const wrong = scratch.path("wrong");
      writeFileSync(wrong, "password: x\n");
      expect(await refused(cli(["provision", "--user-data", wrong]))).toContain(
        "nothing that cloud-init takes",
      );
    });

    test("writes the seed for root alone, once; nothing of it is in a log", async () => {
      const metaData = scratch.path("meta-data");
      writeFileSync(metaData, "instance-id: mine\n");
      const first = cli(["provision", "--user-data", userData, "--meta-data", metaData, "--json"]);
      expect(await first.ended()).toBe(0);
      expect(first.stderr()).toContain('"event":"provisioned"');
      expect(readdirSync(seed).sort()).toEqual(["meta-data", "user-data"]);
      expect(readFileSync(path.join(seed, "user-data"), "utf8")).toBe(SECRET);
      for (const file of [seed, path.join(seed, "user-data"), path.join(seed, "meta-data"), state])
        expect(statSync(file).mode & 0o077, file).toBe(0);
      expect(isProvisioned({ directory: seed, state })).toBe(true);

      writeFileSync(scratch.path("other"), "#!/bin/sh\necho other\n");
      const second = await refused(cli(["provision", "--user-data", scratch.path("other")]));
      expect(second).toMatch(/user-refused: The guest takes no seed: this machine has its seed already/);
      expect(readFileSync(path.join(seed, "user-data"), "utf8")).toBe(SECRET);
      expect(readdirSync(path.dirname(seed))).toEqual(["nocloud"]);
      expect(guest.log() + readFileSync(audit, "utf8")).not.toContain("canary-of-a-password");
      expect(readFileSync(audit, "utf8")).toMatch(/"event":"program-start".*"service":"provision"/);
    });
  });

// Services in the guest: who gets which, how a log is sent to a slow client, and a seed that is there whole or not at all.

import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { utf8 } from "../../protocol/bytes.ts";
import { KernelLogDecoder, type KernelLogMessage } from "../../protocol/kernel-log/messages.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import type { ServiceRequest } from "../../protocol/session/service-request.ts";
import { UNRESTRICTED } from "../../protocol/user-auth/restrictions.ts";
import { type ServerConfig, parseServerConfig } from "../../server/config.ts";
import { AlreadyProvisioned, isProvisioned, provisionOnce } from "../../server/provision/seed-files.ts";
import { sendKernelLog } from "../../server/services/kernel-log.ts";
import { serviceLaunch } from "../../server/services/plan.ts";
import { pressSysrq } from "../../server/services/sysrq.ts";
import { makeScratch } from "../support/openssh.ts";

const scratch = makeScratch();
afterAll(() => scratch.remove());

const config = (...more: readonly string[]): ServerConfig =>
  parseServerConfig(
    [
      '[pipe]\ntype = "virtio"\nname = "sealtty.0"',
      '[evidence]\ntype = "tpm"',
      '[users]\nlogin = ["/bin/login"]',
      ...more,
    ].join("\n"),
    "test",
  );
const SERVICES = '[services]\nkernel_log = ["alice"]\nsysrq = ["bob"]\nsysrq_keys = ["s"]';
const PROVISION = '[provision]\nusers = ["carol"]';

const user = (name: string, command?: string): AuthenticatedUser => ({
  name,
  method: "ssh-key",
  key: new Uint8Array(32),
  restrictions: { ...UNRESTRICTED, ...(command === undefined ? {} : { command }) },
});

describe("who gets a service", () => {
  const all: readonly ServiceRequest[] = [
    { name: "kernel-log", follow: true },
    { name: "sysrq", key: "s" },
    { name: "sysrq", key: "b" },
    { name: "provision" },
  ];
  const gets = (own: ServerConfig, who: AuthenticatedUser): number[] =>
    all.flatMap((service, index) => {
      try {
        serviceLaunch(who, service, own, undefined);
        return [index];
      } catch (error) {
        expect(error).toMatchObject({ code: "user-refused" });
        return [];
      }
    });
  test("whom the configuration names, and nobody else; without the tables nobody", () => {
    const named = config(SERVICES, PROVISION);
    expect(["alice", "bob", "carol", "root"].map((name) => gets(named, user(name)))).toEqual([
      [0],
      [1],
      [3],
      [],
    ]);
    expect(["alice", "bob", "carol", "root"].map((name) => gets(config(), user(name)))).toEqual([
      [],
      [],
      [],
      [],
    ]);
  });
  test("not without a key, nor with a key that has a forced command", () => {
    const named = config(SERVICES, PROVISION);
    expect(gets(named, { name: "alice", method: "none" })).toEqual([]);
    expect(gets(named, user("alice", ""))).toEqual([]);
  });
  test("its program is given nothing of the client's but what was checked", () => {
    const launch = serviceLaunch(user("carol"), { name: "provision" }, config(PROVISION), undefined);
    expect(launch.command.slice(2)).toEqual([
      "provision",
      "/var/lib/cloud/seed/nocloud",
      "/var/lib/sealtty/provisioned",
    ]);
    expect(Object.keys(launch.environment).sort()).toEqual(["LANG", "PATH"]);
    expect(launch.account).toBeUndefined();
  });
  test.each([
    ['[services]\nsysrq = ["root"]', "go together"],
    ['[services]\nsysrq_keys = ["s"]', "go together"],
    ['[services]\nsysrq = ["root"]\nsysrq_keys = ["S"]', "SysRq keys"],
    ['[services]\nsysrq = ["root"]\nsysrq_keys = ["su"]', "SysRq keys"],
    ["[services]\nkernel_log = []", "names of users"],
    ['[services]\nkernel_log = ["*"]', "names of users"],
    ["[provision]", '"users" is missing'],
    ['[provision]\nusers = ["root"]\ndirectory = "seed"', "absolute path"],
    ['[provision]\nusers = ["root"]\nat_timeout = "shrug"', "at_timeout"],
    ['[provision]\nusers = ["root"]\nwait_seconds = -1', "wait_seconds"],
  ])("%j is refused", (text, words) => {
    expect(() => config(text)).toThrow(words);
  });
});

describe("the kernel's log", () => {
  test("goes record for record, no faster than it is taken; what was lost is said where it was lost", async () => {
    const there = [utf8("a"), "lost" as const, utf8("b")];
    let waiting = 0;
    const decoder = new KernelLogDecoder();
    const got: KernelLogMessage[] = [];
    await sendKernelLog(
      () => {
        expect(waiting).toBe(0);
        return there.shift();
      },
      async (bytes) => {
        waiting++;
        await Promise.resolve();
        got.push(...decoder.push(bytes));
        waiting--;
      },
      { follow: false, now: () => ({ uptime: 1, wall: 2 }) },
    );
    expect(got).toEqual([
      { type: "clock", uptime: 1, wall: 2 },
      { type: "record", bytes: utf8("a") },
      { type: "lost" },
      { type: "record", bytes: utf8("b") },
      { type: "caught-up" },
    ]);
  });
});

test("a SysRq key is one byte into the kernel's file, which has to be there", () => {
  const trigger = scratch.path("sysrq-trigger");
  expect(() => pressSysrq("b", trigger)).toThrow("ENOENT");
  fs.writeFileSync(trigger, "");
  pressSysrq("b", trigger);
  expect(fs.readFileSync(trigger, "utf8")).toBe("b");
  for (const wrong of ["", "B", "bb", "\n"])
    expect(() => pressSysrq(wrong, trigger)).toThrow("Not a SysRq key");
});

describe("a seed", () => {
  let round = 0;
  let directory: string;
  let state: string;
  beforeEach(() => {
    round++;
    directory = scratch.path(`cloud-${round}/seed/nocloud`);
    state = scratch.path(`state-${round}/provisioned`);
  });
  const places = (again = false) => ({ directory, state, again });
  const inDirectory = (name: string): string => fs.readFileSync(path.join(directory, name), "utf8");

  test("has an instance-id of its own where the owner gave none, another for other user-data", () => {
    provisionOnce({ userData: utf8("#!/bin/sh\n") }, places(true));
    const first = inDirectory("meta-data");
    expect(first).toMatch(/^instance-id: sealtty-[0-9a-f]{16}\n$/);
    provisionOnce({ userData: utf8("#!/bin/sh\ntrue\n"), networkConfig: utf8("version: 2\n") }, places(true));
    expect(inDirectory("meta-data")).not.toBe(first);
    expect(inDirectory("network-config")).toBe("version: 2\n");
    expect(isProvisioned(places())).toBe(true);
  });

  test("is taken once, also by a machine whose seed has gone with its last boot", () => {
    provisionOnce({ userData: utf8("#!a") }, places());
    fs.rmSync(directory, { recursive: true });
    expect(isProvisioned(places())).toBe(false);
    expect(() => provisionOnce({ userData: utf8("#!b") }, places())).toThrow(AlreadyProvisioned);
    expect(fs.existsSync(directory)).toBe(false);
  });

  test("of somebody else's in its place gives way, whole", () => {
    fs.mkdirSync(directory, { recursive: true });
    for (const name of ["user-data", "meta-data", "vendor-data"])
      fs.writeFileSync(path.join(directory, name), "decoy");
    expect(isProvisioned(places())).toBe(false);
    provisionOnce({ userData: utf8("#!a") }, places());
    expect(fs.readdirSync(directory).sort()).toEqual(["meta-data", "user-data"]);
    expect(fs.readdirSync(path.dirname(directory))).toEqual(["nocloud"]);
  });

  test("counts only as it was handed over: no byte changed, no file more or less, no link", () => {
    const changes: readonly (() => void)[] = [
      () => fs.appendFileSync(path.join(directory, "user-data"), "x"),
      () => fs.writeFileSync(path.join(directory, "vendor-data"), ""),
      () => fs.rmSync(path.join(directory, "meta-data")),
      () => fs.writeFileSync(path.join(directory, "network-config"), ""),
      () => fs.rmSync(state),
    ];
    for (const change of changes) {
      provisionOnce({ userData: utf8("#!a") }, places(true));
      expect(isProvisioned(places())).toBe(true);
      change();
      expect(isProvisioned(places())).toBe(false);
    }
    provisionOnce({ userData: utf8("#!a") }, places(true));
    fs.renameSync(path.join(directory, "user-data"), scratch.path("elsewhere"));
    fs.symlinkSync(scratch.path("elsewhere"), path.join(directory, "user-data"));
    expect(() => isProvisioned(places())).toThrow("ELOOP");
  });

  test("that could not be written leaves what was there, and no state", () => {
    fs.mkdirSync(directory, { recursive: true });
    fs.writeFileSync(path.join(directory, "passwd"), "of a directory that is no seed's");
    expect(() => provisionOnce({ userData: utf8("#!a") }, places())).toThrow("something that is none");
    expect(inDirectory("passwd")).toContain("no seed's");
    fs.rmSync(directory, { recursive: true });
    fs.writeFileSync(directory, "a file");
    expect(() => provisionOnce({ userData: utf8("#!a") }, places())).toThrow("something that is none");
    expect(fs.readFileSync(directory, "utf8")).toBe("a file");
    expect(fs.existsSync(state)).toBe(false);
    const parent = scratch.path(`file-${round}`);
    fs.writeFileSync(parent, "");
    const other = { directory: path.join(parent, "nocloud"), state: `${state}-other`, again: false };
    expect(() => provisionOnce({ userData: utf8("#!a") }, other)).toThrow("something that is none");
    expect(fs.existsSync(other.state)).toBe(false);
    expect(fs.existsSync(`${other.state}.lock`)).toBe(false);
  });

  test("is not taken where the state is damaged", () => {
    fs.mkdirSync(path.dirname(state), { recursive: true });
    for (const text of ["", "version = 2\n", "x".repeat(5000)]) {
      fs.writeFileSync(state, text);
      expect(() => isProvisioned(places())).toThrow("damaged");
      expect(() => provisionOnce({ userData: utf8("#!a") }, places())).toThrow("damaged");
      expect(fs.existsSync(directory)).toBe(false);
    }
  });

  test("waits for nobody who is gone, and for nobody at all who lives", () => {
    fs.mkdirSync(path.dirname(state), { recursive: true });
    const stat = fs.readFileSync(`/proc/${process.pid}/stat`, "latin1");
    const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    const boot = fs.readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
    fs.writeFileSync(`${state}.lock`, `${process.pid} ${started} ${boot}`);
    expect(() => provisionOnce({ userData: utf8("#!a") }, places())).toThrow("at this moment");
    fs.writeFileSync(`${state}.lock`, `${process.pid} ${started} another-boot`);
    provisionOnce({ userData: utf8("#!a") }, places());
    expect(isProvisioned(places())).toBe(true);
    expect(fs.readdirSync(path.dirname(state))).toEqual(["provisioned"]);
  });
});

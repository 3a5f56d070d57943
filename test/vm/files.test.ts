// `sealtty cp` against a booted guest: over its virtio port, as its users, onto file systems that are full or read-only.
import { randomBytes } from "node:crypto";
import { spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newSshKey } from "../../cli/ssh-key-file.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { runCli } from "../support/cli.ts";
import { BOOT_TIMEOUT, bootVm, sealttydServes, type Vm } from "../support/vm.ts";

let vm: Vm;
let there: string; // a directory of the guest's, for all of its users
const at = (...names: string[]): string => path.join(vm.directory, ...names);

beforeAll(async () => {
  const key = newSshKey(nodeSuite, "cp");
  vm = await bootVm({ firmware: "seabios", authorizedKeys: `${key.publicLine}\n` });
  writeFileSync(at("key"), key.privateFile, { mode: 0o600 });
  await sealttydServes(vm);
  const saved = await runCli(["inspect", vm.address, "--save-policy", at("policy.toml"), "--timeout", "120"]);
  if (saved.status !== 0) throw new Error(saved.stderr);
  const made = await sh('d=$(mktemp -d) && chmod 1777 "$d" && echo "$d"');
  if (made.status !== 0) throw new Error(made.stderr);
  there = made.stdout.trim();
}, BOOT_TIMEOUT);
afterAll(async () => {
  await vm?.stop();
});

const common = (user: string): string[] => [
  ...["--policy", at("policy.toml"), "-l", user, "-i", at("key"), "--timeout", "120", "-q"],
];
const cp = (user: string, ...args: string[]) =>
  runCli(["cp", ...common(user), "--guest", vm.address, ...args]);
const sh = (line: string) => runCli(["exec", vm.address, ...common("root"), "-n", "--", "sh", "-c", line]);

test("a tree goes there and comes back the same", async () => {
  mkdirSync(at("tree", "sub"), { recursive: true });
  writeFileSync(at("tree", "sub", "large"), randomBytes(700_000));
  writeFileSync(Buffer.concat([Buffer.from(`${at("tree")}/`), Buffer.from([0xff, 0x0a])]), "odd name");
  for (let i = 0; i < 200; i++) writeFileSync(at("tree", `small-${i}`), String(i));
  symlinkSync("sub/large", at("tree", "link"));
  utimesSync(at("tree", "sub"), 1e9, 1e9);
  const sent = await cp("root", "-r", "-p", at("tree"), `:${there}/tree`);
  expect(sent.status, sent.stderr).toBe(0);
  const back = await cp("root", "-r", "-p", `:${there}/tree`, at("back"));
  expect(back.status, back.stderr).toBe(0);
  expect(spawnSync("diff", ["-r", "--no-dereference", at("tree"), at("back")]).stdout.toString()).toBe("");
}, 180_000);

test("as another user of the guest's the kernel decides", async () => {
  const secret = await cp("alice", ":/etc/shadow", at("shadow"));
  expect(secret.stderr).toContain("sealtty: in the guest: /etc/shadow: no permission");
  expect(secret.status).toBe(1);
  const own = await cp("alice", at("policy.toml"), `:${there}/alice`);
  expect(own.status, own.stderr).toBe(0);
  expect((await sh(`stat -c %u ${there}/alice`)).stdout).toBe("1000\n");
}, 120_000);

test.each([
  ["a full file system", "size=200k", "no space is left"],
  ["a read-only one", "ro", "the file system is read-only"],
])(
  "%s: one sentence, and nothing half-written",
  async (_, options, words) => {
    const mounted = await sh(`mkdir -p /small && mount -t tmpfs -o ${options} none /small`);
    expect(mounted.status, mounted.stderr).toBe(0);
    const { status, stderr } = await cp("root", at("tree", "sub", "large"), ":/small/x");
    expect(stderr).toContain(`sealtty: in the guest: /small/x: ${words}`);
    expect(status).toBe(1);
    expect((await sh("ls -A /small; umount /small")).stdout).toBe("");
  },
  180_000,
);

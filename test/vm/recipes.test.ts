// docs/recipes/qemu.sh and nspawn.sh, run as they are (libvirt.xml: libvirt.test.ts).
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runCli } from "../support/cli.ts";
import { sshKeygen } from "../support/openssh.ts";
import {
  type Console,
  execOn,
  putGuest,
  recipe,
  recipeDirectory,
  start,
  textOf,
  until,
} from "../support/recipes.ts";
import { BOOT_TIMEOUT, CONNECT_TIMEOUT } from "../support/vm.ts";

let directory: string;
let key: string;
let publicKey: string;

beforeAll(() => {
  directory = recipeDirectory();
  key = path.join(directory, "id");
  publicKey = sshKeygen(key);
});
afterAll(() => fs.rmSync(directory, { recursive: true, force: true }));

test(
  "qemu.sh: a guest with a TPM beside it, and its console on a virtio port",
  async () => {
    await putGuest(directory, publicKey);
    // In a PID namespace: what becomes of swtpm, which leaves the script, is settled with QEMU's end, however that comes.
    const alone = "--fork --pid --mount-proc --kill-child=KILL".split(" ");
    const qemu = start("unshare", [...alone, "sh", recipe("qemu.sh"), directory], {
      env: { ...process.env, ACCEL: "tcg" },
    });
    try {
      const serves = () => /sealttyd serves.*tpm/.test(textOf(path.join(directory, "serial.log")));
      await until("sealttyd in the guest", qemu, serves, BOOT_TIMEOUT);
      const at: Console = {
        address: `unix:${path.join(directory, "sealtty.sock")}`,
        policy: path.join(directory, "qemu.toml"),
        key,
      };
      const saved = await runCli(["inspect", at.address, "--save-policy", at.policy, "--timeout", "240"]);
      expect(saved.status, saved.stderr).toBe(0);
      const ran = await execOn(at, "echo on-$((6*7)); hostname");
      expect([ran.stdout, ran.status], ran.stderr).toEqual(["on-42\nsealtty-guest\n", 0]);
    } finally {
      await qemu.stop();
    }
  },
  2 * BOOT_TIMEOUT,
);

test("nspawn.sh: a container with simulated evidence, which is asked for by name", async () => {
  const own = path.join(directory, "container");
  fs.mkdirSync(own);
  fs.writeFileSync(path.join(own, "authorized_keys"), publicKey, { mode: 0o600 });
  const container = start("sh", [recipe("nspawn.sh"), own]);
  try {
    const socket = path.join(own, "sealtty.sock");
    await until("sealttyd", container, () => container.output().includes("sealttyd serves"), CONNECT_TIMEOUT);
    const at = { address: `unix:${socket}`, policy: path.join(own, "policy.toml"), key };
    const refused = await execOn(at, "echo never");
    expect([refused.status, refused.stdout]).toEqual([255, ""]);
    expect(refused.stderr).toContain("imulated");
    const ran = await execOn(
      { ...at, more: ["--simulated"] },
      "cat /proc/1/comm; ls /home 2>&1; ls /sys/class/net",
    );
    // A system of its own: sealttyd's Node is its first process, there is no network, and nothing but this machine's /usr.
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stdout).toMatch(/^node\n[^]*No such file[^]*\nlo\n$/);
  } finally {
    await container.stop("SIGTERM");
  }
});

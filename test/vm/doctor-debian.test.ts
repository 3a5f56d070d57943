// A Debian as people start with it, booted by a host that makes use of what it finds: of the first boot, of cloud-init, of rescue mode, of a
// boot that fails. Then it is mended as the doctor says, booted again, and the host tries the same.

import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { DebianFiles } from "../../scripts/lib/vm.mjs";
import { runCli } from "../support/cli.ts";
import { doctorOf, handsOf, openShell, shellHardware, wordsFor } from "../support/doctor-guest.ts";
import { sshKeygen } from "../support/openssh.ts";
import {
  hostLine,
  type HostLine,
  PLANTED_AT_THE_START,
  type RunInGuest,
} from "../support/planted-findings.ts";
import { findingsOf, type FindingLine, newWord } from "../support/planted-walk.ts";
import { CONNECT_TIMEOUT, type Vm, withVm } from "../support/vm.ts";

const { buildPlainDebian } = (await import(
  path.resolve(import.meta.dirname, "../../scripts/debian-guest.mjs")
)) as { readonly buildPlainDebian: () => Promise<DebianFiles> };

/** To make that Debian, where none is kept. */
const MAKE_TIMEOUT = 900_000;
/** A Debian that boots in an emulated machine, on a machine that does other things as well. */
const SYSTEM_TIMEOUT = 600_000;
/** Takes off again what each test machine has: its last word counts. */
const AS_DEBIAN_HAS_IT = "panic=";
const HOSTS_PASSWORD = "host-chose-this-Password";
const PLANTED_THERE = Object.keys(PLANTED_AT_THE_START);

const began = performance.now();
const tell = (what: string): void => {
  process.stdout.write(`${Math.round((performance.now() - began) / 1000)} s: ${what}\n`);
};

let home: string;
let system: DebianFiles;
/** Of root's: who may come in by sealtty. */
let key: string;
beforeAll(async () => {
  home = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-doctor-debian-"));
  key = sshKeygen(path.join(home, "id"));
  const made = await buildPlainDebian();
  const disk = path.join(home, "disk");
  execFileSync("cp", ["--sparse=always", made.disk, disk]);
  system = { ...made, disk, keepsWrites: true };
}, MAKE_TIMEOUT);
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

/** A drive for cloud-init, of which the host has made each boot a new instance. */
function seedDrive(user: string): string[] {
  const directory = path.join(home, user);
  fs.mkdirSync(directory);
  fs.writeFileSync(path.join(directory, "meta-data"), `instance-id: ${user}\n`);
  fs.writeFileSync(path.join(directory, "user-data"), `#cloud-config\nusers:\n  - name: ${user}\n`);
  const drive = `driver=vvfat,node-name=seed,dir=${directory},label=cidata,read-only=on`;
  return ["-blockdev", drive, "-device", "virtio-blk-pci,drive=seed"];
}

const OF_THE_HOST = "/run/of-the-host";
/** A credential that has systemd make a file. */
const CREDENTIAL = `io.systemd.credential:tmpfiles.extra=f ${OF_THE_HOST}`;

interface Scene {
  readonly vm: Vm;
  readonly serial: HostLine;
  readonly run: RunInGuest;
}

/** Boots it. `use` begins at once, and waits for what it needs. */
function withDebian<T>(words: string, user: string, use: (scene: Scene) => Promise<T>): Promise<T> {
  const options = {
    firmware: "seabios",
    system,
    typesOnSerial: true,
    append: words,
    ready: /^/,
    qemuArguments: [
      ...shellHardware(home),
      ...seedDrive(user),
      ...["-smbios", `type=11,value=${CREDENTIAL}`],
    ],
  } as const;
  return withVm(options, async (vm) => {
    const serial = await hostLine(vm.serialPath);
    const shell = await openShell(home);
    try {
      return await use({ vm, serial, run: shell.run });
    } finally {
      shell.close();
      serial.close();
    }
  });
}

const until = (condition: string): string => `until ${condition}; do sleep 0.5; done`;

/** The host types into a shell, on a console of its own. */
async function hasShell(serial: HostLine): Promise<void> {
  const word = newWord("shell");
  serial.type(`echo ${word}-$((6*7))\r`);
  await serial.shows(`${word}-42`);
}

/** To each question on the console the host has an answer. */
async function answers(serial: HostLine, dialogue: readonly (readonly [string, string])[]): Promise<void> {
  let from = 0;
  for (const [question, answer] of dialogue) {
    await serial.shows(question, from);
    from = serial.text().indexOf(question, from) + question.length;
    serial.type(`${answer}\r`);
  }
}

/** sulogin throws away what was typed before it began to read. */
async function typesUntil(serial: HostLine, text: string, shown: string): Promise<void> {
  const from = serial.text().length;
  const again = setInterval(() => serial.type(`${text}\r`), 2000);
  await serial.shows(shown, from).finally(() => clearInterval(again));
}

const enterRescue = `systemctl --no-block isolate rescue.target; ${until("systemctl -q is-active rescue.service")}`;

/** Boots it with a disk of the host's in place of its own: a file system, and nothing in it. */
function withHostsDisk<T>(
  words: string,
  ready: RegExp,
  use: (scene: Pick<Scene, "vm" | "serial">) => Promise<T>,
) {
  const disk = path.join(home, "hosts-disk");
  execFileSync("mke2fs", ["-q", "-F", disk, "4M"]);
  const options = {
    firmware: "seabios",
    tpm: false,
    system: { ...system, disk },
    typesOnSerial: true,
    append: words,
    ready,
    timeoutMs: SYSTEM_TIMEOUT,
  } as const;
  return withVm(options, async (vm) => {
    const serial = await hostLine(vm.serialPath);
    try {
      return await use({ vm, serial });
    } finally {
      serial.close();
    }
  });
}

/** Of the first look, which has the words for the command line. */
let before: FindingLine[];

test(
  "as it is: the host sets root's password, makes a user, reads and types in rescue mode; all of it is found, and mended",
  async () => {
    await withDebian(AS_DEBIAN_HAS_IT, "decoy", async ({ vm, serial, run }) => {
      const { doctor } = doctorOf(run, "sealttyd");
      await answers(serial, [
        ["any key to proceed", ""],
        ["new root password (empty", HOSTS_PASSWORD],
        ["new root password again", HOSTS_PASSWORD],
        ["login:", "root"],
        ["Password:", HOSTS_PASSWORD],
        [":~# ", ""],
      ]);
      await hasShell(serial);
      tell("the host is root, with a password of its own");
      await run(until("systemctl -q is-active cloud-init.service"));
      expect(await run(`id -un decoy; ls ${OF_THE_HOST}`)).toBe(`decoy\n${OF_THE_HOST}\n`);
      const silence = await runCli(["inspect", vm.address, "--timeout", "5"]);
      expect(silence.status).not.toBe(0);
      const from = serial.text().length;
      await run("systemctl --no-block isolate rescue.target");
      await serial.shows("Give root password", from);
      await typesUntil(serial, HOSTS_PASSWORD, ":~# ");
      await hasShell(serial);

      tell("and so in rescue mode");

      // To be an image again: whose first boot is still to come.
      await run("echo uninitialized >/etc/machine-id; rm /etc/shadow*");
      before = await doctor();
      expect(findingsOf(before)).toEqual(expect.arrayContaining(PLANTED_THERE));
      tell("found");
      const heldBack = (await doctor("--fix")).flatMap(({ event, id }) =>
        event === "held-back" ? [id] : [],
      );
      expect(heldBack).toEqual(expect.arrayContaining(["recovery-console", "getty-generator"]));
      await run(`install -D -m 600 /dev/stdin /etc/sealtty/authorized_keys <<'end'\n${key}\nend\n`);
      expect(handsOf(before, "sealttyd-off")).toEqual(["sealttyd setup"]);
      await run("sealttyd setup");
      expect((await doctor("--fix")).map(({ event }) => event)).not.toContain("held-back");
      tell("mended");
      await run("userdel decoy; cloud-init clean --logs; sync");
    });
  },
  2 * SYSTEM_TIMEOUT,
);

test(
  "mended: sealttyd answers, and the host has nothing of the same",
  async () => {
    const mended = ["initramfs-shell", "host-credentials"].map((id) => wordsFor(before, id));
    await withDebian([AS_DEBIAN_HAS_IT, ...mended].join(" "), "decoy-again", async ({ vm, serial, run }) => {
      await Promise.race([
        run(until("systemctl -q is-active cloud-init.service")),
        serial.shows("any key").then(() => Promise.reject(new Error("The host is asked again"))),
      ]);
      tell("booted again");
      const timeout = String(CONNECT_TIMEOUT / 1000);
      expect((await runCli(["inspect", vm.address, "--timeout", timeout])).status).toBe(0);
      tell("sealttyd answers");
      expect(await run("id -un decoy-again")).toContain("no such user");
      expect(await run(`ls ${OF_THE_HOST}`)).toContain("No such file");
      const from = serial.text().length;
      await run(enterRescue);
      serial.type(`\r${HOSTS_PASSWORD}\r`);
      expect(await run("pidof sulogin; sleep 3")).toBe("");
      expect(serial.text()).not.toMatch(/any key|password|login:|maintenance|[#$] $/i);
      expect(serial.text().slice(from)).not.toMatch(/\S/);
      const left = await doctorOf(run, "sealttyd").findings();
      expect(left.filter((id) => PLANTED_THERE.includes(id))).toEqual([]);
    });
  },
  2 * SYSTEM_TIMEOUT,
);

test(
  "a host that keeps the root file system away has a shell in the initramfs, and none with what the doctor wants on the command line",
  async () => {
    await withHostsDisk(AS_DEBIAN_HAS_IT, /\(initramfs\)/, async ({ serial }) => {
      await hasShell(serial);
    });
    const words = `${AS_DEBIAN_HAS_IT} ${wordsFor(before, "initramfs-shell")}`;
    await withHostsDisk(words, /Rebooting automatically/, async ({ vm, serial }) => {
      serial.type("\recho typed-$((6*7))\r");
      await vm.ended;
      expect(vm.serialLog()).not.toMatch(/\(initramfs\)|typed-42/);
    });
  },
  2 * SYSTEM_TIMEOUT,
);

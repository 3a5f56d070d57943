// What the doctor finds in small machines that are booted for it: words of the command line, what firmware keeps and gives, a directory
// of the host's, sealttyd's own configuration. Where a host can make use of it this test does, before it is mended and after.

import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isListening } from "../../scripts/lib/unix-socket.mjs";
import { runCli } from "../support/cli.ts";
import { crashLog } from "../support/crash-log.ts";
import { type DoctorGuest, handsOf, withDoctorGuest, wordsFor } from "../support/doctor-guest.ts";
import { sshKeygen } from "../support/openssh.ts";
import {
  hostLine,
  PLANTED_IN_CONFIG,
  PLANTED_IN_FIRMWARE,
  PLANTED_WORDS,
} from "../support/planted-findings.ts";
import { findingsOf, newWord } from "../support/planted-walk.ts";
import { type RunningGuest, startSealttyd } from "../support/sealttyd.ts";
import { BOOT_TIMEOUT, CONNECT_TIMEOUT, type GuestFile } from "../support/vm.ts";

const project = path.resolve(import.meta.dirname, "../..");
const { guestModules } = (await import(`${project}/scripts/guest-image.mjs`)) as {
  readonly guestModules: (names: readonly string[]) => Promise<Record<string, GuestFile>>;
};
const { librariesOf } = (await import(`${project}/scripts/lib/guest-programs.mjs`)) as {
  readonly librariesOf: (file: string) => Promise<string[]>;
};

let scratch: string;
beforeAll(() => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-doctor-vm-"));
});
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));
const inScratch = (name: string): string => path.join(scratch, name);

/** A program of this machine's, with its libraries, in the guest. */
async function programFiles(file: string): Promise<Record<string, GuestFile>> {
  const files = [file, ...(await librariesOf(file))];
  return Object.fromEntries(files.map((each) => [each, { data: fs.readFileSync(each), mode: 0o755 }]));
}

test(
  "words of the running kernel's command line are found, a console among them, and a boot without them has none",
  async () => {
    const ids = [...Object.keys(PLANTED_WORDS), "kernel-console"];
    /** The kernel says something. @returns it. */
    const says = async ({ run }: DoctorGuest): Promise<string> => {
      const word = newWord("kernel-console");
      await run(`echo '<0>${word}' >/dev/kmsg`);
      return word;
    };
    const words = await withDoctorGuest({ words: Object.values(PLANTED_WORDS).join(" ") }, async (guest) => {
      const events = await guest.doctor();
      expect(findingsOf(events)).toEqual(expect.arrayContaining(ids));
      await guest.vm.waitForSerial(new RegExp(await says(guest)));
      return wordsFor(events, "kernel-console");
    });
    await withDoctorGuest({ words, console: "", ready: /^/ }, async (guest) => {
      expect((await guest.findings()).filter((id) => ids.includes(id))).toEqual([]);
      const word = await says(guest);
      expect(await guest.run("dmesg")).toContain(word);
      expect(guest.vm.serialLog()).not.toContain(word);
    });
  },
  3 * BOOT_TIMEOUT,
);

const SYSTEMD_OPTIONS = "/sys/firmware/efi/efivars/SystemdOptions-8cf2644b-4b0b-428f-9387-6d876050dc67";
/** Its four bytes of attributes, and one letter in UTF-16. */
const PLANT_OPTIONS = `printf '\\007\\000\\000\\000s\\000' >${SYSTEMD_OPTIONS}`;
/** With what the command line has for it, as modprobe loads it. */
const LOAD_EFI =
  "insmod /lib/modules/efivarfs.ko && mount -t efivarfs efivarfs /sys/firmware/efi/efivars && " +
  "insmod /lib/modules/efi_pstore.ko $(tr ' ' '\\n' </proc/cmdline | sed -n 's/^efi_pstore\\.//p') && echo loaded";

const pflash = (unit: number, file: string) => ["-drive", `if=pflash,format=raw,unit=${unit},file=${file}`];

/** Boots with the host's file of the firmware's variables. */
async function withVariables<T>(variables: string, words: string, use: (guest: DoctorGuest) => Promise<T>) {
  const options = {
    words: `random.trust_cpu=off ${words}`, // else the processor fills the pool, too
    files: {
      ...(await guestModules(["efivarfs", "efi_pstore"])),
      ...(await programFiles("/usr/bin/chattr")),
    },
    qemuArguments: [
      ...pflash(0, "/usr/share/OVMF/OVMF_CODE_4M.fd,readonly=on"),
      ...pflash(1, variables),
      ...["-device", "virtio-rng-pci"], // what the firmware's seed comes from
    ],
  };
  return await withDoctorGuest(options, async (guest) => {
    expect(await guest.run(LOAD_EFI)).toContain("loaded");
    return await use(guest);
  });
}

/** Whether the firmware's seed alone was enough for the kernel. */
async function isSeeded({ run }: DoctorGuest): Promise<boolean> {
  const log = await run("dmesg");
  expect(log).toContain("RNG=0x");
  const at = log.indexOf("crng init done");
  return at >= 0 && at < log.indexOf("Kernel command line:");
}

/** @returns the word, which is in the kernel's log. */
async function crashes({ vm, run }: DoctorGuest): Promise<string> {
  const word = newWord("pstore");
  run(`echo '<3>${word}' >/dev/kmsg; echo c >/proc/sysrq-trigger`).catch(() => {}); // that line does not end
  await vm.ended;
  return word;
}

test(
  "what the host's firmware keeps and gives: words for systemd, a crash's log, a seed",
  async () => {
    const ids = Object.keys(PLANTED_IN_FIRMWARE);
    const variables = inScratch("variables.fd");
    fs.copyFileSync("/usr/share/OVMF/OVMF_VARS_4M.fd", variables);
    const words = await withVariables(variables, "", async (guest) => {
      await guest.run(PLANT_OPTIONS);
      const before = await guest.doctor();
      expect(findingsOf(before)).toEqual(expect.arrayContaining(ids));
      expect(await isSeeded(guest)).toBe(true);
      for (const command of handsOf(before, "efi-options")) await guest.run(command);
      expect(await guest.findings()).not.toContain("efi-options");
      const crashed = await crashes(guest);
      expect(crashLog(fs.readFileSync(variables))).toContain(crashed);
      return `${wordsFor(before, "pstore")} ${wordsFor(before, "bootloader-seed")}`;
    });
    await withVariables(variables, words, async (guest) => {
      expect((await guest.findings()).filter((id) => ids.includes(id))).toEqual([]);
      expect(await isSeeded(guest)).toBe(false);
      const again = await crashes(guest);
      expect(crashLog(fs.readFileSync(variables))).not.toContain(again);
    });
  },
  3 * BOOT_TIMEOUT,
);

/** QEMU's own until version 8, then a package. */
const VIRTIOFSD = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"].find((file) => fs.existsSync(file));

/** Serves a directory to one machine, until that ends. */
async function shares(directory: string) {
  const socket = inScratch("virtiofs");
  const args = [`--socket-path=${socket}`, "-o", `source=${directory}`, "-o", "sandbox=chroot", "-f"];
  const daemon = spawn(VIRTIOFSD ?? "", args, { stdio: "ignore" });
  const ended = once(daemon, "exit");
  while (!isListening(socket)) {
    if (daemon.exitCode !== null) throw new Error(`${VIRTIOFSD} does not start`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  return {
    qemuArguments: [
      ...["-object", "memory-backend-memfd,id=shared,size=1024M,share=on", "-numa", "node,memdev=shared"],
      ...["-chardev", `socket,id=share,path=${socket}`],
      ...["-device", "vhost-user-fs-pci,chardev=share,tag=share"],
    ],
    stop: async () => {
      daemon.kill();
      await ended;
    },
  };
}

test.skipIf(VIRTIOFSD === undefined)(
  "a directory of the host's, which it reads and writes until it is unmounted",
  async () => {
    const directory = inScratch("shared");
    const file = path.join(directory, "of-guest");
    fs.mkdirSync(directory);
    const { qemuArguments, stop } = await shares(directory);
    const options = { files: await guestModules(["virtiofs"]), qemuArguments };
    /** @returns whether the host reads what the guest writes there, or the guest what the host does. */
    const hostHas = async ({ run }: DoctorGuest): Promise<boolean> => {
      const [written, changed] = [newWord("host-share"), newWord("host-share")];
      await run(`echo ${written} >/mnt/of-guest`);
      const isRead = fs.existsSync(file) && fs.readFileSync(file, "utf8").includes(written);
      fs.writeFileSync(file, changed);
      return (await run("cat /mnt/of-guest")).includes(changed) || isRead;
    };
    try {
      await withDoctorGuest(options, async (guest) => {
        const { run, findings } = guest;
        await run(
          "insmod /lib/modules/fuse.ko; insmod /lib/modules/virtiofs.ko; mount -t virtiofs share /mnt",
        );
        expect(await hostHas(guest)).toBe(true);
        expect(await findings()).toContain("host-share");
        await run("umount /mnt");
        expect(await findings()).not.toContain("host-share");
        expect(await hostHas(guest)).toBe(false);
      });
    } finally {
      await stop();
    }
  },
  2 * BOOT_TIMEOUT,
);

const CONFIG = "/etc/sealtty/sealttyd.toml";
const INSTANCE = "planted";
const SESSIONS = 'login = ["/bin/login"]\nshell = ["/bin/sh"]\n';
/** Four findings at once. */
const BAD_CONFIG = `[pipe]
type = "tty"
device = "/dev/hvc0"
armour_only = true
[evidence]
type = "simulated"
instance = "${INSTANCE}"
i_know_this_proves_nothing = true
[users]
authorized_keys = "/etc/sealtty/authorized_keys"
names = ["*"]
${SESSIONS}[daemon]
user = "root"
`;
/** Mended as the doctor says. */
const GOOD_CONFIG = `[pipe]
type = "virtio"
name = "sealtty.0"
[evidence]
type = "tpm"
[users]
authorized_keys = "/etc/sealtty/keys/%u"
${SESSIONS}`;
const WRONG_CONFIG = GOOD_CONFIG.replace("[users]", "[user]");
const START =
  "SEALTTY_PTY_ADDON=/usr/lib/sealtty/pty.node node /usr/lib/sealtty/sealttyd.js >/run/sealttyd.log 2>&1 &" +
  " for i in $(seq 600); do grep -q 'sealttyd serves' /run/sealttyd.log && break; sleep 0.2; done; cat /run/sealttyd.log";
const put = (text: string) => `cat >${CONFIG} <<'end'\n${text}end\n`;
/** As whom a device is open: lines of /proc. */
const openBy = (device: string) =>
  `for p in /proc/[0-9]*; do ls -l $p/fd 2>/dev/null | grep -q "/dev/${device}$" && grep Uid: $p/status; done`;
const OWN_PORT = '$(basename "$(dirname "$(grep -lx sealtty.0 /sys/class/virtio-ports/*/name)")")';
const PATIENCE = ["--timeout", String(CONNECT_TIMEOUT / 1000)];

interface Scene {
  readonly guest: DoctorGuest;
  /** @returns what a command of root's printed, or why it did not run. @param key - whose is used. */
  readonly asRoot: (
    address: string,
    trust: readonly string[],
    key: "root" | "alice",
    ...command: readonly string[]
  ) => Promise<string>;
  /** What the host puts in the guest's place: a machine of its own with the same program and words. */
  readonly inItsPlace: RunningGuest;
}

/** Whether what the kernel says comes out of a line, by the time that it has come out of hvc0, its console. */
async function kernelSpeaksOn({ vm, run }: DoctorGuest, line: string | undefined): Promise<boolean> {
  const word = newWord("sealttyd-kernel-console");
  const console = await hostLine(vm.hvc0?.unixPath);
  const own = line === vm.hvc0?.unixPath ? console : await hostLine(line);
  await run(`echo '<0>${word}' >/dev/kmsg`);
  await console.shows(word);
  own.close();
  console.close();
  return own.text().includes(word);
}

async function withBadConfig({ guest, asRoot, inItsPlace }: Scene): Promise<void> {
  const { vm, run } = guest;
  expect(await kernelSpeaksOn(guest, vm.hvc0?.unixPath)).toBe(true);
  expect(await run(START)).toContain("sealttyd serves");
  expect(await run(openBy("hvc0"))).toMatch(/^(?:Uid:\t0\t.*\n)+$/);
  const trust = ["--policy", inItsPlace.policyFile, "--simulated"]; // its owner could not come in otherwise
  expect(await asRoot(vm.hvc0?.address ?? "", trust, "alice", "id", "-u")).toBe("0\n");
  expect(await asRoot(`unix:${inItsPlace.socket}`, trust, "root", "echo", "host's")).toBe("host's\n");
  await run("pkill -f sealttyd.js");
}

async function withWrongConfig({ guest: { run, doctor } }: Scene): Promise<void> {
  await run(put(WRONG_CONFIG));
  const events = await doctor();
  expect(handsOf(events, "sealttyd-config")).toEqual(["sealttyd --check"]);
  const said = events.find(({ id }) => id === "sealttyd-config")?.evidence?.[0]?.found;
  expect(await run("node /usr/lib/sealtty/sealttyd.js --check")).toContain(said);
}

async function withGoodConfig({ guest, asRoot, inItsPlace }: Scene): Promise<void> {
  const { vm, run, findings } = guest;
  await run(put(GOOD_CONFIG));
  const bad = [...Object.keys(PLANTED_IN_CONFIG), "sealttyd-config"];
  expect((await findings()).filter((id) => bad.includes(id))).toEqual([]);
  expect(await run(START)).toContain("sealttyd serves");
  expect(await run(openBy(OWN_PORT))).toMatch(/^(?:Uid:\t990\t.*\n)+$/);
  const policy = inScratch("tpm.toml");
  const saved = await runCli(["inspect", vm.address, ...PATIENCE, "--save-policy", policy]);
  expect([saved.status, saved.stderr]).toEqual([0, expect.any(String)]);
  const trust = ["--policy", policy];
  expect(await asRoot(vm.address, trust, "root", "id", "-u")).toBe("0\n");
  expect(await asRoot(vm.address, trust, "alice", "id", "-u")).toContain("user-refused");
  expect(await asRoot(`unix:${inItsPlace.socket}`, trust, "root", "true")).toContain("evidence-refused");
  expect(await kernelSpeaksOn(guest, vm.unixPath)).toBe(false);
}

test(
  "sealttyd's configuration: whom it lets in, what it proves, which line it has, and as whom it reads there",
  async () => {
    const [root, alice] = [sshKeygen(inScratch("root")), sshKeygen(inScratch("alice"))];
    const options = {
      tpm: true,
      hvc0: { kind: "unix" },
      words: "console=hvc0 console=ttyS0",
      authorizedKeys: `${root}\n${alice}\n`,
      files: {
        "/etc/sealtty/keys/root": { data: `${root}\n`, mode: 0o600 },
        "/etc/sealtty/keys/alice": { data: `${alice}\n`, mode: 0o600 },
      },
    } as const;
    const asRoot: Scene["asRoot"] = async (address, trust, key, ...command) => {
      const args = [address, ...trust, ...PATIENCE, "-l", "root", "-i", inScratch(key)];
      const { stdout, stderr } = await runCli(["exec", ...args, "--", ...command]);
      return stdout || stderr;
    };
    const inItsPlace = await startSealttyd({ instance: INSTANCE, authorizedKeys: `${root}\n` });
    try {
      await withDoctorGuest(options, async (guest) => {
        const scene = { guest, asRoot, inItsPlace };
        await guest.run(put(BAD_CONFIG));
        expect(await guest.findings()).toEqual(expect.arrayContaining(Object.keys(PLANTED_IN_CONFIG)));
        await withBadConfig(scene);
        await withWrongConfig(scene);
        await withGoodConfig(scene);
      });
    } finally {
      await inItsPlace.stop();
    }
  },
  3 * BOOT_TIMEOUT,
);

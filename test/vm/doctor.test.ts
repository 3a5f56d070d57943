// What the doctor finds in small machines that are booted for it: words of the command line, what firmware keeps and gives, a directory
// of the host's, sealttyd's own configuration. Where a host can make use of it this test does, before it is mended and after.

import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isListening } from "../../scripts/lib/unix-socket.mjs";
import { runCli } from "../support/cli.ts";
import { crashLog } from "../support/crash-log.ts";
import { type DoctorGuest, withDoctorGuest } from "../support/doctor-guest.ts";
import { makeScratch, sshKeygen } from "../support/openssh.ts";
import { PLANTED_WORDS } from "../support/planted-findings.ts";
import { type FindingLine, findingsOf, newWord } from "../support/planted-walk.ts";
import { startSealttyd } from "../support/sealttyd.ts";
import { BOOT_TIMEOUT, CONNECT_TIMEOUT, type GuestFile, type Vm } from "../support/vm.ts";

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

const handsOf = (events: readonly FindingLine[], id: string): readonly string[] =>
  events.find((line) => line.event === "finding" && line.id === id)?.byHand ?? [];

/** What the doctor wants on the kernel's command line. */
function wordsFor(events: readonly FindingLine[], id: string): string {
  const [, words] = /put onto the kernel's command line: ([^()]+) \(/.exec(handsOf(events, id).join()) ?? [];
  if (words === undefined) throw new Error(`The doctor names no words for ${id}`);
  return words;
}

test(
  "words of the running kernel's command line are found, and a boot without them has none",
  async () => {
    const ids = Object.keys(PLANTED_WORDS);
    const found = await withDoctorGuest({ words: Object.values(PLANTED_WORDS).join(" ") }, (guest) =>
      guest.findings(),
    );
    expect(found).toEqual(expect.arrayContaining(ids));
    const without = await withDoctorGuest({}, (guest) => guest.findings());
    expect(without).toContain("kernel-console"); // of the test machine's own line
    expect(without.filter((id) => ids.includes(id))).toEqual([]);
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

test(
  "what the host's firmware keeps and gives: words for systemd, a crash's log, a seed",
  async () => {
    const variables = inScratch("variables.fd");
    fs.copyFileSync("/usr/share/OVMF/OVMF_VARS_4M.fd", variables);
    const pflash = (unit: number, file: string) => [
      "-drive",
      `if=pflash,format=raw,unit=${unit},file=${file}`,
    ];
    const boot = async <T>(words: string, use: (guest: DoctorGuest) => Promise<T>): Promise<T> =>
      await withDoctorGuest(
        {
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
        },
        async (guest) => {
          expect(await guest.run(LOAD_EFI)).toContain("loaded");
          return await use(guest);
        },
      );
    const isSeeded = async ({ run }: DoctorGuest) => {
      const log = await run("dmesg");
      expect(log).toContain("RNG=0x");
      return log.indexOf("crng init done") < log.indexOf("Kernel command line:");
    };
    const crashes = async ({ vm, run }: DoctorGuest, word: string): Promise<void> => {
      run(`echo '<3>${word}' >/dev/kmsg; echo c >/proc/sysrq-trigger`).catch(() => {}); // that line does not end
      await vm.ended;
    };
    const ids = ["efi-options", "pstore", "bootloader-seed"];

    const crashed = newWord("pstore");
    const words = await boot("", async (guest) => {
      await guest.run(PLANT_OPTIONS);
      const before = await guest.doctor();
      expect(findingsOf(before)).toEqual(expect.arrayContaining(ids));
      expect(await isSeeded(guest)).toBe(true);
      for (const command of handsOf(before, "efi-options")) await guest.run(command);
      expect(await guest.findings()).not.toContain("efi-options");
      await crashes(guest, crashed);
      return `${wordsFor(before, "pstore")} ${wordsFor(before, "bootloader-seed")}`;
    });
    expect(crashLog(fs.readFileSync(variables))).toContain(crashed);

    const again = newWord("pstore");
    await boot(words, async (guest) => {
      expect((await guest.findings()).filter((id) => ids.includes(id))).toEqual([]);
      expect(await isSeeded(guest)).toBe(false);
      await crashes(guest, again);
    });
    expect(crashLog(fs.readFileSync(variables))).not.toContain(again);
  },
  3 * BOOT_TIMEOUT,
);

/** QEMU's own until version 8, then a package. */
const VIRTIOFSD = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"].find((file) => fs.existsSync(file));

test.skipIf(VIRTIOFSD === undefined)(
  "a directory of the host's, which it reads and writes until it is unmounted",
  async () => {
    const shared = inScratch("shared");
    const socket = inScratch("virtiofs");
    fs.mkdirSync(shared);
    const daemon = spawn(
      VIRTIOFSD ?? "",
      [`--socket-path=${socket}`, "-o", `source=${shared}`, "-o", "sandbox=chroot", "-f"],
      { stdio: "ignore" },
    );
    const ended = once(daemon, "exit");
    while (!isListening(socket)) await new Promise((resolve) => setTimeout(resolve, 25));
    const qemuArguments = [
      ...["-object", "memory-backend-memfd,id=shared,size=1024M,share=on", "-numa", "node,memdev=shared"],
      ...[
        "-chardev",
        `socket,id=share,path=${socket}`,
        "-device",
        "vhost-user-fs-pci,chardev=share,tag=share",
      ],
    ];
    const options = { files: await guestModules(["virtiofs"]), qemuArguments };
    const file = path.join(shared, "of-guest");
    await withDoctorGuest(options, async ({ run, findings }) => {
      /** @returns whether the host reads what the guest writes there, and the guest obeys what the host does. */
      const hostHas = async (): Promise<boolean> => {
        const [written, changed] = [newWord("host-share"), newWord("host-share")];
        await run(`echo ${written} >/mnt/of-guest`);
        const isRead = fs.existsSync(file) && fs.readFileSync(file, "utf8").includes(written);
        fs.writeFileSync(file, changed);
        return (await run("cat /mnt/of-guest")).includes(changed) || isRead;
      };
      await run("insmod /lib/modules/fuse.ko; insmod /lib/modules/virtiofs.ko; mount -t virtiofs share /mnt");
      expect(await hostHas()).toBe(true);
      expect(await findings()).toContain("host-share");
      await run("umount /mnt");
      expect(await findings()).not.toContain("host-share");
      expect(await hostHas()).toBe(false);
    });
    daemon.kill();
    await ended;
  },
  2 * BOOT_TIMEOUT,
);

/** The host's end of a line. */
async function listens(at: string) {
  const socket = net.connect(at);
  await once(socket, "connect");
  let text = "";
  socket.on("data", (chunk) => (text += chunk.toString("latin1")));
  return {
    text: () => text,
    async hears(word: string): Promise<void> {
      while (!text.includes(word)) await once(socket, "data");
    },
    close: () => socket.destroy(),
  };
}

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

test(
  "sealttyd's configuration: whom it lets in, what it proves, which line it has, and as whom it reads there",
  async () => {
    const keys = makeScratch();
    const [roots, alices] = [sshKeygen(keys.path("root")), sshKeygen(keys.path("alice"))];
    const seconds = String(CONNECT_TIMEOUT / 1000);
    /** Runs a command as root there. @returns what it printed, or why it did not run. */
    const asRoot = async (address: string, trust: string[], key: string, ...command: readonly string[]) => {
      const args = [address, ...trust, "--timeout", seconds, "-l", "root", "-i", keys.path(key)];
      const { stdout, stderr } = await runCli(["exec", ...args, "--", ...command]);
      return stdout || stderr;
    };
    const savesPolicy = async (address: string, policy: string): Promise<void> => {
      const { status, stderr } = await runCli([
        "inspect",
        address,
        "--timeout",
        seconds,
        "--save-policy",
        policy,
      ]);
      if (status !== 0) throw new Error(stderr);
    };
    // What a host can put in the guest's place: anybody's machine with the same program and words.
    const host = await startSealttyd({ instance: INSTANCE, authorizedKeys: `${roots}\n` });
    const hosts = `unix:${host.socket}`;
    /** Whether what the kernel says comes out of sealttyd's line, as seen once it came out of hvc0, its console. */
    const mixesIn = async (run: DoctorGuest["run"], vm: Vm, line: string): Promise<boolean> => {
      const word = newWord("sealttyd-kernel-console");
      const console = await listens(vm.hvc0?.unixPath ?? "");
      const own = line === vm.hvc0?.unixPath ? console : await listens(line);
      await run(`echo '<0>${word}' >/dev/kmsg`);
      await console.hears(word);
      own.close();
      console.close();
      return own.text().includes(word);
    };
    const readers = (device: string) =>
      `for p in /proc/[0-9]*; do ls -l $p/fd 2>/dev/null | grep -q ${device} && grep Uid: $p/status; done`;
    const ids = [
      "sealttyd-simulated",
      "sealttyd-any-user",
      "sealttyd-kernel-console",
      "sealttyd-one-process",
    ];
    const put = (text: string) => `cat >${CONFIG} <<'end'\n${text}end\n`;
    const options = {
      tpm: true,
      hvc0: { kind: "unix" },
      words: "console=hvc0 console=ttyS0",
      authorizedKeys: `${roots}\n${alices}\n`,
      files: {
        "/etc/sealtty/keys/root": { data: `${roots}\n`, mode: 0o600 },
        "/etc/sealtty/keys/alice": { data: `${alices}\n`, mode: 0o600 },
      },
    } as const;
    try {
      await withDoctorGuest(options, async ({ vm, run, doctor, findings }) => {
        await run(put(BAD_CONFIG));
        expect(await findings()).toEqual(expect.arrayContaining(ids));
        expect(await mixesIn(run, vm, vm.hvc0?.unixPath ?? "")).toBe(true);
        expect(await run(START)).toContain("sealttyd serves");
        expect(await run(readers("/dev/hvc0"))).toMatch(/^(?:Uid:\t0\t.*\n)+$/);
        const hvc0 = vm.hvc0?.address ?? "";
        const simulated = ["--policy", host.policyFile, "--simulated"]; // its owner could not come in otherwise
        expect(await asRoot(hvc0, simulated, "alice", "id", "-u")).toBe("0\n");
        expect(await asRoot(hosts, simulated, "root", "echo", "host's")).toBe("host's\n");

        await run(`pkill -f sealttyd.js; ${put(WRONG_CONFIG)}`);
        const wrong = await doctor();
        expect(findingsOf(wrong)).toContain("sealttyd-config");
        expect(handsOf(wrong, "sealttyd-config")).toEqual(["sealttyd --check"]);
        const said = wrong.find(({ id }) => id === "sealttyd-config")?.evidence?.[0]?.found;
        expect(await run("node /usr/lib/sealtty/sealttyd.js --check")).toContain(said);

        await run(put(GOOD_CONFIG));
        const left = await findings();
        expect(left.filter((id) => [...ids, "sealttyd-config"].includes(id))).toEqual([]);
        expect(await run(START)).toContain("sealttyd serves");
        const policy = ["--policy", keys.path("tpm.toml")];
        await savesPolicy(vm.address, keys.path("tpm.toml"));
        expect(await asRoot(vm.address, policy, "root", "id", "-u")).toBe("0\n");
        expect(await asRoot(vm.address, policy, "alice", "id", "-u")).toContain("user-refused");
        expect(await asRoot(hosts, policy, "root", "echo", "host's")).toContain("evidence-refused");
        expect(await run(readers("/dev/vport"))).toMatch(/^Uid:\t990\t/m);
        expect(await mixesIn(run, vm, vm.unixPath ?? "")).toBe(false);
      });
    } finally {
      await host.stop();
      keys.remove();
    }
  },
  3 * BOOT_TIMEOUT,
);

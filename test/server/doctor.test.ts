// The doctor: each check finds what is planted, and nothing after it was mended; what `--fix` did `--undo` takes back byte for byte;
// a clean system has no findings; what it shows is harmless, and as documented.

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { inOrder } from "../../server/doctor/edits.ts";
import { PLANTED, PLANTED_ALONE, PLANTED_WORDS } from "../support/planted-findings.ts";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { CLOUD_INIT_FILES } from "../../server/provision/cloud-init.ts";
import { CHECKS } from "../../server/doctor/checks.ts";
import { runDoctor } from "../../server/doctor/command.ts";
import { JOURNAL } from "../../server/doctor/repair.ts";
import { commandWords } from "../../server/doctor/system.ts";
import { Tree } from "../../server/doctor/tree.ts";
import { rootOption } from "../../server/rooted-path.ts";
import { DOCTOR, usageText } from "../../server/options.ts";
import { eventProblem, eventsOf } from "../support/json-events.ts";
import {
  CLEAN,
  type Files,
  GOOD_CONFIG,
  GOOD_WORDS,
  type Planted,
  plant,
  snapshot,
} from "./support/planted-tree.ts";

let root: string;
beforeEach(() => {
  root = fs.mkdtempSync(path.join(tmpdir(), "sealtty-doctor-"));
  fs.chmodSync(root, 0o755); // it stands for "/"
  plant(root, CLEAN);
});
afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

interface Said {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

function doctor(...args: readonly string[]): Said {
  let out = "";
  let err = "";
  const streams = { out: (text: string) => void (out += text), err: (text: string) => void (err += text) };
  const status = runDoctor(["--root", root, ...args], streams);
  return { status, out, err };
}

interface FindingEvent {
  readonly id: string;
  readonly severity: string;
  readonly evidence: readonly { readonly where: string; readonly found: string }[];
  readonly edits: readonly { readonly path: string }[];
  readonly byHand: readonly string[];
}

const eventsIn = ({ out }: Said): Record<string, unknown>[] =>
  out
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

function findings(...args: readonly string[]): FindingEvent[] {
  return eventsIn(doctor("--json", ...args)).filter(
    ({ event }) => event === "finding",
  ) as unknown as FindingEvent[];
}
const ids = (...args: readonly string[]): string[] => findings(...args).map(({ id }) => id);

/** Something wrong, and where it takes more than `--fix`, what a person would do. */
interface Case {
  readonly name?: string;
  readonly files: Files;
  readonly evidence: string | RegExp;
  readonly byHand?: Files;
  readonly asRoot?: true;
  /** Other checks that find it, too. */
  readonly also?: readonly string[];
}

const units = "/usr/lib/systemd/system";
const own = "/etc/systemd/system";
const words = (more: string): Files => ({ "/proc/cmdline": `${GOOD_WORDS} ${more}\n` });
const without = (word: string): Files => ({ "/proc/cmdline": `${GOOD_WORDS.replace(word, "")}\n` });
const good: Files = { "/proc/cmdline": `${GOOD_WORDS}\n` };
const config = (from: string, to: string): Files => ({
  "/etc/sealtty/sealttyd.toml": GOOD_CONFIG.replace(from, to),
});
const goodConfig: Files = { "/etc/sealtty/sealttyd.toml": GOOD_CONFIG };
const service = (text: string): Files => ({
  [`${units}/x.service`]: `[Service]\n${text}\n`,
  [`${own}/multi-user.target.wants/x.service`]: { link: `${units}/x.service` },
});
const module = (file: string): string => `/usr/lib/modules/6.1.0/kernel/${file}`;

const CASES: Readonly<Record<string, readonly Case[]>> = {
  "console-process": [
    {
      files: { "/proc/7/comm": "sh\n", "/proc/7/fd/0": { link: "/dev/ttyS0" } },
      evidence: "sh on /dev/ttyS0",
      byHand: { "/proc/7": null },
    },
    {
      files: { "/proc/8/comm": "sulogin\n", "/proc/8/fd/2": { link: "/dev/hvc0" } },
      evidence: "sulogin on /dev/hvc0",
      byHand: { "/proc/8": null },
    },
  ],
  autologin: [
    {
      files: {
        [`${own}/serial-getty@.service`]: null,
        [`${own}/serial-getty@ttyS0.service.d/auto.conf`]:
          "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root %I\n",
      },
      evidence: "--autologin root",
      also: ["getty-generator"],
    },
  ],
  "debug-shell": [
    {
      files: {
        [`${own}/sysinit.target.wants/debug-shell.service`]: { link: `${units}/debug-shell.service` },
      },
      evidence: "debug-shell.service is wanted",
    },
    { name: "by the command line", files: words("systemd.debug_shell"), evidence: "systemd.debug_shell" },
  ],
  "boot-shell": [
    { files: words("rd.break=pre-mount"), evidence: "rd.break=pre-mount", byHand: good },
    { files: words("init=/bin/bash"), evidence: "init=/bin/bash", byHand: good },
    { files: words("single"), evidence: "single", byHand: good },
    {
      name: "in one of GRUB's entries",
      files: {
        "/boot/grub/grub.cfg": `\tlinux\t/vmlinuz ${GOOD_WORDS}\n\tlinux\t/vmlinuz ${GOOD_WORDS} single\n`,
      },
      evidence: "single",
      byHand: { "/boot/grub/grub.cfg": `\tlinux\t/vmlinuz ${GOOD_WORDS}\n` },
    },
    { files: { "/etc/systemd/system.conf": "[Manager]\nCrashShell=yes\n" }, evidence: "CrashShell=yes" },
  ],
  "initramfs-shell": [
    { files: without("panic=10"), evidence: "has no panic=", byHand: good },
    { name: "taken back by a later word", files: words("panic="), evidence: "has no panic=", byHand: good },
    {
      name: "dracut",
      files: { ...without("rd.shell=0"), "/usr/lib/dracut/dracut-functions.sh": "" },
      evidence: "has no rd.shell=0",
      byHand: good,
    },
    {
      name: "an image that nothing says the command line of",
      files: { "/proc": null },
      evidence: "no command line",
      byHand: { "/etc/kernel/cmdline": GOOD_WORDS },
      also: ["credential-import", "bootloader-seed"],
    },
  ],
  "shutdown-initramfs": [
    {
      files: {
        [`${units}/dracut-shutdown.service`]:
          "[Service]\nExecStop=/usr/lib/dracut/dracut-initramfs-restore\n",
        [`${units}/sysinit.target.wants/dracut-shutdown.service`]: { link: "../dracut-shutdown.service" },
      },
      evidence: "dracut-shutdown.service is wanted",
    },
  ],
  "console-service": [
    {
      files: service("StandardInput=tty-force\nTTYPath=/dev/ttyS0"),
      evidence: "x.service: StandardInput=tty-force",
    },
  ],
  "empty-password": [
    {
      files: { "/etc/shadow": "root::20000:0:99999:7:::\n" },
      evidence: "root has an empty password",
      byHand: { "/etc/shadow": "root:!:20000:0:99999:7:::\n" },
    },
  ],
  "first-boot": [
    {
      files: {
        "/etc/machine-id": "uninitialized\n",
        [`${units}/systemd-firstboot.service`]: "[Service]\nStandardInput=tty\n",
        [`${units}/sysinit.target.wants/systemd-firstboot.service`]: { link: "../systemd-firstboot.service" },
      },
      evidence: "systemd-firstboot.service is wanted",
    },
  ],
  getty: [
    {
      files: {
        [`${own}/getty@.service`]: null,
        [`${own}/getty.target.wants/getty@tty1.service`]: { link: `${units}/getty@.service` },
      },
      evidence: "getty@tty1.service is wanted",
      also: ["virtual-terminals"],
    },
    {
      name: "by the generator, in an instance's own file",
      files: {
        [`${own}/serial-getty@hvc0.service`]: "[Service]\nExecStart=/sbin/agetty hvc0\n",
        "/run/systemd/generator/getty.target.wants/serial-getty@hvc0.service": {
          link: `${units}/serial-getty@.service`,
        },
      },
      evidence: "serial-getty@hvc0.service is wanted",
    },
  ],
  "getty-generator": [
    { files: { [`${own}/serial-getty@.service`]: null }, evidence: "serial-getty@.service is not masked" },
  ],
  "virtual-terminals": [{ files: { [`${own}/getty@.service`]: null }, evidence: "NAutoVTs=6, the default" }],
  inittab: [
    {
      files: { "/etc/inittab": "# comment\nttyS0::askfirst:-/bin/sh\n::sysinit:/etc/rc\n" },
      evidence: "ttyS0::askfirst:-/bin/sh",
      byHand: { "/etc/inittab": "::sysinit:/etc/rc\n" },
    },
  ],
  "recovery-console": [
    {
      files: {
        [`${units}/rescue.service`]:
          "[Service]\nExecStart=-/lib/systemd/systemd-sulogin-shell rescue\nStandardInput=tty-force\n",
      },
      evidence: "rescue.service: StandardInput=tty-force",
    },
  ],
  "passphrase-console": [
    {
      files: {
        [`${units}/systemd-ask-password-console.path`]: "[Path]\n",
        [`${units}/sysinit.target.wants/systemd-ask-password-console.path`]: {
          link: "../systemd-ask-password-console.path",
        },
      },
      evidence: "systemd-ask-password-console.path is wanted",
    },
    {
      name: "and a disk asks",
      files: {
        "/etc/crypttab": "root /dev/vda2 none luks\n",
        [`${units}/systemd-ask-password-console.path`]: "[Path]\n",
        [`${units}/sysinit.target.wants/systemd-ask-password-console.path`]: {
          link: "../systemd-ask-password-console.path",
        },
      },
      evidence: "systemd-ask-password-console.path is wanted",
      byHand: { [`${own}/systemd-ask-password-console.path`]: { link: "/dev/null" } },
    },
  ],
  "kernel-debugger": [
    { files: words("kgdboc=ttyS0"), evidence: "kgdboc=ttyS0", byHand: good },
    { files: { "/sys/module/kgdboc/parameters/kgdboc": "ttyS0\n" }, evidence: "ttyS0" },
  ],
  "kernel-console": [
    { files: words("console=ttyS0,115200"), evidence: "console=ttyS0,115200", byHand: good },
    {
      name: "of a boot to come",
      files: { "/etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet console=hvc0"\n' },
      evidence: "console=hvc0",
      byHand: { "/etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n' },
    },
    {
      name: "that nobody named",
      files: { "/proc/consoles": "tty0                 -WU (EC p  )    4:1\n" },
      evidence: "tty0",
      byHand: { "/proc/consoles": "" },
    },
  ],
  sysrq: [
    { files: { "/proc/sys/kernel/sysrq": "438\n" }, evidence: "438" },
    {
      files: { "/etc/sysctl.d/90-own.conf": "kernel.printk = 0 4 0 7\nkernel.core_pattern = |/bin/false\n" },
      evidence: "nothing sets kernel.sysrq",
    },
    { files: words("sysrq_always_enabled"), evidence: "sysrq_always_enabled", byHand: good },
  ],
  "journal-console": [
    {
      files: { "/etc/systemd/journald.conf.d/a.conf": "[Journal]\nForwardToConsole=yes\n" },
      evidence: "ForwardToConsole=yes",
    },
    {
      files: words("systemd.journald.forward_to_console=1"),
      evidence: "systemd.journald.forward_to_console=1",
      byHand: good,
    },
  ],
  "kernel-log": [
    {
      files: { "/proc/consoles": "hvc0 -W- (E) 229:0\n", "/proc/sys/kernel/printk": "4\t4\t1\t7\n" },
      evidence: "4\\x094\\x091\\x097",
      also: ["kernel-console"],
    },
    {
      name: "of an image",
      files: {
        "/proc": null,
        "/etc/kernel/cmdline": GOOD_WORDS,
        "/etc/sysctl.d/91.conf": "kernel.printk = 4 4 1 7\n",
      },
      evidence: "kernel.printk = 4 4 1 7",
    },
  ],
  "systemd-console": [
    {
      files: { "/etc/systemd/system.conf": "[Manager]\nLogTarget=console\n" },
      evidence: "LogTarget=console",
    },
    { files: words("systemd.log_target=console"), evidence: "systemd.log_target=console", byHand: good },
  ],
  "service-console": [
    {
      files: { [`${units}/cloud-final.service`]: "[Service]\nStandardOutput=journal+console\n" },
      evidence: "cloud-final.service: StandardOutput=journal+console",
    },
    {
      files: { [`${units}/x@.service`]: "[Service]\nStandardError=tty\nTTYPath=/dev/ttyS0\n" },
      evidence: "x@.service: StandardError=tty",
    },
  ],
  "efi-options": [
    {
      files: {
        "/sys/firmware/efi/efivars/SystemdOptions-8cf2644b-4b0b-428f-9387-6d876050dc67":
          "\x07\0\0\0i\0n\0i\0t\0=\0",
        "/sys/firmware/efi/efivars/BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c": "\x07\0\0\0\x01\0",
      },
      evidence: /SystemdOptions-8cf2644b/,
      byHand: {
        "/sys/firmware/efi/efivars/SystemdOptions-8cf2644b-4b0b-428f-9387-6d876050dc67": null,
      },
    },
    {
      name: "a disk to wake a system from",
      files: { "/sys/firmware/efi/efivars/HibernateLocation-8cf2644b-4b0b-428f-9387-6d876050dc67": "" },
      evidence: /HibernateLocation-8cf2644b/,
      byHand: {
        "/sys/firmware/efi/efivars/HibernateLocation-8cf2644b-4b0b-428f-9387-6d876050dc67": null,
      },
    },
  ],
  "host-credentials": [
    {
      files: { "/run/credentials/@system/passwd.hashed-password.root": "$6$SECRET" },
      evidence: "passwd.hashed-password.root",
      byHand: { "/run/credentials": null },
    },
    {
      name: "as SMBIOS strings",
      files: {
        ...without("systemd.import_credentials=no"),
        "/sys/firmware/dmi/entries/11-0/raw": "\u000b\u0005\0io.systemd.credential:login.noauth=SECRET\0\0",
      },
      evidence: "login.noauth",
      byHand: good,
      also: ["credential-import"],
    },
    {
      name: "more of a command line",
      files: { "/sys/firmware/dmi/entries/11-0/raw": "\0io.systemd.stub.kernel-cmdline-extra=SECRET\0\0" },
      evidence: "stub.kernel-cmdline-extra",
      byHand: { "/sys/firmware/dmi": null },
    },
    {
      name: "by fw_cfg",
      files: {
        ...without("systemd.import_credentials=no"),
        "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials/tmpfiles.extra/raw": "SECRET",
      },
      evidence: "tmpfiles.extra",
      byHand: good,
      also: ["credential-import"],
    },
  ],
  "cloud-init": [
    {
      files: {
        "/etc/cloud/cloud.cfg": "users: [default]\n",
        "/dev/disk/by-label/cidata": { link: "../../sr0" },
      },
      evidence: "no datasource_list: all of them",
    },
    {
      name: "a list",
      files: {
        "/etc/cloud/cloud.cfg": "",
        "/etc/cloud/cloud.cfg.d/90.cfg": "datasource_list:\n  - NoCloud\n  - None\n",
      },
      evidence: "datasource_list: NoCloud, None",
    },
    {
      name: "that should wait for the owner's seed, and one of its services does not",
      files: {
        "/etc/cloud/cloud.cfg": "",
        ...Object.fromEntries([...CLOUD_INIT_FILES].filter(([file]) => !file.includes("/cloud-final."))),
      },
      evidence: "datasource_list: NoCloud",
    },
    {
      name: "that should take the owner's seed alone, and a later file says another thing",
      files: {
        "/etc/cloud/cloud.cfg": "",
        ...Object.fromEntries(CLOUD_INIT_FILES),
        "/etc/cloud/cloud.cfg.d/zz.cfg": "datasource: {NoCloud: {fs_label: cidata}}\n",
      },
      evidence: "datasource_list: NoCloud",
    },
    {
      name: "by the command line",
      files: {
        ...words("ds=nocloud;s=http://192.0.2.1/"),
        "/etc/cloud/cloud.cfg": "datasource_list: [ None ]\n",
      },
      evidence: "ds=nocloud;s=http://192.0.2.1/",
      byHand: good,
    },
  ],
  "guest-agent": [
    {
      files: { [`${units}/qemu-guest-agent.service`]: "[Service]\n" },
      evidence: "qemu-guest-agent.service: runs any program",
    },
    { files: { "/proc/9/comm": "qemu-ga\n" }, evidence: "qemu-ga runs", byHand: { "/proc/9": null } },
  ],
  "cloud-agent": [
    {
      files: { [`${units}/walinuxagent.service`]: "[Service]\n" },
      evidence: "walinuxagent.service: makes users",
      byHand: { [`${own}/walinuxagent.service`]: { link: "/dev/null" } },
    },
  ],
  "cloud-init-applied": [
    {
      name: "beside one of the owner's",
      files: {
        "/var/lib/cloud/instance/datasource":
          "DataSourceNoCloud: DataSourceNoCloud [seed=dmi,/var/lib/cloud/seed/nocloud][dsmode=net]\n",
      },
      evidence: "seed=dmi",
      byHand: { "/var/lib/cloud": null },
    },
    {
      files: {
        "/var/lib/cloud/instance/datasource":
          "DataSourceNoCloud: DataSourceNoCloud [seed=/dev/sr0][dsmode=net]\n",
      },
      evidence: "seed=/dev/sr0",
      byHand: { "/var/lib/cloud": null },
    },
  ],
  vsock: [
    { files: { "/usr/lib/systemd/system-generators/systemd-ssh-generator": "" }, evidence: "not masked" },
    {
      files: { "/run/systemd/generator/sshd-vsock.socket": "[Socket]\nListenStream=vsock::22\nAccept=yes\n" },
      evidence: "sshd-vsock.socket listens on vsock",
    },
  ],
  "host-share": [
    {
      files: { "/proc/mounts": "share /srv 9p rw 0 0\n" },
      evidence: "/srv (9p)",
      byHand: { "/proc/mounts": "" },
    },
  ],
  "credential-import": [
    {
      files: without("systemd.import_credentials=no"),
      evidence: "has no systemd.import_credentials=no",
      byHand: good,
    },
    {
      name: "taken back by a later word",
      files: words("systemd.import_credentials=yes"),
      evidence: "has no systemd.import_credentials=no",
      byHand: words("systemd.import_credentials=yes systemd.import_credentials=no"),
    },
    {
      name: "taken back by a later word with the other sign in its name",
      files: words("systemd.import-credentials=yes"),
      evidence: "has no systemd.import_credentials=no",
      byHand: words("systemd.import-credentials=yes systemd.import-credentials=no"),
    },
  ],
  "guest-helper": [
    { files: { [`${units}/spice-vdagentd.service`]: "[Service]\n" }, evidence: "spice-vdagentd.service" },
    {
      files: { "/proc/9/comm": "hv_kvp_daemon\n" },
      evidence: "hv_kvp_daemon runs",
      byHand: { "/proc/9": null },
    },
  ],
  swap: [
    {
      files: { "/proc/swaps": "Filename Type Size Used Priority\n/dev/vda2 partition 100 0 -2\n" },
      evidence: "/dev/vda2 (partition)",
      byHand: { "/proc/swaps": "Filename Type Size Used Priority\n" },
    },
    {
      name: "a file on a plain disk",
      files: {
        "/proc/swaps": "Filename Type Size Used Priority\n/swapfile file 100 0 -2\n",
        "/proc/self/mountinfo": "22 1 254:1 / / rw - ext4 /dev/vda1 rw\n",
        "/sys/dev/block/254:1": { link: "../../devices/pci0/virtio0/block/vda/vda1" },
      },
      evidence: "/swapfile (file)",
      byHand: { "/proc/swaps": "Filename Type Size Used Priority\n" },
    },
    {
      name: "of an image",
      files: {
        "/proc": null,
        "/etc/kernel/cmdline": GOOD_WORDS,
        "/etc/fstab": "UUID=1 none swap sw 0 0\n",
      },
      evidence: "UUID=1",
      byHand: { "/etc/fstab": "" },
      also: ["hibernation"],
    },
  ],
  hibernation: [
    { files: words("resume=UUID=1"), evidence: "resume=UUID=1", byHand: words("noresume") },
    {
      name: "initramfs-tools by its configuration",
      files: {
        "/etc/initramfs-tools/initramfs.conf": "MODULES=most\n",
        "/etc/initramfs-tools/conf.d/resume": "RESUME=UUID=1\n",
      },
      evidence: "RESUME=UUID=1",
      byHand: { "/etc/initramfs-tools/conf.d/resume": "RESUME=none\n" },
    },
    {
      name: "initramfs-tools by itself",
      files: {
        "/etc/initramfs-tools/initramfs.conf": "MODULES=most\n",
        "/etc/fstab": "# swap\n/dev/mapper/safe none swap sw 0 0\n",
      },
      evidence: "/dev/mapper/safe none swap",
      byHand: words("noresume"),
    },
  ],
  "evidence-device": [
    { files: { "/dev/sev-guest": { text: "", mode: 0o666 } }, evidence: "mode 0666" },
    {
      name: "by a rule",
      files: {
        "/usr/lib/udev/rules.d/90-tpm.rules": 'KERNEL=="tpmrm[0-9]*", SUBSYSTEM=="tpmrm", MODE="0666"\n',
      },
      evidence: "tpmrm0: MODE 0666",
    },
    {
      name: "by a rule with a set and a choice",
      files: { "/usr/lib/udev/rules.d/90-tpm.rules": 'KERNEL=="x|t[!a-o]m?", MODE="0644"\n' },
      evidence: "tpm0: MODE 0644",
    },
  ],
  "virtio-rng": [
    {
      files: {
        "/sys/class/misc/hw_random/rng_current": "virtio_rng.0\n",
        "/sys/class/misc/hw_random/rng_quality": "1000\n",
      },
      evidence: "virtio_rng.0, quality 1000",
    },
    { files: { [module("drivers/char/hw_random/virtio-rng.ko.xz")]: "" }, evidence: "may be loaded" },
    {
      name: "built in",
      files: {
        "/sys/class/misc/hw_random/rng_current": "virtio_rng.0\n",
        "/sys/class/misc/hw_random/rng_quality": "1000\n",
        "/usr/lib/modules/6.12/modules.builtin": "kernel/drivers/char/hw_random/virtio-rng.ko\n",
      },
      evidence: "built in",
      byHand: words("initcall_blacklist=virtio_rng_driver_init"),
    },
  ],
  "cpu-random": [{ files: words("random.trust_cpu=off"), evidence: "random.trust_cpu=off", byHand: good }],
  "core-dumps": [
    { files: { "/proc/sys/kernel/core_pattern": "core\n" }, evidence: "core" },
    {
      files: { "/etc/sysctl.d/99-core.conf": "kernel.core_pattern=|/lib/systemd/systemd-coredump %P %u\n" },
      evidence: "systemd-coredump",
    },
  ],
  "crash-kernel": [
    { files: words("crashkernel=256M"), evidence: "crashkernel=256M", byHand: good },
    {
      files: { "/sys/kernel/kexec_crash_loaded": "1\n" },
      evidence: "1",
      byHand: { "/sys/kernel/kexec_crash_loaded": "0\n" },
    },
  ],
  pstore: [
    {
      files: { "/sys/module/pstore/parameters/backend": "efi_pstore\n" },
      evidence: "efi_pstore",
      byHand: { "/sys/module/pstore/parameters/backend": "(null)\n" },
    },
  ],
  "bootloader-seed": [
    {
      files: without("random.trust_bootloader=off"),
      evidence: "has no random.trust_bootloader=off",
      byHand: good,
    },
  ],
  balloon: [
    { files: { [module("drivers/virtio/virtio_balloon.ko")]: "" }, evidence: "may be loaded" },
    {
      files: { "/sys/bus/virtio/drivers/virtio_balloon/virtio3": { link: "../../../../devices/virtio3" } },
      evidence: "in use",
      byHand: { "/sys/bus/virtio": null },
    },
    {
      name: "built in",
      files: { "/usr/lib/modules/6.12/modules.builtin": "kernel/drivers/virtio/virtio_balloon.ko\n" },
      evidence: "built in",
      byHand: words("initcall_blacklist=x,virtio_balloon_driver_init initcall_blacklist=y"), // they add up
    },
  ],
  "sealttyd-simulated": [
    {
      files: config('type = "tpm"', 'type = "simulated"\ninstance = "x"\ni_know_this_proves_nothing = true'),
      evidence: "simulated",
      byHand: goodConfig,
    },
  ],
  "sealttyd-files": [
    { files: { "/etc/sealtty/authorized_keys": { text: "", mode: 0o664 } }, evidence: "mode 0664" },
    {
      name: "that a link leads to",
      files: {
        "/etc/sealtty/authorized_keys": { link: "../../srv/keys/owner" },
        "/srv/keys/owner": { text: "", mode: 0o666 },
      },
      evidence: "mode 0666",
    },
    {
      name: "behind a link of another user's",
      asRoot: true,
      files: {
        "/etc/sealtty/authorized_keys": { link: "/srv/keys", uid: 12_345 },
        "/srv/keys": { text: "", mode: 0o644 },
      },
      evidence: "a link, belongs to user 12345",
      byHand: { "/etc/sealtty/authorized_keys": "" },
    },
    {
      name: "of another user",
      asRoot: true,
      files: { "/etc/sealtty/authorized_keys": { text: "", mode: 0o644, uid: 12_345 } },
      evidence: "belongs to user 12345",
      byHand: { "/etc/sealtty/authorized_keys": "" },
    },
  ],
  "sealttyd-config": [{ files: config("[pipe]", "[pip]"), evidence: "pip", byHand: goodConfig }],
  "sealttyd-any-user": [{ files: config('["root"]', '["*"]'), evidence: '["*"]', byHand: goodConfig }],
  "sealttyd-off": [
    {
      files: { "/etc/sealtty/sealttyd.toml": null },
      evidence: "is not there",
      byHand: goodConfig,
    },
    {
      name: "that nothing wants",
      files: {
        [`${own}/sysinit.target.wants`]: null,
        [`${own}/rescue.target.wants`]: null,
        [`${own}/emergency.target.wants`]: null,
      },
      evidence: "nothing wants it",
      byHand: { [`${own}/sysinit.target.wants/sealttyd.service`]: { link: `${units}/sealttyd.service` } },
    },
  ],
  "sealttyd-one-process": [
    {
      files: config("[users]", '[daemon]\nuser = "root"\n[users]'),
      evidence: 'user = "root"',
      byHand: goodConfig,
    },
  ],
  "sealttyd-kernel-console": [
    {
      files: config(
        'type = "virtio"\nname = "sealtty.0"',
        'type = "tty"\ndevice = "/dev/hvc0"\narmour_only = true',
      ),
      evidence: "/dev/hvc0",
      byHand: goodConfig,
    },
  ],
};

test("a clean system has no findings, and every check has cases", () => {
  const said = doctor();
  expect(said.out).toBe(`${CHECKS.length} checks, 0 findings, 0 not looked at.\n`);
  expect(said).toMatchObject({ status: 0, err: "" });
  expect(Object.keys(CASES).sort()).toEqual(CHECKS.map(({ id }) => id).sort());
});

test("a console on the machine's own screen and keys is no finding, while it serves either", () => {
  plant(root, {
    ...config('type = "virtio"\nname = "sealtty.0"', 'type = "framebuffer"\ninput = "tablet"'),
    "/proc/7/comm": "node\n",
    "/proc/7/fd/0": { link: "/dev/null" },
    "/proc/7/fd/20": { link: "/dev/fb0" },
    "/proc/7/fd/21": { link: "/dev/input/event3" },
    "/run/sealtty/console.json": "{}",
  });
  expect(doctor()).toMatchObject({ status: 0, err: "", out: expect.stringContaining(" 0 findings,") });
});

const isRoot = process.getuid?.() === 0;
const cases = CHECKS.flatMap((check) =>
  (CASES[check.id] ?? []).map((each, i) => ({ label: `${check.id} ${each.name ?? i + 1}`, check, ...each })),
);

describe("each check", () => {
  test.each(cases.filter(({ asRoot }) => isRoot || asRoot === undefined))(
    "$label: found; mended, and not found any more; undone byte for byte",
    (one) => {
      const { check, files, evidence, byHand, also = [] } = one;
      plant(root, files);
      const found = findings();
      expect(found.map(({ id }) => id).sort()).toEqual([check.id, ...also].sort());
      const finding = found.find(({ id }) => id === check.id) as FindingEvent;
      expect(finding.severity).toBe(check.severity);
      expect(
        finding.evidence.some(
          ({ found }) => found.match(evidence) !== null || found.includes(String(evidence)),
        ),
      ).toBe(true);

      const before = snapshot(root);
      const fixed = eventsIn(doctor("--fix", "--json", ...also.flatMap((id) => ["--accept", id])));
      expect(fixed.filter(({ event, done }) => event === "change" && done !== true)).toEqual([]);
      expect(fixed.filter(({ event }) => event === "held-back")).toEqual([]);
      if (finding.edits.length === 0) expect(snapshot(root)).toEqual(before);
      // What is still found is what the finding said has to be done by hand.
      expect(ids().includes(check.id)).toBe(finding.byHand.length > 0);
      expect(finding.byHand.length > 0).toBe(byHand !== undefined);
      expect(doctor("--undo").status).toBe(0);
      expect(snapshot(root)).toEqual(before);

      if (byHand === undefined) return;
      doctor("--fix", ...also.flatMap((id) => ["--accept", id]));
      plant(root, byHand);
      expect(ids()).not.toContain(check.id);
    },
  );

  test.each(CHECKS)("$id: says truly how far --fix goes", ({ id, repair }) => {
    const byHand = (CASES[id] ?? []).map((each) => each.byHand !== undefined);
    expect(repair).toBe(
      byHand.every((hand) => hand) ? "hand" : byHand.some((hand) => hand) ? "part" : "whole",
    );
  });

  test("titles end without a full stop, reasons with one; ids are words", () => {
    for (const { id, title, why } of CHECKS) {
      expect(id).toMatch(/^[a-z]+(?:-[a-z]+)*$/);
      expect(title).not.toMatch(/\.$/);
      expect(why).toMatch(/\.\)?$/);
    }
    expect(new Set(CHECKS.map(({ id }) => id)).size).toBe(CHECKS.length);
  });
});

describe("what is good is not found", () => {
  const swapOn = (device: string, type = "partition"): Files => ({
    "/proc/swaps": `Filename Type Size Used Priority\n${device} ${type} 100 0 -2\n`,
  });
  const crypt: Files = { "/sys/class/block/dm-0/dm/uuid": "CRYPT-LUKS2-0-root\n" };
  test.each<[string, Files]>([
    ["swap on dm-crypt", { ...swapOn("/dev/dm-0"), ...crypt }],
    ["swap on zram", swapOn("/dev/zram0")],
    [
      "swap on LVM on dm-crypt, by a link",
      {
        ...swapOn("/dev/mapper/vg-swap"),
        ...crypt,
        "/dev/mapper/vg-swap": { link: "../dm-1" },
        "/sys/class/block/dm-1/dm/uuid": "LVM-x\n",
        "/sys/class/block/dm-1/slaves/dm-0": { link: "../../dm-0" },
      },
    ],
    [
      "a swap file on an encrypted disk",
      {
        ...swapOn("/swapfile", "file"),
        ...crypt,
        "/proc/self/mountinfo": "22 1 254:0 / / rw - ext4 /dev/dm-0 rw\n",
        "/sys/dev/block/254:0": { link: "../../devices/virtual/block/dm-0" },
      },
    ],
    [
      "an image whose swap crypttab encrypts",
      {
        "/proc": null,
        "/etc/kernel/cmdline": GOOD_WORDS,
        "/etc/crypttab": "swap /dev/vda2 /dev/urandom swap\n",
        "/etc/fstab": "/dev/mapper/swap none swap sw 0 0\n",
      },
    ],
    ["cloud-init without a source", { "/etc/cloud/cloud.cfg": "datasource_list: [ None ]\n" }],
    [
      "cloud-init that waits for the owner's seed, whatever the command line says",
      {
        ...words("ds=nocloud;s=http://192.0.2.1/"),
        "/etc/cloud/cloud.cfg": "datasource_list: [ Ec2 ]\n",
        "/etc/cloud/cloud.cfg.d/90.cfg": "datasource_list: [ Ec2 ]\n",
        ...Object.fromEntries(CLOUD_INIT_FILES),
        "/var/lib/cloud/instance/datasource":
          "DataSourceNoCloud: DataSourceNoCloud [seed=/var/lib/cloud/seed/nocloud,ds_config_seedfrom,/var/lib/cloud/seed/nocloud/][dsmode=net]\n",
      },
    ],
    ["cloud-init, switched off", { "/etc/cloud/cloud.cfg": "", "/etc/cloud/cloud-init.disabled": "" }],
    [
      "cloud-init with a seed of the owner's",
      {
        "/var/lib/cloud/instance/datasource":
          "DataSourceNoCloud: DataSourceNoCloud [seed=/var/lib/cloud/seed/nocloud][dsmode=net]\n",
      },
    ],
    [
      "systemd-coredump that keeps nothing",
      {
        "/proc/sys/kernel/core_pattern": "|/usr/lib/systemd/systemd-coredump %P\n",
        "/etc/systemd/coredump.conf": "[Coredump]\nStorage=none\n",
      },
    ],
    [
      "drivers that modprobe never loads",
      {
        [module("drivers/char/hw_random/virtio-rng.ko")]: "",
        [module("drivers/virtio/virtio_balloon.ko")]: "",
        "/etc/modprobe.d/own.conf": "blacklist virtio-rng\ninstall virtio_balloon /bin/false\n",
      },
    ],
    [
      "a virtio-rng that is credited with nothing",
      {
        "/sys/class/misc/hw_random/rng_current": "virtio_rng.0\n",
        "/sys/class/misc/hw_random/rng_quality": "0\n",
      },
    ],
    [
      "a forwarding that a later file takes back",
      {
        "/usr/lib/systemd/journald.conf.d/10.conf": "[Journal]\nForwardToConsole=yes\n",
        "/etc/systemd/journald.conf.d/20.conf": "[Journal]\nForwardToConsole=no\n",
      },
    ],
    [
      "a file that a link to /dev/null takes away",
      {
        "/usr/lib/systemd/journald.conf.d/10.conf": "[Journal]\nForwardToConsole=yes\n",
        "/etc/systemd/journald.conf.d/10.conf": { link: "/dev/null" },
      },
    ],
    [
      "a wish that a link to /dev/null takes away",
      {
        [`${units}/sysinit.target.wants/debug-shell.service`]: { link: "../debug-shell.service" },
        [`${own}/sysinit.target.wants/debug-shell.service`]: { link: "/dev/null" },
      },
    ],
    [
      "a rule that a later one takes back",
      {
        "/usr/lib/udev/rules.d/50-tpm.rules": 'KERNEL=="tpm*", MODE="0666"\n',
        "/etc/udev/rules.d/60-tpm.rules": 'KERNEL=="tpm0|tpmrm0", MODE="0660"\n',
      },
    ],
    [
      "dracut's initramfs with sealtty in it, whatever the command line says, and none when the machine stops",
      {
        ...without("rd.shell=0"),
        "/usr/lib/dracut/dracut-functions.sh": "",
        "/usr/lib/dracut/modules.d/99sealtty/module-setup.sh": "",
        "/etc/sealtty/initramfs.toml": "",
        [`${units}/dracut-shutdown.service`]: "",
        [`${own}/dracut-shutdown.service`]: { link: "/dev/null" },
        [`${units}/sysinit.target.wants/dracut-shutdown.service`]: { link: "../dracut-shutdown.service" },
      },
    ],
    [
      "initramfs-tools' initramfs with sealtty in it, whose hook keeps its shell shut",
      {
        ...without("panic=10"),
        "/usr/share/initramfs-tools/hooks/sealtty": "",
        "/etc/sealtty/initramfs.toml": "",
        "/etc/initramfs-tools/conf.d/resume": "RESUME=UUID=1\n",
        "/etc/initramfs-tools/initramfs.conf": "",
      },
    ],
    [
      "a masked agent",
      {
        [`${units}/qemu-guest-agent.service`]: "",
        [`${own}/qemu-guest-agent.service`]: { link: "/dev/null" },
      },
    ],
    [
      "a kernel without SysRq",
      {
        "/boot/config-6.1": "# CONFIG_MAGIC_SYSRQ is not set\n",
        "/proc/sys/kernel/sysrq": null,
        "/etc/sysctl.d/91.conf": "kernel.sysrq = 1\n",
      },
    ],
    [
      "a terminal that is no console of the host's",
      { "/proc/7/comm": "bash\n", "/proc/7/fd/0": { link: "/dev/pts/0" } },
    ],
    [
      "a ssh generator that is switched off",
      { "/usr/lib/systemd/system-generators/systemd-ssh-generator": "", ...words("systemd.ssh_auto=no") },
    ],
  ])("%s", (_, files) => {
    plant(root, files);
    expect(findings()).toEqual([]);
  });
});

/** Several things at once, all of which --fix mends: of each kind of change one, and a file that is replaced. */
const MANY: Files = {
  "/proc/sys/kernel/sysrq": "438\n",
  [`${own}/getty@.service`]: "[Service]\nExecStart=/sbin/agetty\n",
  [`${own}/getty.target.wants/getty@tty1.service`]: { link: `${own}/getty@.service` },
  [`${units}/qemu-guest-agent.service`]: "[Service]\n",
  "/dev/tdx_guest": { text: "", mode: 0o666 },
};

test("docs/doctor.md says which ones tests plant in VMs, all of them, and which of them a host makes use of there", () => {
  const text = fs.readFileSync(path.resolve(import.meta.dirname, "../../docs/doctor.md"), "utf8");
  const [, section = ""] = /## What a test has seen[^\n]*\n([^]*?)\n## /.exec(text) ?? [];
  const [used, found, left, ofWords, usedAlone, foundAlone] = section
    .split(
      /, of these: |(?:no more found after it|not found after the mend), [^`]*|whoever writes the command line: |of a command line: /,
    )
    .slice(1)
    .map((part) => [...part.matchAll(/`([a-z-]+)`/g)].flatMap(([, id = ""]) => id));
  const planted = (which: (one: (typeof PLANTED)[number]) => boolean) =>
    PLANTED.filter(which).map(({ id }) => id);
  const alone = (isUsed: boolean) => Object.keys(PLANTED_ALONE).filter((id) => PLANTED_ALONE[id] === isUsed);
  expect(used).toEqual(planted(({ use }) => use !== undefined));
  expect(found).toEqual(planted(({ use, stays }) => use === undefined && stays !== true));
  expect(left).toEqual(planted(({ stays }) => stays === true));
  expect(ofWords).toEqual(Object.keys(PLANTED_WORDS));
  expect(usedAlone?.toSorted()).toEqual(alone(true).toSorted());
  expect(foundAlone?.toSorted()).toEqual(alone(false).toSorted());
  const all = [...planted(() => true), ...Object.keys(PLANTED_WORDS), ...Object.keys(PLANTED_ALONE)];
  expect(CHECKS.map(({ id }) => id).filter((id) => !all.includes(id))).toEqual([]);
});

test("what is to be stopped is stopped before systemd reads that it is masked: then it does not know any more how", () => {
  const reload = "systemctl daemon-reload";
  const [a, b] = ["systemctl stop a.service", "systemctl stop b@c.service"];
  // And again behind that: a socket of theirs may have started them in between.
  const between = [reload, "update-initramfs -u"];
  expect(inOrder([a, ...between, b, reload])).toEqual([a, b, ...between, a, b]);
});

test("commands for an image are said to be for it, and what its next boot needs to be that", () => {
  plant(root, {
    ...good,
    [module("drivers/char/hw_random/virtio-rng.ko")]: "",
    "/usr/sbin/update-initramfs": "",
  });
  const { out } = doctor("--fix");
  expect(out).toMatch(/Needed before the next boot\. [^\n]* measured[^\n]*\n {4}update-initramfs -u\n\n/);
  expect(out).not.toContain("To have it at once");
});

describe("--fix and --undo", () => {
  test("of many things: a second fix changes nothing, and one undo takes all of it back", () => {
    plant(root, MANY);
    const before = snapshot(root);
    const fixed = doctor("--fix");
    expect(fixed.status).toBe(0);
    expect(fixed.out).not.toContain("systemctl stop"); // of an image nothing runs, and here would be another machine's
    const after = snapshot(root);
    expect(doctor("--fix").out).not.toContain("changed");
    expect(snapshot(root)).toEqual(after);
    // What comes along later is undone together with it.
    plant(root, { "/dev/sev-guest": { text: "", mode: 0o666 } });
    expect(doctor("--fix").status).toBe(0);
    expect(doctor("--undo").status).toBe(0);
    expect(snapshot(root)).toEqual({ ...before, "dev/sev-guest": before["dev/tdx_guest"] });
    expect(doctor("--undo")).toMatchObject({ status: 0, out: "There is nothing to undo.\n" });
  });

  test("a file that was there before the first fix comes back, whatever it became before the second", () => {
    const file = "/etc/sysctl.d/zz-sealtty-doctor-kernel-sysrq.conf";
    plant(root, { [file]: { text: "# mine\nkernel.sysrq = 16\n", mode: 0o640 } });
    const before = snapshot(root);
    expect(doctor("--fix").status).toBe(0);
    fs.writeFileSync(path.join(root, file), "kernel.sysrq = 1\n");
    expect(doctor("--fix").status).toBe(0);
    expect(doctor("--undo").status).toBe(0);
    expect(snapshot(root)).toEqual(before);
  });

  test("the backup is root's alone", () => {
    plant(root, MANY);
    doctor("--fix");
    expect(fs.statSync(path.join(root, JOURNAL)).mode & 0o777).toBe(0o600);
  });

  test("--dry-run changes nothing, of either", () => {
    plant(root, MANY);
    const before = snapshot(root);
    expect(doctor("--fix", "--dry-run")).toMatchObject({ status: 1 });
    expect(snapshot(root)).toEqual(before);
    doctor("--fix");
    const fixed = snapshot(root);
    const said = doctor("--undo", "--dry-run");
    expect(said.status).toBe(0);
    expect(said.out).toContain("not changed: /dev/tdx_guest: as it was (dry run)");
    expect(snapshot(root)).toEqual(fixed);
  });

  test("what somebody changed afterwards is left alone and said; the rest is undone, and this once it fits", () => {
    plant(root, MANY);
    const before = snapshot(root);
    doctor("--fix");
    const file = "/etc/sysctl.d/90-own.conf";
    const mask = path.join(root, own, "qemu-guest-agent.service");
    fs.rmSync(mask);
    fs.writeFileSync(mask, "[Service]\nExecStart=/mine\n");
    const said = doctor("--undo");
    expect(said.status).toBe(1);
    expect(said.out).toContain(
      "qemu-guest-agent.service: taken away (it was changed since; compare, and decide yourself)",
    );
    expect(fs.readFileSync(mask, "utf8")).toContain("/mine");
    expect(fs.existsSync(path.join(root, file))).toBe(true);
    fs.rmSync(mask);
    expect(doctor("--undo").status).toBe(0);
    expect(snapshot(root)).toEqual(before);
  });

  test("a fix that was cut off can be undone", () => {
    plant(root, MANY);
    const before = snapshot(root);
    doctor("--fix");
    // As if it had come no further than the first of its changes.
    fs.rmSync(path.join(root, own, "qemu-guest-agent.service"));
    fs.chmodSync(path.join(root, "dev/tdx_guest"), 0o666);
    expect(doctor("--undo").status).toBe(0);
    expect(snapshot(root)).toEqual(before);
  });

  test("a device or a kernel's value that is gone since is no obstacle", () => {
    plant(root, MANY);
    doctor("--fix");
    plant(root, { "/dev/tdx_guest": null, "/proc/sys/kernel/sysrq": null });
    expect(doctor("--undo").status).toBe(0);
  });

  test("without a place for the backup nothing is changed", () => {
    plant(root, { ...MANY, "/var": "a file" });
    const before = snapshot(root);
    const said = doctor("--fix");
    expect(said.status).toBe(1);
    expect(said.err).toContain("Nothing was changed");
    expect(snapshot(root)).toEqual(before);
  });

  test("a change that cannot be made is said, and the others are made", () => {
    plant(root, { ...MANY, [`${own}/qemu-guest-agent.service/`]: "" });
    const said = doctor("--fix");
    expect(said.status).toBe(1);
    expect(said.out).toContain("not changed: /etc/systemd/system/qemu-guest-agent.service");
    expect(fs.readlinkSync(path.join(root, own, "getty@.service"))).toBe("/dev/null");
  });

  test.each([
    ["that is no JSON", "x", "it is not JSON"],
    ["of another form", '{"version":1,"directories":["etc"],"entries":[]}', "form"],
    [
      "with a state that is none",
      '{"version":1,"directories":[],"entries":[{"path":"/x","before":{"kind":"file"},"after":{"kind":"absent"}}]}',
      "form",
    ],
  ])("a backup %s is not used", (_, text, why) => {
    plant(root, { [JOURNAL]: { text, mode: 0o600 } });
    expect(doctor("--undo")).toMatchObject({ status: 1, err: expect.stringContaining(why) as string });
  });

  test("a backup that others could write is not used: it says what root is to restore", () => {
    plant(root, MANY);
    doctor("--fix");
    fs.chmodSync(path.join(root, JOURNAL), 0o622);
    expect(doctor("--undo").err).toContain("others can write it");
    expect(doctor("--fix", "--accept", "sysrq").err).toContain("others can write it");
  });
});

describe("the last way in", () => {
  const getty: Files = {
    [`${own}/getty@.service`]: null,
    [`${own}/getty.target.wants/getty@tty1.service`]: { link: `${units}/getty@.service` },
    [`${units}/rescue.service`]: "[Service]\nStandardInput=tty-force\n",
  };

  test("no console is closed where no sealttyd is enabled, or its configuration is wrong; --lock-out closes it", () => {
    for (const missing of [
      {
        [`${own}/sysinit.target.wants`]: null,
        [`${own}/rescue.target.wants`]: null,
        [`${own}/emergency.target.wants`]: null,
      },
      { "/etc/sealtty/sealttyd.toml": "x" },
      { [`${own}/sealttyd.service`]: { link: "/dev/null" } },
    ] satisfies Files[]) {
      plant(root, { ...getty, ...missing });
      const before = snapshot(root);
      const said = doctor("--fix");
      expect(said.out).toContain("held back: getty: no sealttyd is enabled here");
      expect(snapshot(root)).toEqual(before);
      expect(doctor("--fix", "--lock-out").out).not.toContain("held back");
      expect(ids()).not.toContain("getty");
      doctor("--undo");
      plant(root, { [`${own}/sealttyd.service`]: null, ...CLEAN });
    }
  });

  test("recovery stays where sealttyd does not run in rescue and emergency mode", () => {
    plant(root, { ...getty, [`${own}/rescue.target.wants`]: null });
    expect(doctor("--fix").out).toContain(
      "held back: recovery-console: no sealttyd is enabled for rescue.target",
    );
    expect(ids()).toEqual(["recovery-console"]);
  });
});

describe("an image is not trusted", () => {
  test("no link leads out of it, neither when it is looked at nor when it is mended", () => {
    const outside = fs.mkdtempSync(path.join(tmpdir(), "sealtty-outside-"));
    try {
      plant(outside, { "/shadow": "root::1\n", "/system/qemu-guest-agent.service": "mine" });
      plant(root, {
        ...MANY,
        "/etc/shadow": { link: path.join(outside, "shadow") },
        "/etc/sysctl.d": null,
        "/var/lib": { link: "../../../../../../../../../../tmp" },
      });
      fs.rmSync(path.join(root, "etc/systemd/system"), { recursive: true });
      fs.symlinkSync(path.join(outside, "system"), path.join(root, "etc/systemd/system"));
      const before = snapshot(outside);
      doctor("--fix", "--lock-out");
      expect(snapshot(outside)).toEqual(before);
      expect(fs.existsSync(path.join(root, "tmp/sealtty/doctor/undo.json"))).toBe(true);
    } finally {
      fs.rmSync(outside, { recursive: true });
    }
  });

  test("who logs in is judged where links lead, inside of the image, and on all the way there", () => {
    plant(root, {
      "/etc/sealtty/authorized_keys": { link: "/var/keys/owner" },
      "/var/keys": { link: "../../../../srv/a/b" }, // not above the image
      "/srv/a/b/owner": { link: "../../c/real" },
      "/srv/c/real": "",
    });
    expect(ids()).toEqual([]);
    const places = ["/srv/a", "/srv/a/b", "/srv/c", "/srv/c/real", "/var", "/srv"];
    for (const place of places) {
      const at = path.join(root, place);
      const { mode } = fs.statSync(at);
      fs.chmodSync(at, mode | 0o002);
      expect(findings().map(({ id, evidence, edits }) => [id, evidence[0]?.where, edits[0]?.path])).toEqual([
        ["sealttyd-files", place, place],
      ]);
      expect(doctor("--fix").status).toBe(0);
      expect(fs.statSync(at).mode).toBe(mode);
      expect(doctor("--undo").status).toBe(0);
      fs.chmodSync(at, mode);
    }
    // Where nothing is yet, whoever could make it is found.
    plant(root, { "/srv/c/real": null });
    expect(ids()).toEqual([]);
    fs.chmodSync(path.join(root, "srv/c"), 0o777);
    expect(findings()[0]?.evidence).toEqual([{ where: "/srv/c", found: "mode 0777" }]);
    plant(root, { "/srv/c/real": { link: "real" } });
    expect(doctor().out).toContain("not looked at: /etc/sealtty/authorized_keys: ELOOP");
  });

  test("nobody who owns a directory on the way leads a change of mode elsewhere, then or when it is undone", () => {
    const mode = (place: string): number => fs.statSync(path.join(root, place)).mode & 0o777;
    const ownersTrick = (): void => {
      if (!fs.existsSync(path.join(root, "home/a/d"))) return;
      fs.renameSync(path.join(root, "home/a/d"), path.join(root, "home/a/old"));
      fs.symlinkSync("/etc", path.join(root, "home/a/d"));
    };
    plant(root, {
      "/etc/sealtty/authorized_keys": { link: "/home/a/d/passwd" },
      "/home/a/d/passwd": { text: "", mode: 0o666 },
    });
    expect(doctor("--fix").status).toBe(0);
    expect([mode("/home/a/d/passwd"), mode("/etc/passwd")]).toEqual([0o644, 0o644]);
    ownersTrick();
    const undone = doctor("--undo");
    expect(undone.out).toContain("not changed: /home/a/d/passwd: as it was (there is a link on the way)");
    expect([undone.status, mode("/etc/passwd")]).toEqual([1, 0o644]);

    // Between the look and the change, while the journal is written.
    fs.unlinkSync(path.join(root, "home/a/d"));
    fs.renameSync(path.join(root, "home/a/old"), path.join(root, "home/a/d"));
    fs.chmodSync(path.join(root, "home/a/d/passwd"), 0o666);
    fs.chmodSync(path.join(root, "etc/passwd"), 0o600);
    fs.rmSync(path.join(root, JOURNAL));
    const written = vi.spyOn(fs, "fsyncSync").mockImplementation(ownersTrick);
    const fixed = doctor("--fix");
    written.mockRestore();
    expect([fixed.status, mode("/etc/passwd")]).toEqual([1, 0o600]);
    expect(fixed.out).toContain("not changed: /home/a/d/passwd: mode 0644");
  });

  test("what is mounted there of the machine that builds it stays as it is", () => {
    plant(root, { "/proc/sys/kernel/sysrq": "438\n", "/dev/tpmrm0": { text: "", mode: 0o666 } });
    const really = fs.lstatSync;
    const elsewhere = vi.spyOn(fs, "lstatSync").mockImplementation(((at: string) => {
      const stats = really(at);
      if (at.startsWith(path.join(root, "proc")) || at.startsWith(path.join(root, "dev"))) stats.dev++;
      return stats;
    }) as typeof fs.lstatSync);
    const said = doctor("--fix");
    elsewhere.mockRestore();
    const why = "(it is mounted there, and of the machine that you are on)";
    expect(said.out).toContain(`not changed: /proc/sys/kernel/sysrq: write 0 ${why}`);
    expect(said.out).toContain(`not changed: /dev/tpmrm0: mode 0660 ${why}`);
    expect(fs.readFileSync(path.join(root, "proc/sys/kernel/sysrq"), "utf8")).toBe("438\n");
    expect(fs.statSync(path.join(root, "dev/tpmrm0")).mode & 0o777).toBe(0o666);
  });

  test("links in a ring, a FIFO and a directory where files belong: said, not followed, and not good", () => {
    plant(root, {
      "/etc/shadow": { link: "passwd" },
      "/etc/passwd": { link: "shadow" },
      "/etc/inittab/x": "",
    });
    const said = doctor();
    expect(said.status).toBe(1);
    expect(said.out).toContain("not looked at: /etc/shadow: ELOOP");
    expect(said.out).toContain("not looked at: /etc/inittab: not a regular file");
    expect(new Tree(root).read("/dev/tpmrm0")).toBe("");
  });

  test("names and contents move no cursor, turn no text, and come into no command", () => {
    const name = "x\u001b[2J\u202e'; reboot #.socket";
    plant(root, {
      [`${own}/${name}`]: "[Socket]\nListenStream=vsock::1\n",
      "/proc/7/comm": "sh\u001b]0;x\u0007\n",
      "/proc/7/fd/0": { link: "/dev/ttyS0" },
      "/etc/shadow": "a\u009b;reboot::1\n",
      "/proc/sys/kernel/printk": "4\u009b2J\n",
      "/proc/consoles": "ttyS0 -W- (EC p a) 4:64\n",
      "/proc/cmdline": `${GOOD_WORDS} "resume=x';reboot;'" "init=$(reboot)/sh"\n`,
    });
    for (const { out } of [doctor(), doctor("--json"), doctor("--fix", "--dry-run")]) {
      expect(out.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\u202e]/u);
    }
    for (const finding of findings()) {
      for (const command of finding.byHand) expect(command).not.toContain("reboot");
    }
    // It is masked all the same, by its own name.
    doctor("--fix");
    expect(fs.readlinkSync(path.join(root, own, name))).toBe("/dev/null");
    expect(ids()).not.toContain("vsock");
  });

  test("no content takes long, and none ends the doctor", () => {
    const long = 100_000;
    const nasty = [
      `Storage=a${" ".repeat(long)}b\n`,
      `${" agetty -a".repeat(long / 10)}\n`,
      "datasource_list: [".repeat(long / 18),
      `KERNEL=="${"*m".repeat(long / 2)}z", MODE="0666"\n`,
      `"${"=".repeat(long)}`,
      `\\\n`.repeat(long / 2),
      "\n".repeat(long),
      "io.systemd.credential:".repeat(long / 20),
      `x${"[seed=".repeat(long / 2)}`,
      Buffer.from(Array.from({ length: 256 }, (_, i) => i)).toString("latin1"),
    ];
    const places = [
      "/etc/systemd/coredump.conf",
      `${own}/getty@tty1.service`,
      `${own}/a.socket`,
      "/etc/cloud/cloud.cfg",
      "/etc/udev/rules.d/1.rules",
      "/proc/cmdline",
      "/etc/default/grub",
      "/etc/sysctl.d/1.conf",
      "/etc/modprobe.d/1.conf",
      "/etc/crypttab",
      "/etc/fstab",
      "/etc/initramfs-tools/initramfs.conf",
      "/etc/inittab",
      "/etc/shadow",
      "/etc/sealtty/sealttyd.toml",
      "/proc/self/mountinfo",
      "/proc/swaps",
      "/proc/consoles",
      "/proc/sys/kernel/printk",
      "/sys/firmware/dmi/entries/11-0/raw",
      "/var/lib/cloud/instance/datasource",
      "/usr/lib/modules/6/modules.builtin",
    ];
    for (const text of nasty) {
      plant(root, Object.fromEntries(places.map((place) => [place, text])));
      const before = process.cpuUsage();
      const said = doctor("--json");
      expect(process.cpuUsage(before).user / 1e6).toBeLessThan(6);
      expect(said.status).toBe(1);
      expect(said.out.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
      expect(eventsIn(said).at(-1)).toMatchObject({ event: "doctor" });
    }
  });

  test("no number of files, however long, fills the memory: what is too much is not looked at, and that is said", () => {
    const entries = path.join(root, "boot/loader/entries");
    fs.mkdirSync(entries, { recursive: true });
    for (let i = 0; i < 12; i++) {
      fs.writeFileSync(path.join(entries, `${i}.conf`), "");
      fs.truncateSync(path.join(entries, `${i}.conf`), 4 * 1024 * 1024);
    }
    const said = doctor();
    expect(said.status).toBe(1);
    expect(said.out).toContain("not looked at: /boot/loader/entries/9.conf: too much was read already\n");
  });

  test("devices below devices, however many ways lead down, are looked at once each", () => {
    const [wide, deep] = [12, 8];
    const files: Record<string, Planted> = { "/proc/swaps": "Filename\n/dev/l0x0 partition 1\n" };
    for (let level = 0; level < deep; level++)
      for (let i = 0; i < wide * wide; i++) {
        const below = level === deep - 1 ? `zram${i % wide}` : `l${level + 1}x${i % wide}`;
        files[`/sys/class/block/l${level}x${Math.floor(i / wide)}/slaves/${below}/`] = "";
      }
    plant(root, files);
    const before = process.cpuUsage();
    expect(ids()).toEqual([]);
    expect(process.cpuUsage(before).user / 1e6).toBeLessThan(6);
  });

  test("values of credentials are not shown", () => {
    plant(root, Object.assign({}, ...(CASES["host-credentials"] ?? []).map(({ files }) => files)) as Files);
    expect(doctor().out).toContain("passwd.hashed-password.root");
    expect(doctor().out).not.toContain("SECRET");
  });
});

const hasSystemctl = spawnSync("systemctl", ["--version"]).status === 0;

test.runIf(hasSystemctl)("systemd itself sees units masked that --fix masks, aliases among them", () => {
  plant(root, {
    ...MANY,
    [`${own}/serial-getty@.service`]: null,
    "/usr/lib/systemd/system-generators/systemd-ssh-generator": "",
    "/run/systemd/generator/sshd-vsock.socket": "[Socket]\nListenStream=vsock::22\n",
  });
  const state = (unit: string) =>
    spawnSync("systemctl", [`--root=${root}`, "is-enabled", unit], { encoding: "utf8" }).stdout.trim();
  const masked = [
    "getty@tty1.service",
    "serial-getty@hvc0.service",
    "autovt@tty2.service",
    "qemu-guest-agent.service",
    "sshd-vsock.socket",
  ];
  expect(masked.map(state)).not.toContain("masked");
  expect(doctor("--fix").status).toBe(0);
  expect(masked.map(state)).toEqual(masked.map(() => "masked"));
});

describe("exit status and options", () => {
  const medium: Files = { [`${units}/spice-vdagentd.service`]: "[Service]\n" };
  test("findings below the threshold, and accepted ones, are shown and do not count", () => {
    plant(root, medium);
    expect(doctor().status).toBe(1);
    expect(doctor("--threshold", "medium").status).toBe(1);
    expect(doctor("--threshold", "high")).toMatchObject({
      status: 0,
      out: expect.stringContaining("guest-helper") as string,
    });
    const accepted = doctor("--accept", "guest-helper");
    expect(accepted.status).toBe(0);
    expect(accepted.out).toContain("[guest-helper] (accepted)");
    expect(accepted.out).toContain("1 findings, 0 of them count (from low on, without those accepted)");
    doctor("--fix", "--accept", "guest-helper");
    expect(ids()).toEqual(["guest-helper"]);
  });

  test.each([
    [["--threshold", "x"], "--threshold is one of critical, high, medium, low"],
    [["--accept", "gettys"], "there is no such check"],
    [["--fix", "--undo"], "two commands"],
    [["--dry-run"], "goes with"],
    [["--lock-out"], "goes with --fix"],
    [["more"], "Unexpected argument"],
    [["--root", "/nowhere/at/all"], "sealttyd doctor: There is no directory /nowhere/at/all\n"],
    [["--root", "/dev/null/x"], "sealttyd doctor: There is no directory /dev/null/x\n"],
    [["--root", "/dev/null"], "sealttyd doctor: /dev/null is not a directory\n"],
    [["--root", ""], "--root takes a directory"],
    [["--root", "/proc/self/fd"], "it has no directory etc"],
  ])("%j is a usage error", (args, words) => {
    const said = doctor(...args);
    expect(said).toMatchObject({ status: 2, out: "" });
    expect(said.err).toContain(words);
  });

  test("where no command line of the kernel is to be found, the end says so", () => {
    const ends = () => [doctor().out, eventsIn(doctor("--json")).at(-1)?.["commandLines"]];
    expect(ends()).toEqual([expect.not.stringContaining("No command line"), 1]);
    plant(root, { "/proc": null });
    expect(ends()).toEqual([
      expect.stringMatching(/^No command line of the kernel is .* not checked\.$/m),
      0,
    ]);
  });

  test("of an image without a configuration it names `sealttyd setup`, for that image", () => {
    const byHand = () => findings().find(({ id }) => id === "sealttyd-off")?.byHand;
    plant(root, { "/etc/sealtty/sealttyd.toml": null, [`${units}/sealttyd.service`]: null });
    expect(byHand()).toEqual([`sealttyd setup --root ${root} --evidence TYPE`]);
    const odd = `${root}/it's; an image`;
    expect(rootOption(odd)).toBe(`--root '${root}/it'\\''s; an image'`);
  });

  test("--list and --help; this machine can be looked at", () => {
    expect(doctor("--help")).toMatchObject({ status: 0, out: usageText(DOCTOR) });
    expect(doctor("--list").out.trimEnd().split("\n")).toHaveLength(CHECKS.length);
    const here = doctor("--root", "/", "--json");
    expect([0, 1]).toContain(here.status);
    expect(eventsIn(here).at(-1)).toMatchObject({
      event: "doctor",
      root: "/",
      checks: CHECKS.length,
      status: here.status,
    });
  });

  test("as a program", () => {
    const program = fileURLToPath(new URL("../../dist/bin/sealttyd.js", import.meta.url));
    const run = (...args: readonly string[]) =>
      spawnSync(process.execPath, [program, "doctor", "--root", root, ...args], { encoding: "utf8" });
    expect(run()).toMatchObject({ status: 0, stdout: doctor().out, stderr: "" });
    plant(root, medium);
    expect(run("--json")).toMatchObject({ status: 1, stdout: doctor("--json").out, stderr: "" });
    expect(run("--threshold", "none")).toMatchObject({ status: 2, stdout: "" });
  });

  test("words of a command line: quotes hold together", () => {
    expect(commandWords('a  b="c d" "e f=g"\n')).toEqual(["a", "b=c d", "e f=g"]);
  });
});

describe("docs/doctor.md", () => {
  const text = fs.readFileSync(new URL("../../docs/doctor.md", import.meta.url), "utf8");
  test("has each check as it is", () => {
    const how = { whole: "yes", part: "in part", hand: "no" };
    const listed = [
      ...text.matchAll(/^\| `([a-z-]+)` \| (critical|high|medium|low) \| (.+?) \| (yes|in part|no) \|$/gm),
    ];
    expect(listed.map(([, ...cells]) => cells)).toEqual(
      CHECKS.map(({ id, severity, title, repair }) => [id, severity, title, how[repair]]),
    );
  });
  test("has every option", () => {
    for (const { name } of DOCTOR.options) expect(text).toContain(`\`--${name}`);
  });
  test("has every event of --json with its fields, and no other", () => {
    const events = eventsOf("docs/doctor.md");
    plant(root, {
      ...MANY,
      "/etc/inittab/x": "",
      [`${own}/rescue.target.wants`]: null,
      [`${units}/rescue.service`]: "[Service]\nStandardInput=tty-force\n",
    });
    const said = [["--list"], ["--undo"], ["--fix", "--dry-run"], ["--fix"], ["--undo"]].map(
      (args) => doctor("--json", ...args).out,
    );
    const lines = said.join("").trimEnd().split("\n");
    for (const line of lines) expect(eventProblem(line, "stdout", events), line).toBeUndefined();
    expect(new Set(lines.map((line) => (JSON.parse(line) as { event: string }).event))).toEqual(
      new Set(events.keys()),
    );
  });
});

// Systems made of files, for the doctor: a clean one, and what is planted into it.

import fs from "node:fs";
import path from "node:path";

/** What is at a path: text, a link, or text with a mode; null takes away what was there. A path that ends in "/" is a directory. */
export type Planted =
  | string
  | null
  | { readonly link: string /** For root only. */; readonly uid?: number }
  | { readonly text: string; readonly mode: number /** For root only. */; readonly uid?: number };
export type Files = Readonly<Record<string, Planted>>;

const UNITS = "/usr/lib/systemd/system";
export const GOOD_WORDS =
  "root=/dev/vda1 console=null panic=10 rd.shell=0 random.trust_bootloader=off systemd.import_credentials=no";

export const GOOD_CONFIG =
  '[pipe]\ntype = "virtio"\nname = "sealtty.0"\n[evidence]\ntype = "tpm"\n' +
  '[users]\nauthorized_keys = "/etc/sealtty/authorized_keys"\nnames = ["root"]\n';

/** A hardened Debian in outline: what the doctor looks at is there, and good. */
export const CLEAN: Files = {
  "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
  "/etc/os-release": "ID=debian\n",
  "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
  "/etc/shadow": "root:!*:20000:0:99999:7:::\n",
  "/etc/fstab": "# nothing\n/dev/mapper/root / ext4 defaults 0 1\n",
  "/etc/sealtty/sealttyd.toml": GOOD_CONFIG,
  "/etc/sealtty/authorized_keys": "",
  "/etc/initramfs-tools/initramfs.conf": "MODULES=most\n",
  "/etc/sysctl.d/90-own.conf":
    "kernel.sysrq = 0\nkernel.printk = 0 4 0 7\nkernel.core_pattern = |/bin/false\n",
  "/usr/lib/systemd/systemd": "",
  "/usr/lib/systemd/systemd-logind": "",
  "/lib": { link: "usr/lib" },
  "/usr/lib/systemd/system-generators/systemd-getty-generator": "",
  [`${UNITS}/sealttyd.service`]: "[Service]\nStandardInput=null\nStandardOutput=journal\n",
  [`${UNITS}/getty@.service`]: "[Service]\nExecStart=-/sbin/agetty - $TERM\nStandardInput=tty\n",
  [`${UNITS}/autovt@.service`]: { link: "getty@.service" },
  [`${UNITS}/serial-getty@.service`]: "[Service]\nExecStart=-/sbin/agetty - $TERM\nStandardInput=tty\n",
  [`${UNITS}/debug-shell.service`]: "[Service]\nExecStart=/bin/sh\nStandardInput=tty\n",
  [`${UNITS}/emergency.service`]:
    "[Service]\nExecStart=-/lib/systemd/systemd-sulogin-shell emergency\nStandardInput=null\n",
  [`${UNITS}/systemd-journald.service`]: "[Service]\nStandardOutput=null\n",
  "/etc/systemd/system/sysinit.target.wants/sealttyd.service": { link: `${UNITS}/sealttyd.service` },
  "/etc/systemd/system/rescue.target.wants/sealttyd.service": { link: `${UNITS}/sealttyd.service` },
  "/etc/systemd/system/emergency.target.wants/sealttyd.service": { link: `${UNITS}/sealttyd.service` },
  "/etc/systemd/system/getty@.service": { link: "/dev/null" },
  "/etc/systemd/system/serial-getty@.service": { link: "/dev/null" },
  "/proc/cmdline": `${GOOD_WORDS}\n`,
  "/proc/consoles": "ttynull0             --- (EC    )  240:0\n",
  "/proc/sys/kernel/sysrq": "0\n",
  "/proc/sys/kernel/printk": "0\t4\t0\t7\n",
  "/proc/sys/kernel/core_pattern": "|/bin/false\n",
  "/proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
  "/proc/mounts": "/dev/mapper/root / ext4 rw 0 0\n",
  "/proc/1/comm": "systemd\n",
  "/proc/1/fd/0": { link: "/dev/null" },
  "/sys/class/misc/hw_random/rng_current": "none\n",
  "/sys/module/pstore/parameters/backend": "(null)\n",
  "/dev/tpmrm0": { text: "", mode: 0o660 },
};

export function plant(root: string, files: Files): void {
  for (const [name, what] of Object.entries(files)) {
    const at = path.join(root, name);
    if (what === null) {
      fs.rmSync(at, { recursive: true, force: true });
      continue;
    }
    fs.mkdirSync(name.endsWith("/") ? at : path.dirname(at), { recursive: true });
    if (name.endsWith("/")) continue;
    fs.rmSync(at, { force: true });
    if (typeof what === "string") fs.writeFileSync(at, what);
    else if ("link" in what) {
      fs.symlinkSync(what.link, at);
      if (what.uid !== undefined) fs.lchownSync(at, what.uid, what.uid);
    } else {
      fs.writeFileSync(at, what.text);
      fs.chmodSync(at, what.mode);
      if (what.uid !== undefined) fs.chownSync(at, what.uid, what.uid);
    }
  }
}

/** All of a tree: of each path its mode, and its content or where it leads. */
export function snapshot(root: string): Record<string, string> {
  const all: Record<string, string> = {};
  for (const name of fs.readdirSync(root, { recursive: true, encoding: "utf8" }).sort()) {
    const at = path.join(root, name);
    const stats = fs.lstatSync(at);
    const mode = (stats.mode & 0o7777).toString(8);
    all[name] = stats.isSymbolicLink()
      ? `link ${fs.readlinkSync(at)}`
      : stats.isFile()
        ? `${mode} ${stats.uid}:${stats.gid} ${fs.readFileSync(at, "base64")}`
        : `${mode} directory`;
  }
  return all;
}

// A whole Debian for tests, beside the small guest of guest-image.mjs: systemd, udev, PAM, the sealtty package, and an encrypted root
// that the initramfs has to open first. Needs root, for mmdebstrap and chroot; no loop devices. Kept under .cache/, by what is in it.
//   node scripts/debian-guest.mjs [--dracut] [--cost]     prepares it, and prints where it is, how long that took and what the initramfs
//     costs; with dracut only its size, as nothing on the console says when it asks

import { createCipheriv, createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { cachedDirectory, defaultPassword, shadowHash } from "./guest-image.mjs";
import { isMain, mustRun, projectRoot, runScript, ScriptError, secondsSince } from "./lib/run.mjs";
import { packageDeb } from "./package-deb.mjs";
import { ensurePackages, refreshPackageLists } from "./packages.mjs";

const FORMAT = 2; // raise it when what is done here changes
const SUITE = "bookworm";
const SHARED_PACKAGES =
  "systemd systemd-sysv udev dbus login passwd kmod procps zstd busybox linux-image-cloud-amd64 libpam-runtime libpam-modules libpam-systemd";
/** By what makes its initramfs. Only one of them has cloud-init, and an agent for the doctor to find: a test's boot need not have them twice. */
const PACKAGES = {
  "initramfs-tools":
    `${SHARED_PACKAGES} initramfs-tools cryptsetup-initramfs cloud-init qemu-guest-agent`.split(" "),
  dracut: `${SHARED_PACKAGES} dracut cryptsetup-bin`.split(" "),
};
const SECTOR = 4096;
/** LUKS2's own default: what is before it are headers. */
const DATA_OFFSET = 16 * 1024 * 1024;
const ROOT_UUID = "7c1c8e0a-5ea1-4771-8000-000000000001";
/** What setup's configuration ends with is [provision]. An emulated machine takes its time. */
const MORE_CONFIGURATION = 'wait_seconds = 3600\n\n[services]\nkernel_log = ["root"]\n';
/** Of a disk that fstab names and the machine does not have: its boot fails. */
export const missingLabel = "sealtty-data";
/** What the host has ready for cloud-init, where its word on the kernel's command line is believed. */
export const decoyDirectory = "/srv/decoy";
const DECOY = "#cloud-config\nusers:\n  - name: decoy\n";
export const diskName = "root_crypt";
export const diskPassphrase = "sealtty-disk-Passphrase";

const isDirectory = (file) => fs.statSync(file).isDirectory();
const filesBelow = (directory) =>
  fs
    .readdirSync(directory, { recursive: true })
    .map((name) => path.join(directory, name))
    .filter((file) => !isDirectory(file))
    .toSorted();

/** Debian's suite with the machine's own mirrors, before anything of ours is in it. */
async function baseArchive(initramfs = "initramfs-tools") {
  const packages = PACKAGES[initramfs];
  const key = createHash("sha256")
    .update(JSON.stringify([FORMAT, SUITE, packages]))
    .digest("hex");
  const directory = await cachedDirectory(`debian/base-${key.slice(0, 16)}`, async (unfinished) => {
    await refreshPackageLists();
    const without = ["man", "doc", "locale"].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`);
    const sources = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"].find((file) =>
      fs.existsSync(file),
    );
    if (sources === undefined) throw new ScriptError("apt has no sources of Debian here");
    const include = `--include=${packages.join(",")}`;
    // Its initramfs would be made here and once more with ours in it.
    const noInitramfs =
      'mkdir -p "$1/etc/initramfs-tools" && echo update_initramfs=no >"$1/etc/initramfs-tools/update-initramfs.conf"';
    await mustRun(
      "mmdebstrap",
      [
        "--mode=root",
        "--variant=minbase",
        include,
        ...without,
        `--essential-hook=${noInitramfs}`,
        "--dpkgopt=force-confold",
        SUITE,
        path.join(unfinished, "base.tar"),
        sources,
      ],
      { env: { ...process.env, INITRD: "No" } }, // the same, for dracut's hook of the kernel
    );
    await mustRun("zstd", ["-q", "-3", "--rm", path.join(unfinished, "base.tar")]);
  });
  return path.join(directory, "base.tar.zst");
}

/**
 * The same Debian as a directory, without anything of ours: for tests of programs of its, which no disk has to be booted for.
 * @returns {Promise<string>} it, which several may read at once, and none writes into.
 */
export async function debianRoot() {
  requireRoot();
  await ensurePackages(["debian"]);
  const base = await baseArchive();
  const name = path.basename(path.dirname(base)).replace("base", "root");
  const directory = await cachedDirectory(`debian/${name}`, async (unfinished) => {
    const root = path.join(unfinished, "root"); // whose mode is the archive's, and not that of a scratch directory
    fs.mkdirSync(root);
    await mustRun("tar", ["-C", root, "--zstd", "-xpf", base]);
  });
  return path.join(directory, "root");
}

function requireRoot() {
  if (process.getuid?.() !== 0) throw new ScriptError("A whole Debian is made as root (mmdebstrap, chroot)");
}

/** In the root that is being made, with the file systems that programs expect, which are gone when it ends. */
const inRoot = (root, ...command) =>
  mustRun("unshare", [
    "--mount",
    "--propagation=private",
    "sh",
    "-ec",
    'cd "$1"; mount -t proc proc proc; mount -t sysfs sysfs sys; mount --bind /dev dev; mount -t tmpfs tmpfs tmp; shift; ' +
      'exec chroot . "$@"',
    "sh",
    root,
    ...command,
  ]);

function put(root, files) {
  for (const [name, { data, mode = 0o644 }] of Object.entries(files)) {
    const file = path.join(root, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, data);
    fs.chmodSync(file, mode);
  }
}

/** As AES-XTS of dm-crypt has it: sectors of 4096 bytes, numbered in units of 512 (plain64). */
function encryptInto(target, plainFile, key) {
  const plain = fs.openSync(plainFile, "r");
  const encrypted = fs.openSync(target, "r+");
  try {
    const chunk = Buffer.alloc(1024 * SECTOR);
    const tweak = Buffer.alloc(16);
    for (let at = 0; ; ) {
      const length = fs.readSync(plain, chunk, 0, chunk.length, at);
      if (length === 0) return;
      const out = [];
      for (let offset = 0; offset < length; offset += SECTOR) {
        tweak.writeBigUInt64LE(BigInt((at + offset) / 512));
        const cipher = createCipheriv("aes-256-xts", key, tweak);
        out.push(cipher.update(chunk.subarray(offset, offset + SECTOR)));
      }
      fs.writeSync(encrypted, Buffer.concat(out), 0, length, DATA_OFFSET + at);
      at += length;
    }
  } finally {
    fs.closeSync(plain);
    fs.closeSync(encrypted);
  }
}

/** A header that cryptsetup makes, around a key that is chosen here, so that no device has to be opened. */
async function encryptedDisk(plainFile, target, passphrase) {
  const key = randomBytes(64);
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-luks-"));
  try {
    const keyFile = path.join(scratch, "key");
    const passphraseFile = path.join(scratch, "passphrase");
    fs.writeFileSync(keyFile, key, { mode: 0o600 });
    fs.writeFileSync(passphraseFile, passphrase, { mode: 0o600 });
    fs.writeFileSync(target, "");
    fs.truncateSync(target, DATA_OFFSET + fs.statSync(plainFile).size);
    await mustRun("cryptsetup", [
      ..."luksFormat --batch-mode --type luks2 --cipher aes-xts-plain64 --key-size 512".split(" "),
      ..."--pbkdf pbkdf2 --pbkdf-force-iterations 1000".split(" "), // a test's: quick, and no secret
      ...["--sector-size", String(SECTOR), "--offset", String(DATA_OFFSET / 512), "--uuid", ROOT_UUID],
      ...["--volume-key-file", keyFile, "--key-file", passphraseFile, target],
    ]);
    encryptInto(target, plainFile, key);
  } finally {
    fs.rmSync(scratch, { recursive: true });
  }
}

/** What changes the image besides Debian: our programs, how they are packed, Node, and this very script. */
function ownDigest(options) {
  const hash = createHash("sha256").update(JSON.stringify([FORMAT, options]));
  const files = [
    ...filesBelow(path.join(projectRoot, "dist/bin")).filter((file) => /sealttyd|pty\.node/.test(file)),
    ...filesBelow(path.join(projectRoot, "packaging")),
    ...filesBelow(path.join(projectRoot, "server/native")),
    ...["scripts/package-deb.mjs", "scripts/debian-guest.mjs"].map((name) => path.join(projectRoot, name)),
  ];
  for (const file of files) hash.update(path.relative(projectRoot, file)).update(fs.readFileSync(file));
  const { size, mtimeMs } = fs.statSync(fs.realpathSync(process.execPath));
  return hash.update(JSON.stringify([process.version, size, mtimeMs])).digest("hex");
}

/**
 * Makes it, or finds it in .cache.
 * @param {{ initramfs?: "initramfs-tools" | "dracut", withSealtty?: boolean }} [options] - initramfs: what makes that. withSealtty:
 *   false to compare what it costs there.
 * @returns {Promise<{ kernel: string, initrd: string, disk: string, identity: string, append: string }>} disk: an image, to be used as
 *   a snapshot. identity: an SSH key that root has in the initramfs and on the disk. append: for the kernel's command line.
 */
export async function buildDebianGuest({ initramfs = "initramfs-tools", withSealtty = true } = {}) {
  const made = await madeGuest([initramfs, withSealtty], initramfs, async (root, unfinished) => {
    const identity = path.join(unfinished, "id_ed25519");
    await mustRun("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", identity]);
    await fillRoot(root, fs.readFileSync(`${identity}.pub`, "utf8"), initramfs, withSealtty);
    const plain = path.join(unfinished, "plain");
    await makeDisk(root, plain);
    await encryptedDisk(plain, path.join(unfinished, "disk"), diskPassphrase);
    fs.rmSync(plain);
  });
  const identity = path.join(path.dirname(made.disk), "id_ed25519");
  return { ...made, identity, append: `root=/dev/mapper/${diskName} ro` };
}

/**
 * Another one, as people start with it, for what the doctor finds there: its disk is not encrypted, it was never booted, and of
 * sealtty it has the package and no more. Root has a shell on the port `test.shell`.
 * @returns {Promise<{ kernel: string, initrd: string, disk: string, append: string }>}
 */
export async function buildPlainDebian() {
  const made = await madeGuest(["plain"], "initramfs-tools", async (root, unfinished) => {
    put(root, PLAIN_FILES);
    await installSealtty(root);
    await inRoot(root, "systemctl", "enable", "test-shell.service");
    await inRoot(root, "systemctl", "mask", ...NOT_LOOKED_AT);
    await inRoot(root, "update-initramfs", "-c", "-k", "all");
    fs.writeFileSync(path.join(root, "etc/machine-id"), "uninitialized\n");
    // So that the first boot has an account of root's to make.
    for (const name of ["etc/shadow", "etc/shadow-"]) fs.rmSync(path.join(root, name), { force: true });
    await makeDisk(root, path.join(unfinished, "disk"));
  });
  return { ...made, append: "root=/dev/vda ro" };
}

const makeDisk = async (root, file) => {
  await mustRun("truncate", ["-s", "900M", file]);
  await mustRun("mke2fs", ["-q", "-t", "ext4", "-b", String(SECTOR), "-d", root, file]);
};

/** @param fill - makes of a Debian without anything of ours what is wanted, and its disk in the directory that it is given. */
async function madeGuest(options, initramfs, fill) {
  requireRoot();
  await ensurePackages(["debian", "native"]);
  const base = await baseArchive(initramfs);
  const key = ownDigest([path.basename(path.dirname(base)), ...options]);
  const directory = await cachedDirectory(`debian/guest-${key.slice(0, 16)}`, async (unfinished) => {
    const root = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-debian-"));
    try {
      fs.chmodSync(root, 0o755);
      await mustRun("tar", ["-C", root, "--zstd", "-xpf", base]);
      await fill(root, unfinished);
      const boot = (name) =>
        path.join(
          root,
          "boot",
          fs.readdirSync(path.join(root, "boot")).find((file) => file.startsWith(name)),
        );
      fs.copyFileSync(boot("vmlinuz-"), path.join(unfinished, "vmlinuz"));
      fs.copyFileSync(boot("initrd.img-"), path.join(unfinished, "initrd"));
    } finally {
      fs.rmSync(root, { recursive: true, force: true });
    }
  });
  const at = (name) => path.join(directory, name);
  return { kernel: at("vmlinuz"), initrd: at("initrd"), disk: at("disk") };
}

/** On a port, and so on no console; in each mode. Its input ends whenever nobody is connected. */
const SHELL_ON_PORT = `#!/bin/sh
modprobe -a virtio_pci virtio_console
until port=$(grep -lx test.shell /sys/class/virtio-ports/*/name); do sleep 0.1; done
port=/dev/$(basename "$(dirname "$port")")
exec 3<>"$port" # kept: what was sent to a port is thrown away where it is closed
while :; do sh <&3 >&3 2>&1; sleep 0.1; done
`;
const SHELL_SERVICE = `[Unit]
DefaultDependencies=no
IgnoreOnIsolate=yes
[Service]
ExecStart=/usr/local/sbin/test-shell
[Install]
WantedBy=sysinit.target
`;
/** As much of cloud-init as a test looks at: each module costs an emulated machine seconds. */
const LITTLE_CLOUD_INIT = {
  data: "cloud_init_modules: [write-files, users-groups]\ncloud_config_modules: []\ncloud_final_modules: []\n",
};
/** Nothing of the machine that makes the initramfs, which has other disks than the one that boots. */
const modulesFile = (...more) => ({ data: ["virtio_blk", "ext4", ...more, ""].join("\n") });
const ONE_INITRAMFS = { data: "update_initramfs=yes\nbackup_initramfs=no\n" };

/** Of cloud-init and of a first boot: each costs an emulated machine seconds. */
const NOT_LOOKED_AT = [
  "cloud-config",
  "cloud-final",
  "ldconfig",
  "systemd-hwdb-update",
  "systemd-journal-catalog-update",
].map((name) => `${name}.service`);

const PLAIN_FILES = {
  "etc/fstab": { data: "/dev/vda / ext4 errors=remount-ro 0 1\n" },
  "etc/hostname": { data: "plain-debian\n" },
  "etc/locale.conf": { data: "LANG=C.UTF-8\n" }, // else the first boot asks for it
  "etc/initramfs-tools/conf.d/few": { data: "MODULES=list\n" },
  "etc/initramfs-tools/modules": modulesFile("virtio_pci"),
  "etc/initramfs-tools/update-initramfs.conf": ONE_INITRAMFS,
  "etc/cloud/cloud.cfg.d/50-test.cfg": LITTLE_CLOUD_INIT,
  "usr/local/sbin/test-shell": { data: SHELL_ON_PORT, mode: 0o755 },
  "etc/systemd/system/test-shell.service": { data: SHELL_SERVICE },
};

/** What only one of the two needs, by what makes the initramfs. */
const OWN_FILES = {
  "initramfs-tools": {
    // A disk that is not there, for a boot that fails.
    "etc/fstab": {
      data:
        `/dev/mapper/${diskName} / ext4 errors=remount-ro 0 1\n` +
        `LABEL=${missingLabel} /mnt ext4 defaults,x-systemd.device-timeout=2s 0 2\n`,
    },
    "etc/crypttab": { data: `${diskName} UUID=${ROOT_UUID} none luks,initramfs\n` },
    "etc/initramfs-tools/modules": modulesFile(
      "dm_crypt",
      "xts",
      "aes_generic",
      "aesni_intel",
      "sha256_generic",
    ),
    "etc/initramfs-tools/update-initramfs.conf": ONE_INITRAMFS,
    "etc/cloud/cloud.cfg.d/50-test.cfg": LITTLE_CLOUD_INIT,
    [`${decoyDirectory.slice(1)}/user-data`]: { data: DECOY },
    [`${decoyDirectory.slice(1)}/meta-data`]: { data: "instance-id: decoy\n" },
  },
  dracut: {
    "etc/fstab": { data: `/dev/mapper/${diskName} / ext4 errors=remount-ro 0 1\n` },
    "etc/crypttab": { data: `${diskName} UUID=${ROOT_UUID} none luks,x-initrd.attach\n` },
    // For any machine, and so with the passphrase's disk by name: docs/unlock.md.
    "etc/dracut.conf.d/image.conf": {
      data: 'hostonly="no"\ncompress="zstd"\ninstall_items+=" /etc/crypttab "\n',
    },
  },
};

/** The package, which its administrator has not set up yet. */
async function installSealtty(root) {
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-deb-"));
  try {
    const file = await packageDeb({ output: scratch, withNode: true, compression: "none" });
    fs.copyFileSync(file, path.join(root, "root/sealttyd.deb"));
  } finally {
    fs.rmSync(scratch, { recursive: true });
  }
  // Its trigger would make an initramfs before it is set up.
  await inRoot(root, "dpkg", "--no-triggers", "-i", "/root/sealttyd.deb");
  fs.rmSync(path.join(root, "root/sealttyd.deb"));
}

async function fillRoot(root, authorizedKeys, initramfs, withSealtty) {
  put(root, {
    ...OWN_FILES[initramfs],
    "etc/hostname": { data: "sealtty-debian\n" },
    "etc/sealtty/authorized_keys": { data: authorizedKeys, mode: 0o600 },
  });
  const shadow = path.join(root, "etc/shadow");
  const hash = await shadowHash(defaultPassword);
  fs.writeFileSync(shadow, fs.readFileSync(shadow, "utf8").replace(/^root:[^:]*:/m, `root:${hash}:`));
  const isDracut = initramfs === "dracut";
  if (withSealtty) {
    await installSealtty(root);
    await mustRun(process.execPath, [
      path.join(projectRoot, "dist/bin/sealttyd.js"),
      ...["setup", "--root", root, "--evidence", "tpm", "--initramfs", "--recovery"],
      ...(isDracut ? [] : ["--provision"]),
    ]);
    if (!isDracut) fs.appendFileSync(path.join(root, "etc/sealtty/sealttyd.toml"), MORE_CONFIGURATION);
  }
  if (!isDracut) await inRoot(root, "update-initramfs", "-c", "-k", "all");
  else
    for (const version of fs.readdirSync(path.join(root, "lib/modules")))
      await inRoot(root, "dracut", "--force", "--quiet", `/boot/initrd.img-${version}`, version);
}

/** Ms until the disk's passphrase is asked for, the least of some boots: what else a machine does only adds to it. */
async function bootTime(system) {
  const { bootVm } = await import("./lib/vm.mjs");
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 3; i++) {
    const vm = await bootVm({ firmware: "seabios", system, cpus: 2, ready: /Please unlock disk/ });
    await vm.stop();
    least = Math.min(least, vm.bootMs);
  }
  return least;
}

if (isMain(import.meta)) {
  await runScript(async () => {
    const start = performance.now();
    const initramfs = process.argv.includes("--dracut") ? "dracut" : "initramfs-tools";
    const guest = await buildDebianGuest({ initramfs });
    process.stdout.write(
      `${guest.kernel}\n${guest.initrd}\n${guest.disk}\nmade or found in ${secondsSince(start)}\n`,
    );
    if (!process.argv.includes("--cost")) return;
    const without = await buildDebianGuest({ initramfs, withSealtty: false });
    const mb = ({ initrd }) => `${(fs.statSync(initrd).size / 1e6).toFixed(1)} MB`;
    process.stdout.write(`initramfs: ${mb(guest)}, without sealtty ${mb(without)}\n`);
    if (initramfs === "dracut") return;
    const [ms, msWithout] = [await bootTime(guest), await bootTime(without)].map(Math.round);
    process.stdout.write(
      `until the passphrase is asked for: ${ms} ms, without sealtty ${msWithout} ms (the least of three)\n`,
    );
  });
}

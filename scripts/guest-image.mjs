// The small guest of the tests and of `npm run demo:vm`: Debian's cloud kernel, busybox, this machine's Node, and sealttyd,
// in an initramfs. Nothing is installed and no root is needed. The large part is kept under .cache/, by a hash of what is in it.
//   node scripts/guest-image.mjs [--refresh-kernel]     prepares it and prints where it is

import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { cpioArchive } from "./lib/cpio.mjs";
import { guestProgramEntries, guestProgramVersions, librariesOf } from "./lib/guest-programs.mjs";
import {
  cacheDirectory,
  isMain,
  mustRun,
  projectRoot,
  run,
  runScript,
  ScriptError,
  secondsSince,
} from "./lib/run.mjs";
import { refreshPackageLists } from "./packages.mjs";

const BASE_FORMAT = 4; // raise it when baseEntries changes what it puts in
const KERNEL_META_PACKAGE = "linux-image-cloud-amd64";
const MODULES = [
  ...["virtio_pci", "virtio_console", "tpm_crb", "tpm_tis", "qemu_fw_cfg"],
  ...["virtio_input", "evdev", "serio_raw"],
];
export const defaultPassword = "sealtty-test-password";

/** Makes a directory under .cache appear complete or not at all: two test runs may want it at once. */
export async function cachedDirectory(name, make) {
  const target = path.join(cacheDirectory, name);
  if (existsSync(target)) return target;
  mkdirSync(path.dirname(target), { recursive: true });
  const unfinished = mkdtempSync(`${target}.unfinished-`);
  try {
    await make(unfinished);
    renameSync(unfinished, target);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    if (!existsSync(target)) throw error; // else another run finished it first
  }
  return target;
}

/** The kernel package once chosen stays, so that measurements stay and no network is asked again. */
async function kernelPackage(refresh) {
  const note = path.join(cacheDirectory, "kernel", "chosen.json");
  if (!refresh && existsSync(note)) return JSON.parse(readFileSync(note, "utf8"));
  await refreshPackageLists();
  const { stdout } = await run("apt-cache", ["show", "--no-all-versions", KERNEL_META_PACKAGE]);
  const match = /^Depends: (linux-image-\S+) \(= ([^)]+)\)/m.exec(stdout);
  if (match === null) {
    throw new ScriptError(
      `apt knows no ${KERNEL_META_PACKAGE}: run "apt-get update" with Debian's main archive among the sources`,
    );
  }
  const chosen = { name: match[1], version: match[2] };
  mkdirSync(path.dirname(note), { recursive: true });
  writeFileSync(note, JSON.stringify(chosen));
  return chosen;
}

async function unpackedKernel({ name, version }) {
  return cachedDirectory(`kernel/${name}_${version.replaceAll(/[^\w.+~-]/g, "_")}`, async (directory) => {
    process.stdout.write(`Downloading ${name} ${version}\n`);
    const download = await run("apt-get", ["-q", "download", `${name}=${version}`], { cwd: directory });
    const archive = readdirSync(directory).find((file) => file.endsWith(".deb"));
    if (download.status !== 0 || archive === undefined) {
      rmSync(path.join(cacheDirectory, "kernel", "chosen.json"), { force: true }); // it may have left the mirror
      throw new ScriptError(
        `apt-get could not download ${name}=${version}:\n${download.stderr}\nRun "apt-get update" and try again`,
      );
    }
    await mustRun("dpkg-deb", ["-x", archive, "."], { cwd: directory });
    rmSync(path.join(directory, archive));
  });
}

/** "virtio-rng.ko.xz" and virtio_rng are the same module. */
const nameOf = (file) =>
  path
    .basename(file)
    .replace(/\.ko.*$/, "")
    .replaceAll("-", "_");

/** @returns each module that `names` need, in loading order, by its name; those built into the kernel need none. */
async function modulesInOrder(kernelDirectory, names) {
  const tree = path.join(kernelDirectory, "lib", "modules");
  const release = path.join(tree, readdirSync(tree)[0]);
  const builtIn = new Set(
    readFileSync(path.join(release, "modules.builtin"), "utf8").trim().split("\n").map(nameOf),
  );
  const files = new Map(
    readdirSync(release, { recursive: true })
      .filter((file) => /\.ko(\.xz|\.zst)?$/.test(file))
      .map((file) => [nameOf(file), path.join(release, file)]),
  );
  const unpack = { ".xz": ["xz", "-dc"], ".zst": ["zstd", "-dqc"] };
  const entries = new Map();
  async function add(name) {
    if (builtIn.has(name) || entries.has(name)) return;
    const file = files.get(name);
    if (file === undefined) throw new ScriptError(`The kernel package has no module ${name}`);
    const packer = unpack[path.extname(file)];
    const plain = packer ? path.join(release, `${name}.plain`) : file;
    if (packer) await mustRun("sh", ["-c", `${packer.join(" ")} "$1" >"$2"`, "sh", file, plain]);
    const data = readFileSync(plain);
    const depends = /\0depends=([^\0]*)\0/.exec(data.toString("latin1"))?.[1] ?? "";
    for (const other of depends.split(",").filter((word) => word !== ""))
      await add(other.replaceAll("-", "_"));
    entries.set(name, data);
  }
  for (const name of names) await add(name);
  return entries;
}

const moduleFile = (name) => `/lib/modules/${name}.ko`;
const moduleEntries = (modules) =>
  Object.fromEntries([...modules].map(([name, data]) => [moduleFile(name), { data }]));

/**
 * More of the guest's kernel's modules than each guest has, for its `files`: nothing loads them by itself.
 * @param {readonly string[]} names - what they need comes with them.
 */
export async function guestModules(names) {
  return moduleEntries(await modulesInOrder(await unpackedKernel(await kernelPackage(false)), names));
}

const addonFile = path.join(projectRoot, "node_modules/@lydell/node-pty-linux-x64/pty.node");

/** util-linux's, essential in Debian: becomes another user, which busybox's cannot. */
const SETPRIV = "/usr/bin/setpriv";

/** What is large and seldom changes: Node, setpriv, their libraries, busybox and the modules. */
async function baseEntries(kernelDirectory, node, busybox) {
  const libraries = new Set();
  const modules = await modulesInOrder(kernelDirectory, MODULES);
  for (const file of [node, addonFile, SETPRIV])
    for (const library of await librariesOf(file)) libraries.add(library);
  const applets = (await mustRun(busybox, ["--list"]))
    .trim()
    .split("\n")
    .filter((name) => name !== "busybox" && name !== "setpriv");
  return {
    "/bin/busybox": { data: readFileSync(busybox), mode: 0o755 },
    ...Object.fromEntries(applets.map((name) => [`/bin/${name}`, { link: "/bin/busybox" }])),
    "/bin/setpriv": { data: readFileSync(SETPRIV), mode: 0o755 },
    "/usr/bin/node": { data: readFileSync(node), mode: 0o755 },
    ...Object.fromEntries([...libraries].map((file) => [file, { data: readFileSync(file), mode: 0o755 }])),
    "/usr/bin/env": { link: "/bin/busybox" },
    ...moduleEntries(modules),
    "/etc/modules-load": { data: [...modules.keys()].map((name) => `${moduleFile(name)}\n`).join("") },
    "/dev/console": { device: [5, 1] },
    "/dev/null": { device: [1, 3] },
    ...Object.fromEntries(
      ["/proc", "/sys", "/run", "/tmp", "/mnt"].map((name) => [name, { directory: true }]),
    ),
  };
}

function busyboxFile() {
  const file = ["/usr/bin/busybox", "/bin/busybox"].find((candidate) => existsSync(candidate));
  if (file === undefined) throw new ScriptError("busybox is missing: run node scripts/packages.mjs vm");
  return realpathSync(file);
}

/**
 * Makes, or finds in .cache, the kernel and the large part of the initramfs.
 * @param {{ refreshKernel?: boolean }} [options]
 * @returns {Promise<{ kernel: string, base: string, kernelPackage: string }>} paths, and the Debian package with its version.
 */
export async function buildGuestImage({ refreshKernel = false } = {}) {
  const chosen = await kernelPackage(refreshKernel);
  const kernelDirectory = await unpackedKernel(chosen);
  const boot = path.join(kernelDirectory, "boot");
  const kernel = path.join(
    boot,
    readdirSync(boot).find((file) => file.startsWith("vmlinuz")),
  );
  const node = realpathSync(process.execPath);
  const busybox = busyboxFile();
  const hash = createHash("sha256").update(JSON.stringify([BASE_FORMAT, chosen, MODULES, process.version]));
  for (const file of [node, busybox, addonFile, SETPRIV]) {
    const { size, mtimeMs } = statSync(file);
    hash.update(JSON.stringify([file, size, mtimeMs]));
  }
  const directory = await cachedDirectory(`guest/${hash.digest("hex").slice(0, 16)}`, async (unfinished) => {
    const archive = path.join(unfinished, "base.cpio");
    writeFileSync(archive, cpioArchive(await baseEntries(kernelDirectory, node, busybox)));
    // Compressed because OVMF hashes the initramfs in emulated code for PCR 9: 107 MB took 6 s longer than 38 MB.
    await mustRun("zstd", ["-q", "-9", "--rm", archive]);
  });
  return {
    kernel,
    base: path.join(directory, "base.cpio.zst"),
    kernelPackage: `${chosen.name} ${chosen.version}`,
  };
}

/**
 * Makes, or finds in .cache, an archive of sshd, rsync and Python, which only some guests have.
 * @returns {Promise<string>} its path.
 */
async function buildGuestPrograms() {
  const hash = createHash("sha256").update(JSON.stringify([BASE_FORMAT, guestProgramVersions()]));
  const directory = await cachedDirectory(
    `guest-programs/${hash.digest("hex").slice(0, 16)}`,
    async (unfinished) => {
      const archive = path.join(unfinished, "programs.cpio");
      const scratch = path.join(unfinished, "python");
      writeFileSync(archive, cpioArchive(await guestProgramEntries(scratch)));
      rmSync(scratch, { recursive: true });
      await mustRun("zstd", ["-q", "-9", "--rm", archive]);
    },
  );
  return path.join(directory, "programs.cpio.zst");
}

export async function shadowHash(password) {
  // A fixed salt: the same image twice has the same measurement. It guards a test password.
  const args = ["mkpasswd", "-m", "sha512", "-S", "sealttytest", "-P", "0"];
  return (await mustRun(busyboxFile(), args, { input: `${password}\n` })).trim();
}

function daemonConfig(pipe, evidence) {
  const evidenceLines = {
    tpm: 'type = "tpm"\ndevice = "/dev/tpmrm0"\npcrs = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n',
    simulated: 'type = "simulated"\ninstance = "test-guest"\ni_know_this_proves_nothing = true\n',
  };
  const users = `authorized_keys = "/etc/sealtty/authorized_keys"\nnames = ["root", "alice"]\nlogin = ["/bin/login"]\nshell = ["/bin/sh", "-l"]\n`;
  return `[pipe]\n${pipe}\n[evidence]\n${evidenceLines[evidence]}\n[users]\n${users}`;
}

/** What goes beside a sealttyd; a sealttyd that was made for a test alone has this project's. */
function besideSealttyd(sealttyd, name) {
  const beside = path.join(path.dirname(sealttyd), name);
  return existsSync(beside) ? beside : path.join(projectRoot, "dist/bin", name);
}

/** What changes from test to test: sealttyd, its configuration, the users, and files of the caller. */
async function guestEntries({
  sealttyd,
  password = defaultPassword,
  evidence = "tpm",
  authorizedKeys = "",
  files = {},
}) {
  const hash = await shadowHash(password);
  const display = besideSealttyd(sealttyd, "sealtty-display");
  const given = Object.entries(files).map(([name, file]) => [
    name,
    typeof file === "string" || Buffer.isBuffer(file) ? { data: file } : file,
  ]);
  return {
    "/init": { data: readFileSync(path.join(projectRoot, "scripts/guest/init.sh")), mode: 0o755 },
    "/usr/lib/sealtty/sealttyd.js": { data: readFileSync(sealttyd), mode: 0o755 },
    "/usr/lib/sealtty/sealttyd-screen.js": {
      data: readFileSync(besideSealttyd(sealttyd, "sealttyd-screen.js")),
    },
    "/usr/lib/sealtty/sealttyd-files.js": {
      data: readFileSync(besideSealttyd(sealttyd, "sealttyd-files.js")),
    },
    "/usr/lib/sealtty/sealttyd-prompts.js": {
      data: readFileSync(besideSealttyd(sealttyd, "sealttyd-prompts.js")),
    },
    "/usr/lib/sealtty/sealttyd-connect.js": {
      data: readFileSync(besideSealttyd(sealttyd, "sealttyd-connect.js")),
    },
    "/usr/lib/sealtty/sealttyd-service.js": {
      data: readFileSync(besideSealttyd(sealttyd, "sealttyd-service.js")),
    },
    ...(existsSync(display) // made where there is a C compiler
      ? { "/usr/lib/sealtty/sealtty-display": { data: readFileSync(display), mode: 0o755 } }
      : {}),
    "/usr/lib/sealtty/package.json": { data: '{"type":"module"}\n' },
    "/usr/lib/sealtty/pty.node": { data: readFileSync(addonFile), mode: 0o755 },
    "/etc/sealtty/virtio.toml": { data: daemonConfig('type = "virtio"\nname = "sealtty.0"\n', evidence) },
    "/etc/sealtty/hvc0.toml": { data: daemonConfig('type = "tty"\ndevice = "/dev/hvc0"\n', evidence) },
    "/etc/sealtty/screen.toml": { data: daemonConfig('type = "framebuffer"\n', evidence) },
    "/etc/sealtty/authorized_keys": { data: authorizedKeys, mode: 0o600 },
    "/etc/passwd": {
      data: "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\nsealtty:x:990:990:sealttyd:/:/bin/false\nsshd:x:991:65534:sshd:/run/sshd:/bin/false\n",
    },
    "/etc/group": { data: "root:x:0:\ntty:x:5:\nalice:x:1000:\n" },
    "/etc/shadow": {
      data: `root:${hash}:19000:0:99999:7:::\nalice:${hash}:19000:0:99999:7:::\n`,
      mode: 0o600,
    },
    "/etc/shells": { data: "/bin/sh\n" },
    "/etc/hostname": { data: "sealtty-guest\n" },
    "/etc/hosts": { data: "127.0.0.1 localhost sealtty-guest\n" },
    "/etc/profile": {
      data: `export PATH=/bin:/sbin:/usr/bin:/usr/sbin\nexport PS1='\\u@\\h:\\w\\$ '\numask 022\n`,
    },
    "/root": { directory: true, mode: 0o700 },
    "/home/alice": { directory: true, mode: 0o700, owner: 1000 },
    ...Object.fromEntries(given),
  };
}

/**
 * Writes a whole initramfs: the cached base with this guest's own small archive behind it (the kernel unpacks both).
 * @param {{ base: string }} image - from buildGuestImage.
 * @param {string} output - file to write.
 * @param {{ sealttyd: string, password?: string, evidence?: "tpm" | "simulated", authorizedKeys?: string,
 *   programs?: boolean,
 *   files?: Record<string, string | Buffer | { data: string | Buffer, mode?: number, owner?: number }> }} options
 *   - sealttyd: path of the bundle; programs: sshd, rsync and Python as well; files: by absolute path in the guest, also in place of those above;
 *   an executable in /etc/sealtty/init.d/ is run at boot.
 */
export async function writeInitramfs(image, output, options) {
  copyFileSync(image.base, output);
  if (options.programs) appendArchive(output, readFileSync(await buildGuestPrograms()));
  appendArchive(output, cpioArchive(await guestEntries(options)));
}

/** The kernel looks for the next archive at multiples of four. */
function appendArchive(output, archive) {
  const padding = (4 - (statSync(output).size % 4)) % 4;
  writeFileSync(output, Buffer.concat([Buffer.alloc(padding), archive]), { flag: "a" });
}

if (isMain(import.meta)) {
  await runScript(async () => {
    const start = performance.now();
    const image = await buildGuestImage({ refreshKernel: process.argv.includes("--refresh-kernel") });
    process.stdout.write(`${image.kernelPackage}\n${image.kernel}\n${image.base}\n${secondsSince(start)}\n`);
  });
}

// Debian packages that the tests and the demo VM use: installs what is missing, or says which command would.
//   node scripts/packages.mjs [GROUP…]     all groups without arguments

import { readdir, stat } from "node:fs/promises";
import { isMain, run, runScript, ScriptError } from "./lib/run.mjs";

/** docs/dependencies.md says why each. */
export const packageGroups = {
  vm: ["qemu-system-x86", "qemu-utils", "ovmf", "swtpm", "busybox-static", "zstd"],
  browser: ["chromium", "xterm"],
  flow: ["vim-tiny"],
  soak: ["mosh"],
  ssh: ["openssh-client", "openssh-server"],
  copy: ["rsync"],
  remote: ["openssh-client", "openssh-server", "rsync", "ansible-core", "curl"],
  tpm: ["swtpm", "tpm2-tools"],
  native: ["gcc", "libc6-dev"],
  measure: ["systemd-boot-efi", "binutils", "osslsigncode", "openssl", "ovmf"],
  vnc: ["tigervnc-standalone-server", "x11vnc", "x11-utils", "x11-xserver-utils", "openssl"],
  hosts: ["websockify", "openssl"],
  shells: ["zsh", "fish", "mandoc"],
  debian: ["mmdebstrap", "cryptsetup-bin", "e2fsprogs", "openssh-client"],
  libvirt: ["libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients", "swtpm", "swtpm-tools"],
  nspawn: ["systemd-container"],
  formal: ["spin", "gcc", "libc6-dev"],
};

const DAY_MS = 24 * 60 * 60 * 1000;
const listDirectory = "/var/lib/apt/lists";

async function missingOf(names) {
  const { stdout } = await run("dpkg-query", ["-W", "-f", "${Package} ${db:Status-Status}\\n", ...names]);
  const installed = new Set(
    stdout
      .split("\n")
      .filter((line) => line.endsWith(" installed"))
      .map((line) => line.split(" ")[0]),
  );
  return names.filter((name) => !installed.has(name));
}

/** How to become root without being asked anything: a command prefix, or undefined. */
async function rootPrefix() {
  if (process.getuid?.() === 0) return [];
  return (await run("sudo", ["-n", "true"])).status === 0 ? ["sudo", "-n"] : undefined;
}

/** Package lists go stale: the mirror drops the versions they name. */
async function listsAreFresh() {
  try {
    const lists = (await readdir(listDirectory)).filter((name) =>
      /(Packages|InRelease|Release)(\.|$)/.test(name),
    );
    const times = await Promise.all(
      lists.map(async (name) => (await stat(`${listDirectory}/${name}`)).mtimeMs),
    );
    return lists.some((name) => name.includes("Packages")) && Math.max(...times) > Date.now() - 7 * DAY_MS;
  } catch {
    return false;
  }
}

const aptGet = (prefix, args) => {
  const [command, ...rest] = [...prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", ...args];
  return run(command, rest, { show: true });
};

let updated = false;
/** Runs `apt-get update` once, if the lists are old and we may; without the right to, apt keeps what it has. */
export async function refreshPackageLists({ evenIfFresh = false } = {}) {
  const prefix = await rootPrefix();
  if (updated || prefix === undefined || (!evenIfFresh && (await listsAreFresh()))) return;
  updated = true;
  await aptGet(prefix, ["-q", "update"]);
}

/**
 * Makes sure that these groups are installed.
 * @param {readonly (keyof typeof packageGroups)[]} groups
 * @throws ScriptError with the exact command, when we may not install.
 */
export async function ensurePackages(groups) {
  const wanted = [...new Set(groups.flatMap((group) => packageGroups[group]))];
  const missing = await missingOf(wanted);
  if (missing.length === 0) return;
  const prefix = await rootPrefix();
  if (prefix === undefined) {
    throw new ScriptError(
      `These Debian packages are missing, and installing them needs root:\n` +
        `  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing.join(" ")}`,
    );
  }
  process.stdout.write(`Installing the Debian packages ${missing.join(" ")}\n`);
  await refreshPackageLists();
  const install = ["-q", "-y", "--no-install-recommends", "install", ...missing];
  if ((await aptGet(prefix, install)).status !== 0) {
    await refreshPackageLists({ evenIfFresh: true });
    await aptGet(prefix, install);
  }
  const left = await missingOf(missing);
  if (left.length > 0)
    throw new ScriptError(`apt-get could not install ${left.join(" ")}: see its output above`);
}

if (isMain(import.meta)) {
  await runScript(async () => {
    const groups = process.argv.slice(2);
    const unknown = groups.filter((group) => !(group in packageGroups));
    if (unknown.length > 0) {
      throw new ScriptError(
        `No such group: ${unknown.join(" ")}. Groups: ${Object.keys(packageGroups).join(" ")}`,
      );
    }
    await ensurePackages(groups.length > 0 ? groups : Object.keys(packageGroups));
  });
}

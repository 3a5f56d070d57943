// Debian's real cloud-init, run in a copy of its root and in namespaces of its own: it sets host names, networks and users, and none of it
// may reach this machine. What the host would offer it is made up: SMBIOS, the kernel's command line, a drive.

import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const { debianRoot } = (await import(
  path.resolve(import.meta.dirname, "../../scripts/debian-guest.mjs")
)) as {
  readonly debianRoot: () => Promise<string>;
};

/** What cloud-init is given, besides what its packages bring. */
export interface Boot {
  /** By path in the root. */
  readonly files: ReadonlyMap<string, string>;
  /** A directory, to be the seed's in the root. */
  readonly seed?: string;
  /** Variables of its services. */
  readonly environment?: Readonly<Record<string, string>>;
  /** What the host offers. */
  readonly serial: string;
  readonly commandLine: string;
}

export interface Booted {
  /** Of a file in the root, afterwards; undefined: it is not there. */
  read(file: string): string | undefined;
  /** Labels of file systems that were searched for. */
  readonly labelsSought: readonly string[];
  remove(): void;
}

const SEED = "/var/lib/cloud/seed/nocloud";

/** In a mount namespace: the copy is a layer over the root, and /run, /sys and /dev are made up. $1 root, $2 scratch; the rest is run. */
const ENTER = `set -e
scratch=$2
mount -t overlay overlay -o "lowerdir=$1,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
cd "$scratch/root"
shift 2
mount -t proc proc proc
mount --bind "$scratch/cmdline" proc/cmdline
mount -t tmpfs tmpfs sys
mkdir -p sys/class/dmi/id sys/class/net
cp "$scratch/serial" sys/class/dmi/id/product_serial
mount -t tmpfs tmpfs dev
for each in null zero urandom random; do touch dev/$each; mount --bind /dev/$each dev/$each; done
touch dev/console
mount --bind "$scratch/run" run
mount -t tmpfs tmpfs tmp
if [ -d "$scratch/seed" ]; then mkdir -p .${SEED}; mount --bind "$scratch/seed" .${SEED}; fi
ip link set lo up || true
exec chroot . "$@"
`;

/** Which file systems there are, as cloud-init asks; one is the host's drive. */
const BLKID =
  '#!/bin/sh\nfor each; do case $each in -tLABEL*) echo "$each" >>/run/labels ;; esac; done\nexit 2\n';

/** The stages of a boot, in their order; each goes on whatever became of the one before, as systemd has it. */
const STAGES =
  "cloud-init init --local; cloud-init init; cloud-init modules --mode config; cloud-init modules --mode final; true";

/** @returns what it left behind. @throws where the root cannot be made, or entered. */
export async function bootCloudInit(boot: Boot): Promise<Booted> {
  const root = await debianRoot();
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-cloud-init-"));
  const at = (name: string): string => path.join(scratch, name);
  try {
    for (const name of ["upper", "work", "root", "run"]) fs.mkdirSync(at(name));
    fs.writeFileSync(at("serial"), boot.serial);
    fs.writeFileSync(at("cmdline"), boot.commandLine);
    for (const [file, text] of [...boot.files, ["/sbin/blkid", BLKID]] as const) {
      // /run is a directory of its own; /sbin is a link in the root.
      const place = file.startsWith("/run/") ? at(file) : at(`upper${file.replace(/^\/sbin/, "/usr/sbin")}`);
      fs.mkdirSync(path.dirname(place), { recursive: true });
      fs.writeFileSync(place, text);
    }
    fs.chmodSync(at("upper/usr/sbin/blkid"), 0o755);
    if (boot.seed !== undefined) fs.cpSync(boot.seed, at("seed"), { recursive: true });
    execFileSync(
      "unshare",
      [
        ...[
          "--mount",
          "--propagation",
          "private",
          "--uts",
          "--net",
          "--ipc",
          "--pid",
          "--fork",
          "--kill-child",
        ],
        ...["sh", "-c", ENTER, "sh", root, scratch, "sh", "-c", STAGES],
      ],
      {
        stdio: ["ignore", "pipe", "pipe"],
        env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8", ...boot.environment },
      },
    );
  } catch (error) {
    fs.rmSync(scratch, { recursive: true, force: true });
    throw error;
  }
  const read = (file: string): string | undefined => {
    const place = file.startsWith("/run/") ? at(file) : at(`upper${file}`);
    return fs.existsSync(place) ? fs.readFileSync(place, "utf8") : undefined;
  };
  return {
    read,
    labelsSought: (read("/run/labels") ?? "").split("\n").filter((line) => line !== ""),
    remove: () => fs.rmSync(scratch, { recursive: true, force: true }),
  };
}

// Randomness that the host chooses, memory that ends up where it reads, and devices that speak for the guest.

import { type Check, type Evidence, found, plainWords } from "../check.ts";
import { EARLY_CONFIG_FILE, EARLY_HOOK } from "../../setup/places.ts";
import { dropIns, lastOf } from "../settings.ts";
import type { System } from "../system.ts";
import { changeCommandLine, everyLineHas, linesWithout, wordsLike } from "./command-line.ts";
import { DROP_IN, dropIn } from "../edits.ts";
import { sysctlEdits, sysctlEvidence } from "./kernel.ts";

const HWRNG = "/sys/class/misc/hw_random";

/** Drivers are loaded from the initramfs, too, which has modprobe's files as they were when it was made. */
function initramfsAnew(system: System): string[] {
  if (system.firstOf("/usr/sbin/update-initramfs", "/sbin/update-initramfs") !== undefined)
    return ["update-initramfs -u"];
  return system.firstOf("/usr/bin/dracut", "/usr/sbin/dracut") === undefined ? [] : ["dracut --force"];
}

function never(module: string) {
  return dropIn(
    `/etc/modprobe.d/${DROP_IN}-${module}.conf`,
    `blacklist ${module}\ninstall ${module} /bin/false\n`,
  );
}

/** What is left to do about a driver that is in the kernel itself: no file keeps it away. */
function builtInDriver(system: System, file: string, start: string) {
  const { builtIn } = system.driver(file);
  const word = `initcall_blacklist=${start}`;
  const pattern = new RegExp(`^initcall_blacklist=(?:.*,)?${start}(?:,.*)?$`);
  const off = builtIn.length === 0 || everyLineHas(system, pattern);
  return {
    evidence: off ? [] : builtIn.map((where) => ({ where, found: "built in" })),
    byHand: off ? [] : changeCommandLine(system, { add: word }),
  };
}

const virtioRng: Check = {
  id: "virtio-rng",
  severity: "medium",
  title: "The host supplies random numbers",
  why: "The kernel credits what virtio-rng gives: early at boot its pool counts as full of what the host knows.",
  repair: "part",
  look(system) {
    const current = system.value(`${HWRNG}/rng_current`) ?? "";
    const quality = system.value(`${HWRNG}/rng_quality`);
    const now = current.startsWith("virtio_rng") && quality !== "0";
    const file = "drivers/char/hw_random/virtio-rng";
    const { loadable } = system.driver(file);
    const inKernel = builtInDriver(system, file, "virtio_rng_driver_init");
    return found(
      [
        ...(now
          ? [{ where: `${HWRNG}/rng_current`, found: `${current}, quality ${quality ?? "unknown"}` }]
          : []),
        ...loadable.map((where) => ({ where, found: "may be loaded" })),
        ...inKernel.evidence,
      ],
      {
        words: "Credit it nothing now, and never start its driver. The processor's own random numbers do.",
        edits: [
          ...(loadable.length > 0 ? [never("virtio_rng")] : []),
          ...(now && quality !== undefined
            ? [{ kind: "value", path: `${HWRNG}/rng_quality`, text: "0" } as const]
            : []),
        ],
        byHand: [...(now && quality === undefined ? ["modprobe -r virtio_rng"] : []), ...inKernel.byHand],
        after: loadable.length > 0 ? initramfsAnew(system) : [],
      },
    );
  },
};

const bootloaderSeed: Check = {
  id: "bootloader-seed",
  severity: "low",
  title: "A seed from the boot loader is believed",
  why: "EFI's random number protocol, a device tree or setup data of QEMU's: the kernel credits a seed that the host may know.",
  repair: "hand",
  look(system) {
    if (system.kernelOption("CONFIG_RANDOM_TRUST_BOOTLOADER") === false) return undefined;
    return found(
      linesWithout(system, /^random\.trust_bootloader=(?:0|off|n|no)$/, "random.trust_bootloader=off"),
      {
        words: "Mix it in without credit.",
        byHand: changeCommandLine(system, { add: "random.trust_bootloader=off" }),
      },
    );
  },
};

const cpuRandom: Check = {
  id: "cpu-random",
  severity: "medium",
  title: "The processor's random numbers are not used",
  why: "In a confidential guest they are the one source that the host does not see. Without them the first keys rest on times that it sets.",
  repair: "hand",
  look(system) {
    const words = wordsLike(
      system,
      /^(?:random\.trust_cpu=(?:0|off|n|no)|nordrand|clearcpuid=.*rd(?:rand|seed).*)$/,
    );
    return found(words, {
      words: "Use them.",
      byHand: changeCommandLine(system, { remove: words, add: "random.trust_cpu=on" }),
    });
  },
};

const balloon: Check = {
  id: "balloon",
  severity: "low",
  title: "The balloon gives the host pages, and figures about memory",
  why: "The host can squeeze the guest until programs are killed, and learns how its use of memory goes.",
  repair: "part",
  look(system) {
    const devices = system
      .list("/sys/bus/virtio/drivers/virtio_balloon")
      .filter((name) => /^virtio[0-9]+$/.test(name))
      .map((name) => ({ where: `/sys/bus/virtio/drivers/virtio_balloon/${name}`, found: "in use" }));
    const file = "drivers/virtio/virtio_balloon";
    const { loadable } = system.driver(file);
    const inKernel = builtInDriver(system, file, "virtio_balloon_driver_init");
    const modules = loadable.map((where) => ({ where, found: "may be loaded" }));
    const unload = devices.length > 0 && inKernel.byHand.length === 0 ? ["modprobe -r virtio_balloon"] : [];
    return found([...devices, ...modules, ...inKernel.evidence], {
      words: "Never start its driver.",
      edits: loadable.length > 0 ? [never("virtio_balloon")] : [],
      byHand: [...unload, ...inKernel.byHand],
      after: loadable.length > 0 ? initramfsAnew(system) : [],
    });
  },
};

/** Devices that are looked at below one. */
const MAX_BELOW = 256;

/**
 * Whether what lies below a block device is encrypted, or memory: dm-crypt somewhere on the way down. @param name - as in /sys.
 * @param known - each device is looked at once, however many ways lead to it; one below itself is not.
 */
function isSealed(system: System, name: string, known = new Map<string, boolean>()): boolean {
  if (/^z?ram[0-9]+$/.test(name)) return true;
  const before = known.get(name);
  if (before !== undefined) return before;
  known.set(name, false);
  const at = `/sys/class/block/${name}`;
  const slaves = system.list(`${at}/slaves`);
  const sealed =
    (system.value(`${at}/dm/uuid`) ?? "").startsWith("CRYPT-") ||
    (slaves.length > 0 && known.size < MAX_BELOW && slaves.every((slave) => isSealed(system, slave, known)));
  known.set(name, sealed);
  return sealed;
}

/** The block device that a file lies on, by the longest mount point above it. @returns undefined where it is none. */
function deviceOf(system: System, file: string): string | undefined {
  let best: { place: string; device: string } | undefined;
  for (const line of (system.read("/proc/self/mountinfo") ?? "").split("\n")) {
    const [, , numbers = "", , place = ""] = line.split(" ");
    const inside = place === "/" || file === place || file.startsWith(`${place}/`);
    if (inside && (best === undefined || place.length >= best.place.length))
      best = { place, device: numbers };
  }
  const target = best && system.tree.link(`/sys/dev/block/${best.device}`);
  return target?.replace(/^.*\//, "");
}

function runningSwap(system: System): Evidence[] {
  const [, ...lines] = (system.read("/proc/swaps") ?? "").split("\n");
  return lines.flatMap((line) => {
    const [file, type] = line.split(/\s+/);
    if (file === undefined || file === "") return [];
    const device =
      type === "file" ? deviceOf(system, file) : (system.tree.link(file) ?? file).replace(/^.*\//, "");
    return device !== undefined && isSealed(system, device)
      ? []
      : [{ where: "/proc/swaps", found: `${file} (${type ?? "?"})` }];
  });
}

function configuredSwap(system: System): Evidence[] {
  const sealed = new Set(
    (system.read("/etc/crypttab") ?? "")
      .split("\n")
      .flatMap((line) => /^\s*([^#\s]\S*)\s+\S/.exec(line)?.[1] ?? []),
  );
  return (system.read("/etc/fstab") ?? "").split("\n").flatMap((line) => {
    const [what = "", , type] = line.trim().split(/\s+/);
    if (what.startsWith("#") || type !== "swap") return [];
    const mapped = /^\/dev\/mapper\/(.+)$/.exec(what)?.[1];
    return mapped !== undefined && sealed.has(mapped) ? [] : [{ where: "/etc/fstab", found: what }];
  });
}

const swap: Check = {
  id: "swap",
  severity: "high",
  title: "Memory is swapped to where the host reads it",
  why: "Keys, passwords and all else of any process is written to a disk of the host's as it is.",
  repair: "hand",
  look(system) {
    // What runs can be followed to its disk; a line of fstab can only be compared with crypttab.
    const evidence = system.exists("/proc/swaps") ? runningSwap(system) : configuredSwap(system);
    return found(evidence, {
      words: "Do without, use zram, or a partition that crypttab encrypts by a key of /dev/urandom.",
      byHand: ["swapoff -a", "take the swap line out of /etc/fstab, or encrypt what it names"],
    });
  },
};

const INITRAMFS_TOOLS = "/etc/initramfs-tools";

/** initramfs-tools(7): the last RESUME counts; without one its hook takes the swap that it finds, encrypted or not. */
function configuredResume(system: System): Evidence[] {
  if (system.exists(EARLY_CONFIG_FILE) && system.exists(EARLY_HOOK)) return []; // sealtty's hook takes it out of the image
  const main = `${INITRAMFS_TOOLS}/initramfs.conf`;
  if (!system.exists(main)) return [];
  const more = dropIns(system.tree, [`${INITRAMFS_TOOLS}/conf.d`], "");
  const { where, value } = lastOf(system.tree, [main, ...more], "RESUME") ?? { where: main, value: "auto" };
  if (value === "none") return [];
  if (value !== "auto") return [{ where, found: `RESUME=${value}` }];
  const fresh = (system.read("/etc/crypttab") ?? "").matchAll(
    /^[ \t]*([^#\s]\S*)[ \t]+\S+[ \t]+\/dev\/u?random\b/gm,
  );
  const forgetful = new Set([...fresh].map(([, name]) => `/dev/mapper/${name}`));
  const swaps = (system.read("/etc/fstab") ?? "").matchAll(/^[ \t]*([^#\s]\S*)[ \t]+\S+[ \t]+swap\b/gm);
  return [...swaps]
    .filter(([, what = ""]) => !forgetful.has(what)) // a key of each boot's own: nothing sleeps there
    .map(([line]) => ({
      where: "/etc/fstab",
      found: `${line.trim()}: woken from, as nothing says RESUME=none`,
    }));
}

const hibernation: Check = {
  id: "hibernation",
  severity: "high",
  title: "A system that sleeps on a disk is woken in this one's place",
  why: "The initramfs wakes what it finds by a name or UUID that the host knows: a system of the host's, in a machine whose measurements are yours, without a look at whose disk it is.",
  repair: "hand",
  look(system) {
    if (everyLineHas(system, /^(?:noresume|nohibernate|hibernate=no)$/)) return undefined;
    return found([...wordsLike(system, /^resume=.+$/), ...configuredResume(system)], {
      words: "Have none woken.",
      byHand: changeCommandLine(system, { add: "noresume" }),
    });
  },
};

const coreDumps: Check = {
  id: "core-dumps",
  severity: "medium",
  title: "Programs that crash leave their memory on the disk",
  why: "A core file has keys and passwords in it, outlives the session, and goes where the disk goes: a backup, a snapshot, an unencrypted volume.",
  repair: "whole",
  look(system) {
    const storage = system.setting("coredump.conf", "Storage");
    const isGood = (pattern: string) =>
      /^\|(?:\/usr)?\/bin\/(?:false|true)$/.test(pattern) ||
      (/^\|\S*\/systemd-coredump\b/.test(pattern) && storage?.value === "none");
    return found(sysctlEvidence(system, "kernel.core_pattern", isGood), {
      words: "Keep none.",
      edits: sysctlEdits(system, "kernel.core_pattern", "|/bin/false"),
    });
  },
};

const crashKernel: Check = {
  id: "crash-kernel",
  severity: "medium",
  title: "A crash of the kernel writes its memory out",
  why: "A second kernel saves all memory to a disk or over the network, commonly as it is.",
  repair: "hand",
  look(system) {
    const at = "/sys/kernel/kexec_crash_loaded";
    const loaded = system.value(at) === "1" ? [{ where: at, found: "1" }] : [];
    const words = wordsLike(system, /^crashkernel=(?!0$).+$/);
    return found([...loaded, ...words], {
      words: "Do without, or write to an encrypted disk and say --accept crash-kernel.",
      byHand: [
        ...(loaded.length > 0 ? ["kexec -p -u"] : []),
        ...(words.length > 0 ? changeCommandLine(system, { remove: words }) : []),
      ],
    });
  },
};

const pstore: Check = {
  id: "pstore",
  severity: "medium",
  title: "A crash of the kernel writes its log into the firmware's variables",
  why: "EFI variables and ERST are files of the host's.",
  repair: "hand",
  look(system) {
    const where = "/sys/module/pstore/parameters/backend";
    const backend = system.value(where) ?? "";
    return found(["", "(null)", "ramoops"].includes(backend) ? [] : [{ where, found: backend }], {
      words: "Keep it out of there.",
      byHand: changeCommandLine(system, { add: "efi_pstore.pstore_disable=1 erst_disable" }),
    });
  },
};

const DEVICES = ["sev-guest", "tdx_guest", "tdx-guest", "tpm0", "tpmrm0"];
const OTHERS = 0o007;
const RULES = [
  "/etc/udev/rules.d",
  "/run/udev/rules.d",
  "/usr/local/lib/udev/rules.d",
  "/usr/lib/udev/rules.d",
  "/lib/udev/rules.d",
];

/** Of each device the last rule that names it and sets a mode. udev(7): files by name, the earlier directory's of two of one name. */
function ruledModes(system: System): Map<string, { readonly where: string; readonly mode: number }> {
  const files = new Map<string, string>();
  for (const directory of RULES) {
    for (const name of system.list(directory))
      if (name.endsWith(".rules") && !files.has(name)) files.set(name, `${directory}/${name}`);
  }
  const modes = new Map<string, { where: string; mode: number }>();
  for (const [, where] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    for (const line of (system.read(where) ?? "").split("\n")) {
      if (line.trimStart().startsWith("#")) continue;
      const [, pattern = ""] = /\bKERNEL=="([^"]+)"/.exec(line) ?? [];
      const [, mode] = /\bMODE:?="?([0-7]{3,4})\b/.exec(line) ?? [];
      if (mode === undefined) continue;
      for (const device of DEVICES)
        if (matchesRule(pattern, device)) modes.set(device, { where, mode: parseInt(mode, 8) });
    }
  }
  return modes;
}

/** udev's patterns as far as rules of devices use them: `*`, `?`, `[…]`, `|`. */
function matchesRule(pattern: string, device: string): boolean {
  return pattern.split("|").some((one) => matchesGlob(one, device));
}

/** By all places at once where the text may be, so that no pattern of an image's takes long. */
function matchesGlob(pattern: string, text: string): boolean {
  let places = new Set([0]);
  for (const [part] of pattern.matchAll(/\*|\?|\[[^\]]{1,64}\]|[^]/g)) {
    const next = new Set<number>();
    for (const place of places) {
      if (part === "*") for (let i = place; i <= text.length; i++) next.add(i);
      else if (place < text.length && isOneOf(part, text.charAt(place))) next.add(place + 1);
    }
    places = next;
  }
  return places.has(text.length);
}

/** @param part - a character, `?`, or a set in brackets, with ranges and `!`. */
function isOneOf(part: string, character: string): boolean {
  if (part === "?") return true;
  if (part.length === 1) return part === character;
  const [, not = "", set = ""] = /^\[([!^]?)(.*)\]$/s.exec(part) ?? [];
  const inside = [...set.matchAll(/(.)-(.)|(.)/gs)].some(([, from, to, one]) =>
    from !== undefined && to !== undefined ? from <= character && character <= to : one === character,
  );
  return inside === (not === "");
}

const evidenceDevice: Check = {
  id: "evidence-device",
  severity: "high",
  title: "Everybody may ask the hardware for evidence",
  why: "Evidence carries what its asker gives as REPORT_DATA. Any program of the guest's, also one that was taken over, can then have keys of its own vouched for, and pass for sealttyd.",
  repair: "whole",
  look(system) {
    const open = DEVICES.map((name) => `/dev/${name}`).flatMap((path) => {
      const facts = system.tree.facts(path);
      return facts !== undefined && (facts.mode & OTHERS) !== 0 ? [{ path, mode: facts.mode }] : [];
    });
    const reports = "/sys/kernel/config/tsm/report";
    const folder = system.tree.facts(reports);
    const folderOpen =
      folder !== undefined && (folder.mode & 0o002) !== 0 ? [{ path: reports, mode: folder.mode }] : [];
    const ruled = [...ruledModes(system)].filter(([, { mode }]) => (mode & OTHERS) !== 0);
    const shown = (mode: number) => mode.toString(8).padStart(4, "0");
    const rules = ruled
      .map(([device, { mode }]) => `KERNEL=="${device}", MODE="${shown(mode & ~OTHERS)}"\n`)
      .join("");
    return found(
      [
        ...[...open, ...folderOpen].map(({ path, mode }) => ({ where: path, found: `mode ${shown(mode)}` })),
        ...ruled.map(([device, { where, mode }]) => ({ where, found: `${device}: MODE ${shown(mode)}` })),
      ],
      {
        words: "Root's alone; sealttyd needs no more.",
        edits: [
          ...open.map(({ path, mode }) => ({ kind: "mode", path, mode: mode & ~OTHERS }) as const),
          ...folderOpen.map(({ path, mode }) => ({ kind: "mode", path, mode: mode & ~0o002 }) as const),
          ...(ruled.length > 0 ? [dropIn(`/etc/udev/rules.d/${DROP_IN}.rules`, rules)] : []),
        ],
        after:
          ruled.length > 0
            ? [
                `udevadm control --reload`,
                `udevadm trigger ${plainWords(ruled.map(([name]) => name))
                  .map((name) => `--name-match=${name}`)
                  .join(" ")}`,
              ]
            : [],
      },
    );
  },
};

export const memoryChecks: readonly Check[] = [
  swap,
  hibernation,
  evidenceDevice,
  virtioRng,
  cpuRandom,
  coreDumps,
  crashKernel,
  pstore,
  bootloaderSeed,
  balloon,
];

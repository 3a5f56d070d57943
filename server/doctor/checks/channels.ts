// Ways by which the host gives a guest configuration, files or commands.

import { type Check, type Evidence, found, plainWords } from "../check.ts";
import type { System } from "../system.ts";
import { CLOUD_INIT_FILES, IDENTIFY_FILE, PINS_FILE } from "../../provision/cloud-init.ts";
import { OWN_UNITS } from "../units.ts";
import { changeCommandLine, everyLineHas, linesWithout, wordsLike } from "./command-line.ts";
import { DROP_IN, RELOAD, dropIn, masksOf, stopsOf } from "../edits.ts";

const CREDENTIALS = "/run/credentials/@system";
const EFI_VARIABLES = "/sys/firmware/efi/efivars";
/** systemd's own, by its vendor's number: words of a command line, and a disk on which a system sleeps. */
const OF_SYSTEMD = /^(?:SystemdOptions|HibernateLocation)-8cf2644b-4b0b-428f-9387-6d876050dc67$/;
const FW_CFG_CREDENTIALS = "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials";
const DMI_ENTRIES = "/sys/firmware/dmi/entries";
const NO_IMPORT = /^systemd\.import_credentials=(?:0|n|no|f|false|off)$/;
const MAX_NAMES = 32;

/** Only names: values may be passwords. What lies ready counts for as long as systemd would take it. */
function credentialNames(system: System): Evidence[] {
  const imported = system.list(CREDENTIALS).map((found) => ({ where: CREDENTIALS, found }));
  const takesNone = everyLineHas(system, NO_IMPORT);
  const offered = takesNone
    ? []
    : system.list(FW_CFG_CREDENTIALS).map((found) => ({ where: FW_CFG_CREDENTIALS, found }));
  const strings = system
    .list(DMI_ENTRIES)
    .filter((entry) => entry.startsWith("11-")) // OEM strings
    .flatMap((entry) => {
      const where = `${DMI_ENTRIES}/${entry}/raw`;
      // smbios-type-11(7): a credential, or more words for the kernel's command line, which are added to it before any of its own counts
      const names = (system.read(where) ?? "").matchAll(
        /io\.systemd\.(?:credential(?:\.binary)?:([^=\0]{1,255})|((?:stub|boot)\.kernel-cmdline-extra))/g,
      );
      return [...names]
        .filter(([, credential]) => credential === undefined || !takesNone)
        .map(([, credential, extra = ""]) => ({ where, found: credential ?? extra }));
    });
  return [...imported, ...offered, ...strings].slice(0, MAX_NAMES);
}

const hostCredentials: Check = {
  id: "host-credentials",
  severity: "critical",
  title: "The host has handed credentials to systemd",
  why: "Through SMBIOS or fw_cfg, unmeasured, it sets root's password and keys, makes files, users and units (passwd.hashed-password.root, ssh.authorized_keys.root, tmpfiles.extra, systemd.extra-unit.…).",
  repair: "hand",
  look(system) {
    return found(credentialNames(system), {
      words: "Have systemd take none, and make the system anew: what they did to it stays.",
      byHand: changeCommandLine(system, { add: "systemd.import_credentials=no" }),
    });
  },
};

const efiOptions: Check = {
  id: "efi-options",
  severity: "critical",
  title: "An EFI variable has words for systemd",
  why: "systemd obeys SystemdOptions as it does the kernel's command line, in an initramfs too: another init, a shell, units; and wakes the system that sleeps where HibernateLocation says, in place of this one. The host keeps the variables, nothing measures these, and it may show one at boot alone: none now is no proof.",
  repair: "hand",
  look(system) {
    const there = system.list(EFI_VARIABLES).filter((name) => OF_SYSTEMD.test(name));
    return found(
      there.map((name) => ({ where: EFI_VARIABLES, found: name })),
      {
        words: "Delete it, and look at what it had systemd do.",
        byHand: there.map((name) => `chattr -i ${EFI_VARIABLES}/${name} && rm ${EFI_VARIABLES}/${name}`),
      },
    );
  },
};

const credentialImport: Check = {
  id: "credential-import",
  severity: "medium",
  title: "systemd takes credentials from the host",
  why: "Later versions leave what SMBIOS and fw_cfg offer where they notice that the machine is confidential; not every kind of it shows that, and older ones take it anyway.",
  repair: "hand",
  look(system) {
    const systemd = system.firstOf("/usr/lib/systemd/systemd", "/lib/systemd/systemd");
    if (systemd === undefined) return undefined;
    return found(linesWithout(system, NO_IMPORT, "systemd.import_credentials=no"), {
      words: "Have it take none.",
      byHand: changeCommandLine(system, { add: "systemd.import_credentials=no" }),
    });
  },
};

const CLOUD = "/etc/cloud/cloud.cfg";
const CLOUD_WORDS = /^(?:ds=.*|ci\.ds=.*|ci\.datasource=.*|cloud-config-url=.*|cc:.*)$/;

/** Of cloud-init's YAML no more than this one list, in either of its forms; the last file with one counts. */
function datasources(
  system: System,
): { readonly where: string; readonly names: readonly string[] } | undefined {
  const files = [
    CLOUD,
    ...system
      .list(`${CLOUD}.d`)
      .filter((name) => name.endsWith(".cfg"))
      .map((name) => `${CLOUD}.d/${name}`),
  ];
  let last: { where: string; names: string[] } | undefined;
  for (const where of files) {
    for (const [, inline, block] of (system.read(where) ?? "").matchAll(
      /^datasource_list:(?:[ \t]*\[([^\]]{0,2000})\]|[ \t]*(?:#.*)?((?:\n[ \t]*-[^\n]*)+))/gm,
    )) {
      const names =
        inline?.split(",") ?? block?.split("\n").map((line) => line.replace(/^[ \t]*-/, "")) ?? [];
      last = {
        where,
        names: names.map((name) => name.replaceAll(/["'\s]/g, "")).filter((name) => name !== ""),
      };
    }
  }
  return last;
}

const cloudInit: Check = {
  id: "cloud-init",
  severity: "critical",
  title: "cloud-init takes its configuration from the host",
  why: "A drive that the host labels cidata or config-2, a serial number in SMBIOS, or a metadata service makes users, sets passwords and keys, and runs commands as root. Nothing measures it.",
  repair: "part",
  look(system) {
    const program = system.firstOf("/usr/bin/cloud-init", CLOUD);
    if (program === undefined) return undefined;
    if (system.exists("/etc/cloud/cloud-init.disabled")) return undefined;
    if (everyLineHas(system, /^cloud-init=disabled$/)) return undefined;
    const services = system.units.names(/^cloud-init(?:-local|-main)?\.service$/);
    if (services.length > 0 && services.every((name) => system.units.masked(name))) return undefined;
    if (takesOwnersSeedAlone(system)) return undefined;
    const list = datasources(system);
    const fromHost = list === undefined || list.names.some((name) => name !== "None");
    const words = wordsLike(system, CLOUD_WORDS);
    const sources = fromHost
      ? [
          {
            where: list?.where ?? program,
            found:
              list === undefined
                ? "no datasource_list: all of them"
                : `datasource_list: ${list.names.join(", ")}`,
          },
          ...offeredSeeds(system),
        ]
      : [];
    return found([...sources, ...words], {
      words:
        "Have it take nothing from outside. A seed of yours comes from within, or through the console: sealttyd setup --provision.",
      edits: fromHost ? [dropIn(`${CLOUD}.d/${DROP_IN}.cfg`, "datasource_list: [ None ]\n")] : [],
      byHand: words.length > 0 ? changeCommandLine(system, { remove: words }) : [],
    });
  },
};

/** As `sealttyd setup --provision` has it, to the letter: each of its services waits, and its datasource has one place to look. */
function takesOwnersSeedAlone(system: System): boolean {
  const files = [...CLOUD_INIT_FILES].filter(([file]) => file !== IDENTIFY_FILE);
  if (!files.every(([file, text]) => system.read(file) === text)) return false;
  // What comes behind it by name would count more.
  const last = system
    .list(`${CLOUD}.d`)
    .filter((name) => name.endsWith(".cfg"))
    .sort()
    .at(-1);
  return `${CLOUD}.d/${last}` === PINS_FILE;
}

/** What lies ready at this moment. */
function offeredSeeds(system: System): Evidence[] {
  const labels = system.list("/dev/disk/by-label").filter((name) => /^(?:cidata|config-2)$/i.test(name));
  const serial = system.value("/sys/class/dmi/id/product_serial") ?? "";
  return [
    ...labels.map((name) => ({ where: "/dev/disk/by-label", found: name })),
    ...(serial.includes("ds=") ? [{ where: "/sys/class/dmi/id/product_serial", found: serial }] : []),
  ];
}

const cloudInitApplied: Check = {
  id: "cloud-init-applied",
  severity: "high",
  title: "cloud-init has configured this system from a source of the host's",
  why: "Users, keys and files that it made stay, whatever is switched off now.",
  repair: "hand",
  look(system) {
    const where = "/var/lib/cloud/instance/datasource";
    const source = system.value(where) ?? "";
    const own = source === "" || /^DataSourceNone\b/.test(source) || isOwnSeed(source);
    return found(own ? [] : [{ where, found: source }], {
      words: "Make the system anew from an image that takes none.",
      byHand: ["cloud-init clean --logs, in the image, before it is measured and started"],
    });
  },
};

/** Every place that a seed came from, as NoCloud lists them, is a file of this machine's. */
function isOwnSeed(source: string): boolean {
  const places = /\[seed=([^[\]]+)\]/.exec(source)?.[1]?.split(",") ?? [];
  return (
    places.length > 0 &&
    places.every(
      (place) => place === "ds_config_seedfrom" || /^\/(?:var\/lib\/cloud\/seed|run)\//.test(place),
    )
  );
}

interface Agent {
  readonly units: readonly string[];
  /** As it stands in /proc/PID/comm, which is cut at 15 characters. */
  readonly process: string;
  readonly does: string;
}

const AGENTS: readonly Agent[] = [
  {
    units: ["qemu-guest-agent.service", "qemu-ga.service"],
    process: "qemu-ga",
    does: "runs any program as root (guest-exec), reads and writes files, sets passwords and keys",
  },
  {
    units: ["open-vm-tools.service", "vmtoolsd.service"],
    process: "vmtoolsd",
    does: "runs programs, copies files, customises the system",
  },
  { units: ["lxd-agent.service"], process: "lxd-agent", does: "runs any program as root, over vsock" },
  { units: ["incus-agent.service"], process: "incus-agent", does: "runs any program as root, over vsock" },
  {
    units: ["vboxadd-service.service", "virtualbox-guest-utils.service", "vboxservice.service"],
    process: "VBoxService",
    does: "runs programs and copies files",
  },
  {
    units: ["hv-fcopy-daemon.service", "hypervfcopyd.service"],
    process: "hv_fcopy_daemon",
    does: "writes files as root",
  },
  { units: ["prltoolsd.service"], process: "prltoolsd", does: "runs programs and copies files" },
];

const CLOUD_AGENTS: readonly Agent[] = [
  {
    units: ["walinuxagent.service", "waagent.service"],
    process: "waagent",
    does: "makes users, sets passwords and keys, runs extensions as root",
  },
  {
    units: [
      "google-guest-agent.service",
      "google-guest-agent-manager.service",
      "google-startup-scripts.service",
    ],
    process: "google_guest_ag",
    does: "makes users with keys from the metadata service, runs start-up scripts as root",
  },
  { units: ["amazon-ssm-agent.service"], process: "amazon-ssm-agen", does: "runs any program as root" },
  {
    units: ["afterburn-sshkeys@.service"],
    process: "afterburn",
    does: "takes ssh keys from the metadata service",
  },
];

const HELPERS: readonly Agent[] = [
  { units: ["spice-vdagentd.service"], process: "spice-vdagentd", does: "shares the clipboard, takes files" },
  {
    units: ["hv-kvp-daemon.service", "hypervkvpd.service"],
    process: "hv_kvp_daemon",
    does: "sets addresses, tells names and versions",
  },
  {
    units: ["hv-vss-daemon.service", "hypervvssd.service"],
    process: "hv_vss_daemon",
    does: "holds file systems",
  },
  {
    units: ["xe-daemon.service", "xe-linux-distribution.service"],
    process: "xe-daemon",
    does: "tells addresses, memory and versions",
  },
];

function agentsOf(system: System, agents: readonly Agent[]) {
  const running = system.processes();
  return agents.flatMap((agent) => {
    const units = agent.units.filter((name) => system.units.startable(name));
    const pids = running.filter(({ name }) => name === agent.process).map(({ pid }) => pid);
    return units.length + pids.length > 0 ? [{ agent, units, pids }] : [];
  });
}

/** @param byEdit - whether `--fix` masks them. */
function agentCheck(agents: readonly Agent[], byEdit: boolean): Check["look"] {
  return (system) => {
    const there = agentsOf(system, agents);
    const units = there.flatMap((each) => each.units);
    const evidence = there.flatMap(({ agent, units, pids }) => [
      ...units.map((name) => ({
        where: system.units.file(name) ?? OWN_UNITS,
        found: `${name}: ${agent.does}`,
      })),
      ...pids.map((pid) => ({ where: `/proc/${pid}/comm`, found: `${agent.process} runs: ${agent.does}` })),
    ]);
    const kills = there.flatMap(({ pids }) => pids.map((pid) => `kill ${pid}`));
    const mask = plainWords(units).map((name) => `systemctl mask --now ${name}`);
    return found(evidence, {
      words: byEdit
        ? "Mask it, or take its package out."
        : "Mask it, or take its package out; first see what else of the cloud's needs it: network, reports of readiness.",
      edits: byEdit ? masksOf(system, units) : [],
      byHand: [...(byEdit ? [] : mask), ...kills],
      after: byEdit && units.length > 0 ? stopsOf(units) : [],
    });
  };
}

const guestAgent: Check = {
  id: "guest-agent",
  severity: "critical",
  title: "An agent of the hypervisor's runs what the host tells it",
  why: "It is made for a host that is trusted.",
  repair: "part",
  look: agentCheck(AGENTS, true),
};

const cloudAgent: Check = {
  id: "cloud-agent",
  severity: "critical",
  title: "An agent of the cloud's makes users or runs programs",
  why: "It takes its orders from a metadata service or control plane that the host answers for.",
  repair: "hand",
  look: agentCheck(CLOUD_AGENTS, false),
};

const guestHelper: Check = {
  id: "guest-helper",
  severity: "medium",
  title: "A helper of the hypervisor's listens to the host",
  why: "It tells the host about the guest, and does smaller things for it.",
  repair: "part",
  look: agentCheck(HELPERS, true),
};

const vsock: Check = {
  id: "vsock",
  severity: "high",
  title: "A service listens on vsock, where the host alone calls",
  why: "systemd's ssh generator puts sshd there by itself, on guests without any network; its keys may come from the host as a credential.",
  repair: "whole",
  look(system) {
    const name = "systemd-ssh-generator";
    const generator = system.generator(name);
    const off = everyLineHas(system, /^systemd\.ssh_auto=(?:0|n|no|f|false|off)$/);
    const automatic =
      generator === undefined || off
        ? []
        : [{ where: generator, found: "not masked, no systemd.ssh_auto=no" }];
    const { units } = system;
    const sockets = units
      .names(/\.socket$/)
      .filter((socket) => units.startable(socket))
      .flatMap((socket) =>
        units
          .files(socket)
          .filter(({ value }) =>
            /^[ \t]*Listen(?:Stream|Datagram|SequentialPacket)[ \t]*=[ \t]*vsock:/m.test(value),
          )
          .map(({ where }) => ({ where, socket })),
      );
    const names = [...new Set(sockets.map(({ socket }) => socket))];
    return found(
      [...automatic, ...sockets.map(({ where, socket }) => ({ where, found: `${socket} listens on vsock` }))],
      {
        words: "Mask generator and sockets.",
        edits: [
          ...(automatic.length > 0
            ? [{ kind: "mask", path: `/etc/systemd/system-generators/${name}` } as const]
            : []),
          ...masksOf(system, names),
        ],
        after: names.length > 0 ? stopsOf(names) : [RELOAD],
      },
    );
  },
};

const SHARED = new Set(["9p", "virtiofs", "vboxsf", "fuse.vmhgfs-fuse", "vmhgfs", "prl_fs"]);

const hostShare: Check = {
  id: "host-share",
  severity: "high",
  title: "A directory of the host's is mounted",
  why: "The host reads and changes every file in it while it is used; nothing encrypts or measures it.",
  repair: "hand",
  look(system) {
    const mounts = ["/proc/mounts", "/etc/fstab"].flatMap((where) =>
      (system.read(where) ?? "")
        .split("\n")
        .filter((line) => !line.trimStart().startsWith("#"))
        .map((line) => line.trim().split(/\s+/))
        .filter(([, , type]) => type !== undefined && SHARED.has(type))
        .map(([, place = "", type = ""]) => ({ where, found: `${place} (${type})` })),
    );
    return found(mounts, {
      words: "Use a disk of the guest's own, encrypted.",
      byHand: ["umount it, and take its line out of /etc/fstab"],
    });
  },
};

export const channelChecks: readonly Check[] = [
  hostCredentials,
  efiOptions,
  cloudInit,
  guestAgent,
  cloudAgent,
  cloudInitApplied,
  vsock,
  hostShare,
  credentialImport,
  guestHelper,
];

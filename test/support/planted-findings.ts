// What `sealttyd doctor` looks for, planted in a running Debian: each with what a host does to make use of it, and what it has of that.

import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import type { Vm } from "./vm.ts";

/** One line to the guest whose other end the host has. */
export interface HostLine {
  type(text: string): void;
  /** All that the guest said there. */
  text(): string;
  /** Resolves once it said that. @param from - where in the text it is looked for. */
  shows(pattern: RegExp | string, from?: number): Promise<void>;
  close(): void;
}

export interface PlantingHost {
  readonly vm: Vm;
  /** ttyS0, the kernel's console. */
  readonly serial: HostLine;
  readonly secondSerial: HostLine;
  readonly hvc0: HostLine;
  /** Of the hypervisor's agent. */
  readonly agent: HostLine;
  /** A disk that the guest has as /dev/vdb. */
  readonly disk: string;
  close(): void;
}

/** A line of root's in the guest. @returns what it printed. */
export type RunInGuest = (line: string) => Promise<string>;

export interface Planted {
  /** Of the check that finds it. */
  readonly id: string;
  /** For root's shell; where it is missing a Debian has it by itself, or the machine that it was booted on. */
  readonly plant?: string;
  /**
   * What a host does. @param word - a new one each time.
   * @returns whether the host has something of it, by now.
   */
  readonly use?: (
    host: PlantingHost,
    run: RunInGuest,
    word: string,
  ) => Promise<() => boolean | Promise<boolean>>;
  /** What is left to do by hand, where the doctor's own words are no command or need a machine that is booted anew. */
  readonly byHand?: string;
  /** The finding stays: for the next boot, or because a command line has to be changed. */
  readonly stays?: true;
}

const MIB = 1024 * 1024;
const MEMORY = 1024 * MIB;

/** What the machine needs for that. @param directory - of this test's alone. */
export function plantingHardware(directory: string): string[] {
  const disk = path.join(directory, "disk");
  fs.writeFileSync(disk, "");
  fs.truncateSync(disk, 64 * MIB);
  const socket = (id: string) => `socket,id=${id},path=${path.join(directory, id)},server=on,wait=off`;
  return [
    ...["-chardev", socket("line"), "-serial", "chardev:line"],
    ...["-chardev", socket("agent")],
    ...["-device", "virtserialport,bus=vs0.0,nr=3,chardev=agent,name=org.qemu.guest_agent.0"],
    ...["-drive", `file=${disk},if=none,id=swap,format=raw`, "-device", "virtio-blk-pci,drive=swap"],
    ...["-device", "virtio-balloon-pci", "-device", "virtio-rng-pci"],
    ...["-smbios", "type=11,value=io.systemd.credential:sealtty.planted=yes"],
  ];
}

/** @param vm - with `typesOnSerial`, `hvc0` and the hardware of `directory`. */
export async function plantingHost(vm: Vm, directory: string): Promise<PlantingHost> {
  const lines = {
    serial: await hostLine(vm.serialPath),
    secondSerial: await hostLine(path.join(directory, "line")),
    hvc0: await hostLine(vm.hvc0?.unixPath),
    agent: await hostLine(path.join(directory, "agent")),
  };
  return {
    vm,
    ...lines,
    disk: path.join(directory, "disk"),
    close: () => Object.values(lines).forEach((line) => line.close()),
  };
}

/** @param at - QEMU's socket of it. */
export async function hostLine(at: string | undefined): Promise<HostLine> {
  if (at === undefined) throw new Error("This machine has no such line");
  const socket = net.connect(at);
  await once(socket, "connect");
  let text = "";
  let wake = (): void => {};
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
    wake();
  });
  socket.on("error", () => {});
  socket.on("close", () => wake());
  return {
    type: (typed) => void socket.write(typed),
    text: () => text,
    async shows(pattern, from = 0) {
      const isThere = () =>
        typeof pattern === "string" ? text.includes(pattern, from) : pattern.test(text.slice(from));
      while (!isThere()) {
        if (socket.destroyed) throw new Error(`The machine ended without ${pattern}:\n${text.slice(from)}`);
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
    close: () => socket.destroy(),
  };
}

/** A unit of the guest's. */
const unit = (name: string, lines: string): string =>
  `printf '%b' '${lines.replaceAll("\n", "\\n")}' >/etc/systemd/system/${name}; systemctl daemon-reload`;
const dropIn = (file: string, lines: string): string =>
  `mkdir -p ${path.posix.dirname(file)}; printf '%b' '${lines.replaceAll("\n", "\\n")}' >${file}`;

/** One that a package would have brought, so that a mask has its place above it. */
const packagedUnit = (name: string, lines: string): string =>
  `printf '%b' '${lines.replaceAll("\n", "\\n")}' >/usr/lib/systemd/system/${name}; systemctl daemon-reload`;

/** A shell that the host types into; what it types is not yet what it looks for. */
const asShell =
  (line: (host: PlantingHost) => HostLine): NonNullable<Planted["use"]> =>
  async (host, _run, word) => {
    line(host).type(`\recho ${word}-$((6*7))\r`);
    return () => line(host).text().includes(`${word}-42`);
  };

/** Something is said in the guest, and the host reads it on the kernel's console. */
const printed =
  (say: (word: string) => string): NonNullable<Planted["use"]> =>
  async (host, run, word) => {
    await run(say(word));
    return () => host.vm.serialLog().includes(word);
  };

/** Somebody without any right in the guest opens it. @param how - a redirection of the shell's. */
const openedByAnybody =
  (how: string): NonNullable<Planted["use"]> =>
  async (_host, run) => {
    const said = await run(
      `setpriv --reuid 65534 --regid 65534 --clear-groups sh -c ': ${how} && echo open' 2>&1`,
    );
    return () => said.includes("open\n");
  };

export const PLANTED: readonly Planted[] = [
  {
    id: "autologin",
    plant: `${dropIn("/etc/systemd/system/serial-getty@ttyS0.service.d/planted.conf", "[Service]\nExecStart=\nExecStart=-/sbin/agetty -L --autologin root %I 115200 vt220\n")}; systemctl daemon-reload; systemctl restart serial-getty@ttyS0.service`,
    use: asShell((host) => host.serial),
  },
  {
    id: "getty-generator",
    plant: "systemctl start serial-getty@hvc0.service",
    async use(host) {
      const before = host.hvc0.text().length;
      host.hvc0.type("\r");
      return () => host.hvc0.text().slice(before).includes("login:");
    },
  },
  {
    id: "console-service",
    plant: `${unit("planted-shell.service", "[Service]\nExecStart=/bin/sh -i\nStandardInput=tty-force\nStandardOutput=tty\nStandardError=tty\nTTYPath=/dev/ttyS1\nSendSIGHUP=yes\n[Install]\nWantedBy=multi-user.target\n")}; systemctl enable --now planted-shell.service 2>/dev/null`,
    use: asShell((host) => host.secondSerial),
  },
  { id: "console-process" }, // the shells and gettys planted above
  {
    id: "debug-shell",
    plant: "systemctl enable debug-shell.service 2>/dev/null",
    async use(_host, run) {
      const said = await run(
        "systemctl start debug-shell.service 2>&1; systemctl is-active debug-shell.service",
      );
      return () => said.endsWith("active\n") && !said.includes("inactive");
    },
  },
  {
    id: "guest-agent",
    plant: "systemctl start qemu-guest-agent.service",
    async use(host) {
      const before = host.agent.text().length;
      host.agent.type('{"execute":"guest-exec","arguments":{"path":"/bin/true"}}\n');
      return () => /"return": *\{"pid"/.test(host.agent.text().slice(before));
    },
  },
  {
    id: "sysrq",
    async use(host) {
      const before = host.serial.text().length;
      await host.vm.qmp("chardev-send-break", { id: "serial" });
      host.serial.type("h");
      return () => host.serial.text().slice(before).includes("sysrq: HELP");
    },
  },
  { id: "kernel-log", use: printed((word) => `echo '<3>${word}' >/dev/kmsg`) },
  { id: "kernel-console", stays: true },
  {
    id: "journal-console",
    plant: `${dropIn("/etc/systemd/journald.conf.d/planted.conf", "[Journal]\nForwardToConsole=yes\nTTYPath=/dev/ttyS0\n")}; systemctl restart systemd-journald`,
    use: printed((word) => `logger ${word}`),
  },
  {
    id: "service-console",
    plant: unit(
      "planted-says@.service",
      "[Service]\nType=oneshot\nExecStart=echo %i\nStandardOutput=journal+console\n",
    ),
    use: printed((word) => `systemctl start planted-says@${word}.service`),
  },
  {
    id: "systemd-console",
    plant: `${dropIn("/etc/systemd/system.conf.d/planted.conf", "[Manager]\nLogTarget=console\n")}; systemctl daemon-reexec`,
    use: printed((word) => `systemctl start ${word}.service 2>/dev/null; systemd-run -q --unit=${word} true`),
  },
  {
    id: "balloon",
    async use(host) {
      const { actual } = (await host.vm.qmp("query-balloon")) as { readonly actual: number };
      const wanted = actual === MEMORY ? MEMORY - 32 * MIB : MEMORY;
      await host.vm.qmp("balloon", { value: wanted });
      return async () =>
        ((await host.vm.qmp("query-balloon")) as { readonly actual: number }).actual !== actual;
    },
    byHand: "modprobe -r virtio_balloon",
  },
  { id: "virtio-rng" },
  {
    id: "swap",
    plant: "mkswap /dev/vdb >/dev/null; swapon /dev/vdb",
    async use(host, run, word) {
      await run(
        `systemd-run -q --unit=holds-${word} sh -c 'x=${word}-$((6*7)); sleep infinity; echo $x'; sleep 1`,
      );
      await run(`echo 16M >/sys/fs/cgroup/system.slice/holds-${word}.service/memory.reclaim`);
      return () => fs.readFileSync(host.disk).includes(`${word}-42`);
    },
  },
  {
    id: "core-dumps",
    async use(_host, run, word) {
      const said = await run(
        `mkdir /run/${word}; (cd /run/${word}; ulimit -c unlimited; sh -c 'kill -SEGV $$'); ls /run/${word}`,
      );
      return () => /^core/m.test(said);
    },
  },
  {
    id: "evidence-device",
    plant: "chmod 666 /dev/tpmrm0",
    use: openedByAnybody("</dev/tpmrm0"),
  },
  {
    id: "sealttyd-files",
    plant: "chmod 666 /etc/sealtty/authorized_keys",
    use: openedByAnybody(">>/etc/sealtty/authorized_keys"),
  },
  { id: "empty-password", plant: "passwd -qd carol", byHand: "passwd -ql carol" },
  {
    id: "inittab",
    plant: "echo 's0:2345:respawn:/sbin/getty -L ttyS0' >/etc/inittab",
    byHand: "rm /etc/inittab",
  },
  {
    id: "vsock",
    plant: unit(
      "planted.socket",
      "[Socket]\nListenStream=vsock::22\nAccept=yes\n[Install]\nWantedBy=sockets.target\n",
    ),
  },
  { id: "virtual-terminals" },
  { id: "getty" },
  { id: "passphrase-console" },
  { id: "cloud-agent", plant: packagedUnit("walinuxagent.service", "[Service]\nExecStart=sleep 1000\n") },
  { id: "guest-helper", plant: packagedUnit("spice-vdagentd.service", "[Service]\nExecStart=sleep 1000\n") },
  {
    id: "shutdown-initramfs",
    plant: `${packagedUnit("dracut-shutdown.service", "[Service]\nExecStop=true\n")}; ln -sf ../dracut-shutdown.service /usr/lib/systemd/system/sysinit.target.wants/`,
  },
  { id: "host-credentials", stays: true },
  { id: "credential-import", stays: true },
];

/** Words of the kernel's command line, by the check that finds them: planted by booting a machine with them. */
export const PLANTED_WORDS: Readonly<Record<string, string>> = {
  "boot-shell": "systemd.crash_shell",
  "kernel-debugger": "kgdboc=ttyS1",
  "cpu-random": "random.trust_cpu=off",
  "crash-kernel": "crashkernel=32M",
  hibernation: "resume=/dev/vda",
  "journal-console": "systemd.journald.forward_to_console",
  "systemd-console": "systemd.log_target=console",
};

/** Of machines that are booted for it: whether a host makes use of it there, by the check that finds it. */
type PlantedAlone = Readonly<Record<string, boolean>>;

/** What the host's firmware keeps and gives. */
export const PLANTED_IN_FIRMWARE: PlantedAlone = {
  "efi-options": false,
  pstore: true,
  "bootloader-seed": true,
};

export const PLANTED_IN_CONFIG: PlantedAlone = {
  "sealttyd-simulated": true,
  "sealttyd-any-user": true,
  "sealttyd-kernel-console": true,
  "sealttyd-one-process": false,
};

/** What a Debian has as people start with it. */
export const PLANTED_AT_THE_START: PlantedAlone = {
  "cloud-init": true,
  "initramfs-shell": true,
  "first-boot": true,
  "recovery-console": true,
  "host-credentials": true,
  "credential-import": false,
  "cloud-init-applied": false,
  "sealttyd-off": false,
};

export const PLANTED_ALONE: PlantedAlone = {
  "kernel-console": true,
  ...PLANTED_IN_FIRMWARE,
  "host-share": true,
  ...PLANTED_IN_CONFIG,
  "sealttyd-config": false,
  ...PLANTED_AT_THE_START,
};

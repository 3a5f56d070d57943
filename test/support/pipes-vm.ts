// A test guest with every pipe that QEMU has for it: device × backend × mode, each with a sealttyd's worth of server.

import { readFileSync } from "node:fs";
import path from "node:path";
import { build } from "vite";
import { connectTcp } from "../../node/tcp-pipe.ts";
import { connectUnixSocket } from "../../node/unix-socket-pipe.ts";
import { connectWebSocket } from "../../node/web-socket-pipe.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import type { Vm, VmOptions } from "./vm.ts";

export const DEVICES = ["virtserialport", "virtconsole", "16550"] as const;
export const BACKENDS = ["unix", "tcp", "websocket"] as const;
export const MODES = ["plain", "mux=on", "telnet=on"] as const;

export interface GuestPipe {
  readonly device: (typeof DEVICES)[number];
  readonly backend: (typeof BACKENDS)[number];
  readonly mode: (typeof MODES)[number];
  /** In the guest; of a virtserialport its name. */
  readonly at: string;
  readonly armourOnly?: boolean;
}

const root = path.resolve(import.meta.dirname, "../..");
const idOf = (pipe: GuestPipe): string => `chr-${pipe.at.replaceAll("/", "-")}`;

/** test/support/guest-pipes.ts as one file. */
async function buildServer(directory: string): Promise<Buffer> {
  await build({
    configFile: path.join(root, "vite.config.ts"),
    mode: "sealttyd",
    logLevel: "warn",
    build: {
      ssr: path.join(root, "test/support/guest-pipes.ts"),
      outDir: directory,
      rolldownOptions: { output: { entryFileNames: "guest-pipes.js" } },
    },
  });
  return readFileSync(path.join(directory, "guest-pipes.js"));
}

function configOf(pipe: GuestPipe): string {
  const where =
    pipe.device === "virtserialport"
      ? `type = "virtio"\nname = "${pipe.at}"`
      : `type = "tty"\ndevice = "${pipe.at}"\narmour_only = ${pipe.armourOnly ?? false}`;
  return (
    `[pipe]\n${where}\n[evidence]\ntype = "simulated"\ninstance = "test"\ni_know_this_proves_nothing = true\n` +
    `[users]\nauthorized_keys = "/etc/sealtty/authorized_keys"\nnames = ["root"]\nlogin = ["/bin/login"]\nshell = ["/bin/sh", "-l"]\n`
  );
}

/** -chardev and -device of each pipe. Serial devices: the first is ISA's, the others share PCI cards of four. */
function qemuArguments(pipes: readonly GuestPipe[], directory: string): string[] {
  const args: string[] = [];
  for (const pipe of pipes) {
    const where =
      pipe.backend === "unix"
        ? `path=${path.join(directory, idOf(pipe))}`
        : `host=127.0.0.1,port=0,nodelay=on${pipe.backend === "websocket" ? ",websocket=on" : ""}`;
    const mode = pipe.mode === "plain" ? "" : `,${pipe.mode}`;
    args.push("-chardev", `socket,id=${idOf(pipe)},${where},server=on,wait=off${mode}`);
  }
  const ports = pipes.filter(({ device }) => device === "virtserialport");
  const consoles = pipes.filter(({ device }) => device === "virtconsole");
  const lines = pipes.filter(({ device }) => device === "16550");
  args.push("-device", "virtio-serial-pci,id=vs1,max_ports=31");
  ports.forEach((pipe, i) =>
    args.push("-device", `virtserialport,bus=vs1.0,nr=${i + 1},chardev=${idOf(pipe)},name=${pipe.at}`),
  );
  if (consoles.length > 0) args.push("-device", "virtio-serial-pci,id=vs2,max_ports=31");
  consoles.forEach((pipe, i) =>
    args.push("-device", `virtconsole,bus=vs2.0,nr=${i + 1},chardev=${idOf(pipe)}`),
  );
  const [isa, ...pci] = lines;
  if (isa !== undefined) args.push("-device", `isa-serial,chardev=${idOf(isa)},index=1`);
  for (let i = 0; i < pci.length; i += 4) {
    const four = pci.slice(i, i + 4).map((pipe, j) => `chardev${j + 1}=${idOf(pipe)}`);
    if (four.length === 4) args.push("-device", `pci-serial-4x,${four.join(",")}`);
    else for (const one of four) args.push("-device", `pci-serial,${one.replace(/^chardev\d/, "chardev")}`);
  }
  return args;
}

/**
 * @param directory - of the caller's, for sockets and the bundle.
 * @param before - shell lines that run in the guest first, in the background.
 */
export async function pipesVmOptions(
  pipes: readonly GuestPipe[],
  directory: string,
  authorizedKeys: string,
  before = "",
): Promise<VmOptions> {
  const start = `#!/bin/sh
{
${before}
SEALTTY_PTY_ADDON=/usr/lib/sealtty/pty.node node /usr/lib/sealtty/guest-pipes.js </dev/null 2>&1 | while IFS= read -r line; do echo "pipes: $line"; done
} &
`;
  return {
    firmware: "seabios",
    tpm: false,
    virtio: undefined,
    append: "8250.nr_uarts=16 sealtty.only=none",
    authorizedKeys,
    qemuArguments: qemuArguments(pipes, directory),
    files: {
      "/usr/lib/sealtty/guest-pipes.js": await buildServer(directory),
      "/etc/sealtty/init.d/pipes": { data: start, mode: 0o755 },
      ...Object.fromEntries(
        pipes.map((pipe) => [`/etc/sealtty/pipes/${idOf(pipe)}.toml`, configOf(pipe)] as const),
      ),
    },
  };
}

/** Opens the host's end. */
export async function dialPipe(vm: Vm, pipe: GuestPipe, directory: string): Promise<Pipe> {
  if (pipe.backend === "unix") return connectUnixSocket(path.join(directory, idOf(pipe)));
  const chardevs = (await vm.qmp("query-chardev")) as { label: string; filename: string }[];
  // A mux is a second chardev in front of the socket's, which is then called "…-base".
  const label = pipe.mode === "mux=on" ? `${idOf(pipe)}-base` : idOf(pipe);
  const found = chardevs.find((chardev) => chardev.label === label);
  const port = Number(/127\.0\.0\.1:(\d+)/.exec(found?.filename ?? "")?.[1]);
  return pipe.backend === "tcp" ? connectTcp("127.0.0.1", port) : connectWebSocket(`ws://127.0.0.1:${port}/`);
}

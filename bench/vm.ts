// The VM's peers: sealtty over its virtio port, and as the limit a second virtio port with nothing but a shell script.

import net from "node:net";
import { once } from "node:events";
import path from "node:path";
import { pathToFileURL } from "node:url";
import type { Vm, VmOptions } from "../scripts/lib/vm.mjs";
import { scratchDirectory } from "./children.ts";
import { busyboxFloodLine, type Peer, shellLines } from "./peer.ts";
import { projectRoot } from "./places.ts";
import { sealttyPeer, sealttydConfig } from "./sealtty.ts";

const BLOCK = 32_768; // the most that the guest's driver takes at a time
const PATIENCE_MS = 120_000;

/** In the guest: takes a line, says READY, floods or echoes. The host's closing the port ends an echo. */
const rawPortScript = `#!/bin/sh
for name in /sys/class/virtio-ports/*/name; do
  grep -qx bench.0 "$name" && port=/dev/$(basename "$(dirname "$name")")
done
[ -n "$port" ] || exit 1
serve() {
  while :; do
    while read -r what blocks; do
      printf READY >&4
      case $what in
        echo) cat >&4 ;;
        flood) read -r x; dd if=/dev/zero bs=${BLOCK} count="$blocks" 2>/dev/null >&4 ;;
      esac
    done
    sleep 0.1
  done
}
exec 4<>"$port"
serve <&4 >/dev/null 2>&1 &
`;

export interface VmPeers {
  readonly rawPort: Peer;
  readonly sealtty: Peer;
  stop(): Promise<void>;
}

export async function startVm(): Promise<VmPeers> {
  // Not bundled: the scripts find their files by their own place.
  const file = pathToFileURL(path.join(projectRoot, "scripts/lib/vm.mjs")).href;
  const { bootVm } = (await import(/* @vite-ignore */ file)) as {
    readonly bootVm: (options: VmOptions) => Promise<Vm>;
  };
  const socket = path.join(scratchDirectory("vm"), "bench.sock");
  const vm = await bootVm({
    firmware: "seabios",
    tpm: false,
    evidence: "simulated",
    files: {
      "/etc/sealtty/virtio.toml": sealttydConfig('type = "virtio"\nname = "sealtty.0"'),
      "/etc/sealtty/init.d/bench": { data: rawPortScript, mode: 0o755 },
    },
    qemuArguments: [
      ...["-chardev", `socket,id=bench,path=${socket},server=on,wait=off`],
      ...["-device", "virtserialport,bus=vs0.0,nr=3,chardev=bench,name=bench.0"],
    ],
  });
  try {
    await vm.waitForSerial(/sealttyd\[virtio\]: .*sealttyd serves/);
    const port = vm.unixPath;
    if (port === undefined) throw new Error("The VM has no virtio port");
    return {
      rawPort: rawPortPeer(socket),
      sealtty: sealttyPeer("sealtty, virtio port", port, {
        patienceMs: PATIENCE_MS,
        ...shellLines,
        floodLine: busyboxFloodLine,
      }),
      stop: () => vm.stop(),
    };
  } catch (error) {
    const serial = vm.serialLog().slice(-4000);
    await vm.stop();
    throw new Error(`${(error as Error).message}\n--- the guest's serial console\n${serial}`, {
      cause: error,
    });
  }
}

function rawPortPeer(path: string): Peer {
  return {
    name: "raw virtio port",
    patienceMs: PATIENCE_MS,
    floodLine: (length) => `flood ${Math.ceil(length / BLOCK)}\n`,
    echoLine: "echo\n",
    async open(inbox) {
      const socket = net.connect(path);
      socket.on("data", inbox.receive);
      socket.on("error", inbox.fail);
      await once(socket, "connect");
      return {
        write: (bytes) => void socket.write(bytes),
        async close() {
          const closed = once(socket, "close");
          socket.destroy();
          await closed;
        },
      };
    },
    stop: () => Promise.resolve(),
  };
}

// The VM's peers: sealtty over its virtio port, and as the limit a second virtio port with nothing but a shell script.

import { readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import { once } from "node:events";
import path from "node:path";
import { pathToFileURL } from "node:url";
import type { Vm, VmOptions } from "../scripts/lib/vm.mjs";
import { scratchDirectory } from "./children.ts";
import { flood } from "./measure.ts";
import { busyboxFloodLine, type Peer, shellLines } from "./peer.ts";
import { projectRoot, sealttydFile } from "./places.ts";
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

const PROFILE_AT = "/run/bench-profile";
const PROFILE_UNTIL = "/run/bench-profile-end";

/** In place of sealttyd.js: runs it, and profiles it from the one file's appearing to the other's. Prints its own table. */
const profiler = `
import fs from "node:fs";
import { Session } from "node:inspector/promises";
const session = new Session();
session.connect();
const appears = (file) => new Promise((resolve) => {
  const timer = setInterval(() => fs.existsSync(file) && (clearInterval(timer), resolve()), 200);
});
async function measure() {
  await appears("${PROFILE_AT}");
  await session.post("Profiler.enable");
  await session.post("Profiler.setSamplingInterval", { interval: 2000 });
  await session.post("Profiler.start");
  const before = process.cpuUsage();
  const start = performance.now();
  await appears("${PROFILE_UNTIL}");
  const { user, system } = process.cpuUsage(before);
  console.error("profile " + (performance.now() - start).toFixed(0) + " ms: user " + user / 1000 + " ms, system " + system / 1000 + " ms");
  const { profile } = await session.post("Profiler.stop");
  const nodes = new Map(profile.nodes.map((node) => [node.id, node.callFrame]));
  const times = new Map();
  let busy = 0;
  profile.samples.forEach((id, at) => {
    const { functionName, url, lineNumber } = nodes.get(id);
    if (functionName === "(idle)") return;
    const name = (functionName || "(anonymous)") + (url ? " " + url.split("/").pop() + ":" + (lineNumber + 1) : "");
    busy += profile.timeDeltas[at];
    times.set(name, (times.get(name) ?? 0) + profile.timeDeltas[at]);
  });
  const top = [...times].sort((a, b) => b[1] - a[1]).slice(0, 25);
  for (const [name, time] of top) console.error("profile " + ((100 * time) / busy).toFixed(1).padStart(5) + " %  " + name);
  console.error("profile end");
}
void measure();
await import("./sealttyd-itself.js");
`;

/** What sealttyd in the VM does during a flood. @param length - bytes. */
export async function profileInVm(length: number): Promise<string> {
  const wrapper = path.join(scratchDirectory("profiler"), "sealttyd.mjs");
  writeFileSync(wrapper, profiler);
  const vm = await startVm({
    sealttyd: wrapper,
    files: { "/usr/lib/sealtty/sealttyd-itself.js": readFileSync(sealttydFile) },
  });
  try {
    const floodLine = (): string =>
      busyboxFloodLine(length, `touch ${PROFILE_AT}; sleep 1`, `touch ${PROFILE_UNTIL}`);
    const flooding = { ...vm.sealtty, floodLine };
    const rate = await flood(flooding, length);
    const [, log] = await vm.waitForSerial(/profile ([^]*)\n.*profile end/);
    const lines = `${log}`.replaceAll(/^sealttyd\[virtio\]: profile /gm, "");
    return `In the VM, while profiled: flood ${rate.toFixed(2)} MB/s with one second of rest\n${lines}\n`;
  } finally {
    await vm.stop();
  }
}

export interface VmPeers {
  readonly rawPort: Peer;
  readonly sealtty: Peer;
  readonly waitForSerial: Vm["waitForSerial"];
  stop(): Promise<void>;
}

export async function startVm(own: Pick<VmOptions, "sealttyd" | "files"> = {}): Promise<VmPeers> {
  // Not bundled: the scripts find their files by their own place.
  const file = pathToFileURL(path.join(projectRoot, "scripts/lib/vm.mjs")).href;
  const { bootVm } = (await import(/* @vite-ignore */ file)) as {
    readonly bootVm: (options: VmOptions) => Promise<Vm>;
  };
  const socket = path.join(scratchDirectory("vm"), "bench.sock");
  const vm = await bootVm({
    cpus: 2,
    firmware: "seabios",
    tpm: false,
    evidence: "simulated",
    ...own,
    files: {
      ...own.files,
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
      waitForSerial: (pattern, timeoutMs) => vm.waitForSerial(pattern, timeoutMs),
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
    hasPrompt: false,
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

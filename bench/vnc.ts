// A VM behind QEMU's own VNC server: keys, bytes a second each way, and the time to a prompt, for each screen and input device.

import { randomInt } from "node:crypto";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { nodeClock } from "../node/clock.ts";
import { dialRfb } from "../node/rfb.ts";
import { openModemOverRfb } from "../protocol/modem/modem-over-rfb.ts";
import type { Vm, VmOptions } from "../scripts/lib/vm.mjs";
import { scratchDirectory } from "./children.ts";
import { echo, flood, repaint, swallow, timeToPrompt } from "./measure.ts";
import { busyboxFloodLine, type Peer } from "./peer.ts";
import { projectRoot } from "./places.ts";
import { cpuOf } from "./profile.ts";
import type { Row } from "./report.ts";
import { sealttydConfig, sealttyPeerOver } from "./sealtty.ts";
import { percentile } from "./statistics.ts";

const PATIENCE_MS = 180_000;
/** Long enough to see what a guest does by itself, ms. */
const IDLE_MS = 10_000;
const REPAINTS = 10;

interface Machine {
  readonly name: string;
  readonly firmware: "ovmf" | "seabios";
  readonly devices: readonly string[];
  readonly input: "tablet" | "mouse" | "keyboard";
  /** Bytes of a measurement towards the guest, and towards the client. */
  readonly up: number;
  readonly down: number;
}

const TABLET = ["-device", "virtio-tablet-pci"];
const machines: readonly Machine[] = [
  {
    name: "1280×800, virtio tablet",
    firmware: "ovmf",
    devices: TABLET,
    input: "tablet",
    up: 8192,
    down: 524_288,
  },
  { name: "1280×800, PS/2 mouse", firmware: "ovmf", devices: [], input: "mouse", up: 4096, down: 524_288 },
  { name: "1280×800, keyboard", firmware: "ovmf", devices: [], input: "keyboard", up: 512, down: 262_144 },
  {
    name: "80×25 cells, virtio tablet",
    firmware: "seabios",
    devices: TABLET,
    input: "tablet",
    up: 8192,
    down: 65_536,
  },
  {
    name: "80×25 cells, PS/2 mouse",
    firmware: "seabios",
    devices: [],
    input: "mouse",
    up: 4096,
    down: 65_536,
  },
];

/** @param quick - fewer keys, and only the first machine of each screen. */
export async function vncRows(quick: boolean, say: (text: string) => void): Promise<Row[]> {
  const rows: Row[] = [];
  for (const machine of machines) {
    if (quick && machine.input !== (machine.firmware === "ovmf" ? "tablet" : "mouse")) continue;
    say(`booting ${machine.name}`);
    try {
      rows.push(...(await measured(machine, quick ? 40 : 200)));
    } catch (error) {
      const { message } = error as Error;
      say(`${machine.name}: ${message}`);
      rows.push({
        figure: "through VNC",
        peer: machine.name,
        rounds: [],
        ratios: [],
        note: message.split("\n")[0] ?? "",
      });
    }
  }
  return rows.toSorted((a, b) => a.figure.localeCompare(b.figure));
}

async function measured(machine: Machine, keys: number): Promise<Row[]> {
  const { name, firmware, devices, input, up, down } = machine;
  const file = pathToFileURL(path.join(projectRoot, "scripts/lib/vm.mjs")).href;
  const { bootVm } = (await import(/* @vite-ignore */ file)) as {
    readonly bootVm: (options: VmOptions) => Promise<Vm>;
  };
  const socket = path.join(scratchDirectory("vnc"), "vnc");
  const vm = await bootVm({
    cpus: 2,
    firmware,
    tpm: false,
    evidence: "simulated",
    virtio: undefined,
    append: "sealtty.screen",
    qemuArguments: ["-device", "VGA", ...devices, "-vnc", `unix:${socket}`],
    files: {
      "/etc/sealtty/screen.toml": sealttydConfig(`type = "framebuffer"\ninput = "${input}"`),
    },
  });
  try {
    await vm.waitForSerial(/sealttyd\[screen\]: .*sealttyd serves/, PATIENCE_MS);
    const dial = async () =>
      await openModemOverRfb(await dialRfb({ kind: "unix", path: socket }), {
        clock: nodeClock,
        epoch: randomInt(0x10000),
      });
    const peer: Peer = sealttyPeerOver(name, dial, "binary", {
      patienceMs: PATIENCE_MS,
      floodLine: busyboxFloodLine,
    });
    const row = (figure: string, value: number): Row => ({ figure, peer: name, rounds: [value], ratios: [] });
    /** Of the emulator: there is no other measure of a guest's own where each of its instructions is many of ours. */
    const busy = async <T>(work: () => Promise<T>): Promise<{ value: T; percent: number }> => {
      const pid = vm.pids[0] as number;
      const used = (): number => cpuOf(pid).user + cpuOf(pid).system; // s
      const [start, before] = [performance.now(), used()];
      const value = await work();
      return { value, percent: (100_000 * (used() - before)) / (performance.now() - start) };
    };
    const idle = await busy(() => sleep(IDLE_MS));
    const opening = await timeToPrompt(peer);
    const keyed = await busy(() => echo(peer, keys, 5));
    const { p50, p99 } = keyed.value;
    const painted = await repaint(peer, REPAINTS);
    const flooded = await busy(() => flood(peer, down));
    return [
      row("through VNC: opening to prompt, ms", opening.prompt),
      row("through VNC: until attested, ms", opening["attested"] ?? Number.NaN),
      row("through VNC: keystroke echo p50, ms", p50 / 1000),
      row("through VNC: keystroke echo p99, ms", p99 / 1000),
      row("through VNC: 80×24 characters drawn anew p50, ms", percentile(painted, 0.5)),
      row("through VNC: to the client, kB/s", flooded.value * 1000),
      row("through VNC: to the guest, kB/s", await swallow(peer, up)),
      row("through VNC: QEMU's processor time, nobody connected, %", idle.percent),
      row("through VNC: QEMU's processor time, keys, %", keyed.percent),
      row("through VNC: QEMU's processor time, to the client, %", flooded.percent),
    ];
  } finally {
    await vm.stop();
  }
}

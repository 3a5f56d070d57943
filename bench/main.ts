// `npm run bench`: sealtty beside its peers in one run. docs/benchmarks.md says what each figure means.

import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import { parseArgs } from "node:util";
import { execRows } from "./exec.ts";
import { filesRows } from "./files.ts";
import { memoryAtRest, memoryOf, pageSizes } from "./footprint.ts";
import { echo, flood, floodLength, timeToPrompt } from "./measure.ts";
import { startOpenssh } from "./openssh.ts";
import type { Absence, Peer } from "./peer.ts";
import { benchmarksDocument } from "./places.ts";
import { profile } from "./profile.ts";
import { rawPty } from "./raw-pty.ts";
import { asText, intoDocument, type Report, type Row } from "./report.ts";
import { shapingRows } from "./shaping.ts";
import { sealttyPeer, startSealttyd } from "./sealtty.ts";
import { median } from "./statistics.ts";
import { vncRows } from "./vnc.ts";
import { startTtyd } from "./ttyd.ts";
import { verificationRows } from "./verification.ts";
import { profileInVm, startVm, type VmPeers } from "./vm.ts";

const ROUNDS = 3;

interface Effort {
  readonly floodSeconds: number;
  readonly keystrokes: number;
  readonly warmUp: number;
  readonly openings: number; // each round
}
const FULL: Effort = { floodSeconds: 3, keystrokes: 1000, warmUp: 100, openings: 5 };
const QUICK: Effort = { floodSeconds: 0.5, keystrokes: 200, warmUp: 50, openings: 2 };

const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`);

/** Values by figure, then by peer, one for each round. */
type Figures = Map<string, Map<string, number[]>>;

function note(figures: Figures, figure: string, peer: string, value: number): void {
  const byPeer = figures.get(figure) ?? new Map<string, number[]>();
  figures.set(figure, byPeer);
  byPeer.set(peer, [...(byPeer.get(peer) ?? []), value]);
}

/** @param place - goes behind the names of the figures. */
async function comparePeers(peers: readonly Peer[], effort: Effort, place: string): Promise<Figures> {
  const figures: Figures = new Map();
  const lengths = new Map<Peer, number>();
  for (const peer of peers) {
    const length = await floodLength(peer, effort.floodSeconds);
    lengths.set(peer, length);
    say(`${peer.name}: floods of ${(length / 1e6).toFixed(1)} MB`);
  }
  // One peer after the other, again and again: whatever slows the machine down for a while slows down all.
  for (let round = 0; round < ROUNDS; round++) {
    say(`round ${round + 1} of ${ROUNDS}${place}`);
    for (const peer of peers)
      note(figures, `bulk output, MB/s${place}`, peer.name, await flood(peer, lengths.get(peer) ?? 0));
    for (const peer of peers) {
      const { p50, p99 } = await echo(peer, effort.keystrokes, effort.warmUp);
      note(figures, `keystroke echo p50, µs${place}`, peer.name, p50);
      note(figures, `keystroke echo p99, µs${place}`, peer.name, p99);
    }
    await openings(peers, effort, figures, place);
  }
  return figures;
}

async function openings(
  peers: readonly Peer[],
  effort: Effort,
  figures: Figures,
  place: string,
): Promise<void> {
  const times = new Map<string, number[]>();
  const steps = ["prompt", "attested", "authenticated"];
  const withPrompt = peers.filter(({ hasPrompt }) => hasPrompt !== false);
  for (let opening = 0; opening < effort.openings; opening++) {
    for (const peer of withPrompt) {
      const took = await timeToPrompt(peer);
      for (const step of steps.filter((step) => took[step] !== undefined)) {
        const name = step === "prompt" ? peer.name : `${peer.name}: until ${step}`;
        times.set(name, [...(times.get(name) ?? []), took[step] ?? Number.NaN]);
      }
    }
  }
  for (const [name, values] of times) note(figures, `opening to prompt, ms${place}`, name, median(values));
}

function rowsOf(figures: Figures, baseline: string, absences: readonly Absence[]): Row[] {
  return [...figures].flatMap(([figure, byPeer]) => {
    const base = byPeer.get(baseline);
    const rows = [...byPeer].map(([peer, rounds]): Row => {
      const ratios =
        base === undefined ? [] : rounds.map((value, round) => value / (base[round] ?? Number.NaN));
      return { figure, peer, rounds, ratios };
    });
    const missing = absences.map(({ name, absent }): Row => {
      return { figure, peer: name, rounds: [], ratios: [], note: absent.split("\n")[0] ?? absent };
    });
    return [...rows, ...missing];
  });
}

const isPeer = (peer: Peer | Absence): peer is Peer => "open" in peer;

async function localRows(effort: Effort): Promise<Row[]> {
  const sealttyd = await startSealttyd();
  const others = [await startOpenssh(), await startTtyd()];
  const absences = others.filter((peer): peer is Absence => !isPeer(peer));
  for (const { name, absent } of absences) say(`${name}: ${absent}`);
  const peers = [rawPty, sealttyPeer("sealtty, unix socket", sealttyd.socket), ...others.filter(isPeer)];
  try {
    const rows = rowsOf(await comparePeers(peers, effort, ""), rawPty.name, absences);
    const memory = (peer: string, field: "VmRSS" | "VmHWM"): Row =>
      single(MEMORY, peer, memoryOf(sealttyd.pid, field));
    return [
      ...rows,
      memory("sealttyd after the rounds", "VmRSS"),
      memory("sealttyd, its peak in the rounds", "VmHWM"),
    ];
  } finally {
    for (const peer of peers) await peer.stop();
    await sealttyd.stop();
  }
}

async function vmRows(effort: Effort): Promise<Row[]> {
  say("booting the VM");
  let vm: VmPeers;
  try {
    vm = await startVm();
  } catch (error) {
    const { message } = error as Error;
    say(`no VM: ${message}`);
    return [
      { figure: "in the VM", peer: "all", rounds: [], ratios: [], note: message.split("\n")[0] ?? message },
    ];
  }
  try {
    return rowsOf(await comparePeers([vm.rawPort, vm.sealtty], effort, " (VM, TCG)"), vm.rawPort.name, []);
  } finally {
    await vm.stop();
  }
}

const MEMORY = "memory (RSS), MB";
const PAGE = "page after gzip, kB";
const single = (figure: string, peer: string, value: number): Row => ({
  figure,
  peer,
  rounds: [value],
  ratios: [],
});

async function footprintRows(): Promise<{ page: Row[]; memory: Row[] }> {
  const sizes = pageSizes();
  const all = Object.values(sizes ?? {}).reduce((sum, size) => sum + size, 0);
  const page =
    sizes === undefined
      ? [{ figure: PAGE, peer: "all", rounds: [], ratios: [], note: "not built" }]
      : [single(PAGE, "all", all), ...Object.entries(sizes).map(([kind, size]) => single(PAGE, kind, size))];
  const { node, idle, oneSession } = await memoryAtRest();
  const memory = [
    single(MEMORY, "Node doing nothing", node),
    single(MEMORY, "sealttyd, idle", idle),
    single(MEMORY, "sealttyd, one session", oneSession),
  ];
  return { page, memory };
}

function versionOf(command: string, ...args: string[]): string {
  try {
    const text = execFileSync("sh", ["-c", '"$@" 2>&1', "sh", command, ...args]).toString();
    return text.split("\n")[0]?.trim() ?? "";
  } catch {
    return `no ${command}`;
  }
}

function machine(withVm: boolean): string[] {
  const [cpu] = os.cpus();
  const load = os.loadavg().map((value) => value.toFixed(1));
  return [
    `${os.cpus().length} cores of ${cpu?.model.trim()}, ${(os.totalmem() / 2 ** 30).toFixed(0)} GiB, Linux ${os.release()}`,
    `Node ${process.version}, ${versionOf("ssh", "-V")}${withVm ? `, ${versionOf("qemu-system-x86_64", "--version")}` : ""}`,
    ...(withVm ? ["the VM runs under TCG (QEMU emulates every instruction, no KVM) on the same cores"] : []),
    `load average before the run ${load.join(", ")} (near 0: nothing else ran)`,
  ];
}

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    "no-vm": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    markdown: { type: "boolean", default: false },
    shaping: { type: "boolean", default: false },
    exec: { type: "boolean", default: false },
    files: { type: "boolean", default: false },
    vnc: { type: "boolean", default: false },
    profile: { type: "string" },
  },
});

async function main(): Promise<void> {
  const effort = options.quick ? QUICK : FULL;
  if (options.profile !== undefined) {
    for (const what of ["flood", "echo"] as const) {
      process.stdout.write(`${await profile(options.profile, options.quick ? 1 : 5, what)}\n`);
    }
    if (!options["no-vm"]) process.stdout.write(await profileInVm((options.quick ? 64 : 256) * 65_536));
    return;
  }
  if (options.shaping || options.exec || options.files || options.vnc) {
    const rows = options.exec
      ? await execRows(options.quick)
      : options.files
        ? await filesRows(options.quick)
        : options.vnc
          ? await vncRows(options.quick, say)
          : await shapingRows(options.quick);
    const about = machine(options.vnc);
    const report: Report = { date: new Date().toISOString().slice(0, 10), machine: about, rows };
    process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : asText(report));
    return;
  }
  const facts = machine(!options["no-vm"]);
  const { page, memory } = await footprintRows();
  const local = await localRows(effort);
  const inVm = options["no-vm"] ? [] : await vmRows(effort);
  const isMemory = ({ figure }: Row): boolean => figure === MEMORY;
  const rows = [
    ...local.filter((row) => !isMemory(row)),
    ...(await execRows(options.quick)),
    ...(await filesRows(options.quick)),
    ...inVm,
    ...(await verificationRows(options.quick ? 5 : 30)),
    ...(await shapingRows(options.quick)),
    ...memory,
    ...local.filter(isMemory),
    ...page,
  ];
  const report: Report = { date: new Date().toISOString().slice(0, 10), machine: facts, rows };
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : asText(report));
  if (options.markdown) {
    writeFileSync(benchmarksDocument, intoDocument(readFileSync(benchmarksDocument, "utf8"), report));
    say("docs/benchmarks.md has the new table");
  }
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${(error as Error).stack}\n`);
  process.exitCode = 1;
}
process.exit(); // node-pty keeps handles that would hold the process up

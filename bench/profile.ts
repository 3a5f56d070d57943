// `npm run bench -- --profile DIRECTORY`: where the time of a flood goes, on sealttyd's side and on the client's.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { Session } from "node:inspector/promises";
import path from "node:path";
import { echo, flood, floodLength } from "./measure.ts";
import { sealttyPeer, startSealttyd } from "./sealtty.ts";

const TOP = 25;
/** Of the parts of V8's .cpuprofile that are used here. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples?: readonly number[] | undefined;
  readonly timeDeltas?: readonly number[] | undefined;
}

/** Self time by function, as a share of the time the thread was not idle. */
export function selfTimes(profile: CpuProfile): { name: string; share: number }[] {
  const names = new Map(
    profile.nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => [
      id,
      `${functionName || "(anonymous)"} ${url === "" ? "" : `${path.basename(url)}:${lineNumber + 1}`}`.trim(),
    ]),
  );
  const times = new Map<string, number>();
  let busy = 0;
  for (const [at, id] of (profile.samples ?? []).entries()) {
    const name = names.get(id) ?? "?";
    if (name === "(idle)") continue;
    const time = Math.max(0, profile.timeDeltas?.[at] ?? 0);
    busy += time;
    times.set(name, (times.get(name) ?? 0) + time);
  }
  return [...times]
    .map(([name, time]) => ({ name, share: time / busy }))
    .sort((a, b) => b.share - a.share)
    .slice(0, TOP);
}

function idleShare({ nodes, samples = [], timeDeltas = [] }: CpuProfile): number {
  const idle = new Set(
    nodes.filter(({ callFrame }) => callFrame.functionName === "(idle)").map(({ id }) => id),
  );
  const total = timeDeltas.reduce((sum, delta) => sum + delta, 0);
  return samples.reduce((sum, id, at) => sum + (idle.has(id) ? (timeDeltas[at] ?? 0) : 0), 0) / total;
}

function table(side: string, profile: CpuProfile): string {
  const lines = selfTimes(profile).map(
    ({ name, share }) => `${(share * 100).toFixed(1).padStart(5)} %  ${name}`,
  );
  return `${side}: self time, of the ${((1 - idleShare(profile)) * 100).toFixed(0)} % that it was busy\n${lines.join("\n")}\n`;
}

/** CPU time of a process so far, in seconds: proc_pid_stat(5), in ticks of 10 ms. */
export function cpuOf(pid: number): { user: number; system: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return { user: Number(fields[11]) / 100, system: Number(fields[12]) / 100 };
}

/** @param what - "echo" profiles keystrokes instead of a flood. @returns the tables; the profiles go into `directory`. */
export async function profile(directory: string, duration: number, what: "flood" | "echo"): Promise<string> {
  mkdirSync(directory, { recursive: true });
  const name = `sealttyd-${what}.cpuprofile`;
  const sealttyd = await startSealttyd([
    "--cpu-prof",
    `--cpu-prof-dir=${directory}`,
    `--cpu-prof-name=${name}`,
  ]);
  const session = new Session();
  session.connect();
  try {
    const peer = sealttyPeer("sealtty", sealttyd.socket);
    const length = what === "flood" ? await floodLength(peer, duration) : 0;
    await session.post("Profiler.enable");
    await session.post("Profiler.start");
    const pids = { sealttyd: sealttyd.pid, client: process.pid };
    const before = Object.entries(pids).map(([side, pid]) => ({ side, pid, ...cpuOf(pid) }));
    const start = performance.now();
    let result: string;
    if (what === "flood") result = `${(await flood(peer, length)).toFixed(1)} MB/s`;
    else {
      const { p50, p99 } = await echo(peer, duration * 2000, 100);
      result = `p50 ${p50.toFixed(0)} µs, p99 ${p99.toFixed(0)} µs`;
    }
    const seconds = (performance.now() - start) / 1000;
    const used = before.map(({ side, pid, user, system }) => {
      const now = cpuOf(pid);
      return `${side} ${(now.user - user).toFixed(2)} s user, ${(now.system - system).toFixed(2)} s system`;
    });
    const { profile: own } = await session.post("Profiler.stop");
    writeFileSync(path.join(directory, `client-${what}.cpuprofile`), JSON.stringify(own));
    await sealttyd.stop(); // this is when it writes its profile
    if (!readdirSync(directory).includes(name))
      throw new Error(`sealttyd wrote no profile:\n${sealttyd.log()}`);
    const theirs = JSON.parse(readFileSync(path.join(directory, name), "utf8")) as CpuProfile;
    return `While profiled: ${what} ${result}; CPU in ${seconds.toFixed(2)} s: ${used.join("; ")}\n\n${table("sealttyd", theirs)}\n${table("client", own)}`;
  } finally {
    session.disconnect();
    await sealttyd.stop();
  }
}

// What a process of this machine costs, by /proc: processor time and resident memory.

import { readFileSync } from "node:fs";

/** Of utime and stime; a constant of Linux's interface, whatever the kernel's own tick is. */
const TICKS_PER_SECOND = 100;

/** @returns seconds of processor time so far, all threads. */
export function processorSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The program's name, in parentheses, may hold anything: count from behind it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** @returns MiB. */
export function residentMiB(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kib) / 1024;
}

export interface Cost {
  readonly seconds: number; // by the clock on the wall
  /** Processors used, on average: 1 is one of them all the time. */
  readonly share: number;
  readonly before: number; // MiB
  readonly peak: number;
  readonly after: number;
}

/** Measures another process while `work` runs. */
export async function costDuring(pid: number, work: () => Promise<void>): Promise<Cost> {
  const before = residentMiB(pid);
  let peak = before;
  const sampling = setInterval(() => {
    peak = Math.max(peak, residentMiB(pid));
  }, 20);
  const start = performance.now();
  const used = processorSeconds(pid);
  try {
    await work();
  } finally {
    clearInterval(sampling);
  }
  const seconds = (performance.now() - start) / 1000;
  const after = residentMiB(pid);
  return {
    seconds,
    share: (processorSeconds(pid) - used) / seconds,
    before,
    peak: Math.max(peak, after),
    after,
  };
}

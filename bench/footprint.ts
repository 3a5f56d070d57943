// Sizes: the page as it is loaded, and the memory of sealttyd.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { startProgram } from "./children.ts";
import { Inbox } from "./peer.ts";
import { pageDirectory } from "./places.ts";
import { sealttyPeer, startSealttyd } from "./sealtty.ts";

const SETTLE_MS = 1500;

/** kB (10^3 bytes) after gzip -9, by kind of file; undefined where the page is not built. */
export function pageSizes(): Record<string, number> | undefined {
  if (!existsSync(pageDirectory)) return undefined;
  const sizes: Record<string, number> = {};
  for (const name of readdirSync(pageDirectory, { recursive: true, encoding: "utf8" })) {
    const kind = path.extname(name).slice(1);
    if (!["js", "css", "html"].includes(kind)) continue;
    const gzipped = gzipSync(readFileSync(path.join(pageDirectory, name)), { level: 9 });
    sizes[kind] = (sizes[kind] ?? 0) + gzipped.length / 1000;
  }
  return sizes;
}

/** MB (10^6 bytes) of /proc/PID/status's `field`. */
export function memoryOf(pid: number, field: "VmRSS" | "VmHWM" = "VmRSS"): number {
  const line = new RegExp(`^${field}:\\s*(\\d+) kB`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return (Number(line?.[1]) * 1024) / 1e6;
}

/** MB of a fresh sealttyd, with and without one session at its prompt, and of a Node process that does nothing. */
export async function memoryAtRest(): Promise<{ node: number; idle: number; oneSession: number }> {
  const empty = startProgram(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
  const sealttyd = await startSealttyd();
  try {
    await sleep(SETTLE_MS);
    const node = memoryOf(empty.pid);
    const idle = memoryOf(sealttyd.pid);
    const inbox = new Inbox();
    const peer = sealttyPeer("sealtty", sealttyd.socket);
    const terminal = await peer.open(inbox);
    await inbox.untilFirstByte(peer.patienceMs);
    await sleep(SETTLE_MS);
    const oneSession = memoryOf(sealttyd.pid);
    await terminal.close();
    return { node, idle, oneSession };
  } finally {
    await sealttyd.stop();
    await empty.stop();
  }
}

// Programs that the bench starts, and its temporary directory: all gone when it ends, however it ends.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export interface Program {
  readonly pid: number;
  /** Its stderr and stdout so far, the end of it. */
  log(): string;
  /** @throws with the log when the program ends first or the time is over. */
  waitForLog(pattern: RegExp, timeoutMs?: number): Promise<void>;
  /** SIGTERM, and SIGKILL 3 s later. Idempotent. */
  stop(): Promise<void>;
}

const MAX_LOG = 20_000; // characters
const alive = new Set<number>();
let scratch: string | undefined;

/** A directory that is removed at the end. */
export function scratchDirectory(name: string): string {
  scratch ??= mkdtempSync(path.join(os.tmpdir(), "sealtty-bench-"));
  return mkdtempSync(path.join(scratch, `${name}-`));
}

function cleanUp(): void {
  for (const pid of alive) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // ended in the meantime
    }
  }
  if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
}
process.on("exit", cleanUp);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(130));

export const isInstalled = (command: string): boolean => spawnSync("which", [command]).status === 0;

/** Starts a program in the background that dies with us even when we are killed. */
export function startProgram(command: string, args: readonly string[]): Program {
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", command, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const { pid } = child;
  if (pid === undefined) throw new Error(`setpriv does not start; it is part of util-linux`);
  alive.add(pid);
  let log = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => (log = (log + chunk.toString()).slice(-MAX_LOG)));
  }
  const ended = new Promise<void>((resolve) =>
    child.once("exit", () => {
      alive.delete(pid);
      resolve();
    }),
  );
  return {
    pid,
    log: () => log,
    async waitForLog(pattern, timeoutMs = 10_000) {
      const deadline = performance.now() + timeoutMs;
      while (!pattern.test(log)) {
        if (!alive.has(pid)) throw new Error(`${command} ended:\n${log}`);
        if (performance.now() > deadline) throw new Error(`${command} did not print ${pattern}:\n${log}`);
        await sleep(20);
      }
    },
    async stop() {
      for (const signal of ["SIGTERM", "SIGKILL"] as const) {
        if (!alive.has(pid)) return;
        child.kill(signal);
        await Promise.race([ended, sleep(3000, undefined, { ref: false })]);
      }
    },
  };
}

/** A TCP port of loopback that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

// Threads that keep screens: how many there may be, and what memory each may take.

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type ResourceLimits, Worker } from "node:worker_threads";
import type { ScreenThread, ScreenThreadEvents, StartScreenThread } from "../sessions/screen-keeper.ts";
import type { ScreenAnswer, ScreenStart } from "./messages.ts";

/** Threads at once: sessions above it come back without a screen once their output has left the ring. */
export const MAX_SCREEN_THREADS = 8;
/**
 * The engine ends a thread that needs more. Cells are not in it, which have a limit of their own: combined characters and
 * everything else of a terminal are.
 */
const THREAD_MEMORY: ResourceLimits = {
  maxOldGenerationSizeMb: 96,
  maxYoungGenerationSizeMb: 16,
  stackSizeMb: 2,
};

const NAME = "sealttyd-screen.js";

/** Beside the program; where this is not bundled, where `npm run build` puts it. @returns undefined where it is missing. */
export function screenThreadFile(): string | undefined {
  const own = path.dirname(fileURLToPath(import.meta.url));
  return [path.join(own, NAME), path.resolve(own, "../../dist/bin", NAME)].find((file) =>
    fs.existsSync(file),
  );
}

/** @param most, memory - passed in so that a test can reach them. */
export function screenThreads(
  file: string,
  most = MAX_SCREEN_THREADS,
  memory = THREAD_MEMORY,
): StartScreenThread {
  let running = 0;
  return (start, events) => {
    if (running >= most) return undefined;
    const thread = new WorkerThread(file, memory, start, events, () => running--);
    running++; // not where it could not be started: it never ends
    return thread;
  };
}

class WorkerThread implements ScreenThread {
  readonly #worker: Worker;

  constructor(
    file: string,
    memory: ResourceLimits,
    start: ScreenStart,
    events: ScreenThreadEvents,
    ended: () => void,
  ) {
    this.#worker = new Worker(file, {
      workerData: start,
      resourceLimits: memory,
      env: {}, // it needs nothing of it
      execArgv: [],
      stdout: true, // kept from the log: it could only say what the session's program makes it say
      stderr: true,
    });
    this.#worker.unref();
    this.#worker.on("message", (answer: ScreenAnswer) => events.answered(answer));
    this.#worker.on("error", (error: NodeJS.ErrnoException) =>
      events.gone(`failed (${error.code ?? error.name})`),
    );
    this.#worker.on("exit", () => {
      ended();
      events.gone("ended");
    });
  }

  post(order: Parameters<ScreenThread["post"]>[0], transfer: ArrayBuffer[]): void {
    this.#worker.postMessage(order, transfer);
  }

  end(): void {
    void this.#worker.terminate();
  }
}

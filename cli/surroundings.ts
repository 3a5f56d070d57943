// This process, as commands have it. Light: nothing of the protocol comes with it.

import { userInfo } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { nodeClock } from "../node/clock.ts";
import { VERSION } from "../node/version.ts";
import type { Surroundings } from "./services.ts";
import { standardInput, standardOutput } from "./standard-streams.ts";

export const surroundings: Surroundings = {
  stdin: standardInput(),
  stdout: standardOutput(1),
  stderr: standardOutput(2),
  environment: process.env,
  localUser: localUser(),
  clock: nodeClock,
  programDirectory: path.dirname(fileURLToPath(import.meta.url)),
  version: VERSION,
  onSignal(name, handler) {
    process.on(name, handler);
    return () => process.off(name, handler);
  },
  onExit(handler) {
    process.on("exit", handler);
    return () => process.off("exit", handler);
  },
  suspend: () => process.kill(0, "SIGTSTP"), // the whole job: npx and shell functions stop with us
};

let terminalGone = false;

/** For the whole life of the process, before anything else is done. */
export function watchProcess(): void {
  // Whoever reads our output may leave: the writer learns it from its own write.
  surroundings.stdout.on("error", () => undefined);
  surroundings.stderr.on("error", () => undefined);
  process.once("SIGHUP", () => {
    terminalGone = true;
  });
}

/** Ends the process. */
export async function endWith(status: number): Promise<void> {
  if (terminalGone) {
    // Not process.exit(): at its end Node sets the terminal's modes back, and aborts where there is no terminal any more.
    process.removeAllListeners("SIGHUP");
    process.kill(process.pid, "SIGHUP");
    await new Promise(() => setTimeout(() => {}, 1000)); // the signal is on its way
  }
  process.exit(status);
}

export function localUser(): string {
  try {
    return userInfo().username;
  } catch {
    return process.env["USER"] ?? "root"; // a container's user without an entry in /etc/passwd
  }
}

// The remote program's end, as an exit status of ours.

import os from "node:os";
import type { ExitStatus } from "../protocol/session/channel-api.ts";
import type { Exit } from "./api/types.ts";

export const EXIT_OURS = 255;
/** What a shell would see of a program that SIGPIPE ended. */
export const EXIT_OUTPUT_CLOSED = 128 + 13;

/** 128 + n for a signal, as shells have it; 255 for one that this machine does not know. */
export function shellStatus(exit: ExitStatus): number {
  if (exit.kind === "exited") return exit.status & 0xff;
  return signalStatus(exit.signal);
}

/** As the API says it. */
export function exitOf(exit: ExitStatus): Exit {
  const status = shellStatus(exit);
  return exit.kind === "signalled" ? { status, signal: exit.signal } : { status };
}

/** For --json: how it ended, and the status that a shell sees of it. */
export function exitFields({ status, signal }: Exit): Readonly<Record<string, unknown>> {
  return signal === undefined ? { kind: "exited", status } : { kind: "signalled", signal, status };
}

export function signalStatus(signal: string): number {
  const numbers: Readonly<Record<string, number | undefined>> = os.constants.signals;
  const number = Object.hasOwn(numbers, signal) ? numbers[signal] : undefined;
  return number === undefined ? EXIT_OURS : 128 + number;
}

// The remote program's end, as an exit status of ours.

import os from "node:os";
import type { Exit } from "./api/types.ts";

export const EXIT_OURS = 255;
/** What a shell would see of a program that SIGPIPE ended. */
export const EXIT_OUTPUT_CLOSED = 128 + 13;

/** For --json: how it ended, and the status that a shell sees of it. */
export function exitFields({ status, signal }: Exit): Readonly<Record<string, unknown>> {
  return signal === undefined ? { kind: "exited", status } : { kind: "signalled", signal, status };
}

export function signalStatus(signal: string): number {
  const numbers: Readonly<Record<string, number | undefined>> = os.constants.signals;
  const number = Object.hasOwn(numbers, signal) ? numbers[signal] : undefined;
  return number === undefined ? EXIT_OURS : 128 + number;
}

// A program that runs for a user, on a pty or not: what the session layer sees of it. Pull-based: the caller asks for
// output when it has credit, and only then (but for one read-ahead of about 64 KiB) is the program's output taken.

import os from "node:os";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";

export interface OutputReader {
  /**
   * The next bytes, up to about 64 KiB at a time; undefined at the end, and from then on. They are the caller's until the next
   * read. One read at a time.
   */
  read(): Promise<Uint8Array | undefined>;
  /** From now on as much at once as is there, up to 256 KiB, where that can be had. */
  widen?(): void;
}

export interface GuestProcess {
  readonly stdout: OutputReader;
  /** At its end from the start on a pty. */
  readonly stderr: OutputReader;
  /**
   * Resolves once the program's side took all of `bytes`, or nobody is left to read them: await it before giving the
   * sender credit. Refers to `bytes` until then. Never holds up output.
   * @throws SealttyError `limit-exceeded` where the caller does not await and more than MAX_INPUT_QUEUED would wait.
   */
  write(bytes: Uint8Array): Promise<void>;
  /** End of input, after what was written before: closes stdin, or types the end-of-file character on a pty. */
  endInput(): void;
  /** Does nothing without a pty. @throws SealttyError `api-misuse`. */
  resize(columns: number, rows: number): void;
  /** To the foreground process group, or to all processes of an exec. @throws SealttyError `api-misuse` on an unknown name. */
  signal(name: string): void;
  /** Sends SIGHUP, takes no more input, and throws output away that was not read yet. Idempotent. */
  hangUp(): void;
  /**
   * Resolves once the program has ended and all of its output is in stdout and stderr; the last of it (up to the
   * read-ahead) may still wait to be read. So it stays pending while output is not being read.
   */
  readonly exit: Promise<ExitStatus>;
}

/** Input that write() was given and the program's side has not taken. */
export const MAX_INPUT_QUEUED = 1024 * 1024;

/** @param code - what Node says: the status, or null with a signal. */
export function exitStatusOf(code: number | null, signal: string | null): ExitStatus {
  if (signal !== null) return { kind: "signalled", signal };
  return { kind: "exited", status: code ?? 255 };
}

export function isSignalName(name: string): name is NodeJS.Signals {
  return Object.hasOwn(os.constants.signals, name);
}

/** Signals a process, or with a negative number its group; one that is gone already is fine. */
export function signalQuietly(pid: number, name: NodeJS.Signals): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false; // ESRCH: gone; EPERM: changed its user (su): then it is not ours to signal
  }
}

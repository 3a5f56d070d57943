// How a program of the guest's ended, as programs see it.

import type { ExitStatus } from "../session/channel-api.ts";
import type { Exit } from "./types.ts";

/** Linux's, which every guest is: signal(7), the numbers of x86 and ARM. */
const SIGNAL_NUMBERS: ReadonlyMap<string, number> = new Map(
  [
    "SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM SIGTERM SIGSTKFLT",
    "SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS",
  ]
    .join(" ")
    .split(" ")
    .map((name, i) => [name, i + 1]),
);
const UNKNOWN_SIGNAL = 255;

/** 128 + n for a signal, as shells have it; 255 for one that Linux does not name. */
export function shellStatus(exit: ExitStatus): number {
  if (exit.kind === "exited") return exit.status & 0xff;
  const number = SIGNAL_NUMBERS.get(exit.signal);
  return number === undefined ? UNKNOWN_SIGNAL : 128 + number;
}

export function exitOf(exit: ExitStatus): Exit {
  const status = shellStatus(exit);
  return exit.kind === "signalled" ? { status, signal: exit.signal } : { status };
}

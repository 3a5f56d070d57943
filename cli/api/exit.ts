// How a program ended, as the API says it.

import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import { signalStatus } from "../exit-status.ts";
import type { Exit } from "./types.ts";

/** 128 + n for a signal, as shells have it; 255 for one that this machine does not know. */
export function shellStatus(exit: ExitStatus): number {
  if (exit.kind === "exited") return exit.status & 0xff;
  return signalStatus(exit.signal);
}

export function exitOf(exit: ExitStatus): Exit {
  const status = shellStatus(exit);
  return exit.kind === "signalled" ? { status, signal: exit.signal } : { status };
}

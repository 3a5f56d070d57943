// Notices that this machine stood still: paused, suspended, or restored from a snapshot. Within the machine these look
// alike: the kernel's clocks stand and go on, or are those of the snapshot; the RTC, which is the host's, has moved on.
// docs/decisions/0018-a-restored-guest.md

import { readFileSync } from "node:fs";
import type { Clock } from "../protocol/clock.ts";

/** Whole seconds since 1970. Absent where the machine has no RTC. */
const RTC = "/sys/class/rtc/rtc0/since_epoch";
const EVERY_MS = 1000;
/** The RTC tells whole seconds, and the host may set it by a little. */
const JUMP_S = 5;

export interface RestoreWatch {
  readonly clock: Clock;
  /** @param seconds - by which the RTC went ahead of (below zero: fell behind) this machine's monotonic clock. */
  readonly onJump: (seconds: number) => void;
  /** @returns seconds, undefined where there is no RTC. For tests. */
  readonly readRtc?: () => number | undefined;
}

/** @returns a function that ends the watch. */
export function watchForRestores({ clock, onJump, readRtc = rtcSeconds }: RestoreWatch): () => void {
  let lead: number | undefined; // RTC minus monotonic, seconds
  let cancel = (): void => {};
  const look = (): void => {
    const rtc = readRtc();
    const now = rtc === undefined ? undefined : rtc - clock.now() / 1000;
    const jump = now === undefined || lead === undefined ? 0 : now - lead;
    lead = now;
    if (Math.abs(jump) >= JUMP_S) onJump(Math.round(jump));
    cancel = clock.after(EVERY_MS, look);
  };
  look();
  return () => cancel();
}

function rtcSeconds(): number | undefined {
  try {
    const seconds = Number(readFileSync(RTC, "utf8"));
    return Number.isSafeInteger(seconds) ? seconds : undefined;
  } catch {
    return undefined;
  }
}

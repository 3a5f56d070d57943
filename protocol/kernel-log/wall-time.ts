// When a record of the kernel's log was written, by the calendar: the kernel counts from power-on.

import { SealttyError } from "../errors.ts";
import { MAX_KERNEL_CLOCK } from "../limits.ts";
import type { KernelRecord } from "./record.ts";

/** By the guest's clocks, at one moment. */
export interface Clocks {
  /** µs since power-on. */
  readonly uptime: number;
  /** ms since 1970 UTC. */
  readonly wall: number;
}

/**
 * What the guest slept is not in a record's time, so that those before are shown too late by it.
 * @returns ms since 1970 UTC, or before. @throws SealttyError `peer-misbehaved` for a time that no calendar has.
 */
export function wallTimeOf({ time }: Pick<KernelRecord, "time">, { uptime, wall }: Clocks): number {
  const at = Math.round(wall - (uptime - time) / 1000);
  if (Math.abs(at) <= MAX_KERNEL_CLOCK) return at;
  throw new SealttyError("peer-misbehaved", "Record of the kernel's log is of a time that no calendar has");
}

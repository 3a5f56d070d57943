// Whether evidence can still be had, asked of the hardware itself now and then: a guest whose key is gone serves on, and
// nobody would notice before the next person who needs it.

import type { Clock } from "../../protocol/clock.ts";
import { reasonOf } from "./unavailable.ts";

export interface HealthOptions {
  readonly clock: Clock;
  /** 0: never. */
  readonly minutes: number;
  readonly probe: () => Promise<void>;
  readonly onSick: (cause: string) => void;
  /** After a probe that failed. */
  readonly onWell: () => void;
}

/** @param sick - how the probe at the start ended. @returns what stops it. */
export function watchHealth(options: HealthOptions, sick: boolean): () => void {
  const { clock, minutes, probe, onSick, onWell } = options;
  if (minutes === 0) return () => {};
  let stopped = false;
  let wasSick = sick;
  let cancel = () => {};
  const next = () => {
    cancel = clock.after(minutes * 60_000, () => void ask());
  };
  const ask = async () => {
    try {
      await probe();
      if (!stopped && wasSick) onWell();
      wasSick = false;
    } catch (error) {
      if (!stopped) onSick(reasonOf(error));
      wasSick = true;
    }
    if (!stopped) next();
  };
  next();
  return () => {
    stopped = true;
    cancel();
  };
}

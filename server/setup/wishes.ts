// What a setup is asked for, and what it touches.

import type { PipeConfig } from "../config/pipe.ts";
import type { Machine, RealEvidence } from "./choose.ts";

export interface SetupWishes {
  /** Directory of the machine's files. */
  readonly root: string;
  /** Whether they are those of the machine that this runs on: nobody asks or starts anything on another one. */
  readonly here: boolean;
  readonly evidence: RealEvidence | undefined;
  readonly pipe: PipeConfig | undefined;
  /** Have the first boot wait for the owner's seed; what an earlier setup did of it stays in any case. */
  readonly provision: boolean;
  /** Take rescue and emergency mode off the consoles: sealttyd is the way in. */
  readonly recovery: boolean;
  readonly dryRun: boolean;
  /** For the initramfs, too. */
  readonly early: boolean;
}

export interface SetupSurroundings {
  readonly machine: Machine;
  /** Whether this process may change the machine that it runs on. */
  readonly isRoot: boolean;
  /** Undefined: systemd does not run here. @returns whether it succeeded. */
  readonly systemctl: ((...args: readonly string[]) => Promise<boolean>) | undefined;
  /** What the configuration names and is not here, a sentence each. */
  missing(file: string): Promise<readonly string[]>;
}

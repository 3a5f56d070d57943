// All that the doctor looks for, in one table.

import { SEVERITIES, type Check } from "./check.ts";
import { channelChecks } from "./checks/channels.ts";
import { consoleChecks } from "./checks/consoles.ts";
import { kernelChecks } from "./checks/kernel.ts";
import { memoryChecks } from "./checks/memory.ts";
import { ownChecks } from "./checks/own.ts";

/** The worst first; of the same severity as their files have them. */
export const CHECKS: readonly Check[] = SEVERITIES.flatMap((severity) =>
  [...consoleChecks, ...kernelChecks, ...channelChecks, ...memoryChecks, ...ownChecks].filter(
    (check) => check.severity === severity,
  ),
);

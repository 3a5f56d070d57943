// What checks have in common of the changes that they propose, and of the commands that make these count.

import { type Edit, plainWords } from "./check.ts";
import type { System } from "./system.ts";
import { maskOf } from "./units.ts";

export const RELOAD = "systemctl daemon-reload";
const STOP = "systemctl stop";
const REASON_DROP_IN = "# Written by sealttyd doctor --fix; sealttyd doctor --undo takes it away.\n";

/** @param lines - below the head that says whose it is. */
export function dropIn(path: string, lines: string): Edit {
  return { kind: "file", path, text: `${REASON_DROP_IN}${lines}` };
}

/** Sorted behind all that others write. */
export const DROP_IN = "zz-sealtty-doctor";

export function masksOf(system: System, names: readonly string[]): Edit[] {
  return [...new Set(names.map((name) => maskOf(system.units, name)))].map((path) => ({
    kind: "mask",
    path,
  }));
}

export function stopsOf(names: readonly string[]): string[] {
  const plain = plainWords(names.filter((name) => !name.includes("@.")));
  return [...(plain.length === 0 ? [] : [`${STOP} ${plain.join(" ")}`]), RELOAD];
}

/** Of commands that count for another boot than this one: what an initramfs has is measured. */
export const isForNextBoot = (command: string): boolean => /^(?:update-initramfs|dracut) /.test(command);

/**
 * Stops before all else: once systemd has read that a unit is masked, it does not know any more how that is ended, and a shell that
 * takes SIGTERM for nothing keeps it waiting for 90 s. And once more behind all else: until systemd has read it, a socket, say, starts
 * the unit again.
 */
export function inOrder(commands: readonly string[]): string[] {
  const once = [...new Set(commands)];
  const isStop = (command: string): boolean => command.startsWith(STOP);
  const stops = once.filter(isStop);
  return [...stops, ...once.filter((command) => !isStop(command)), ...stops];
}

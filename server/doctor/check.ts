// What a check of the doctor is, what it finds, and what mends it.

import type { System } from "./system.ts";

/** From the worst on. */
export const SEVERITIES = ["critical", "high", "medium", "low"] as const;
export type Severity = (typeof SEVERITIES)[number];

/** Paths are the system's own, also where an image is looked at. Texts as they were found: whoever shows them escapes. */
export interface Evidence {
  readonly where: string;
  readonly found: string;
}

/** One change that `--fix` makes, and `--undo` takes back. */
export type Edit =
  /** A file of the doctor's own, or in the place of one that is there. */
  | { readonly kind: "file"; readonly path: string; readonly text: string }
  /** A link to /dev/null, which is systemd's "never". */
  | { readonly kind: "mask"; readonly path: string }
  | { readonly kind: "mode"; readonly path: string; readonly mode: number }
  /** A value of the running kernel's, below /proc/sys or /sys. */
  | { readonly kind: "value"; readonly path: string; readonly text: string };

export interface Fix {
  readonly words: string;
  readonly edits: readonly Edit[];
  /** What else has to be done before the finding is gone: commands, or sentences where there is no one command. */
  readonly byHand: readonly string[];
  /** Commands that make the edits count at once, in place of at the next boot. */
  readonly after: readonly string[];
  /**
   * Ways in that have to be there before this one is closed: an enabled sealttyd ("console"), one that runs in rescue and
   * emergency mode as well ("recovery").
   */
  readonly needs?: "console" | "recovery";
}

export interface Found {
  /** At least one. */
  readonly evidence: readonly Evidence[];
  readonly fix: Fix;
}

/** How far `--fix` goes: in whole, in part (depending on where it was found), or not at all. */
export type Repair = "whole" | "part" | "hand";

export interface Check {
  /** Stable, for scripts. */
  readonly id: string;
  readonly severity: Severity;
  /** What is wrong, as a title. */
  readonly title: string;
  readonly why: string;
  readonly repair: Repair;
  /** Pure but for what it reads of the system. @returns undefined where nothing is wrong. */
  look(system: System): Found | undefined;
}

export interface Finding extends Found {
  readonly check: Check;
}

/** @returns undefined without evidence, so that a check may gather first and decide here. What is said twice is said once. */
export function found(
  evidence: readonly Evidence[],
  fix: Partial<Fix> & { readonly words: string },
): Found | undefined {
  if (evidence.length === 0) return undefined;
  const once = new Map(evidence.map((each) => [`${each.where}\0${each.found}`, each]));
  return { evidence: [...once.values()], fix: { edits: [], byHand: [], after: [], ...fix } };
}

/** Names that may stand in a command that somebody will paste: no other is put there, whoever chose it. */
export function plainWords(names: readonly string[]): string[] {
  return names.filter((name) => /^[A-Za-z0-9_][A-Za-z0-9_.@:-]*$/.test(name));
}

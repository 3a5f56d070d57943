// What the doctor says, as text or as lines of JSON. Whatever it found in the system is escaped: names and contents may be an attacker's.

import { escapeText } from "../log.ts";
import { isForNextBoot } from "./edits.ts";
import type { Check, Edit, Evidence, Finding } from "./check.ts";
import { type Change, wordsOf } from "./repair.ts";
import type { Blind } from "./tree.ts";

/** Of what was found a line is enough to recognise it. */
const MAX_SHOWN = 200;

export interface Summary {
  readonly root: string;
  readonly checks: number;
  readonly findings: number;
  /** Neither accepted nor below the threshold. */
  readonly counted: number;
  readonly blind: number;
  /** Of the kernel's that were found; 0: checks of its words had nothing to look at. */
  readonly commandLines: number;
  readonly threshold: string;
  readonly status: number;
}

export interface Output {
  check(check: Check): void;
  finding(finding: Finding, accepted: boolean): void;
  /** Something that could not be looked at. */
  blind(blind: Blind): void;
  change(change: Change): void;
  /** A fix that would have locked the owner out. */
  heldBack(check: Check, needs: "console" | "recovery"): void;
  /** Commands by which changes count at once. */
  after(commands: readonly string[]): void;
  nothingToUndo(): void;
  end(summary: Summary): void;
}

function shown(text: string): string {
  return escapeText(text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text);
}

const REPAIRS = { whole: "by --fix", part: "in part by --fix", hand: "by hand" } as const;

const HELD_BACK = {
  console: "no sealttyd is enabled here, and this may be the last way in. Enable it first, or say --lock-out",
  recovery:
    "no sealttyd is enabled for rescue.target and emergency.target, so nobody could repair this machine. Enable it first, or say --lock-out",
} as const;

/** @param root - of the system that is looked at. */
export function textOutput(out: (text: string) => void, root: string): Output {
  const isImage = root !== "/";
  const line = (label: string, text: string) => out(`  ${label.padEnd(7)} ${text}\n`);
  const lines = (label: string, texts: readonly string[]) =>
    texts.forEach((text, i) => line(i === 0 ? label : "", text));
  return {
    check: ({ severity, id, title, repair }) =>
      out(`${severity.padEnd(8)}  ${id.padEnd(24)}  ${title} (${REPAIRS[repair]})\n`),
    finding({ check, evidence, fix }, accepted) {
      out(`${check.severity}: ${check.title} [${check.id}]${accepted ? " (accepted)" : ""}\n`);
      lines(
        "found",
        evidence.map(({ where, found }) => `${shown(where)}: ${shown(found)}`),
      );
      line("why", check.why);
      line("advice", fix.words);
      lines("--fix", fix.edits.flatMap(editLines));
      lines("by hand", fix.byHand.map(shown));
      lines("then", fix.after.filter((command) => !isImage || isForNextBoot(command)).map(shown));
      out("\n");
    },
    blind: ({ where, reason }) => out(`not looked at: ${shown(where)}: ${shown(reason)}\n`),
    change: ({ path, what, done, reason }) =>
      out(
        `${done ? "changed" : "not changed"}: ${shown(path)}: ${shown(what)}${reason === undefined ? "" : ` (${shown(reason)})`}\n`,
      ),
    heldBack: ({ id }, needs) => out(`held back: ${id}: ${HELD_BACK[needs]}\n`),
    after(commands) {
      const list = (head: string, of: readonly string[]) => {
        if (of.length === 0) return;
        out(`${head}\n${of.map((command) => `    ${shown(command)}\n`).join("")}\n`);
      };
      list(
        "To have it at once, or else from the next boot on:",
        commands.filter((command) => !isForNextBoot(command)),
      );
      list(
        "Needed before the next boot. What an initramfs has is measured: your policy needs new values then.",
        commands.filter(isForNextBoot),
      );
    },
    nothingToUndo: () => out("There is nothing to undo.\n"),
    end({ checks, findings, counted, blind, commandLines, threshold }) {
      const rest =
        counted === findings
          ? ""
          : `, ${counted} of them count (from ${threshold} on, without those accepted)`;
      if (commandLines === 0)
        out(
          "No command line of the kernel is to be found here: what whoever boots it puts there is not checked.\n",
        );
      if (isImage && findings > 0)
        out(
          `Commands are for the system below ${shown(root)}, as by chroot, and not for the machine that you are on.\n`,
        );
      out(`${checks} checks, ${findings} findings${rest}, ${blind} not looked at.\n`);
    },
  };
}

function editLines(edit: Edit): string[] {
  const head = `${shown(edit.path)}: ${shown(wordsOf(edit))}`;
  if (edit.kind !== "file") return [head];
  return [
    head,
    ...edit.text
      .trimEnd()
      .split("\n")
      .map((text) => `    ${shown(text)}`),
  ];
}

/** Texts are escaped as in the other output, so that a line can be shown on a terminal and needs no second look. */
export function jsonOutput(out: (text: string) => void): Output {
  const event = (name: string, fields: Readonly<Record<string, unknown>>) =>
    out(`${JSON.stringify({ event: name, ...fields })}\n`);
  return {
    check: ({ id, severity, title, why, repair }) => event("check", { id, severity, title, why, repair }),
    finding: ({ check: { id, severity, title, why }, evidence, fix }, accepted) =>
      event("finding", {
        id,
        severity,
        title,
        why,
        accepted,
        evidence: evidence.map(
          ({ where, found }): Evidence => ({ where: shown(where), found: shown(found) }),
        ),
        fix: fix.words,
        edits: fix.edits.map((edit) => ({
          ...edit,
          path: shown(edit.path),
          ...(edit.kind === "value" && { text: shown(edit.text) }), // may be made of what was there
        })),
        byHand: fix.byHand.map(shown),
        after: fix.after.map(shown),
      }),
    blind: ({ where, reason }) => event("blind", { where: shown(where), reason: shown(reason) }),
    change: ({ path, what, done, reason }) =>
      event("change", {
        path: shown(path),
        what: shown(what),
        done,
        ...(reason !== undefined && { reason: shown(reason) }),
      }),
    heldBack: ({ id }, needs) => event("held-back", { id, needs, reason: HELD_BACK[needs] }),
    after: (commands) => event("after", { commands: commands.map(shown) }),
    nothingToUndo: () => event("nothing-to-undo", {}),
    end: (summary) => event("doctor", { ...summary, root: shown(summary.root) }),
  };
}

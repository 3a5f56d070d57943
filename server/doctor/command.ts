// `sealttyd doctor`: looks, says what it found and why it matters, and on request mends it or takes that back.

import { SealttyError } from "../../protocol/errors.ts";
import { escapeText } from "../log.ts";
import { DOCTOR, givenOptions, rootOf, usageText } from "../options.ts";
import { type Finding, SEVERITIES, type Severity } from "./check.ts";
import { CHECKS } from "./checks.ts";
import { inOrder, isForNextBoot } from "./edits.ts";
import { hasWayIn } from "./checks/own.ts";
import { type Change, applyEdits, undoEdits } from "./repair.ts";
import { type Output, jsonOutput, textOutput } from "./report.ts";
import { System } from "./system.ts";
import { Tree } from "./tree.ts";

const EXIT_GOOD = 0;
const EXIT_FOUND = 1;
const EXIT_USAGE = 2;

export interface DoctorStreams {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

/** @param args - behind the word `doctor`. @returns the exit status. */
export function runDoctor(args: readonly string[], streams: DoctorStreams): number {
  let options: Options;
  try {
    options = optionsOf(args);
  } catch (error) {
    streams.err(`sealttyd doctor: ${escapeText((error as Error).message)}\n\n${usageText(DOCTOR)}`);
    return EXIT_USAGE;
  }
  if (options.help) {
    streams.out(usageText(DOCTOR));
    return EXIT_GOOD;
  }
  const output = options.json ? jsonOutput(streams.out) : textOutput(streams.out, options.root);
  if (options.list) {
    for (const check of CHECKS) output.check(check);
    return EXIT_GOOD;
  }
  let tree: Tree;
  try {
    tree = openTree(options.root);
  } catch (error) {
    if (!(error instanceof SealttyError)) throw error;
    streams.err(`sealttyd doctor: ${error.message}\n`);
    return EXIT_USAGE;
  }
  try {
    if (options.undo) return undo(tree, options, output);
    return options.fix ? fix(tree, options, output) : look(tree, options, output, []);
  } catch (error) {
    if (!(error instanceof SealttyError)) throw error;
    streams.err(`sealttyd doctor: ${error.message}\n`);
    return EXIT_FOUND;
  }
}

interface Options {
  readonly root: string;
  readonly threshold: Severity;
  readonly accept: ReadonlySet<string>;
  readonly fix: boolean;
  readonly lockOut: boolean;
  readonly undo: boolean;
  readonly dryRun: boolean;
  readonly json: boolean;
  readonly list: boolean;
  readonly help: boolean;
}

/** @throws Error that says what is wrong. */
function optionsOf(args: readonly string[]): Options {
  const given = givenOptions(DOCTOR, args);
  const named = given.text("threshold") ?? "low";
  const threshold = SEVERITIES.find((each) => each === named);
  if (threshold === undefined) throw new Error(`--threshold is one of ${SEVERITIES.join(", ")}`);
  const accept = new Set(given.texts("accept"));
  for (const id of accept) {
    if (!CHECKS.some((check) => check.id === id))
      throw new Error(`--accept ${id}: there is no such check (--list)`);
  }
  const options = {
    root: rootOf(given),
    threshold,
    accept,
    fix: given.has("fix"),
    lockOut: given.has("lock-out"),
    undo: given.has("undo"),
    dryRun: given.has("dry-run"),
    json: given.has("json"),
    list: given.has("list"),
    help: given.has("help"),
  };
  if (options.fix && options.undo) throw new Error("--fix and --undo are two commands");
  if (options.dryRun && !options.fix && !options.undo) throw new Error("--dry-run goes with --fix or --undo");
  if (options.lockOut && !options.fix) throw new Error("--lock-out goes with --fix");
  return options;
}

/** A directory that was mistyped must not look like a clean system. @throws SealttyError `bad-config`. */
function openTree(root: string): Tree {
  const tree = new Tree(root);
  if (tree.facts("/etc")?.kind !== "directory")
    throw new SealttyError(
      "bad-config",
      `There is no system below ${escapeText(root)}: it has no directory etc`,
    );
  return tree;
}

/** @param changes - that were made before, or would have been. */
function look(tree: Tree, options: Options, output: Output, changes: readonly Change[]): number {
  const system = new System(tree);
  const findings = examine(system);
  for (const finding of findings) output.finding(finding, options.accept.has(finding.check.id));
  for (const blind of tree.blind) output.blind(blind);
  const counted = findings.filter((finding) => counts(finding, options));
  const failed = changes.filter(({ done }) => !done).length;
  const good = counted.length === 0 && tree.blind.length === 0 && failed === 0;
  const status = good ? EXIT_GOOD : EXIT_FOUND;
  output.end({
    root: options.root,
    checks: CHECKS.length,
    findings: findings.length,
    counted: counted.length,
    blind: tree.blind.length,
    commandLines: system.commandLines.length,
    threshold: options.threshold,
    status,
  });
  return status;
}

function examine(system: System): Finding[] {
  return CHECKS.flatMap((check) => {
    const found = check.look(system);
    return found === undefined ? [] : [{ check, ...found }];
  });
}

function counts({ check }: Finding, { accept, threshold }: Options): boolean {
  return !accept.has(check.id) && SEVERITIES.indexOf(check.severity) <= SEVERITIES.indexOf(threshold);
}

/** Changes, and then looks with fresh eyes: what it says at the end is what is left. */
function fix(tree: Tree, options: Options, output: Output): number {
  const system = new System(tree);
  const wanted = examine(system).filter(
    ({ check, fix }) => !options.accept.has(check.id) && fix.edits.length > 0,
  );
  const edits = wanted.flatMap((finding) => {
    const { needs } = finding.fix;
    if (needs === undefined || options.lockOut || hasWayIn(system, needs)) return finding.fix.edits;
    output.heldBack(finding.check, needs);
    return [];
  });
  const changes = applyEdits(tree, edits, options.dryRun);
  for (const change of changes) output.change(change);
  if (!options.dryRun) {
    const paths = new Set(changes.filter(({ done }) => done).map((change) => change.path));
    const made = wanted.filter((finding) => finding.fix.edits.some((edit) => paths.has(edit.path)));
    const after = inOrder(made.flatMap((finding) => finding.fix.after));
    // Nothing of an image runs: only what it boots with is left to be made.
    output.after(options.root === "/" ? after : after.filter(isForNextBoot));
  }
  return look(new Tree(options.root), options, output, options.dryRun ? [] : changes);
}

function undo(tree: Tree, options: Options, output: Output): number {
  const changes = undoEdits(tree, options.dryRun);
  if (changes === undefined) {
    output.nothingToUndo();
    return EXIT_GOOD;
  }
  for (const change of changes) output.change(change);
  return changes.every(({ done }) => done || options.dryRun) ? EXIT_GOOD : EXIT_FOUND;
}

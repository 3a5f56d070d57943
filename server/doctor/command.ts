// `sealttyd doctor`: looks, says what it found and why it matters, and on request mends it or takes that back.

import { parseArgs } from "node:util";
import { SealttyError } from "../../protocol/errors.ts";
import { escapeText } from "../log.ts";
import { type Finding, SEVERITIES, type Severity } from "./check.ts";
import { CHECKS } from "./checks.ts";
import { hasWayIn } from "./checks/own.ts";
import { type Change, applyEdits, undoEdits } from "./repair.ts";
import { type Output, jsonOutput, textOutput } from "./report.ts";
import { System } from "./system.ts";
import { Tree } from "./tree.ts";

export const DOCTOR_USAGE = `Usage: sealttyd doctor [--root DIR] [--threshold SEVERITY] [--accept ID]… [--json]
       sealttyd doctor --fix [--dry-run] [--lock-out] …
       sealttyd doctor --undo [--dry-run] [--root DIR] [--json]

Finds ways in which this guest, or an image of one, tells its host something or obeys it, and says how to close them.

  --root DIR            look at the system below this directory; default: the running one
  --threshold SEVERITY  findings below it do not count for the exit status: ${SEVERITIES.join(", ")} (default low: all count)
  --accept ID           a finding that is meant so: shown, not counted, not mended; may be given several times
  --fix                 mend what can be mended safely, keep what was there, and look again
  --lock-out            with --fix: close consoles, too, where no enabled sealttyd is left as a way in
  --undo                take back what --fix did
  --dry-run             with --fix or --undo: only say what would be changed
  --json                one JSON object a line (docs/doctor.md)
  --list                only list the checks
  --help                print this

Exit status: 0 nothing that counts was found, 1 something was, or could not be looked at or mended, 2 usage.
`;

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
    streams.err(`sealttyd doctor: ${escapeText((error as Error).message)}\n\n${DOCTOR_USAGE}`);
    return EXIT_USAGE;
  }
  if (options.help) {
    streams.out(DOCTOR_USAGE);
    return EXIT_GOOD;
  }
  const output = options.json ? jsonOutput(streams.out) : textOutput(streams.out);
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
  const { values } = parseArgs({
    args: [...args],
    options: {
      root: { type: "string", default: "/" },
      threshold: { type: "string", default: "low" },
      accept: { type: "string", multiple: true, default: [] },
      fix: { type: "boolean", default: false },
      "lock-out": { type: "boolean", default: false },
      undo: { type: "boolean", default: false },
      "dry-run": { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const threshold = SEVERITIES.find((each) => each === values.threshold);
  if (threshold === undefined) throw new Error(`--threshold is one of ${SEVERITIES.join(", ")}`);
  for (const id of values.accept) {
    if (!CHECKS.some((check) => check.id === id))
      throw new Error(`--accept ${id}: there is no such check (--list)`);
  }
  if (values.fix && values.undo) throw new Error("--fix and --undo are two commands");
  if (values["dry-run"] && !values.fix && !values.undo)
    throw new Error("--dry-run goes with --fix or --undo");
  if (values["lock-out"] && !values.fix) throw new Error("--lock-out goes with --fix");
  return {
    ...values,
    threshold,
    accept: new Set(values.accept),
    lockOut: values["lock-out"],
    dryRun: values["dry-run"],
  };
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
  const findings = examine(tree);
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
    threshold: options.threshold,
    status,
  });
  return status;
}

function examine(tree: Tree): Finding[] {
  const system = new System(tree);
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
  const wanted = examine(tree).filter(
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
    output.after([...new Set(made.flatMap((finding) => finding.fix.after))]);
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

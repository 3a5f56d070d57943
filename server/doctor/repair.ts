// What `--fix` changes, and how `--undo` takes it back byte for byte. Before the first change a journal with all that was there is
// on the disk: an interrupted fix can be undone as well. What somebody changed afterwards is not overwritten.

import fs from "node:fs";
import path from "node:path";
import { errorCode } from "../../node/socket-pipe.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Edit } from "./check.ts";
import { readRegular } from "../rooted-path.ts";
import type { Tree } from "./tree.ts";

const { O_CREAT, O_EXCL, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_TRUNC, O_WRONLY } = fs.constants;
/** Linux: opened to be named only, devices too; a link is itself. Not in Node's constants. */
const O_PATH = 0o10000000;
/** Of the tree that was changed, so that an image takes its own undoing along. */
export const JOURNAL = "/var/lib/sealtty/doctor/undo.json";
const JOURNAL_VERSION = 1;
const PERMISSIONS = 0o7777;
const NEW_FILE = 0o644;
const OTHERS_WRITE = 0o022;
/** In an image's tree they are mounted for what is built in it, and are those of the machine that builds it. */
const OF_A_KERNEL = /^\/(?:proc|sys|dev)\//;

/** What is at a path. Files as base64, for they may be anything. */
type State =
  | { readonly kind: "absent" }
  | {
      readonly kind: "file";
      readonly bytes: string;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
    }
  | { readonly kind: "link"; readonly target: string }
  | { readonly kind: "mode"; readonly mode: number }
  | { readonly kind: "value"; readonly text: string };

interface Entry {
  readonly path: string;
  readonly before: State;
  readonly after: State;
}

interface Journal {
  readonly version: typeof JOURNAL_VERSION;
  /** That were made, the outermost first. */
  readonly directories: readonly string[];
  readonly entries: readonly Entry[];
}

export interface Change {
  readonly path: string;
  /** In a few words. */
  readonly what: string;
  readonly done: boolean;
  /** Why not. */
  readonly reason?: string;
}

/** @throws SealttyError `device-unavailable` where the journal cannot be written: then nothing was changed. `bad-config`: readJournal(). */
export function applyEdits(tree: Tree, edits: readonly Edit[], dryRun: boolean): Change[] {
  const old = readJournal(tree);
  const entries = new Map((old?.entries ?? []).map((entry) => [entry.path, entry]));
  const directories = new Set(old?.directories ?? []);
  const changes: Change[] = [];
  const todo: { readonly entry: Entry; readonly what: string }[] = [];
  for (const edit of unique(edits)) {
    const what = wordsOf(edit);
    try {
      const now = stateOf(tree, edit.path, kindOf(edit));
      const after = wanted(edit, now);
      if (isSame(now, after)) continue;
      // Of a second fix what was there before the first one is what comes back.
      const before = entries.get(edit.path)?.before ?? now;
      for (const directory of missingAbove(tree, edit.path)) directories.add(directory);
      entries.set(edit.path, { path: edit.path, before, after });
      todo.push({ entry: { path: edit.path, before: now, after }, what });
    } catch (error) {
      changes.push({ path: edit.path, what, done: false, reason: reasonOf(error) });
    }
  }
  if (dryRun) return [...changes, ...todo.map(({ entry, what }) => notDone(entry.path, what, "dry run"))];
  if (todo.length === 0) return changes;
  for (const directory of missingAbove(tree, JOURNAL)) directories.add(directory);
  const journal: Journal = {
    version: JOURNAL_VERSION,
    directories: [...directories],
    entries: [...entries.values()],
  };
  writeJournal(tree, journal, "Nothing was changed.");
  for (const { entry, what } of todo) {
    try {
      makeDirectories(tree, path.posix.dirname(entry.path));
      put(tree, entry.path, entry.after, entry.before);
      changes.push({ path: entry.path, what, done: true });
    } catch (error) {
      changes.push(notDone(entry.path, what, reasonOf(error)));
    }
  }
  return changes;
}

/** @returns undefined where there is nothing to undo. @throws SealttyError `bad-config`: readJournal(). */
export function undoEdits(tree: Tree, dryRun: boolean): Change[] | undefined {
  const journal = readJournal(tree);
  if (journal === undefined) return undefined;
  const changes: Change[] = [];
  const left: Entry[] = [];
  for (const entry of journal.entries.toReversed()) {
    const what = entry.before.kind === "absent" ? "taken away" : "as it was";
    try {
      const now = stateOf(tree, entry.path, entry.after.kind);
      if (isSame(now, entry.before)) continue;
      // A kernel's value or a device that is gone was of another boot.
      const isGone = now.kind === "absent" && (entry.after.kind === "value" || entry.after.kind === "mode");
      if (isGone) continue;
      if (!isSame(now, entry.after)) throw new Error("it was changed since; compare, and decide yourself");
      if (!dryRun) put(tree, entry.path, entry.before, now);
      changes.push(dryRun ? notDone(entry.path, what, "dry run") : { path: entry.path, what, done: true });
    } catch (error) {
      left.unshift(entry);
      changes.push(notDone(entry.path, what, reasonOf(error)));
    }
  }
  if (dryRun) return changes;
  if (left.length > 0) {
    writeJournal(tree, { ...journal, entries: left }, "It still has what is undone by now as well.");
    return changes;
  }
  fs.unlinkSync(tree.locate(JOURNAL, false));
  const kept = journal.directories.toReversed().map((directory) => removeIfEmpty(tree, directory));
  return [...changes, ...kept.filter((change) => change !== undefined)];
}

/** In the words of somebody who would do it by hand. */
export function wordsOf(edit: Edit): string {
  switch (edit.kind) {
    case "file":
      return "write a file";
    case "mask":
      return "mask: a link to /dev/null";
    case "mode":
      return `mode ${edit.mode.toString(8).padStart(4, "0")}`;
    case "value":
      return edit.text === "" ? "write an empty line" : `write ${edit.text}`;
  }
}

const notDone = (where: string, what: string, reason: string): Change => ({
  path: where,
  what,
  done: false,
  reason,
});

function reasonOf(error: unknown): string {
  return errorCode(error) ?? (error instanceof Error ? error.message : "unknown error");
}

/** Several checks may ask for the same. Of one path there is one edit: the last. */
function unique(edits: readonly Edit[]): Edit[] {
  return [...new Map(edits.map((edit) => [edit.path, edit])).values()];
}

function kindOf(edit: Edit): State["kind"] {
  return edit.kind === "mask" ? "link" : edit.kind;
}

function wanted(edit: Edit, now: State): State {
  switch (edit.kind) {
    case "file": {
      const bytes = Buffer.from(edit.text).toString("base64");
      const owner =
        now.kind === "file" ? now : { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
      return { kind: "file", bytes, mode: NEW_FILE, uid: owner.uid, gid: owner.gid };
    }
    case "mask":
      return { kind: "link", target: "/dev/null" };
    case "mode":
      if (now.kind === "absent") throw new Error("it is gone");
      return { kind: "mode", mode: edit.mode };
    case "value":
      if (now.kind === "absent") throw new Error("it is gone");
      return { kind: "value", text: `${edit.text}\n` };
  }
}

/** @param as - modes and values are looked at as such. @throws Error: Node's own, or one that says what is there. */
function stateOf(tree: Tree, file: string, as: State["kind"]): State {
  const at = tree.locate(file, false);
  let stats: fs.Stats;
  try {
    stats = fs.lstatSync(at);
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return { kind: "absent" };
    throw error;
  }
  if (OF_A_KERNEL.test(file) && tree.root !== "/" && stats.dev !== fs.lstatSync(tree.root).dev)
    throw new Error("it is mounted there, and of the machine that you are on");
  if (as === "mode") {
    throwIfLed(tree, file, at);
    if (stats.isSymbolicLink()) throw new Error("it is a link");
    return { kind: "mode", mode: stats.mode & PERMISSIONS };
  }
  if (stats.isSymbolicLink()) return { kind: "link", target: fs.readlinkSync(at) };
  if (!stats.isFile()) throw new Error("there is something else than a file");
  if (as === "value") return { kind: "value", text: readRegular(at).toString("utf8") };
  const { uid, gid } = stats;
  return {
    kind: "file",
    bytes: readRegular(at).toString("base64"),
    mode: stats.mode & PERMISSIONS,
    uid,
    gid,
  };
}

/** Kernel values come back with blanks of the kernel's own choice. */
function isSame(a: State, b: State): boolean {
  if (a.kind === "value" && b.kind === "value") return blanksAlike(a.text) === blanksAlike(b.text);
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

const blanksAlike = (text: string): string => text.trim().replaceAll(/\s+/g, " ");
const sorted = (state: State): unknown => Object.entries(state).sort(([a], [b]) => (a < b ? -1 : 1));

/** @param now - what was there when it was looked at. */
function put(tree: Tree, file: string, state: State, now?: State): void {
  const at = tree.locate(file, false);
  switch (state.kind) {
    case "absent":
      fs.unlinkSync(at);
      return;
    case "mode":
      throwIfLed(tree, file, at);
      changeMode(at, now?.kind === "mode" ? now.mode : undefined, state.mode);
      return;
    case "value":
      writeInto(at, O_TRUNC, Buffer.from(state.text));
      return;
    case "link":
      replace(at, (unfinished) => fs.symlinkSync(state.target, unfinished));
      return;
    case "file":
      replace(at, (unfinished) => {
        writeInto(unfinished, O_CREAT | O_EXCL, Buffer.from(state.bytes, "base64"), (fd) => {
          const { uid, gid } = fs.fstatSync(fd);
          if (uid !== state.uid || gid !== state.gid) fs.fchownSync(fd, state.uid, state.gid);
          fs.fchmodSync(fd, state.mode); // after chown, which takes set-user-id away
          fs.fsyncSync(fd);
        });
      });
  }
}

/**
 * Of what may be in a directory of somebody's who is not root: named without links, it is to have none on the way by then either.
 * @throws Error
 */
function throwIfLed(tree: Tree, file: string, at: string): void {
  if (at !== path.join(tree.root, file)) throw new Error("there is a link on the way");
}

/** Of what was looked at, and of nothing that was put in its place, or in that of a directory above it, since. @throws Error */
function changeMode(at: string, from: number | undefined, to: number): void {
  const fd = fs.openSync(at, O_PATH | O_NOFOLLOW);
  try {
    const itself = `/proc/self/fd/${fd}`;
    const stats = fs.fstatSync(fd);
    if (stats.isSymbolicLink() || (stats.mode & PERMISSIONS) !== from || fs.readlinkSync(itself) !== at)
      throw new Error("it was changed meanwhile");
    fs.chmodSync(itself, to);
  } finally {
    fs.closeSync(fd);
  }
}

function writeInto(at: string, flags: number, bytes: Uint8Array, then?: (fd: number) => void): void {
  const fd = fs.openSync(at, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | flags, 0o600);
  try {
    // Of a kernel's value one write has to be all of it.
    for (let written = 0; written < bytes.length; ) written += fs.writeSync(fd, bytes, written);
    then?.(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** Never half of it, whenever the power goes. */
function replace(at: string, make: (unfinished: string) => void): void {
  const unfinished = path.join(path.dirname(at), `.${path.basename(at)}.sealtty-${process.pid}`);
  try {
    make(unfinished);
    fs.renameSync(unfinished, at);
  } catch (error) {
    fs.rmSync(unfinished, { force: true });
    throw error;
  }
}

/** @returns directories that are not there yet, the outermost first. */
function missingAbove(tree: Tree, file: string): string[] {
  const parts = path.posix
    .dirname(file)
    .split("/")
    .filter((part) => part !== "");
  return parts.map((_, i) => `/${parts.slice(0, i + 1).join("/")}`).filter((each) => !tree.exists(each));
}

function makeDirectories(tree: Tree, directory: string): void {
  fs.mkdirSync(tree.locate(directory), { recursive: true, mode: 0o755 });
}

/** @returns what went wrong, if it was not that somebody else uses the directory, or took it away. */
function removeIfEmpty(tree: Tree, directory: string): Change | undefined {
  try {
    fs.rmdirSync(tree.locate(directory, false));
  } catch (error) {
    if (["ENOTEMPTY", "EEXIST", "ENOENT", "ENOTDIR"].includes(errorCode(error) ?? "")) return undefined;
    return notDone(directory, "taken away", reasonOf(error));
  }
  return undefined;
}

/** @throws SealttyError `device-unavailable`. @param next - what that means, in words. */
function writeJournal(tree: Tree, journal: Journal, next: string): void {
  const owner = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  const bytes = Buffer.from(`${JSON.stringify(journal)}\n`).toString("base64");
  try {
    makeDirectories(tree, path.posix.dirname(JOURNAL));
    put(tree, JOURNAL, { kind: "file", bytes, mode: 0o600, ...owner });
  } catch (cause) {
    const why = `Cannot write the backup ${JOURNAL}: ${reasonOf(cause)}. ${next}`;
    throw new SealttyError("device-unavailable", why, { cause });
  }
}

/** @throws SealttyError `bad-config` for one that was not written here, or that others could write: it says what to restore as root. */
function readJournal(tree: Tree): Journal | undefined {
  const bad = (why: string, cause?: unknown) =>
    new SealttyError("bad-config", `The backup ${JOURNAL} cannot be used: ${why}`, { cause });
  let bytes: Buffer;
  try {
    const at = tree.locate(JOURNAL, false);
    const stats = fs.lstatSync(at);
    if (stats.uid !== 0 && stats.uid !== process.geteuid?.()) throw bad(`it belongs to user ${stats.uid}`);
    if ((stats.mode & OTHERS_WRITE) !== 0) throw bad("others can write it");
    bytes = readRegular(at);
  } catch (error) {
    if (error instanceof SealttyError) throw error;
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
    throw bad(reasonOf(error), error);
  }
  let journal: unknown;
  try {
    journal = JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw bad("it is not JSON", error);
  }
  if (!isJournal(journal)) throw bad("it is not of this version's form");
  return journal;
}

function isJournal(value: unknown): value is Journal {
  if (!isObject(value) || value["version"] !== JOURNAL_VERSION) return false;
  const { directories, entries } = value;
  return (
    Array.isArray(directories) &&
    directories.every(isPath) &&
    Array.isArray(entries) &&
    entries.every(
      (entry) =>
        isObject(entry) && isPath(entry["path"]) && isState(entry["before"]) && isState(entry["after"]),
    )
  );
}

function isState(value: unknown): value is State {
  if (!isObject(value)) return false;
  switch (value["kind"]) {
    case "absent":
      return true;
    case "file":
      return (
        typeof value["bytes"] === "string" &&
        ["mode", "uid", "gid"].every((key) => Number.isInteger(value[key]))
      );
    case "link":
      return typeof value["target"] === "string";
    case "mode":
      return Number.isInteger(value["mode"]);
    case "value":
      return typeof value["text"] === "string";
    default:
      return false;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isPath = (value: unknown): value is string => typeof value === "string" && value.startsWith("/");

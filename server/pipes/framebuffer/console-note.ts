// What was taken of the machine's screen and keys, written down before it is changed: whoever comes after a crash gives it back by
// this. One alone can make the first note, and one alone gives back what a dead one left.

import fs from "node:fs";
import path from "node:path";
import { SealttyError } from "../../../protocol/errors.ts";
import { errorCode } from "../../../node/socket-pipe.ts";
import { escapeText } from "../../log.ts";
import { type Places, textIn } from "./places.ts";

const NOTE = "console.json";
const MAX_NOTE = 64 * 1024;
const BEGAN_FIELD = 22 - 3;
const OTHERS_WRITE = 0o002;

/** Whose the devices become. */
export interface DeviceOwner {
  readonly uid: number;
  readonly gid: number;
}

/** One file and what it held before. */
export interface Before {
  readonly file: string;
  readonly value: string;
}

/** One device, whose it was and how. */
export interface OwnerBefore extends DeviceOwner {
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
}

/** What is to be given back, and who has it. */
export interface Note {
  /** Who has it: a process, and when it began. */
  readonly holder: Holder;
  /** To be written back, in this order. */
  readonly before: readonly Before[];
  readonly owners: readonly OwnerBefore[];
  /** Terminal to be cleared; undefined: there is none. */
  readonly terminal?: string | undefined;
}

interface Holder {
  readonly pid: number;
  /** As /proc/PID/stat has it: another process of that number began later. */
  readonly began?: string | undefined;
}

export function noteFile({ run }: Places): string {
  return path.join(run, NOTE);
}

/**
 * Does `back`, unless another process is at it, or was: of several that find a dead one's note at once, a slow one would undo what
 * a quick one has taken meanwhile, and remove its note.
 * @returns what `back` does; false: it was not done.
 */
export function alone(note: Note | "unusable", places: Places, back: () => boolean): boolean {
  const name = nameOf(note);
  const claim = `${noteFile(places)}.${name}`;
  const mine = JSON.stringify(thisProcess(places));
  if (!createFile(claim, mine)) {
    const claimant = holderFrom(parsed(textIn(claim) ?? ""));
    if (claimant !== undefined && lives(claimant, places)) return false;
    fs.rmSync(claim, { force: true }); // it died over it
    if (!createFile(claim, mine)) return false;
  }
  try {
    const now = readNote(places);
    return now !== undefined && nameOf(now) === name && back();
  } finally {
    fs.rmSync(claim, { force: true });
  }
}

/** Of a note, by who made it: a dead process makes no other. */
function nameOf(note: Note | "unusable"): string {
  return note === "unusable" ? note : `${note.holder.pid}-${note.holder.began ?? "unknown"}`;
}

/** @returns its number; undefined: nobody has it, or this process, or one that is gone. */
export function livingHolder(note: Note | "unusable" | undefined, places: Places): number | undefined {
  if (note === undefined || note === "unusable" || note.holder.pid === process.pid) return undefined;
  return lives(note.holder, places) ? note.holder.pid : undefined;
}

export function thisProcess(places: Places): Holder {
  return { pid: process.pid, began: beginningOf(process.pid, places) };
}

export function sameHolder(a: Holder, b: Holder): boolean {
  return a.pid === b.pid && a.began === b.began;
}

function lives({ pid, began }: Holder, places: Places): boolean {
  return began !== undefined && beginningOf(pid, places) === began;
}

/** @returns undefined where there is no such process. */
function beginningOf(pid: number, { proc }: Places): string | undefined {
  const stat = textIn(proc, String(pid), "stat");
  // Its name, in parentheses, may hold anything; 22nd field, proc(5).
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[BEGAN_FIELD];
}

/**
 * For the note; others keep things there, too, and one that is there stays as it is.
 * @throws SealttyError `device-unavailable` where somebody else could put a note there.
 */
export function makeDirectory({ run }: Places): void {
  fs.mkdirSync(run, { recursive: true, mode: 0o700 });
  const found = fs.lstatSync(run);
  if (!found.isDirectory() || !isOurs(found.uid) || (found.mode & OTHERS_WRITE) !== 0)
    throw new SealttyError(
      "device-unavailable",
      `"${escapeText(run)}" has to be a directory of root's that nobody else writes to: remove what is there`,
    );
}

/** Root's, or this process's. */
function isOurs(uid: number): boolean {
  return uid === 0 || uid === process.getuid?.();
}

/** There whole, or not at all. @returns false: there is one already, which stays. */
export function createFile(file: string, text: string): boolean {
  const draft = draftOf(file, text);
  try {
    fs.linkSync(draft, file);
    return true;
  } catch (error) {
    if (errorCode(error) === "EEXIST") return false;
    throw error;
  } finally {
    fs.rmSync(draft, { force: true });
  }
}

export function replaceNote(text: string, places: Places): void {
  const file = noteFile(places);
  fs.renameSync(draftOf(file, text), file);
}

function draftOf(file: string, text: string): string {
  const draft = `${file}.new-${process.pid}`;
  fs.rmSync(draft, { force: true }); // a process of this number that died
  fs.writeFileSync(draft, text, { flag: "wx", mode: 0o600 });
  return draft;
}

/**
 * @returns undefined where there is none; "unusable" where it is none of ours, as nothing is written to files that somebody else
 * named, or cannot be read.
 */
export function readNote(places: Places): Note | "unusable" | undefined {
  const file = noteFile(places);
  try {
    const { uid, size } = fs.lstatSync(file);
    if (!isOurs(uid) || size > MAX_NOTE) return "unusable";
    return noteFrom(parsed(fs.readFileSync(file, "utf8"))) ?? "unusable";
  } catch (error) {
    const code = errorCode(error);
    return code === "ENOENT" || code === "ENOTDIR" ? undefined : "unusable";
  }
}

/** @returns undefined where it is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function noteFrom(value: unknown): Note | undefined {
  if (!isRecord(value)) return undefined;
  const holder = holderFrom(value["holder"]);
  const { before, owners, terminal } = value;
  if (holder === undefined || !isListOf(before, isBefore) || !isListOf(owners, isOwnerBefore))
    return undefined;
  if (terminal !== undefined && typeof terminal !== "string") return undefined;
  return { holder, before, owners, terminal };
}

function holderFrom(value: unknown): Holder | undefined {
  if (!isRecord(value)) return undefined;
  const { pid, began } = value;
  if (!isCount(pid)) return undefined;
  if (began !== undefined && (typeof began !== "string" || !/^[0-9]{1,20}$/.test(began))) return undefined;
  return { pid, began };
}

function isBefore(value: unknown): value is Before {
  return isRecord(value) && typeof value["file"] === "string" && typeof value["value"] === "string";
}

function isOwnerBefore(value: unknown): value is OwnerBefore {
  if (!isRecord(value) || typeof value["path"] !== "string") return false;
  return isCount(value["uid"]) && isCount(value["gid"]) && isCount(value["mode"]);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function isListOf<T>(value: unknown, isOne: (one: unknown) => one is T): value is readonly T[] {
  return Array.isArray(value) && value.every(isOne);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

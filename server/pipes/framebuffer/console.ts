// Takes the machine's screen and keys from the kernel's console, and gives them back: the part that needs root. What was
// taken is written down first, so that whoever comes after a crash gives it back all the same (sealttyd --give-back-console).

import fs from "node:fs";
import path from "node:path";
import { SealttyError } from "../../../protocol/errors.ts";
import { errorCode } from "../../../node/socket-pipe.ts";
import { createLog, escapeText, type Log } from "../../log.ts";
import type { FramebufferConfig } from "../../config/pipe.ts";
import type { ConsoleDevices } from "./devices.ts";
import { findInputs, type FoundInput, INPUT_KINDS } from "./find-input.ts";
import { namesIn, PLACES, type Places, textIn } from "./places.ts";

/** Whose the devices become. */
export interface DeviceOwner {
  readonly uid: number;
  readonly gid: number;
}

const NOTE = "console.json";
const MAX_NOTE = 64 * 1024;
const BEGAN_FIELD = 22 - 3;
const DEVICE_MODE = 0o600;
const PERMISSIONS = 0o7777;
const OTHERS_WRITE = 0o002;
const AUX_PORT = "i8042 AUX port";
/** For people who look at the plain picture; the last rows are nobody's else (docs/vnc-modem.md §1). ASCII: any font has it. */
const NOTICE = ["This console is encrypted.", "Open it with: sealtty connect GUEST"];
/** Cleared, without a cursor, never blank. */
const TAKEN = "\x1b[2J\x1b[?25l\x1b[9;0]\x1b[14;0]";
const GIVEN_BACK = "\x1b[2J\x1b[H\x1b[?25h";

/** One file and what it held before. */
interface Before {
  readonly file: string;
  readonly value: string;
}

/** One device, whose it was and how. */
interface OwnerBefore extends DeviceOwner {
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
}

/** What is to be given back, and who has it. */
interface Note {
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

/**
 * @param owner - undefined: this process's own. @throws SealttyError `device-unavailable`, in words; then all is as it was. Also
 * where another sealttyd has it, and lives.
 */
export function takeConsole(
  config: FramebufferConfig,
  owner: DeviceOwner | undefined,
  places: Places = PLACES,
  log: Pick<Log, "warn"> = createLog(),
): ConsoleDevices {
  const other = livingHolder(readNote(places), places);
  if (other !== undefined) throw hasIt(`process ${other}`);
  try {
    giveBackConsole(places, log); // what an earlier one left behind
  } catch (cause) {
    throw cannotTake(cause);
  }
  const holder = thisProcess(places);
  const before: Before[] = [];
  const owners: OwnerBefore[] = [];
  const screen = findScreen(config, places);
  const terminal = activeTerminal(places);
  // Devices are for people who read the note.
  let devices: ConsoleDevices = { screen, input: { device: "keyboard", wire: "evdev", path: "" }, held: [] };
  const text = (): string => JSON.stringify({ holder, devices, before, owners, terminal });
  /** Noted first: what fails half way is undone, too. */
  const change = (file: string, value: string, old: string): void => {
    before.unshift({ file, value: old });
    replaceNote(text(), places);
    fs.writeFileSync(file, value);
  };
  try {
    makeDirectory(places);
    // The first note is what takes it: of two that start at once one alone can make it, and nothing was changed or read before.
    if (!createFile(path.join(places.run, NOTE), text())) throw hasIt("one that has just started");
    const { input, held } = chooseInput(config, places, change);
    devices = { screen, input, held };
    if (terminal !== undefined) showNotice(terminal, places);
    for (const { file, value, old } of screenChanges(screen.kind, places)) change(file, value, old);
    const given = owner === undefined ? [] : [screen.path, input.path, ...held];
    for (const device of given) {
      const { uid, gid, mode } = fs.statSync(device);
      owners.push({ path: device, uid, gid, mode: mode & PERMISSIONS });
    }
    replaceNote(text(), places);
    if (owner !== undefined) for (const device of given) give(device, owner, DEVICE_MODE);
    return devices;
  } catch (cause) {
    giveBackConsole(places, log);
    throw cannotTake(cause);
  }
}

/** What a client would come by, without taking any of it. @throws SealttyError `device-unavailable`, in words. */
export function lookAtScreen(config: FramebufferConfig, places: Places = PLACES): string {
  const { kind, path: device } = findScreen(config, places);
  return `${kind === "pixels" ? "the screen" : "the text cells of"} ${escapeText(device)}`;
}

/** The same of an input device: the best, or the one that was asked for. */
export function lookAtInput({ input: wanted }: FramebufferConfig, places: Places = PLACES): string {
  const found = findInputs(places);
  for (const kind of wanted === undefined ? INPUT_KINDS : [wanted]) {
    if (kind === "mouse" && mousePort(places) !== undefined) return "the PS/2 mouse";
    const one = found.find((other) => other.kind === kind);
    if (one !== undefined) return `the ${one.device} ${escapeText(one.path)}`;
  }
  throw noInput(wanted);
}

function hasIt(who: string): SealttyError {
  return new SealttyError(
    "device-unavailable",
    `Another sealttyd (${who}) has the machine's screen and keys`,
  );
}

function cannotTake(cause: unknown): SealttyError {
  if (cause instanceof SealttyError) return cause;
  const code = errorCode(cause) ?? "unknown error";
  return new SealttyError("device-unavailable", `Cannot take the console from the kernel: ${code}`, {
    cause,
  });
}

/**
 * Idempotent, and goes on where something is gone. For the end, and after a crash. What another sealttyd has that lives stays
 * its. @returns whether anything was given back.
 */
export function giveBackConsole(places: Places = PLACES, log: Pick<Log, "warn"> = createLog()): boolean {
  const note = readNote(places);
  if (note === undefined || livingHolder(note, places) !== undefined) return false;
  const back = (): boolean => {
    if (note === "unusable") {
      log.warn("What is noted of the console cannot be read: nothing of it is given back", {
        file: path.join(places.run, NOTE),
      });
    } else {
      writeBack(note);
    }
    fs.rmSync(path.join(places.run, NOTE), { force: true });
    return note !== "unusable";
  };
  const own = note !== "unusable" && sameHolder(note.holder, thisProcess(places));
  return own ? back() : alone(note, places, back);
}

function writeBack(note: Note): void {
  for (const { file, value } of note.before) {
    try {
      fs.writeFileSync(file, value);
    } catch {
      // A driver that is gone, and its console with it.
    }
  }
  if (note.terminal !== undefined) {
    try {
      say(note.terminal, GIVEN_BACK);
    } catch {
      // no terminal any more
    }
  }
  for (const { path: device, uid, gid, mode } of note.owners) {
    try {
      give(device, { uid, gid }, mode);
    } catch {
      // unplugged
    }
  }
}

/**
 * Does `back`, unless another process is at it, or was: of several that find a dead one's note at once, a slow one would undo what
 * a quick one has taken meanwhile, and remove its note.
 * @returns what `back` does; false: it was not done.
 */
function alone(note: Note | "unusable", places: Places, back: () => boolean): boolean {
  const name = nameOf(note);
  const claim = path.join(places.run, `${NOTE}.${name}`);
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
function livingHolder(note: Note | "unusable" | undefined, places: Places): number | undefined {
  if (note === undefined || note === "unusable" || note.holder.pid === process.pid) return undefined;
  return lives(note.holder, places) ? note.holder.pid : undefined;
}

function thisProcess(places: Places): Holder {
  return { pid: process.pid, began: beginningOf(process.pid, places) };
}

function sameHolder(a: Holder, b: Holder): boolean {
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

function give(device: string, { uid, gid }: DeviceOwner, mode: number): void {
  fs.chownSync(device, uid, gid);
  fs.chmodSync(device, mode);
}

/**
 * For the note; others keep things there, too, and one that is there stays as it is.
 * @throws SealttyError `device-unavailable` where somebody else could put a note there.
 */
function makeDirectory({ run }: Places): void {
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
function createFile(file: string, text: string): boolean {
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

function replaceNote(text: string, { run }: Places): void {
  const file = path.join(run, NOTE);
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
function readNote({ run }: Places): Note | "unusable" | undefined {
  const file = path.join(run, NOTE);
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

// Screen

function findScreen({ screen }: FramebufferConfig, places: Places): ConsoleDevices["screen"] {
  const framebuffer = path.join(places.dev, "fb0");
  const named = screen ?? (fs.existsSync(framebuffer) ? framebuffer : cellsOf(activeTerminal(places)));
  if (named === undefined || !fs.existsSync(named)) {
    throw new SealttyError(
      "device-unavailable",
      `There is no screen: ${named === undefined ? "neither a framebuffer nor a virtual terminal" : `no "${escapeText(named)}"`}. ` +
        "Give the machine a display (QEMU: -device VGA), and the kernel its driver; or name another with screen in [pipe].",
    );
  }
  return { kind: /^vcsa?[0-9]*$/.test(path.basename(named)) ? "cells" : "pixels", path: named };
}

/** /dev/tty1 and the like: the one that is in front. */
function activeTerminal({ sys, dev }: Places): string | undefined {
  const name = textIn(sys, "class/tty/tty0/active");
  if (name === undefined || !/^tty[1-9][0-9]?$/.test(name)) return undefined;
  const device = path.join(dev, name);
  return fs.existsSync(device) ? device : undefined;
}

function cellsOf(terminal: string | undefined): string | undefined {
  return terminal === undefined
    ? undefined
    : path.join(path.dirname(terminal), path.basename(terminal).replace("tty", "vcsa"));
}

/** What keeps the kernel from drawing over it. Of a framebuffer: its console is detached. Of text: it says nothing there. */
function screenChanges(
  kind: "pixels" | "cells",
  { sys, proc }: Places,
): { readonly file: string; readonly value: string; readonly old: string }[] {
  if (kind === "cells") {
    const file = path.join(proc, "sys/kernel/printk");
    const [level, ...others] = (textIn(file) ?? "").split(/\s+/);
    if (level === undefined || others.length !== 3) return [];
    return [{ file, value: ["1", ...others].join(" "), old: [level, ...others].join(" ") }];
  }
  return namesIn(sys, "class/vtconsole").flatMap((name) => {
    const directory = path.join(sys, "class/vtconsole", name);
    const bound = textIn(directory, "bind") === "1";
    if (!bound || textIn(directory, "name")?.includes("frame buffer") !== true) return [];
    return [{ file: path.join(directory, "bind"), value: "0", old: "1" }];
  });
}

/** Written by the kernel's own console, whose picture stays when it is detached. */
function showNotice(terminal: string, { dev }: Places): void {
  const cells = path.join(dev, path.basename(terminal).replace("tty", "vcsa"));
  const head = new Uint8Array(2);
  try {
    const fd = fs.openSync(cells, "r");
    try {
      fs.readSync(fd, head, 0, 2, 0);
    } finally {
      fs.closeSync(fd);
    }
  } catch {
    return; // nothing that could show words
  }
  const [rows = 0, columns = 0] = head;
  const lines = NOTICE.map((line, i) => {
    const column = Math.max(1, Math.floor((columns - line.length) / 2) + 1);
    return `\x1b[${rows - NOTICE.length + i + 1};${column}H${line.slice(0, columns)}`;
  });
  say(terminal, `${TAKEN}${lines.join("")}`);
}

/** Never waits: a terminal that somebody has stopped (Scroll Lock, Ctrl-S) would take nothing until it goes on, and is not told. */
function say(terminal: string, text: string): void {
  const { O_WRONLY, O_TRUNC, O_NONBLOCK, O_NOCTTY } = fs.constants;
  const fd = fs.openSync(terminal, O_WRONLY | O_TRUNC | O_NONBLOCK | O_NOCTTY);
  try {
    fs.writeSync(fd, text);
  } catch (error) {
    if (errorCode(error) !== "EAGAIN") throw error;
  } finally {
    fs.closeSync(fd);
  }
}

// Input

/** @param change - writes a file's new value, once the old one is noted. */
function chooseInput(
  { input: wanted }: FramebufferConfig,
  places: Places,
  change: (file: string, value: string, old: string) => void,
): Pick<ConsoleDevices, "input" | "held"> {
  const found = findInputs(places);
  const chosen = (kind: FoundInput["kind"]): FoundInput | undefined => found.find((one) => one.kind === kind);
  const keyboards = found.filter(({ kind }) => kind === "keyboard").map((one) => one.path);
  const asEvents = (one: FoundInput): Pick<ConsoleDevices, "input" | "held"> => ({
    input: { device: one.device, wire: "evdev", path: one.path },
    held: keyboards.filter((other) => other !== one.path),
  });
  const tablet = chosen("tablet");
  if (tablet !== undefined && (wanted ?? "tablet") === "tablet") return asEvents(tablet);
  if ((wanted ?? "mouse") === "mouse") {
    const raw = takeMouse(places, change);
    if (raw !== undefined) return { input: { device: "ps2-mouse", wire: "raw", path: raw }, held: keyboards };
    const mouse = chosen("mouse");
    if (mouse !== undefined) return asEvents(mouse);
  }
  const keyboard = chosen("keyboard");
  if (keyboard !== undefined && (wanted ?? "keyboard") === "keyboard") return asEvents(keyboard);
  throw noInput(wanted);
}

function noInput(wanted: FramebufferConfig["input"]): SealttyError {
  return new SealttyError(
    "device-unavailable",
    `There is no ${wanted ?? "tablet, mouse or keyboard"} to hear a client by. ` +
      "Give the machine one (QEMU: -device virtio-tablet-pci), and the kernel its modules: virtio_input and evdev; serio_raw for a PS/2 mouse.",
  );
}

/** The PS/2 mouse through serio_raw. @returns its device, or undefined where there is none, or no such driver. */
function takeMouse(
  places: Places,
  change: (file: string, value: string, old: string) => void,
): string | undefined {
  const directory = mousePort(places);
  if (directory === undefined) return undefined;
  const rawDevice = (): string | undefined => {
    const name = namesIn(directory, "misc").find((one) => /^serio_raw[0-9]+$/.test(one));
    return name === undefined ? undefined : path.join(places.dev, name);
  };
  if (rawDevice() === undefined) {
    try {
      change(path.join(directory, "drvctl"), "serio_raw", "rescan");
    } catch {
      return undefined; // the kernel has no serio_raw
    }
  }
  const device = rawDevice();
  return device !== undefined && fs.existsSync(device) ? device : undefined;
}

/** The directory of the port that a PS/2 mouse is on. */
function mousePort({ sys }: Places): string | undefined {
  const root = path.join(sys, "bus/serio/devices");
  const name = namesIn(root).find((one) => textIn(root, one, "description") === AUX_PORT);
  return name === undefined ? undefined : path.join(root, name);
}

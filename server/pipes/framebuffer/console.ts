// Takes the machine's screen and keys from the kernel's console, and gives them back: the part that needs root. What was
// taken is written down first, so that whoever comes after a crash gives it back all the same (sealttyd --give-back-console).

import fs from "node:fs";
import path from "node:path";
import { SealttyError } from "../../../protocol/errors.ts";
import { errorCode } from "../../../node/socket-pipe.ts";
import { escapeText } from "../../log.ts";
import type { FramebufferConfig } from "../../config/pipe.ts";
import type { ConsoleDevices } from "./devices.ts";
import { findInputs, type FoundInput } from "./find-input.ts";
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

interface Note {
  /** Who has it: a process, and when it began. */
  readonly holder: Holder;
  readonly devices: ConsoleDevices;
  /** To be written back, in this order. */
  readonly before: readonly Before[];
  /** Terminal to be cleared; undefined: there is none. */
  readonly terminal: string | undefined;
}

interface Holder {
  readonly pid: number;
  /** As /proc/PID/stat has it: another process of that number began later. */
  readonly began: string | undefined;
}

/**
 * @param owner - undefined: this process's own. @throws SealttyError `device-unavailable`, in words; then all is as it was. Also
 * where another sealttyd has it, and lives.
 */
export function takeConsole(
  config: FramebufferConfig,
  owner: DeviceOwner | undefined,
  places: Places = PLACES,
): ConsoleDevices {
  const other = livingHolder(places);
  if (other !== undefined)
    throw new SealttyError(
      "device-unavailable",
      `Another sealttyd (process ${other}) has the machine's screen and keys`,
    );
  giveBackConsole(places); // what an earlier one left behind
  const holder = { pid: process.pid, began: beginningOf(process.pid, places) };
  const before: Before[] = [];
  const screen = findScreen(config, places);
  const terminal = activeTerminal(places);
  let devices: ConsoleDevices = { screen, input: { device: "keyboard", wire: "evdev", path: "" }, held: [] };
  const note = (): void => writeNote({ holder, devices, before, terminal }, places);
  /** Noted first: what fails half way is undone, too. */
  const change = (file: string, value: string, old: string): void => {
    before.unshift({ file, value: old });
    note();
    fs.writeFileSync(file, value);
  };
  try {
    note();
    const { input, held } = chooseInput(config, places, change);
    devices = { screen, input, held };
    if (terminal !== undefined) showNotice(terminal, places);
    for (const { file, value, old } of screenChanges(screen.kind, places)) change(file, value, old);
    note();
    if (owner !== undefined) for (const device of [screen.path, input.path, ...held]) give(device, owner);
    return devices;
  } catch (cause) {
    giveBackConsole(places);
    if (cause instanceof SealttyError) throw cause;
    const code = errorCode(cause) ?? "unknown error";
    throw new SealttyError("device-unavailable", `Cannot take the console from the kernel: ${code}`, {
      cause,
    });
  }
}

/**
 * Idempotent, and goes on where something is gone. For the end, and after a crash. What another sealttyd has that lives stays
 * its. @returns whether anything was given back.
 */
export function giveBackConsole(places: Places = PLACES): boolean {
  const note = readNote(places);
  if (note === undefined || livingHolder(places) !== undefined) return false;
  for (const { file, value } of note.before) {
    try {
      fs.writeFileSync(file, value);
    } catch {
      // A driver that is gone, and its console with it.
    }
  }
  if (note.terminal !== undefined) {
    try {
      fs.writeFileSync(note.terminal, GIVEN_BACK);
    } catch {
      // no terminal any more
    }
  }
  const { screen, input, held } = note.devices;
  for (const device of [screen.path, input.path, ...held]) {
    if (device === "") continue;
    try {
      give(device, { uid: 0, gid: 0 });
    } catch {
      // unplugged
    }
  }
  fs.rmSync(path.join(places.run, NOTE), { force: true });
  return true;
}

/** @returns its number; undefined: nobody has it, or this process, or one that is gone. */
function livingHolder(places: Places): number | undefined {
  const holder = readNote(places)?.holder;
  if (holder === undefined || holder.pid === process.pid) return undefined;
  const now = beginningOf(holder.pid, places);
  return now !== undefined && now === holder.began ? holder.pid : undefined;
}

/** @returns undefined where there is no such process. */
function beginningOf(pid: number, { proc }: Places): string | undefined {
  const stat = textIn(proc, String(pid), "stat");
  // Its name, in parentheses, may hold anything; 22nd field, proc(5).
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[BEGAN_FIELD];
}

function give(device: string, { uid, gid }: DeviceOwner): void {
  fs.chownSync(device, uid, gid);
  fs.chmodSync(device, DEVICE_MODE);
}

function writeNote(note: Note, { run }: Places): void {
  fs.mkdirSync(run, { recursive: true });
  fs.chmodSync(run, 0o755);
  const file = path.join(run, NOTE);
  fs.writeFileSync(`${file}.new`, JSON.stringify(note));
  fs.chmodSync(`${file}.new`, 0o644); // whatever the umask is
  fs.renameSync(`${file}.new`, file);
}

/** @returns undefined where there is none, or none of ours: nothing is written to files that somebody else named. */
function readNote({ run }: Places): Note | undefined {
  const file = path.join(run, NOTE);
  let text: string;
  try {
    const { uid, size } = fs.lstatSync(file);
    if ((uid !== 0 && uid !== process.getuid?.()) || size > MAX_NOTE) return undefined;
    text = fs.readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
  return JSON.parse(text) as Note; // root's, or our own
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
  fs.writeFileSync(terminal, `${TAKEN}${lines.join("")}`);
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
  throw new SealttyError(
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
  const root = path.join(places.sys, "bus/serio/devices");
  const port = namesIn(root).find((name) => textIn(root, name, "description") === AUX_PORT);
  if (port === undefined) return undefined;
  const directory = path.join(root, port);
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

// Takes the machine's screen and keys from the kernel's console, and gives them back: the part that needs root. What was
// taken is written down first, so that whoever comes after a crash gives it back all the same (sealttyd --give-back-console).

import fs from "node:fs";
import { SealttyError } from "../../../protocol/errors.ts";
import { errorCode } from "../../../node/socket-pipe.ts";
import { createLog, type Log } from "../../log.ts";
import type { FramebufferConfig } from "../../config/pipe.ts";
import { chooseInput } from "./choose-input.ts";
import { activeTerminal, findScreen, GIVEN_BACK, say, screenChanges, showNotice } from "./choose-screen.ts";
import {
  alone,
  type Before,
  createFile,
  type DeviceOwner,
  livingHolder,
  makeDirectory,
  type Note,
  noteFile,
  type OwnerBefore,
  readNote,
  replaceNote,
  sameHolder,
  thisProcess,
} from "./console-note.ts";
import type { ConsoleDevices } from "./devices.ts";
import { PLACES, type Places } from "./places.ts";

const DEVICE_MODE = 0o600;
const PERMISSIONS = 0o7777;

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
    if (!createFile(noteFile(places), text())) throw hasIt("one that has just started");
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
        file: noteFile(places),
      });
    } else {
      writeBack(note);
    }
    fs.rmSync(noteFile(places), { force: true });
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

function give(device: string, { uid, gid }: DeviceOwner, mode: number): void {
  fs.chownSync(device, uid, gid);
  fs.chmodSync(device, mode);
}

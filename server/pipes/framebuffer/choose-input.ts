// By which device a console hears its client: the best, or the one that was asked for.

import fs from "node:fs";
import path from "node:path";
import { SealttyError } from "../../../protocol/errors.ts";
import type { FramebufferConfig } from "../../config/pipe.ts";
import { escapeText } from "../../log.ts";
import type { ConsoleDevices } from "./devices.ts";
import { findInputs, type FoundInput, INPUT_KINDS } from "./find-input.ts";
import { namesIn, PLACES, type Places, textIn } from "./places.ts";

const AUX_PORT = "i8042 AUX port";

/** What a client would come by, without taking it. @throws SealttyError `device-unavailable`, in words. */
export function lookAtInput({ input: wanted }: FramebufferConfig, places: Places = PLACES): string {
  const found = findInputs(places);
  for (const kind of wanted === undefined ? INPUT_KINDS : [wanted]) {
    if (kind === "mouse" && mousePort(places) !== undefined) return "the PS/2 mouse";
    const one = found.find((other) => other.kind === kind);
    if (one !== undefined) return `the ${one.device} ${escapeText(one.path)}`;
  }
  throw noInput(wanted);
}

/** @param change - writes a file's new value, once the old one is noted. */
export function chooseInput(
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

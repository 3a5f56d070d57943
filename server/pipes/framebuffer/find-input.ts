// Which input device carries bytes best, and which others are to be grabbed with it. docs/vnc-guest.md

import fs from "node:fs";
import path from "node:path";
import type { Device } from "../../../protocol/modem/devices.ts";
import { namesIn, type Places, textIn } from "./places.ts";

/** What the configuration may ask for, best first. */
export const INPUT_KINDS = ["tablet", "mouse", "keyboard"] as const;
export type InputKind = (typeof INPUT_KINDS)[number];

export interface FoundInput {
  readonly device: Device;
  readonly kind: InputKind;
  /** Of /dev/input/event*. */
  readonly path: string;
}

const BUS_USB = 0x03;
const KEY_1 = 2;
const KEY_Q = 16;
const KEY_F10 = 68;
const BTN_LEFT = 0x110;
const X = 0;
const Y = 1;

/** Every tablet, mouse and keyboard, in the order of their numbers. */
export function findInputs({ sys, dev }: Places): FoundInput[] {
  const found: FoundInput[] = [];
  for (const name of namesIn(sys, "class/input")) {
    if (!/^event[0-9]{1,5}$/.test(name)) continue;
    const directory = path.join(sys, "class/input", name, "device");
    const has = (kind: "key" | "abs" | "rel", ...codes: readonly number[]): boolean => {
      const bits = textIn(directory, "capabilities", kind) ?? "";
      return codes.every((code) => hasBit(bits, code));
    };
    const usb = Number.parseInt(textIn(directory, "id/bustype") ?? "", 16) === BUS_USB;
    const at = path.join(dev, "input", name);
    if (has("abs", X, Y) && has("key", BTN_LEFT))
      found.push({ kind: "tablet", device: usb ? usbTablet(directory) : "virtio-tablet", path: at });
    else if (has("rel", X, Y) && has("key", BTN_LEFT))
      found.push({ kind: "mouse", device: "ps2-mouse", path: at });
    else if (has("key", KEY_1, KEY_Q, KEY_F10))
      found.push({ kind: "keyboard", device: usb ? "usb-keyboard" : "keyboard", path: at });
  }
  return found;
}

/** @param bits - words of 64 bits in hex, the highest first, as the kernel prints them. */
export function hasBit(bits: string, code: number): boolean {
  const words = bits.split(" ").reverse();
  const word = words[Math.floor(code / 64)];
  if (word === undefined || !/^[0-9a-f]{1,16}$/i.test(word)) return false;
  return ((BigInt(`0x${word}`) >> BigInt(code % 64)) & 1n) === 1n;
}

/** By the driver of the controller that it hangs on. One that is not known is taken for the slowest. */
function usbTablet(directory: string): Device {
  let at: string;
  try {
    at = fs.realpathSync(directory);
  } catch {
    return "usb-tablet-uhci";
  }
  for (; at !== path.dirname(at); at = path.dirname(at)) {
    if (!/^usb[0-9]+$/.test(path.basename(at))) continue;
    const driver = linkName(path.join(path.dirname(at), "driver"));
    if (driver?.startsWith("xhci") === true) return "usb-tablet-xhci";
    if (driver?.startsWith("ehci") === true) return "usb-tablet-ehci";
    break;
  }
  return "usb-tablet-uhci";
}

function linkName(link: string): string | undefined {
  try {
    return path.basename(fs.readlinkSync(link));
  } catch {
    return undefined;
  }
}

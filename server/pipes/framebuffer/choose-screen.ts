// Which screen a console is drawn on, what keeps the kernel from drawing there as well, and the words that people see on it.

import fs from "node:fs";
import path from "node:path";
import { SealttyError } from "../../../protocol/errors.ts";
import { errorCode } from "../../../node/socket-pipe.ts";
import type { FramebufferConfig } from "../../config/pipe.ts";
import { escapeText } from "../../log.ts";
import type { ConsoleDevices } from "./devices.ts";
import { namesIn, PLACES, type Places, textIn } from "./places.ts";

/** For people who look at the plain picture; the last rows are nobody's else (docs/vnc-modem.md §1). ASCII: any font has it. */
const NOTICE = ["This console is encrypted.", "Open it with: sealtty connect GUEST"];
/** Cleared, without a cursor, never blank. */
const TAKEN = "\x1b[2J\x1b[?25l\x1b[9;0]\x1b[14;0]";
export const GIVEN_BACK = "\x1b[2J\x1b[H\x1b[?25h";

/** What a client would come by, without taking any of it. @throws SealttyError `device-unavailable`, in words. */
export function lookAtScreen(config: FramebufferConfig, places: Places = PLACES): string {
  const { kind, path: device } = findScreen(config, places);
  return `${kind === "pixels" ? "the screen" : "the text cells of"} ${escapeText(device)}`;
}

export function findScreen({ screen }: FramebufferConfig, places: Places): ConsoleDevices["screen"] {
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
export function activeTerminal({ sys, dev }: Places): string | undefined {
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
export function screenChanges(
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
export function showNotice(terminal: string, { dev }: Places): void {
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
export function say(terminal: string, text: string): void {
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

// Records of the kernel's log as lines for people, much as `dmesg -H` has them.

import { styleText } from "node:util";
import { LEVELS, type KernelRecord, type Level } from "../protocol/kernel-log/record.ts";
import { type Clocks, wallTimeOf } from "../protocol/kernel-log/wall-time.ts";
import { printable } from "./printable.ts";

/** Characters: a record has no more bytes. */
const MAX_LINE = 8192;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export class KernelLogLines {
  readonly #clocks: Clocks;
  readonly #colour: boolean;
  #minute: string | undefined;
  #before: number | undefined;

  constructor(clocks: Clocks, colour: boolean) {
    this.#clocks = clocks;
    this.#colour = colour;
  }

  /** Safe to print: whatever the record holds, it moves no cursor. @returns with the last line's end. */
  of(record: KernelRecord): string {
    const stamp = this.#stamp(record);
    const [first = "", ...more] = record.text
      .split("\n")
      .map((line) => printable(line.replaceAll("\t", "    "), MAX_LINE));
    const margin = " ".repeat(stamp.length);
    const text = [first, ...more.map((line) => `${margin} ${line}`)].join("\n");
    return `${this.#faint(stamp)} ${this.#coloured(record.level, text)}\n`;
  }

  /** The day and minute where they are new, else how much later it came than the one before. */
  #stamp(record: KernelRecord): string {
    const at = new Date(wallTimeOf(record, this.#clocks));
    const two = (value: number): string => String(value).padStart(2, "0");
    const minute = `${MONTHS[at.getMonth()] ?? ""}${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
    const since = record.time - (this.#before ?? record.time);
    this.#before = record.time;
    if (minute !== this.#minute) {
      this.#minute = minute;
      return `[${minute}]`;
    }
    const later = `${since < 0 ? "-" : "+"}${(Math.abs(since) / 1e6).toFixed(6)}`;
    return `[${later.padStart(11)}]`;
  }

  #faint(text: string): string {
    return this.#colour ? styleText("green", text, { validateStream: false }) : text;
  }

  #coloured(level: Level, text: string): string {
    if (!this.#colour) return text;
    if (LEVELS.indexOf(level) <= LEVELS.indexOf("err"))
      return styleText(["bold", "red"], text, { validateStream: false });
    return level === "warn" ? styleText("yellow", text, { validateStream: false }) : text;
  }
}

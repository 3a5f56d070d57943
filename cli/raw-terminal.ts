// The user's own terminal in raw mode, and back: on every way out it is left as it was found.

import { writeSync } from "node:fs";
import type { Surroundings } from "./services.ts";
import { TerminalModes } from "./terminal-modes.ts";

const MAX_SIDE = 10_000;

type TerminalSurroundings = Pick<Surroundings, "stdin" | "stdout" | "onExit" | "suspend">;

export class RawTerminal {
  readonly #services: TerminalSurroundings;
  readonly #modes = new TerminalModes();
  readonly #offs: (() => void)[] = [];
  #raw = false;

  constructor(services: TerminalSurroundings) {
    this.#services = services;
  }

  /** Whether keys come from a terminal; without one, bytes are passed as they are. */
  get hasKeyboard(): boolean {
    return this.#services.stdin.isTTY === true;
  }

  /** Whether the guest's output goes to a terminal. */
  get hasScreen(): boolean {
    return this.#services.stdout.isTTY === true;
  }

  get size(): { columns: number; rows: number } {
    const { columns, rows } = this.#services.stdout;
    return { columns: side(columns, 80), rows: side(rows, 24) };
  }

  /** @param onResize - called with each new size until `leave`. */
  enter(onResize: (columns: number, rows: number) => void): void {
    this.#offs.push(this.#services.onExit(() => this.restore()));
    const resized = (): void => onResize(this.size.columns, this.size.rows);
    this.#services.stdout.on("resize", resized);
    this.#offs.push(() => this.#services.stdout.off("resize", resized));
    this.#setRaw();
  }

  /** The guest's output, on its way to the screen. */
  watch(output: Uint8Array): void {
    this.#modes.watch(output);
  }

  /** For a screen that comes whole: what stood on this one scrolls away, and stays above it. */
  clear(): void {
    const { rows } = this.size;
    const reset = `\x1b[r\x1b[20l\x1b(B\x0f\x1b[?5W`; // scroll region, line feeds, charset, tab stops
    this.#services.stdout.write(
      `\x18${this.#modes.undo()}${reset}\x1b[${rows};1H${"\n".repeat(rows)}\x1b[H\x1b[2J`,
    );
  }

  /** ~^Z: gives the terminal back to the shell until the user returns. */
  suspend(): void {
    this.restore();
    this.#services.suspend();
    this.#setRaw();
  }

  /** Synchronous, and safe to call twice: also the last thing that an ending process does. */
  restore(): void {
    if (!this.#raw) return;
    this.#raw = false;
    const { stdin, stdout } = this.#services;
    if (stdout.isTTY === true) writeNow(stdout.fd, this.#modes.undo(), stdout);
    try {
      stdin.setRawMode?.(false);
    } catch {
      // the terminal itself is gone
    }
  }

  leave(): void {
    this.restore();
    for (const off of this.#offs.splice(0)) off();
  }

  #setRaw(): void {
    if (!this.hasKeyboard) return;
    this.#services.stdin.setRawMode?.(true);
    this.#raw = true;
  }
}

function side(value: number | undefined, otherwise: number): number {
  return value === undefined || value < 1 ? otherwise : Math.min(value, MAX_SIDE);
}

function writeNow(fd: number | undefined, text: string, stream: Surroundings["stdout"]): void {
  if (fd === undefined) {
    stream.write(text);
    return;
  }
  try {
    writeSync(fd, text);
  } catch {
    // gone, or stopped by ^S: nothing that an ending process could wait for
  }
}

// While old output is shown again the terminal answers the questions in it, which were answered long ago: these answers
// must not be typed into the guest. Keys pass.

import { TerminalReports } from "./terminal-reports.ts";

export class ReplayAnswers {
  readonly #reports = new TerminalReports();
  #held: number[] = []; // of a sequence that has not ended
  #replaying: boolean;

  constructor(replaying: boolean) {
    this.#replaying = replaying;
  }

  get replaying(): boolean {
    return this.#replaying;
  }

  /** All old output was shown, and the terminal had the time to answer. @returns keys that were held back. */
  end(): Uint8Array {
    this.#replaying = false;
    return Uint8Array.from(this.#held.splice(0));
  }

  /** @returns what was typed, without what the terminal said by itself. */
  filter(typed: Uint8Array): Uint8Array {
    if (!this.#replaying) return typed;
    const keys: number[] = [];
    for (const byte of typed) {
      let part = this.#reports.feed(byte);
      while (part === "broken") {
        keys.push(...this.#held.splice(0));
        part = this.#reports.feed(byte);
      }
      if (part === "none") keys.push(byte);
      else this.#held.push(byte);
      if (part === "key") keys.push(...this.#held.splice(0));
      if (part === "report") this.#held = [];
    }
    if (this.#held.length === 1) keys.push(...this.#held.splice(0)); // the key Escape: terminals answer in one piece
    return Uint8Array.from(keys);
  }
}

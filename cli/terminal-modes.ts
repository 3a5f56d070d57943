// Follows the guest's output for modes that would outlive it in the user's own terminal, and undoes them.

const ESC = 0x1b;
const MAX_PARAMETERS = 64;
/** Private modes that make a terminal unusable when they stay on: mouse, focus reports, paste brackets, alternate screen, held output. */
const UNDONE = new Set([
  9, 47, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1047, 1049, 2004, 2026, 2031, 2048,
]);

/** Harmless where they are off already. */
const ALWAYS_UNDONE = [1000, 1002, 1003, 1006, 1004, 2004];

export class TerminalModes {
  readonly #on = new Set<number>();
  #state: "text" | "escape" | "csi" = "text";
  #parameters = "";
  #keyboardPushes = 0; // kitty keyboard protocol
  #keyboardSet = false; // its flags were set in place, without a push
  #modifyOtherKeys = false;

  /** Looks only; never changes a byte. */
  watch(output: Uint8Array): void {
    let at = 0;
    while (at < output.length) {
      if (this.#state === "text") {
        at = output.indexOf(ESC, at);
        if (at < 0) return;
        this.#state = "escape";
      } else {
        this.#step(output[at] as number);
      }
      at++;
    }
  }

  /**
   * A soft reset, then only what was left on: leaving an alternate screen that was never entered would move the cursor.
   * Safe to write at any time.
   */
  undo(): string {
    let text = "\x1b[!p";
    for (const mode of new Set([...ALWAYS_UNDONE, ...this.#on])) text += `\x1b[?${mode}l`;
    if (this.#keyboardPushes > 0) text += `\x1b[<${this.#keyboardPushes}u`;
    if (this.#keyboardSet) text += "\x1b[=0u";
    if (this.#modifyOtherKeys) text += "\x1b[>4m";
    this.#on.clear();
    this.#keyboardPushes = 0;
    this.#keyboardSet = false;
    this.#modifyOtherKeys = false;
    this.#state = "text";
    return `${text}\x1b[?25h\x1b[0m`;
  }

  #step(byte: number): void {
    if (byte === ESC) {
      this.#state = "escape";
      return;
    }
    if (this.#state === "escape") {
      this.#state = byte === 0x5b ? "csi" : "text";
      this.#parameters = "";
      if (byte === 0x63) this.#on.clear(); // RIS: the guest has reset everything
      return;
    }
    if (byte < 0x20) return; // C0 inside a sequence is executed and the sequence goes on
    if (byte < 0x40) {
      if (this.#parameters.length < MAX_PARAMETERS) this.#parameters += String.fromCharCode(byte);
      return;
    }
    this.#state = "text";
    this.#finish(String.fromCharCode(byte));
  }

  #finish(final: string): void {
    const kind = this.#parameters[0];
    const numbers = this.#parameters.slice(1).split(";").map(Number);
    if (kind === "=" && final === "u") this.#keyboardSet = true;
    if (kind === "?" && (final === "h" || final === "l")) {
      for (const mode of numbers) {
        if (!UNDONE.has(mode)) continue;
        if (final === "h") this.#on.add(mode);
        else this.#on.delete(mode);
      }
    } else if (kind === ">" && final === "u") this.#keyboardPushes = Math.min(this.#keyboardPushes + 1, 99);
    else if (kind === "<" && final === "u") {
      this.#keyboardPushes = Math.max(this.#keyboardPushes - (numbers[0] || 1), 0);
    } else if (kind === ">" && final === "m" && numbers[0] === 4)
      this.#modifyOtherKeys = (numbers[1] ?? 0) > 0;
  }
}

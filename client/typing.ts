// Is somebody in the middle of typing? Then Enter is of what they type, and not meant for a button that came up meanwhile.

/** Ms after a key, within which the next one may be typed without a look. */
const GOES_ON_FOR = 1000;
/** Keys that type nothing alone, and the one that moves the keyboard's place. */
const SILENT: ReadonlySet<string> = new Set([
  "Tab",
  "Shift",
  "Control",
  "Alt",
  "Meta",
  "AltGraph",
  "CapsLock",
]);

export class Typing {
  #at = -Infinity;

  constructor() {
    addEventListener(
      "keydown",
      (event) => {
        if (!SILENT.has(event.key) && !pressesButton(event)) this.#at = event.timeStamp;
      },
      { capture: true },
    );
    addEventListener("pointerdown", () => (this.#at = -Infinity), { capture: true }); // who points, looks
  }

  get goesOn(): boolean {
    return this.goesOnSince(-Infinity);
  }

  /** @param moment - of performance.now(): keys before it do not count, as the one that asked for something. */
  goesOnSince(moment: number): boolean {
    return this.#at > moment && performance.now() - this.#at < GOES_ON_FOR;
  }
}

function pressesButton({ key, target }: KeyboardEvent): boolean {
  return target instanceof HTMLButtonElement && (key === "Enter" || key === " ");
}

// Over a terminal that came by itself: whoever types may still mean what was there before it, a disk's passphrase with Enter at its
// end, say. So the keyboard stays out until the user lets it in, by a click, or by Tab and Enter.

import { button, element } from "./dom.ts";

export class TerminalGate {
  readonly element: HTMLElement;
  readonly #words: HTMLElement;

  /** @param isTyping - Enter is of what is typed, even where a Tab of it has led here. */
  constructor(isTyping: () => boolean, open: () => void) {
    this.#words = element(
      "p",
      { class: "gate-words", role: "alert", tabindex: -1 },
      "This terminal is the new system's, and it came by itself. What you type goes nowhere until you let the keyboard in.",
    );
    this.element = element(
      "div",
      { class: "terminal-gate" },
      element(
        "div",
        { class: "gate-card" },
        this.#words,
        button(
          "Click here to type in the new system's terminal",
          () => {
            if (!isTyping()) open();
          },
          { class: "button primary" },
        ),
        element("p", { class: "quiet" }, "By keyboard: Tab to it, and Enter."),
      ),
    );
  }

  /** To its words: keys do nothing there, and Tab goes to the button. */
  focus(): void {
    this.#words.focus();
  }
}

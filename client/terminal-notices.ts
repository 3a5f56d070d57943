// What the page has to say about the terminal, outside of what the guest can write. What stays takes a place of its own above
// the terminal; what passes lies over it for a moment, over the half that has no cursor. Neither hides the line that is typed.

import { button, element } from "./dom.ts";
import { icon } from "./icons.ts";

const PASSING_MS = 6000;

export interface NoticeChoice {
  readonly label: string;
  readonly choose: () => void;
}

export class TerminalNotices {
  /** Above the terminal: it gives them the room. */
  readonly banners = element("div", { class: "terminal-banners", "aria-live": "polite" });
  /** Over the terminal. */
  readonly passing = element("div", { class: "terminal-notices", "aria-live": "polite" });
  #mark: HTMLElement | undefined;

  /** Stays until it is dismissed, or a key says that the user went on. */
  mark(words: string): void {
    this.#mark?.remove();
    const bar = banner(
      "status",
      words,
      button("Dismiss", () => bar.remove(), { class: "button small" }),
    );
    this.#mark = bar;
    this.banners.append(bar);
  }

  /** A key went to the guest. */
  wentOn(): void {
    this.#mark?.remove();
    this.#mark = undefined;
  }

  /** Stays until one of the choices is taken. */
  question(label: string, words: string, choices: readonly NoticeChoice[]): void {
    const bar = banner(
      "group",
      words,
      ...choices.map(({ label: choice, choose }) =>
        button(
          choice,
          () => {
            bar.remove();
            choose();
          },
          { class: "button small" },
        ),
      ),
    );
    bar.classList.add("question");
    bar.setAttribute("aria-label", label);
    bar.prepend(icon("clipboard"));
    this.banners.append(bar);
  }

  /** Goes by itself. */
  pass(words: string): void {
    const bar = element("div", { class: "notice" }, element("span", { class: "notice-words" }, words));
    this.passing.replaceChildren(bar);
    setTimeout(() => bar.remove(), PASSING_MS);
  }

  /** @param inUpperHalf - where the cursor is now. */
  cursorMoved(inUpperHalf: boolean): void {
    this.passing.classList.toggle("below", inUpperHalf);
  }

  clear(): void {
    this.banners.replaceChildren();
    this.passing.replaceChildren();
  }
}

function banner(role: string, words: string, ...buttons: readonly HTMLElement[]): HTMLElement {
  return element(
    "div",
    { class: "banner", role },
    element("span", { class: "notice-words" }, words),
    ...buttons,
  );
}

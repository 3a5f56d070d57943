// The find bar of the terminal.

import type { SearchAddon } from "@xterm/addon-search";
import { button, element } from "./dom.ts";
import { icon } from "./icons.ts";

const DECORATIONS = {
  matchBackground: "#7a5c00",
  matchOverviewRuler: "#c79a1b",
  activeMatchBackground: "#b8620b",
  activeMatchColorOverviewRuler: "#f08a24",
};

export class TerminalSearch {
  readonly element: HTMLElement;
  readonly #addon: SearchAddon;
  readonly #field: HTMLInputElement;
  readonly #count: HTMLElement;
  readonly #onClose: () => void;

  constructor(addon: SearchAddon, onClose: () => void) {
    this.#addon = addon;
    this.#onClose = onClose;
    this.#field = element("input", {
      type: "text",
      class: "find-field",
      placeholder: "Find in terminal",
      "aria-label": "Find in terminal",
      spellcheck: "false",
      autocomplete: "off",
      maxlength: 200,
    });
    this.#count = element("output", { class: "find-count" });
    this.element = element(
      "div",
      { class: "find", role: "search", hidden: true },
      this.#field,
      this.#count,
      button(icon("up"), () => this.#find("back"), {
        class: "icon-button",
        "aria-label": "Previous match",
        title: "Previous match (Shift+Enter)",
      }),
      button(icon("down"), () => this.#find("on"), {
        class: "icon-button",
        "aria-label": "Next match",
        title: "Next match (Enter)",
      }),
      button(icon("cross"), () => this.close(), {
        class: "icon-button",
        "aria-label": "Close find bar",
        title: "Close (Escape)",
      }),
    );
    this.#field.addEventListener("input", () => this.#find("stay"));
    this.#field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.#find(event.shiftKey ? "back" : "on");
      else if (event.key === "Escape") this.close();
      else return;
      event.preventDefault();
    });
    addon.onDidChangeResults(({ resultIndex, resultCount }) => {
      if (this.#field.value === "") this.#count.textContent = "";
      else if (resultCount === 0) this.#count.textContent = "no match";
      else this.#count.textContent = `${resultIndex < 0 ? "–" : resultIndex + 1} of ${resultCount}`;
    });
  }

  open(): void {
    this.element.hidden = false;
    this.#field.focus();
    this.#field.select();
  }

  close(): void {
    this.element.hidden = true;
    this.#addon.clearDecorations();
    this.#count.textContent = "";
    this.#onClose();
  }

  #find(direction: "on" | "back" | "stay"): void {
    const term = this.#field.value;
    if (term === "") {
      this.#addon.clearDecorations();
      this.#count.textContent = "";
      return;
    }
    const options = { decorations: DECORATIONS, incremental: direction === "stay" };
    if (direction === "back") this.#addon.findPrevious(term, options);
    else this.#addon.findNext(term, options);
  }
}

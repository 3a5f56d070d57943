// The tabs above the terminal, as an editor has them: one view at a time.

import { button, element } from "./dom.ts";
import { icon, type IconName } from "./icons.ts";

export type TabName = "terminal" | "kernel-log" | "desktop";

const TABS: readonly { readonly name: TabName; readonly words: string; readonly icon: IconName }[] = [
  { name: "terminal", words: "Terminal", icon: "prompt" },
  { name: "kernel-log", words: "Kernel log", icon: "lines" },
  { name: "desktop", words: "Desktop", icon: "screen" },
];

export class StageTabs {
  readonly element = element("div", { class: "tabs", role: "tablist", "aria-label": "Views", hidden: true });
  readonly #buttons: ReadonlyMap<TabName, HTMLButtonElement>;
  readonly #onSelect: (name: TabName) => void;
  #selected: TabName = "terminal";

  /** @param onSelect - told of a choice of the user's. */
  constructor(onSelect: (name: TabName) => void) {
    this.#onSelect = onSelect;
    this.#buttons = new Map(
      TABS.map(({ name, words, icon: drawing }) => [
        name,
        button(
          icon(drawing),
          () => this.#choose(name),
          { class: "tab", role: "tab", id: `tab-${name}`, "aria-controls": `view-${name}` },
          words,
        ),
      ]),
    );
    this.element.append(...this.#buttons.values());
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
      event.preventDefault();
      const at = TABS.findIndex(({ name }) => name === this.#selected);
      const next = TABS[(at + (event.key === "ArrowRight" ? 1 : TABS.length - 1)) % TABS.length];
      if (next === undefined) return;
      this.#choose(next.name);
      this.#buttons.get(next.name)?.focus();
    });
    this.#mark();
  }

  get selected(): TabName {
    return this.#selected;
  }

  #choose(name: TabName): void {
    this.#selected = name;
    this.#mark();
    this.#onSelect(name);
  }

  #mark(): void {
    for (const [name, tab] of this.#buttons) {
      tab.setAttribute("aria-selected", String(name === this.#selected));
      tab.tabIndex = name === this.#selected ? 0 : -1;
    }
  }
}

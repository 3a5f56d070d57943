// The middle of the page, from top to bottom: tabs, the terminal (or what stands in its place), the kernel's log or the desktop,
// what the guest asks for, and strips that say how the connection is.

import { DesktopTab } from "./desktop-tab.ts";
import { element } from "./dom.ts";
import { KernelLogTab } from "./kernel-log-tab.ts";
import { PageStrips } from "./page-strips.ts";
import { PromptsPanel, type PromptsPanelActions } from "./prompts-panel.ts";
import { StageTabs, type TabName } from "./stage-tabs.ts";

export class Stage {
  readonly element = element("main", { class: "stage" });
  readonly log = new KernelLogTab();
  readonly desktop: DesktopTab;
  readonly prompts: PromptsPanel;
  readonly strips: PageStrips;
  readonly #tabs: StageTabs;
  readonly #place = element("div", { class: "stage-place", id: "view-terminal" });
  #typed = false;

  constructor(
    actions: PromptsPanelActions & { focusTerminal(): void; typingSince(moment: number): boolean },
  ) {
    this.desktop = new DesktopTab((moment) => actions.typingSince(moment));
    this.prompts = new PromptsPanel(actions);
    this.#tabs = new StageTabs((name) => {
      this.#showView();
      if (name === "terminal") actions.focusTerminal();
    });
    const strips = element("div", { class: "strips" });
    this.strips = new PageStrips(strips);
    this.log.view.element.id = "view-kernel-log";
    this.desktop.view.element.id = "view-desktop";
    this.element.append(
      this.#tabs.element,
      this.#place,
      this.log.view.element,
      this.desktop.view.element,
      this.prompts.element,
      strips,
    );
    this.#place.addEventListener("keydown", () => (this.#typed = true), { capture: true });
    for (const [name, view] of [
      ["terminal", this.#place],
      ["kernel-log", this.log.view.element],
      ["desktop", this.desktop.view.element],
    ] as const) {
      view.setAttribute("role", "tabpanel");
      view.setAttribute("aria-labelledby", `tab-${name}`);
    }
  }

  /** The terminal, or what stands in its place. */
  show(view: HTMLElement): void {
    this.#typed = false;
    this.#place.replaceChildren(view);
  }

  /** There is a guest to look at in more than one way. */
  offerTabs(offered: boolean): void {
    this.#tabs.element.hidden = !offered;
    this.#showView();
  }

  get view(): TabName {
    return this.#tabs.element.hidden ? "terminal" : this.#tabs.selected;
  }

  /** The user may be in the middle of a word in the terminal: nothing takes the keyboard away from there. */
  get mayTakeFocus(): boolean {
    const { activeElement } = document;
    return activeElement === document.body || (!this.#typed && this.#place.contains(activeElement));
  }

  /** @returns false where another view is looked at. */
  focusDesktop(): boolean {
    if (this.view !== "desktop") return false;
    this.desktop.view.focus();
    return true;
  }

  set inert(inert: boolean) {
    this.element.inert = inert;
  }
  get inert(): boolean {
    return this.element.inert;
  }

  #showView(): void {
    const { view } = this;
    this.#place.hidden = view !== "terminal";
    this.log.show(view === "kernel-log");
    this.desktop.show(view === "desktop");
  }
}

// The parts of the page around its middle: the bar on top, the trust panel beside, the host's view below; which of them are open.

import { element } from "./dom.ts";
import { HostViewDrawer } from "./host-view-drawer.ts";
import type { WireFrame } from "./host-view-source.ts";
import type { Stage } from "./stage.ts";
import { TopBar, type TopBarActions } from "./top-bar.ts";
import { TrustPanel } from "./trust-panel.ts";

export interface LayoutActions extends Omit<TopBarActions, "toggleTrust" | "toggleHostView"> {
  /** To what the user works in. @returns false where there is nothing. */
  focusWork(): boolean;
  /** Nobody could work yet: the trust panel may stand over it on a narrow screen. */
  isWaiting(): boolean;
}

export class PageLayout {
  readonly topBar: TopBar;
  readonly trust: TrustPanel;
  readonly #root: HTMLElement;
  readonly #stage: Stage;
  readonly #actions: LayoutActions;
  #drawer: HostViewDrawer | undefined;
  #drawerOpen = false;
  #trustOpen = false;
  #trustChosen = false; // the user opened or closed it
  readonly #narrow = matchMedia("(max-width: 820px)"); // the panel covers the terminal: as in styles.css

  constructor(root: HTMLElement, stage: Stage, actions: LayoutActions) {
    this.#root = root;
    this.#stage = stage;
    this.#actions = actions;
    this.topBar = new TopBar({
      ...actions,
      toggleTrust: () => {
        this.#trustChosen = true;
        this.setTrustOpen(!this.#trustOpen);
        if (this.#trustOpen) this.trust.focus();
      },
      toggleHostView: () => this.#setDrawerOpen(!this.#drawerOpen),
    });
    this.trust = new TrustPanel(() => {
      this.#trustChosen = true;
      this.setTrustOpen(false);
      if (!actions.focusWork()) this.topBar.focusBadge();
    });
  }

  /** @param bars - above all else. */
  open(bars: HTMLElement): void {
    const middle = element("div", { class: "middle" }, this.#stage.element, this.trust.element);
    this.#root.replaceChildren(bars, this.topBar.element, middle);
    this.setTrustOpen(!this.#narrow.matches);
    this.#narrow.addEventListener("change", () => {
      const shown = this.#actions.isWaiting() && !this.#trustChosen ? !this.#narrow.matches : this.#trustOpen;
      this.setTrustOpen(shown);
    });
  }

  /** @returns what is told of each frame. */
  offerHostView(): (frame: WireFrame) => void {
    const drawer = new HostViewDrawer(() => this.#setDrawerOpen(false));
    this.#drawer = drawer;
    this.topBar.offerHostView();
    return (frame) => drawer.add(frame);
  }

  setTrustOpen(open: boolean): void {
    this.#trustOpen = open;
    this.trust.element.hidden = !open;
    this.topBar.setTrustOpen(open);
    this.#stage.inert = open && this.#narrow.matches; // nobody types into a terminal that is covered
  }

  /** A guest is there to be believed or not; unless the user said otherwise. */
  offerTrust(): void {
    if (!this.#trustChosen) this.setTrustOpen(true);
  }

  hideTrust(): void {
    this.setTrustOpen(false);
    this.topBar.element.hidden = true;
  }

  #setDrawerOpen(open: boolean): void {
    if (this.#drawer === undefined) return;
    this.#drawerOpen = open;
    this.topBar.setHostViewOpen(open);
    if (open) {
      this.#root.append(this.#drawer.element);
      this.#drawer.opened();
    } else {
      this.#drawer.element.remove();
    }
    this.#actions.focusWork(); // to type, and see it arrive on the host sealed
  }
}

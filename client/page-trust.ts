// What the page says of how far this guest can be believed: badge, bars, trust panel, and the dialog when it became another one.

import type { AppraisedClaims } from "../protocol/attestation/verified-guest.ts";
import { barsFor } from "./bars.ts";
import { CHANGE_WORDS } from "./change-words.ts";
import { element } from "./dom.ts";
import { UNAVAILABLE_IS_NOTABLE } from "./freshness-view.ts";
import { FrozenDialog, type FrozenChoices } from "./frozen-dialog.ts";
import { kindOfChange, type ChangeKind, type GuestChanged, type PageState } from "./page-state.ts";
import type { PageStrips } from "./page-strips.ts";
import { unavailableStrip } from "./session-strip.ts";
import { spanWords } from "./time-words.ts";
import type { TopBar } from "./top-bar.ts";
import type { TrustPanel } from "./trust-panel.ts";

export interface TrustPlaces {
  readonly topBar: TopBar;
  readonly panel: TrustPanel;
  readonly strips: PageStrips;
}

export class PageTrust {
  readonly bars = element("div", { class: "bars" });
  simulatedAllowed = false;
  readonly #places: TrustPlaces;
  #claims: AppraisedClaims | undefined;
  #frozen: FrozenDialog | undefined;
  readonly #wentOn = new Map<ChangeKind, number>();
  #override: ChangeKind | undefined; // why what was verified no longer stands
  #refused = false;

  constructor(places: TrustPlaces) {
    this.#places = places;
  }

  setState(state: PageState): void {
    this.#refused = state.kind === "refused";
    if (state.kind !== "frozen") this.#frozen?.connectionEnded();
    this.#updateBadge();
  }

  nothingVerified(): void {
    this.#claims = undefined;
    this.#wentOn.clear();
    this.#override = undefined;
    this.#places.strips.clearUnavailable();
    this.#places.panel.setClaims(undefined);
    this.updateBars();
  }

  verified(claims: AppraisedClaims): void {
    this.#claims = claims;
    this.#override = undefined;
    this.#places.strips.clearUnavailable();
    this.#places.panel.setClaims(claims);
    this.#updateBadge();
    this.updateBars();
  }

  /** @param noted - there is a terminal that a strip could stand below. */
  unavailable(reason: string, inARow: number, noted: boolean): void {
    const { freshness } = this.#places.panel;
    freshness.unavailable(reason, inARow);
    this.#places.strips.clearUnavailable();
    if (inARow < UNAVAILABLE_IS_NOTABLE || !noted) return;
    const { checkedAt } = freshness;
    const ago = checkedAt === undefined ? undefined : spanWords(Date.now() - checkedAt);
    this.#places.strips.setUnavailable(unavailableStrip(inARow, ago));
  }

  /** @param onChosen - after the choice was carried out. */
  freeze(event: GuestChanged, identity: string, choices: FrozenChoices, onChosen: () => void): void {
    const kind = kindOfChange(event);
    const { panel, strips } = this.#places;
    this.#override = kind;
    this.#updateBadge();
    strips.clearUnavailable(); // the dialog says more
    panel.setOverride(CHANGE_WORDS[kind].frozen);
    panel.freshness.changed();
    this.#frozen?.dismiss(); // a later look at the same change: the confirmation is asked for anew
    const done = (choose: () => void) => (): void => {
      this.#frozen = undefined;
      choose();
      onChosen();
    };
    this.#frozen = new FrozenDialog(event, identity, panel.freshness.checkedAt, Date.now(), {
      close: done(() => choices.close()),
      goOn: done(() => choices.goOn()),
    });
  }

  wentOn(kind: ChangeKind): void {
    this.#wentOn.set(kind, Date.now());
    const words = CHANGE_WORDS[kind].wentOn;
    if (words !== undefined) {
      this.#override = kind;
      this.#places.panel.setOverride(words);
    }
    this.#updateBadge();
    this.updateBars();
  }

  updateBars(): void {
    const bars = barsFor(this.simulatedAllowed, this.#claims, this.#wentOn);
    const words = (each: Iterable<Element>) => [...each].map((bar) => bar.textContent).join("\n");
    if (words(bars) === words(this.bars.children)) return; // saying it again would interrupt a screen reader
    this.bars.replaceChildren(...bars);
  }

  #updateBadge(): void {
    const { topBar } = this.#places;
    if (this.#refused) topBar.setAssurance("refused");
    else if (this.#override !== undefined)
      topBar.setAssurance(this.#override === "unproven" ? "unproven" : "changed");
    else topBar.setAssurance(this.#claims?.assurance);
  }
}

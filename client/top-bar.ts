// The bar above the terminal: which guest, how sure, how is the line. The guest can't draw here.

import { assuranceWords } from "./assurance-words.ts";
import type { Assurance } from "../protocol/attestation/verified-guest.ts";
import { button, element } from "./dom.ts";
import { icon, type IconName } from "./icons.ts";
import type { PageState } from "./page-state.ts";

export interface TopBarActions {
  toggleTrust(): void;
  toggleHostView(): void;
  chooseSignIn(): void;
  openSearch(): void;
  changeFont(by: number): void;
  setScreenReader(on: boolean): void;
}

interface LineWords {
  readonly words: string;
  readonly icon: IconName;
  readonly tone: "good" | "caution" | "danger" | "quiet";
}

export class TopBar {
  readonly element: HTMLElement;
  readonly #badge: HTMLButtonElement;
  readonly #identity = element("span", { class: "identity" });
  readonly #user = element("span", { class: "user" });
  readonly #line = element("span", { class: "line", role: "status", "aria-live": "polite" });
  readonly #roundTrip = element("span", { class: "round-trip" });
  readonly #hostView: HTMLButtonElement;
  readonly #signIn: HTMLButtonElement;
  readonly #find: HTMLButtonElement;
  readonly #settings: HTMLElement;
  readonly #settingsButton: HTMLButtonElement;
  #lineWords = "";

  constructor(actions: TopBarActions) {
    this.#badge = button(icon("shield"), () => actions.toggleTrust(), {
      class: "badge neutral",
      "aria-controls": "trust-panel",
    });
    this.setAssurance(undefined);
    this.#hostView = button(
      icon("eye"),
      () => actions.toggleHostView(),
      {
        class: "bar-button",
        hidden: true,
        "aria-expanded": "false",
        "aria-controls": "host-view",
        title: "What the host sees",
      },
      element("span", { class: "wide" }, "What the host sees"),
    );
    this.#signIn = button(icon("key"), () => actions.chooseSignIn(), {
      class: "icon-button",
      hidden: true,
      "aria-label": "How you sign in",
      title: "How you sign in",
    });
    this.#find = button(icon("search"), () => actions.openSearch(), {
      class: "icon-button",
      "aria-label": "Find in terminal",
      title: "Find in terminal (Ctrl+Shift+F)",
    });
    this.#settings = this.#settingsMenu(actions);
    this.#settingsButton = button(icon("sliders"), () => this.#toggleSettings(), {
      class: "icon-button",
      "aria-label": "Settings",
      "aria-expanded": "false",
      title: "Settings and keys",
    });
    this.element = element(
      "header",
      { class: "top-bar" },
      this.#badge,
      element("div", { class: "who" }, this.#identity, this.#user),
      this.#line,
      this.#roundTrip,
      element("span", { class: "space" }),
      this.#hostView,
      this.#signIn,
      this.#find,
      element("div", { class: "menu-anchor" }, this.#settingsButton, this.#settings),
    );
    document.addEventListener("pointerdown", (event) => {
      if (
        event.target instanceof Node &&
        !this.#settings.contains(event.target) &&
        !this.#settingsButton.contains(event.target)
      ) {
        this.#toggleSettings(false);
      }
    });
  }

  setGuest(identity: string, user: string): void {
    this.#identity.textContent = identity;
    this.#user.textContent = user;
    this.#identity.title = identity;
  }

  offerSignIn(): void {
    this.#signIn.hidden = false;
  }

  setAssurance(assurance: Assurance | "refused" | "changed" | "unproven" | undefined): void {
    const words = badgeWords(assurance);
    this.#badge.className = `badge ${words.tone}`;
    this.#badge.replaceChildren(icon(words.icon), element("span", {}, words.badge));
    this.#badge.title = "Why trust this console?";
  }

  setTrustOpen(open: boolean): void {
    this.#badge.setAttribute("aria-expanded", String(open));
  }

  focusBadge(): void {
    this.#badge.focus();
  }

  offerHostView(): void {
    this.#hostView.hidden = false;
  }

  setHostViewOpen(open: boolean): void {
    this.#hostView.setAttribute("aria-expanded", String(open));
  }

  setState(state: PageState): void {
    const line = lineWords(state);
    this.#find.hidden = !showsTerminal(state);
    if (line.words === this.#lineWords) return; // saying it again would make a screen reader repeat it
    this.#lineWords = line.words;
    this.#line.className = `line ${line.tone}`;
    this.#line.replaceChildren(icon(line.icon), element("span", {}, line.words));
    if (state.kind !== "live") this.#roundTrip.textContent = "";
  }

  setRoundTrip(milliseconds: number | undefined): void {
    this.#roundTrip.textContent = milliseconds === undefined ? "" : `${Math.round(milliseconds)} ms`;
    this.#roundTrip.title = "Round trip to the guest";
  }

  #toggleSettings(open = this.#settings.hidden): void {
    this.#settings.hidden = !open;
    this.#settingsButton.setAttribute("aria-expanded", String(open));
  }

  #settingsMenu(actions: TopBarActions): HTMLElement {
    const screenReader = element("input", { type: "checkbox" });
    screenReader.addEventListener("change", () => actions.setScreenReader(screenReader.checked));
    const menu = element(
      "div",
      { class: "menu", hidden: true, role: "group", "aria-label": "Settings" },
      element(
        "div",
        { class: "menu-row" },
        element("span", {}, "Text size"),
        button("−", () => actions.changeFont(-1), { class: "button small", "aria-label": "Smaller text" }),
        button("+", () => actions.changeFont(1), { class: "button small", "aria-label": "Larger text" }),
      ),
      element("label", { class: "menu-row check-label" }, screenReader, "Screen reader mode"),
      element("h3", {}, "Keys"),
      element(
        "dl",
        { class: "keys" },
        ...KEYS.flatMap(([keys, words]) => [
          element("dt", {}, element("kbd", {}, keys)),
          element("dd", {}, words),
        ]),
      ),
    );
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      this.#toggleSettings(false);
      this.#settingsButton.focus();
    });
    return menu;
  }
}

const KEYS: readonly (readonly [string, string])[] = [
  ["Ctrl+Shift+C", "copy"],
  ["Ctrl+Shift+V", "paste, after a look at it"],
  ["Ctrl+Shift+F", "find"],
  ["Ctrl+Shift+M", "leave the terminal or desktop by keyboard"],
  ["Ctrl + / Ctrl −", "text size"],
];

function badgeWords(assurance: Assurance | "refused" | "changed" | "unproven" | undefined) {
  if (assurance === undefined) return { badge: "Not verified yet", tone: "neutral", icon: "shield" } as const;
  if (assurance === "refused") return { badge: "Refused", tone: "danger", icon: "shield-alert" } as const;
  if (assurance === "changed") return { badge: "Changed", tone: "danger", icon: "shield-alert" } as const;
  if (assurance === "unproven") return { badge: "Not proven", tone: "danger", icon: "shield-alert" } as const;
  return assuranceWords(assurance);
}

const WITH_TERMINAL: ReadonlySet<PageState["kind"]> = new Set([
  "opening",
  "live",
  "reconnecting",
  "frozen",
  "ended",
  "lost",
]);

export function showsTerminal(state: PageState): boolean {
  if (state.kind === "reconnecting" && (state.during === "signing-in" || state.during === "prompts"))
    return false;
  return WITH_TERMINAL.has(state.kind);
}

function lineWords(state: PageState): LineWords {
  switch (state.kind) {
    case "loading":
      return { words: "Loading", icon: "clock", tone: "quiet" };
    case "connecting":
      return state.step === "appraising"
        ? { words: "Checking evidence", icon: "clock", tone: "quiet" }
        : { words: "Connecting", icon: "clock", tone: "quiet" };
    case "signing-in":
      return {
        words: state.method === "passkey" ? "Waiting for your passkey" : "Signing in",
        icon: "key",
        tone: "quiet",
      };
    case "opening":
      return { words: "Opening the session", icon: "key", tone: "quiet" };
    case "live":
    case "prompts":
      return { words: "Connected", icon: "plug", tone: "good" };
    case "handed-over":
      return { words: "Handed over", icon: "clock", tone: "quiet" };
    case "reconnecting":
      return { words: "Reconnecting", icon: "clock", tone: "caution" };
    case "frozen":
      return { words: "Frozen", icon: "stop", tone: "danger" };
    case "ended":
      return { words: "Session ended", icon: "stop", tone: "quiet" };
    case "lost":
      return { words: "Connection lost", icon: "unplugged", tone: "danger" };
    case "refused":
    case "user-refused":
    case "failed":
    case "insecure-context":
    case "link-used":
      return {
        words: "Not connected",
        icon: "unplugged",
        tone: state.kind === "refused" ? "danger" : "quiet",
      };
  }
}

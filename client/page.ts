// The page as a whole: takes the token, gets its configuration, runs a session, shows each state.

import type { AppraisedClaims } from "../protocol/attestation/verified-guest.ts";
import { ANY_INSTANCE_BAR, SIMULATED_BAR } from "./assurance-words.ts";
import { ConnectingView } from "./connecting-view.ts";
import {
  startConsoleSession,
  type ConsoleSession,
  type SessionParts,
  type SessionViews,
} from "./console-session.ts";
import { element } from "./dom.ts";
import { HostViewDrawer } from "./host-view-drawer.ts";
import type { WireFrame } from "./host-view-source.ts";
import { icon } from "./icons.ts";
import { failureOf, type Failure, type PageState } from "./page-state.ts";
import { plainText } from "./plain-text.ts";
import { failurePage, insecureContextPage, linkUsedPage, loadingPage } from "./refusal-view.ts";
import { LinkRefused, type ServerLink } from "./server-link.ts";
import { endedStrip, lostStrip, reconnectingStrip } from "./session-strip.ts";
import { TerminalView } from "./terminal-view.ts";
import { documentTitle } from "./title-rules.ts";
import { showsTerminal, TopBar } from "./top-bar.ts";
import { TrustPanel } from "./trust-panel.ts";

/** All that the page needs from outside, so that tests can script it. */
export interface PageParts {
  readonly secureContext: boolean;
  /** From the fragment; undefined where there was none. */
  readonly token: string | undefined;
  /** @throws LinkRefused; SealttyError `bad-config`. */
  openServerLink(token: string): Promise<ServerLink>;
  sessionParts(link: ServerLink): SessionParts;
  openHostView(link: ServerLink, onFrame: (frame: WireFrame) => void): void;
}

/** In the tab's session storage: this origin's only, gone with the tab, worth nothing once used or once the server ended. */
const NEXT_TOKEN = "sealtty.next-token";

/** Reads `#t=TOKEN` and takes it out of the address bar and the history at once; after a reload, the one kept for that. */
export function takeToken(location: Location, history: History, storage: Storage): string | undefined {
  const kept = storage.getItem(NEXT_TOKEN);
  storage.removeItem(NEXT_TOKEN);
  const token = new URLSearchParams(location.hash.slice(1)).get("t") ?? kept ?? "";
  if (location.hash !== "") history.replaceState(null, "", location.pathname + location.search);
  return /^[A-Za-z0-9_-]{16,256}$/.test(token) ? token : undefined;
}

/** So that a reload of this tab works although every token does so only once. */
export function keepNextToken(storage: Storage, token: string | undefined): void {
  if (token !== undefined) storage.setItem(NEXT_TOKEN, token);
}

export async function runPage(root: HTMLElement, parts: PageParts): Promise<void> {
  const page = new Page(root);
  page.show({ kind: "loading" });
  if (!parts.secureContext) return page.show({ kind: "insecure-context" });
  if (parts.token === undefined) return page.show({ kind: "link-used" });
  let link: ServerLink;
  try {
    link = await parts.openServerLink(parts.token);
  } catch (error) {
    if (error instanceof LinkRefused) return page.show({ kind: "link-used" });
    return page.show({ kind: "failed", failure: failureOf(error, false) });
  }
  page.start(link, parts);
}

/** The policy and the configuration came with the page: they stay what they are. */
function retryHelps(failure: Failure): boolean {
  return failure.code !== "bad-policy" && failure.code !== "bad-config";
}

class Page implements SessionViews {
  readonly #stage = element("main", { class: "stage" });
  readonly #bars = element("div", { class: "bars" });
  readonly #topBar: TopBar;
  readonly #trust: TrustPanel;
  readonly #middle: HTMLElement;
  readonly #root: HTMLElement;
  #drawer: HostViewDrawer | undefined;
  #drawerOpen = false;
  #trustOpen = false;
  #trustChosen = false; // the user opened or closed it
  readonly #narrow = matchMedia("(max-width: 820px)"); // the panel covers the terminal: as in styles.css
  #lostAt = 0;
  #roundTripMs: number | undefined;
  #state: PageState = { kind: "loading" };
  #identity = "";
  #simulatedAllowed = false;
  #claims: AppraisedClaims | undefined;
  #terminal: TerminalView | undefined;
  #fontSize = 14;
  #screenReader = false;
  #connecting: ConnectingView | undefined;
  #strip: { element: HTMLElement; dispose(): void } | undefined;
  #inputStuck: HTMLElement | undefined;
  #session: ConsoleSession | undefined;
  #restart: (() => void) | undefined;

  constructor(root: HTMLElement) {
    this.#root = root;
    this.#topBar = new TopBar({
      toggleTrust: () => {
        this.#trustChosen = true;
        this.#setTrustOpen(!this.#trustOpen);
        if (this.#trustOpen) this.#trust.focus();
      },
      toggleHostView: () => this.#setDrawerOpen(!this.#drawerOpen),
      openSearch: () => this.#terminal?.openSearch(),
      changeFont: (by) => this.#changeFont(by),
      setScreenReader: (on) => {
        this.#screenReader = on;
        if (this.#terminal !== undefined) this.#terminal.screenReaderMode = on;
      },
    });
    this.#trust = new TrustPanel(() => {
      this.#trustChosen = true;
      this.#setTrustOpen(false);
      if (this.#terminal !== undefined) this.#terminal.focus();
      else this.#topBar.focusBadge();
    });
    this.#middle = element("div", { class: "middle" }, this.#stage, this.#trust.element);
    root.replaceChildren(this.#bars, this.#topBar.element, this.#middle);
    this.#setTrustOpen(!this.#narrow.matches);
    this.#narrow.addEventListener("change", () => {
      const waiting = this.#state.kind === "connecting" || this.#state.kind === "signing-in";
      this.#setTrustOpen(waiting && !this.#trustChosen ? !this.#narrow.matches : this.#trustOpen);
    });
    document.title = documentTitle("", "");
    addEventListener("keydown", (event) => this.#shortcut(event), { capture: true });
    addEventListener("beforeunload", (event) => {
      if (this.#state.kind === "live" || this.#state.kind === "reconnecting") event.preventDefault();
    });
    addEventListener("pagehide", () => void this.#session?.close());
  }

  start(link: ServerLink, parts: PageParts): void {
    const { config } = link;
    this.#identity = plainText(config.identity, 256) || plainText(config.address, 256);
    this.#simulatedAllowed = config.simulated;
    this.#topBar.setGuest(this.#identity, plainText(config.user, 64));
    this.#trust.setConfig(config);
    document.title = documentTitle(this.#identity, "");
    this.#updateBars();
    if (config.hostView) {
      const drawer = new HostViewDrawer(() => this.#setDrawerOpen(false));
      this.#drawer = drawer;
      this.#topBar.offerHostView();
      parts.openHostView(link, (frame) => drawer.add(frame));
    }
    this.#restart = () => {
      void this.#session?.close();
      this.#claims = undefined;
      this.#trust.setClaims(undefined);
      this.#updateBars();
      this.show({ kind: "connecting", step: "dialing", attempt: 1 });
      this.#session = startConsoleSession(parts.sessionParts(link), config, this);
    };
    this.#restart();
  }

  show(state: PageState): void {
    if (state.kind === "reconnecting" && this.#state.kind !== "reconnecting")
      this.#lostAt = performance.now();
    this.#state = state;
    this.#root.dataset["state"] = state.kind;
    this.#topBar.setState(state);
    this.#topBar.setAssurance(state.kind === "refused" ? "refused" : this.#claims?.assurance);
    this.#clearStrip();
    if (!showsTerminal(state)) this.#dropTerminal();
    if (state.kind === "connecting" || state.kind === "signing-in") {
      this.#connecting ??= this.#mount(new ConnectingView(this.#identity));
      if (state.kind === "connecting") this.#connecting.show(state.step, state.attempt);
      else this.#connecting.showSigningIn(plainText(state.user, 64), state.method);
      return;
    }
    this.#connecting?.dispose();
    this.#connecting = undefined;
    switch (state.kind) {
      case "loading":
        this.#stage.replaceChildren(loadingPage());
        break;
      case "insecure-context":
        this.#stage.replaceChildren(insecureContextPage());
        this.#hideTrust();
        break;
      case "link-used":
        this.#stage.replaceChildren(linkUsedPage());
        this.#hideTrust();
        break;
      case "refused":
      case "user-refused":
      case "failed":
        this.#stage.replaceChildren(
          failurePage(state.failure, this.#identity, retryHelps(state.failure) ? this.#restart : undefined),
        );
        this.#setTrustOpen(false);
        break;
      case "live":
        this.#topBar.setRoundTrip(this.#roundTripMs);
        if (document.activeElement === document.body) this.#terminal?.focus();
        break;
      case "reconnecting":
        this.#setStrip(reconnectingStrip(state.reason, this.#lostAt, () => performance.now()));
        break;
      case "ended":
        this.#setStrip({
          element: endedStrip(
            state.words,
            state.clean,
            state.canOpenAgain ? () => this.#session?.openAgain() : undefined,
          ),
          dispose: () => undefined,
        });
        document.title = documentTitle(this.#identity, "");
        break;
      case "lost":
        this.#setStrip({
          element: lostStrip(state.failure, () => this.#restart?.()),
          dispose: () => undefined,
        });
        document.title = documentTitle(this.#identity, "");
        break;
    }
  }

  showPolicy(policy: Parameters<SessionViews["showPolicy"]>[0]): void {
    this.#trust.setPolicy(policy);
  }

  showVerified(claims: AppraisedClaims): void {
    this.#claims = claims;
    this.#trust.setClaims(claims);
    this.#topBar.setAssurance(claims.assurance);
    this.#updateBars();
  }

  showStats(stats: Parameters<SessionViews["showStats"]>[0]): void {
    this.#trust.setStats(stats);
    this.#roundTripMs = stats.roundTripMs;
    this.#topBar.setRoundTrip(this.#state.kind === "live" ? this.#roundTripMs : undefined);
  }

  showHostNoise(noise: Uint8Array): void {
    this.#trust.addHostNoise(noise);
    this.#connecting?.addHostNoise(noise);
  }

  mountTerminal(): TerminalView {
    this.#connecting?.dispose();
    this.#connecting = undefined;
    this.#clearStrip();
    this.#dropTerminal();
    const view = new TerminalView({
      onTitle: (title) => {
        document.title = documentTitle(this.#identity, title);
      },
      onLeave: () => this.#topBar.focusBadge(),
    });
    this.#terminal = view;
    this.#stage.replaceChildren(view.element);
    view.open();
    view.fontSize = this.#fontSize;
    view.screenReaderMode = this.#screenReader;
    if (!this.#trustChosen) this.#setTrustOpen(true);
    if (this.#stage.inert) this.#trust.focus();
    else view.focus();
    return view;
  }

  warnInputStuck(stuck: boolean): void {
    if (!stuck) {
      this.#inputStuck?.remove();
      this.#inputStuck = undefined;
      return;
    }
    if (this.#inputStuck !== undefined) return;
    this.#inputStuck = element(
      "div",
      { class: "strip caution", role: "alert" },
      icon("alert"),
      element(
        "div",
        { class: "strip-words" },
        element("strong", {}, "The guest does not take its input"),
        element("p", {}, "Too much waits for it already. What is typed now is left out."),
      ),
    );
    this.#stage.append(this.#inputStuck);
  }

  #mount(view: ConnectingView): ConnectingView {
    this.#stage.replaceChildren(view.element);
    return view;
  }

  #dropTerminal(): void {
    this.#terminal?.dispose();
    this.#terminal = undefined;
    document.title = documentTitle(this.#identity, "");
  }

  #setStrip(strip: { element: HTMLElement; dispose(): void }): void {
    this.#strip = strip;
    this.#stage.append(strip.element);
  }

  #clearStrip(): void {
    this.#strip?.dispose();
    this.#strip?.element.remove();
    this.#strip = undefined;
  }

  /** Bars that nothing takes away while what they say is true. */
  #updateBars(): void {
    const simulated =
      this.#claims === undefined ? this.#simulatedAllowed : this.#claims.assurance === "simulated";
    this.#bars.replaceChildren();
    if (simulated)
      this.#bars.append(element("p", { class: "bar danger", role: "alert" }, icon("alert"), SIMULATED_BAR));
    else if (this.#simulatedAllowed) {
      this.#bars.append(
        element(
          "p",
          { class: "bar caution" },
          icon("alert"),
          "Started with --simulated: made-up evidence would have been accepted too",
        ),
      );
    }
    if (this.#claims?.anyInstance === true)
      this.#bars.append(element("p", { class: "bar caution" }, icon("alert"), ANY_INSTANCE_BAR));
  }

  #hideTrust(): void {
    this.#setTrustOpen(false);
    this.#topBar.element.hidden = true;
  }

  #setTrustOpen(open: boolean): void {
    this.#trustOpen = open;
    this.#trust.element.hidden = !open;
    this.#topBar.setTrustOpen(open);
    this.#stage.inert = open && this.#narrow.matches; // nobody types into a terminal that is covered
  }

  #setDrawerOpen(open: boolean): void {
    if (this.#drawer === undefined) return;
    this.#drawerOpen = open;
    this.#topBar.setHostViewOpen(open);
    if (open) {
      this.#root.append(this.#drawer.element);
      this.#drawer.opened();
    } else {
      this.#drawer.element.remove();
    }
    this.#terminal?.focus(); // to type, and see it arrive on the host sealed
  }

  #changeFont(by: number): void {
    if (this.#terminal !== undefined) {
      this.#terminal.fontSize += by;
      this.#fontSize = this.#terminal.fontSize;
    }
  }

  #shortcut(event: KeyboardEvent): void {
    if (!event.ctrlKey || event.altKey || event.metaKey || this.#terminal === undefined) return;
    if (event.key === "+" || event.key === "=") this.#changeFont(1);
    else if (event.key === "-") this.#changeFont(-1);
    else if (event.shiftKey && event.code === "KeyF") this.#terminal.openSearch();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

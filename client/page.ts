// The page as a whole: takes the token, gets its configuration, runs a session, shows each state.

import type { AppraisedClaims } from "../protocol/attestation/verified-guest.ts";
import type { Viewer } from "../protocol/session/session-api.ts";
import { barsFor } from "./bars.ts";
import { CHANGE_WORDS } from "./change-words.ts";
import { askAboutChanges } from "./changed-dialog.ts";
import { ConnectingView } from "./connecting-view.ts";
import {
  startConsoleSession,
  type ConsoleSession,
  type SessionParts,
  type SessionViews,
} from "./console-session.ts";
import { element } from "./dom.ts";
import { UNAVAILABLE_IS_NOTABLE } from "./freshness-view.ts";
import { FrozenDialog, type FrozenChoices } from "./frozen-dialog.ts";
import { HostViewDrawer } from "./host-view-drawer.ts";
import type { WireFrame } from "./host-view-source.ts";
import {
  failureOf,
  kindOfChange,
  type ChangeKind,
  type Failure,
  type GuestChanged,
  type PageState,
} from "./page-state.ts";
import { plainText } from "./plain-text.ts";
import { failurePage, insecureContextPage, linkUsedPage, loadingPage } from "./refusal-view.ts";
import { LinkRefused, type ServerLink } from "./server-link.ts";
import type { SinceSeen } from "./seen-store.ts";
import type { PageKeys } from "./page-keys.ts";
import { PageSignIn } from "./page-sign-in.ts";
import { SignIn } from "./sign-in.ts";
import { PageStrips } from "./page-strips.ts";
import { endedStrip, lostStrip, reconnectingStrip, unavailableStrip } from "./session-strip.ts";
import { TerminalView } from "./terminal-view.ts";
import { documentTitle } from "./title-rules.ts";
import { spanWords } from "./time-words.ts";
import { showsTerminal, TopBar } from "./top-bar.ts";
import { TrustPanel } from "./trust-panel.ts";

/** All that the page needs from outside, so that tests can script it. */
export interface PageParts {
  readonly secureContext: boolean;
  /** From the fragment; undefined where there was none. */
  readonly token: string | undefined;
  /** @throws LinkRefused; SealttyError `bad-config`. */
  openServerLink(token: string): Promise<ServerLink>;
  sessionParts(link: ServerLink): Omit<SessionParts, "sign">;
  readonly keys: PageKeys;
  /** Where is remembered how the user signs in; asked for each time, as looking at it may throw. */
  storage(link: ServerLink): Pick<Storage, "getItem" | "setItem">;
  /** To another page of the same command. */
  goTo(url: string): void;
  openHostView(link: ServerLink, onFrame: (frame: WireFrame) => void): void;
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

const OVER: ReadonlySet<PageState["kind"]> = new Set(["refused", "user-refused", "failed", "ended", "lost"]);

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
  #user = "";
  #simulatedAllowed = false;
  #claims: AppraisedClaims | undefined;
  #terminal: TerminalView | undefined;
  #fontSize = 14;
  #screenReader = false;
  #connecting: ConnectingView | undefined;
  readonly #strips = new PageStrips(this.#stage);
  #frozen: FrozenDialog | undefined;
  readonly #wentOn = new Map<ChangeKind, number>();
  #override: ChangeKind | undefined; // why what was verified no longer stands
  #session: ConsoleSession | undefined;
  #signIn: PageSignIn | undefined;
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
      chooseSignIn: () => void this.#signIn?.choose(),
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
      const state = this.#state;
      if (state.kind === "live" || (state.kind === "reconnecting" && state.during === "session"))
        event.preventDefault();
    });
    addEventListener("pagehide", () => void this.#session?.close({ atOnce: true }));
  }

  start(link: ServerLink, parts: PageParts): void {
    const { config } = link;
    this.#identity = plainText(config.identity, 256) || plainText(config.address, 256);
    this.#simulatedAllowed = config.simulated;
    this.#user = plainText(config.user, 64);
    this.#topBar.setGuest(this.#identity, this.#user);
    document.title = documentTitle(this.#identity, "");
    this.#updateBars();
    if (config.hostView) {
      const drawer = new HostViewDrawer(() => this.#setDrawerOpen(false));
      this.#drawer = drawer;
      this.#topBar.offerHostView();
      parts.openHostView(link, (frame) => drawer.add(frame));
    }
    const signIn = new PageSignIn(new SignIn(parts.keys, () => parts.storage(link), config), link, {
      user: this.#user,
      holdsSession: () => this.#holdsSession,
      askForClick: (trouble) =>
        this.#connecting?.askForPasskey(trouble, () => void signIn.choose()) ?? new Promise(() => undefined),
      focusTerminal: () => this.#terminal?.focus(),
      restart: () => this.#restart?.(),
      goTo: (url) => parts.goTo(url),
    });
    this.#signIn = signIn;
    this.#topBar.offerSignIn();
    this.#restart = () => void this.#connect(signIn, () => parts.sessionParts(link));
    this.#restart();
  }

  async #connect(signIn: PageSignIn, sessionParts: () => Omit<SessionParts, "sign">): Promise<void> {
    signIn.stopAsking();
    void this.#session?.close();
    this.#session = undefined;
    this.showNothingVerified();
    this.show({ kind: "connecting", step: "dialing", attempt: 1 });
    const begun = await signIn.begin();
    if (begun === undefined) return;
    this.#trust.setConfig(begun.config);
    this.#session = startConsoleSession({ ...sessionParts(), sign: begun.sign }, begun.config, this);
  }

  /** Choosing another way to sign in gives up what is there. */
  get #holdsSession(): boolean {
    const state = this.#state;
    return (
      state.kind === "live" ||
      state.kind === "opening" ||
      (state.kind === "reconnecting" && state.during !== "signing-in")
    );
  }

  show(state: PageState): void {
    if (state.kind === "reconnecting" && this.#state.kind !== "reconnecting")
      this.#lostAt = performance.now();
    this.#state = state;
    this.#root.dataset["state"] = state.kind;
    this.#topBar.setState(state);
    this.#updateBadge();
    this.#strips.clearState();
    if (!showsTerminal(state)) {
      this.#dropTerminal();
      this.#strips.clearUnavailable();
    }
    if (state.kind !== "frozen") this.#frozen?.connectionEnded();
    if (OVER.has(state.kind)) this.#signIn?.stopAsking();
    if (state.kind === "connecting" || state.kind === "signing-in") {
      this.#connecting ??= this.#mount(new ConnectingView(this.#identity));
      if (state.kind === "connecting") this.#connecting.show(state.step, state.attempt, state.anew === true);
      else this.#connecting.showSigningIn(plainText(state.user, 64), state.method);
      return;
    }
    if (state.kind === "reconnecting") {
      this.#strips.setState(reconnectingStrip(state, this.#lostAt, () => performance.now()));
      if (state.during === "signing-in") return; // below the steps, which stay
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
          failurePage(
            state.failure,
            this.#identity,
            retryHelps(state.failure) ? this.#restart : undefined,
            state.kind === "user-refused" ? this.#signIn?.otherWays() : undefined,
          ),
        );
        this.#setTrustOpen(false);
        break;
      case "live":
        this.#topBar.setRoundTrip(this.#roundTripMs);
        if (document.activeElement === document.body) this.#terminal?.focus();
        break;
      case "opening":
      case "reconnecting": // the strip says it
      case "frozen": // the dialog says it all
        break;
      case "ended":
        this.#strips.setState({
          element: endedStrip(
            state.words,
            state.clean,
            state.canOpenAgain ? () => this.#session?.openAgain() : undefined,
            state.canConnectAgain === true ? this.#restart : undefined,
          ),
          dispose: () => undefined,
        });
        document.title = documentTitle(this.#identity, "");
        break;
      case "lost":
        this.#strips.setState({
          element: lostStrip(state.failure, this.#signIn?.usesPasskey === true, () => this.#restart?.()),
          dispose: () => undefined,
        });
        document.title = documentTitle(this.#identity, "");
        break;
    }
  }

  showPolicy(policy: Parameters<SessionViews["showPolicy"]>[0]): void {
    this.#trust.setPolicy(policy);
  }

  showNothingVerified(): void {
    this.#claims = undefined;
    this.#wentOn.clear();
    this.#override = undefined;
    this.#strips.clearUnavailable();
    this.#trust.setClaims(undefined);
    this.#updateBars();
  }

  showVerified(claims: AppraisedClaims): void {
    this.#claims = claims;
    this.#override = undefined;
    this.#strips.clearUnavailable();
    this.#trust.setClaims(claims);
    this.#updateBadge();
    this.#updateBars();
  }

  showSeen(since: SinceSeen): void {
    this.#trust.freshness.setSeen(since);
  }

  askAboutChanges(since: SinceSeen): Promise<boolean> {
    return askAboutChanges(this.#identity, since);
  }

  offerRecheck(recheck: (() => Promise<void>) | undefined): void {
    this.#trust.freshness.setRecheck(recheck);
  }

  showUnavailable(reason: string, inARow: number): void {
    const { freshness } = this.#trust;
    freshness.unavailable(reason, inARow);
    this.#strips.clearUnavailable();
    if (inARow < UNAVAILABLE_IS_NOTABLE || this.#terminal === undefined) return;
    const { checkedAt } = freshness;
    const ago = checkedAt === undefined ? undefined : spanWords(Date.now() - checkedAt);
    this.#strips.setUnavailable(unavailableStrip(inARow, ago));
  }

  freeze(event: GuestChanged, choices: FrozenChoices): void {
    const kind = kindOfChange(event);
    const { frozen, tab } = CHANGE_WORDS[kind];
    this.#override = kind;
    this.#updateBadge();
    this.#strips.clearUnavailable(); // the dialog says more
    this.#trust.setOverride(frozen);
    this.#trust.freshness.changed();
    this.#frozen?.dismiss(); // a later look at the same change: the confirmation is asked for anew
    document.title = `${tab} · ${documentTitle(this.#identity, "")}`;
    const done = (choose: () => void) => (): void => {
      this.#frozen = undefined;
      document.title = documentTitle(this.#identity, "");
      choose();
      this.#terminal?.focus();
    };
    this.#frozen = new FrozenDialog(event, this.#identity, this.#trust.freshness.checkedAt, Date.now(), {
      close: done(() => choices.close()),
      goOn: done(() => choices.goOn()),
    });
  }

  showWentOn(kind: ChangeKind): void {
    this.#wentOn.set(kind, Date.now());
    const words = CHANGE_WORDS[kind].wentOn;
    if (words !== undefined) {
      this.#override = kind;
      this.#trust.setOverride(words);
    }
    this.#updateBadge();
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
    this.#strips.clearState();
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
    this.#strips.warnInputStuck(stuck);
  }

  showViewers(viewers: readonly Viewer[]): void {
    this.#strips.setViewers(viewers, this.#terminal !== undefined);
  }

  sayRestored(words: string): void {
    this.#terminal?.mark(words);
  }

  #updateBadge(): void {
    if (this.#state.kind === "refused") this.#topBar.setAssurance("refused");
    else if (this.#override !== undefined)
      this.#topBar.setAssurance(this.#override === "unproven" ? "unproven" : "changed");
    else this.#topBar.setAssurance(this.#claims?.assurance);
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

  #updateBars(): void {
    const bars = barsFor(this.#simulatedAllowed, this.#claims, this.#wentOn);
    const words = (each: Iterable<Element>) => [...each].map((bar) => bar.textContent).join("\n");
    if (words(bars) === words(this.#bars.children)) return; // saying it again would interrupt a screen reader
    this.#bars.replaceChildren(...bars);
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
    if (document.querySelector("dialog[open]") !== null) return; // a question stands over the terminal
    if (event.key === "+" || event.key === "=") this.#changeFont(1);
    else if (event.key === "-") this.#changeFont(-1);
    else if (event.shiftKey && event.code === "KeyF") this.#terminal.openSearch();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

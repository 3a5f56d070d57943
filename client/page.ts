// The page as a whole: takes the token, gets its configuration, runs a session, shows each state.

import type { AppraisedClaims } from "../protocol/attestation/verified-guest.ts";
import type { Prompt } from "../protocol/prompts/messages.ts";
import type { Guest } from "../protocol/session/api.ts";
import type { Viewer } from "../protocol/session/session-api.ts";
import { CHANGE_WORDS } from "./change-words.ts";
import { askAboutChanges } from "./changed-dialog.ts";
import { ConnectingView } from "./connecting-view.ts";
import {
  startConsoleSession,
  type ConsoleSession,
  type SessionParts,
  type SessionViews,
} from "./console-session.ts";
import type { FrozenChoices } from "./frozen-dialog.ts";
import { GuestPrompts } from "./guest-prompts.ts";
import type { WireFrame } from "./host-view-source.ts";
import type { PageConfig } from "./page-config.ts";
import type { PageKeys } from "./page-keys.ts";
import { PageLayout } from "./page-layout.ts";
import { PageSignIn } from "./page-sign-in.ts";
import {
  failureOf,
  handedOverWords,
  kindOfChange,
  type ChangeKind,
  type Failure,
  type GuestChanged,
  type HandOver,
  type PageState,
} from "./page-state.ts";
import { PageTerminal } from "./page-terminal.ts";
import { PageTrust } from "./page-trust.ts";
import { plainText } from "./plain-text.ts";
import {
  failurePage,
  insecureContextPage,
  linkUsedPage,
  loadingPage,
  noTerminalPage,
} from "./refusal-view.ts";
import type { SinceSeen } from "./seen-store.ts";
import { LinkRefused, type ServerLink } from "./server-link.ts";
import { endedStrip, lostStrip, reconnectingStrip } from "./session-strip.ts";
import { SignIn } from "./sign-in.ts";
import { Stage } from "./stage.ts";
import type { TerminalView } from "./terminal-view.ts";
import { Typing } from "./typing.ts";
import { documentTitle } from "./title-rules.ts";
import { showsTerminal } from "./top-bar.ts";

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
  readonly #root: HTMLElement;
  readonly #stage: Stage;
  readonly #terminal: PageTerminal;
  readonly #layout: PageLayout;
  readonly #trust: PageTrust;
  readonly #prompts: GuestPrompts;
  readonly #typing = new Typing();
  #lostAt = 0;
  #roundTripMs: number | undefined;
  #state: PageState = { kind: "loading" };
  #identity = "";
  #user = "";
  #connecting: ConnectingView | undefined;
  #session: ConsoleSession | undefined;
  #signIn: PageSignIn | undefined;
  #restart: ((after?: HandOver) => void) | undefined;
  #mayGoOnAlone = false; // after a hand-over: once for each connection that the user wanted
  #handedOver: string | undefined; // what to say of it in the next session
  #byItself = false; // this connection came without the user, who may be typing for the one before
  #unanswered = false; // the connection ended before an answer's outcome was told

  constructor(root: HTMLElement) {
    this.#root = root;
    const focusWork = (): boolean =>
      this.#stage.prompts.focus() || this.#terminal.focus() || this.#stage.focusDesktop();
    this.#stage = new Stage({
      answer: (prompt, text) => void this.#prompts.answer(prompt, text),
      leave: () => void this.#terminal.focus(),
      focusTerminal: () => void this.#terminal.focus(),
      typingSince: (moment) => this.#typing.goesOnSince(moment),
    });
    this.#prompts = new GuestPrompts({
      show: (prompts, busy) => this.#showPrompts(prompts, busy),
      say: (outcome) => this.#stage.prompts.say(outcome),
      close: () => this.#stage.prompts.close(),
      trouble: (number, words) => this.#stage.prompts.trouble(number, words),
      clearFields: () => this.#stage.prompts.clearFields(),
    });
    this.#layout = new PageLayout(root, this.#stage, {
      chooseSignIn: () => void this.#signIn?.choose(),
      openSearch: () => this.#terminal.openSearch(),
      changeFont: (by) => this.#terminal.changeFont(by),
      setScreenReader: (on) => this.#terminal.setScreenReader(on),
      focusWork,
      isWaiting: () => this.#state.kind === "connecting" || this.#state.kind === "signing-in",
    });
    const { topBar, trust } = this.#layout;
    this.#terminal = new PageTerminal(this.#stage, {
      onTitle: (title) => {
        if (this.#state.kind !== "frozen") this.#setTitle(title); // the tab says that it is, and no guest unsays it
      },
      onLeave: () => topBar.focusBadge(),
    });
    this.#trust = new PageTrust({ topBar, panel: trust, strips: this.#stage.strips });
    this.#layout.open(this.#trust.bars);
    this.#setTitle("");
    addEventListener("keydown", (event) => this.#shortcut(event), { capture: true });
    addEventListener("beforeunload", (event) => {
      const state = this.#state;
      if (state.kind === "live" || (state.kind === "reconnecting" && state.during === "session"))
        event.preventDefault();
    });
    addEventListener("pagehide", () => void this.#session?.close({ atOnce: true }).catch(() => undefined));
  }

  start(link: ServerLink, parts: PageParts): void {
    const { config } = link;
    const { topBar } = this.#layout;
    this.#identity = plainText(config.identity, 256) || plainText(config.address, 256);
    this.#trust.simulatedAllowed = config.simulated;
    this.#user = plainText(config.user, 64);
    topBar.setGuest(this.#identity, this.#user);
    this.#setTitle("");
    this.#trust.updateBars();
    if (config.hostView) parts.openHostView(link, this.#layout.offerHostView());
    const signIn = new PageSignIn(new SignIn(parts.keys, () => parts.storage(link), config), link, {
      user: this.#user,
      holdsSession: () => this.#holdsSession,
      askForClick: (trouble) =>
        this.#connecting?.askForPasskey(
          trouble,
          () => void signIn.choose(),
          this.#byItself && trouble === undefined, // what came of a click is looked at
        ) ?? new Promise(() => undefined),
      focusTerminal: () => void this.#terminal.focus(),
      restart: () => this.#restart?.(),
      goTo: (url) => parts.goTo(url),
    });
    this.#signIn = signIn;
    topBar.offerSignIn();
    this.#restart = (after) => void this.#connect(signIn, () => parts.sessionParts(link), after);
    this.#restart();
  }

  /** @param after - by itself, because the connection before was handed over. */
  async #connect(
    signIn: PageSignIn,
    sessionParts: () => Omit<SessionParts, "sign">,
    after: HandOver | undefined,
  ): Promise<void> {
    this.#mayGoOnAlone = after === undefined;
    this.#byItself = after !== undefined;
    if (after === undefined) this.#handedOver = undefined;
    signIn.stopAsking();
    void this.#session?.close().catch(() => undefined); // what it fails with is of a connection that is given up
    this.#session = undefined;
    this.signedOut();
    this.#unanswered = false;
    this.showNothingVerified();
    const because = after === undefined ? {} : ({ because: "hand-over" } as const);
    this.show({ kind: "connecting", step: "dialing", attempt: 1, ...because });
    const begun = await signIn.begin();
    if (begun === undefined) return;
    this.#layout.trust.setConfig(begun.config);
    this.#session = startConsoleSession({ ...sessionParts(), sign: begun.sign }, begun.config, this, after);
  }

  /** Choosing another way to sign in gives up what is there. */
  get #holdsSession(): boolean {
    const state = this.#state;
    return (
      state.kind === "live" ||
      state.kind === "opening" ||
      state.kind === "prompts" ||
      (state.kind === "reconnecting" && state.during !== "signing-in")
    );
  }

  show(state: PageState): void {
    if (state.kind === "handed-over") return this.#goOn(state);
    if (state.kind === "reconnecting" && this.#state.kind !== "reconnecting")
      this.#lostAt = performance.now();
    this.#state = state;
    this.#root.dataset["state"] = state.kind;
    const { topBar } = this.#layout;
    const { strips } = this.#stage;
    topBar.setState(state);
    this.#trust.setState(state);
    strips.clearState();
    if (!showsTerminal(state)) {
      this.#terminal.drop();
      this.#setTitle("");
      strips.clear();
    }
    this.#stage.offerTabs(showsTerminal(state) || isWithoutTerminal(state));
    if (OVER.has(state.kind)) this.#signIn?.stopAsking();
    if (state.kind === "connecting" || state.kind === "signing-in") {
      this.#connecting ??= this.#mountConnecting();
      if (state.kind === "connecting") this.#connecting.show(state.step, state.attempt, state.because);
      else this.#connecting.showSigningIn(plainText(state.user, 64), state.method);
      return;
    }
    if (state.kind === "reconnecting") {
      strips.setState(reconnectingStrip(state, this.#lostAt, () => performance.now()));
      if (state.during === "signing-in") return; // below the steps, which stay
    }
    this.#connecting?.dispose();
    this.#connecting = undefined;
    switch (state.kind) {
      case "loading":
        this.#stage.show(loadingPage());
        break;
      case "insecure-context":
        this.#stage.show(insecureContextPage());
        this.#layout.hideTrust();
        break;
      case "link-used":
        this.#stage.show(linkUsedPage());
        this.#layout.hideTrust();
        break;
      case "refused":
      case "user-refused":
      case "failed":
        this.#showFailure(state);
        break;
      case "live":
        topBar.setRoundTrip(this.#roundTripMs);
        if (this.#handedOver !== undefined) this.#terminal.mark(this.#handedOver);
        this.#handedOver = undefined;
        break;
      case "prompts":
        this.#stage.show(noTerminalPage(state.failure, this.#identity));
        break;
      case "opening":
      case "reconnecting": // the strip says it
      case "frozen": // the dialog says it all
        break;
      case "ended":
        strips.setState({
          element: endedStrip(
            state.words,
            state.clean,
            state.canOpenAgain ? () => this.#openAgain() : undefined,
            state.canConnectAgain === true ? () => this.#restart?.() : undefined,
          ),
          dispose: () => undefined,
        });
        this.#setTitle("");
        break;
      case "lost":
        strips.setState({
          element: lostStrip(state.failure, this.#signIn?.usesPasskey === true, () => this.#restart?.()),
          dispose: () => undefined,
        });
        this.#setTitle("");
        break;
    }
  }

  /** The guest's next sealttyd is a connection like any other. A guest that hands over again and again waits for the user. */
  #goOn({ before, otherwise }: Extract<PageState, { kind: "handed-over" }>): void {
    if (!this.#mayGoOnAlone) return this.show(otherwise);
    this.#handedOver = handedOverWords(this.#unanswered);
    this.#restart?.(before);
  }

  #openAgain(): void {
    this.#byItself = false; // the user wanted this one
    this.#session?.openAgain();
  }

  #showFailure(state: Extract<PageState, { kind: "refused" | "user-refused" | "failed" }>): void {
    this.#stage.show(
      failurePage(
        state.failure,
        this.#identity,
        retryHelps(state.failure) ? () => this.#restart?.() : undefined,
        state.kind === "user-refused" ? this.#signIn?.otherWays() : undefined,
      ),
    );
    this.#layout.setTrustOpen(false);
  }

  showPolicy(policy: Parameters<SessionViews["showPolicy"]>[0]): void {
    this.#layout.trust.setPolicy(policy);
  }

  showNothingVerified(): void {
    this.#trust.nothingVerified();
  }

  showVerified(claims: AppraisedClaims): void {
    this.#trust.verified(claims);
  }

  showSeen(since: SinceSeen): void {
    this.#layout.trust.freshness.setSeen(since);
  }

  askAboutChanges(since: SinceSeen): Promise<boolean> {
    return askAboutChanges(this.#identity, since, () => this.#typing.goesOn);
  }

  offerRecheck(recheck: (() => Promise<void>) | undefined): void {
    this.#layout.trust.freshness.setRecheck(recheck);
  }

  showUnavailable(reason: string, inARow: number): void {
    this.#trust.unavailable(reason, inARow, this.#terminal.isThere);
  }

  freeze(event: GuestChanged, choices: FrozenChoices): void {
    this.#prompts.freeze();
    this.#stage.desktop.freeze();
    document.title = `${CHANGE_WORDS[kindOfChange(event)].tab} · ${documentTitle(this.#identity, "")}`;
    this.#trust.freeze(event, this.#identity, choices, () => {
      this.#setTitle("");
      this.#terminal.focus();
    });
  }

  showWentOn(kind: ChangeKind): void {
    this.#trust.wentOn(kind);
    void this.#prompts.goOn();
  }

  showStats(stats: Parameters<SessionViews["showStats"]>[0]): void {
    this.#layout.trust.setStats(stats);
    this.#roundTripMs = stats.roundTripMs;
    this.#layout.topBar.setRoundTrip(this.#state.kind === "live" ? this.#roundTripMs : undefined);
  }

  showHostNoise(noise: Uint8Array): void {
    this.#layout.trust.addHostNoise(noise);
    this.#connecting?.addHostNoise(noise);
  }

  mountTerminal(): TerminalView {
    this.#connecting?.dispose();
    this.#connecting = undefined;
    this.#stage.strips.clear();
    this.#setTitle("");
    const view = this.#terminal.mount();
    this.#layout.offerTrust();
    if (this.#byItself) this.#hold();
    else if (this.#stage.inert) this.#layout.trust.focus();
    else this.#terminal.focus();
    return view;
  }

  /** A terminal that came by itself. The keyboard's place is left where it is: words of what went away may be there. */
  #hold(): void {
    this.#terminal.hold(
      () => this.#typing.goesOn,
      () => (this.#byItself = false),
    );
    if (document.activeElement === document.body) this.#terminal.focus();
  }

  async signedIn(guest: Guest, { auth }: PageConfig): Promise<boolean> {
    this.#stage.log.signedIn(guest, auth !== "none");
    this.#stage.desktop.signedIn(guest, auth !== "none");
    return auth === "none" ? false : await this.#prompts.open(guest);
  }

  signedOut(): void {
    if (this.#prompts.close()) this.#unanswered = true;
    this.#stage.log.signedOut();
    this.#stage.desktop.signedOut();
  }

  warnInputStuck(stuck: boolean): void {
    this.#stage.strips.warnInputStuck(stuck);
  }

  showViewers(viewers: readonly Viewer[]): void {
    this.#stage.strips.setViewers(viewers, this.#terminal.isThere);
  }

  sayRestored(words: string): void {
    this.#terminal.mark(words);
  }

  #showPrompts(prompts: readonly Prompt[], busy: number | undefined): void {
    const mayTakeFocus = this.#stage.mayTakeFocus && !this.#byItself; // as it is before a field is there
    this.#stage.prompts.show(prompts, busy);
    if (prompts.length > 0 && busy === undefined && mayTakeFocus) this.#stage.prompts.focus();
  }

  #mountConnecting(): ConnectingView {
    const view = new ConnectingView(this.#identity);
    this.#stage.show(view.element);
    return view;
  }

  /** @param title - the guest's. */
  #setTitle(title: string): void {
    document.title = documentTitle(this.#identity, title);
  }

  #shortcut(event: KeyboardEvent): void {
    if (!event.ctrlKey || event.altKey || event.metaKey || !this.#terminal.isThere) return;
    if (this.#stage.view === "desktop") return; // they are the guest's there
    if (document.querySelector("dialog[open]") !== null) return; // a question stands over the terminal
    if (event.key === "+" || event.key === "=") this.#terminal.changeFont(1);
    else if (event.key === "-") this.#terminal.changeFont(-1);
    else if (event.shiftKey && event.code === "KeyF") this.#terminal.openSearch();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/** Signed in, and what is there stands beside no terminal. */
function isWithoutTerminal(state: PageState): boolean {
  return state.kind === "prompts" || (state.kind === "reconnecting" && state.during === "prompts");
}

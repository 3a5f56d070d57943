// Signing in, as the page sees it: which way is taken, the dialog to choose another, and who signs for a connection.

import type { PageConfig } from "./page-config.ts";
import type { ServerLink } from "./server-link.ts";
import { configFor, methodOf, signerFor, type AskForClick, type SignIn, type SignInWay } from "./sign-in.ts";
import { chooseSignIn, enrolment, type OtherPage } from "./sign-in-dialog.ts";
import type { SessionParts } from "./console-session.ts";

/** What it asks of the page around it. */
export interface SignInSurroundings {
  /** As it is shown. */
  readonly user: string;
  /** Another way to sign in gives up what is there. */
  holdsSession(): boolean;
  /** Shows a button for the passkey. */
  readonly askForClick: AskForClick;
  focusTerminal(): void;
  /** Connects anew, and so signs in as was chosen. */
  restart(): void;
  /** To the kept page. */
  goTo(url: string): void;
}

/** What a session needs to sign in as was chosen. */
export interface SignInForSession {
  readonly config: PageConfig;
  readonly sign: SessionParts["sign"];
}

export class PageSignIn {
  readonly #signIn: SignIn;
  readonly #link: ServerLink;
  readonly #around: SignInSurroundings;
  #way: SignInWay = { kind: "prompt" };
  #asking = new AbortController(); // aborted once the session that asks is over
  #choosing = false;

  constructor(signIn: SignIn, link: ServerLink, around: SignInSurroundings) {
    this.#signIn = signIn;
    this.#link = link;
    this.#around = around;
  }

  get usesPasskey(): boolean {
    return methodOf(this.#way) === "passkey";
  }

  /** For a new connection: nothing is asked for the last one from now on. @returns undefined where yet another was begun meanwhile. */
  async begin(): Promise<SignInForSession | undefined> {
    this.stopAsking();
    const asking = new AbortController();
    this.#asking = asking;
    this.#way = await this.#signIn.chosen();
    if (asking.signal.aborted) return undefined;
    const sign = signerFor(
      this.#way,
      this.#signIn.keys,
      (fields, publicKey) => this.#link.sign(fields, publicKey),
      (trouble) => this.#around.askForClick(trouble),
      asking.signal,
    );
    return { config: configFor(this.#link.config, this.#way), sign };
  }

  /** The connection that asks is over. */
  stopAsking(): void {
    this.#asking.abort();
  }

  /** The dialog; what is chosen in it is remembered and taken at once. */
  async choose(): Promise<void> {
    if (this.#choosing) return;
    const around = this.#around;
    this.#choosing = true;
    const chosen = await chooseSignIn({
      signIn: this.#signIn,
      now: this.#way,
      user: around.user,
      live: around.holdsSession(),
      otherPage: this.#otherPage,
    });
    this.#choosing = false;
    if (chosen === undefined) return around.focusTerminal();
    this.#signIn.remember(chosen);
    if (around.holdsSession() && this.#signIn.idOf(chosen) === this.#signIn.idOf(this.#way))
      return around.focusTerminal();
    around.restart();
  }

  get #otherPage(): OtherPage | undefined {
    const { page, keptPage } = this.#link.config;
    if (page === "kept") return { page: "fresh", ask: () => this.#link.askForFresh() };
    return keptPage === undefined
      ? undefined
      : { page: "kept", host: new URL(keptPage).host, go: () => this.#around.goTo(keptPage) };
  }

  /** What may help a user whom the guest refused. */
  otherWays(): { readonly choose: () => void; readonly enrolment: HTMLElement | undefined } {
    const way = this.#way;
    return {
      choose: () => void this.choose(),
      enrolment: way.kind === "page-key" ? enrolment(way.key, this.#signIn.keys, "unknown") : undefined,
    };
  }
}

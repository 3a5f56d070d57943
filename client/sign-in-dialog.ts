// "Sign in": the ways there are, keys to make, the line to enrol, keys to forget. The browser's own modal dialog.

import { copyButton } from "./copy-button.ts";
import { button, element, type Child } from "./dom.ts";
import { icon, type IconName } from "./icons.ts";
import type { PageKey, PageKeyKind } from "./page-key.ts";
import type { PageKeys } from "./page-keys.ts";
import { plainText } from "./plain-text.ts";
import type { SignIn, SignInWay } from "./sign-in.ts";
import { dateWords } from "./time-words.ts";

export interface SignInQuestion {
  readonly signIn: SignIn;
  readonly now: SignInWay;
  readonly user: string;
  /** A session is open: another way gives it up. */
  readonly live: boolean;
  readonly otherPage?: OtherPage | undefined;
}

/** Where the ways are that this page has not: docs/decisions/0024-a-fresh-address.md */
export type OtherPage =
  | { readonly page: "kept"; readonly host: string; readonly go: () => void }
  /** `ask` has the command say its link: a page at localhost must not know it. */
  | { readonly page: "fresh"; readonly ask: () => void };

/** Resolves with the way to sign in from now on; undefined where nothing was chosen. */
export function chooseSignIn(question: SignInQuestion): Promise<SignInWay | undefined> {
  return new Promise((resolve) => {
    const dialog = new SignInDialog(question, resolve);
    void dialog.open();
  });
}

const KINDS: Readonly<
  Record<PageKeyKind, { readonly name: string; readonly make: string; readonly icon: IconName }>
> = {
  passkey: { name: "Passkey", make: "Create a passkey", icon: "finger" },
  "browser-key": { name: "Key of this browser", make: "Create a browser key", icon: "browser" },
};

class SignInDialog {
  readonly #question: SignInQuestion;
  readonly #dialog = element("dialog", { class: "dialog sign-in", "aria-labelledby": "sign-in-title" });
  #chosen: SignInWay | undefined;
  #open = true;

  constructor(question: SignInQuestion, done: (way: SignInWay | undefined) => void) {
    this.#question = question;
    this.#dialog.addEventListener("close", () => {
      this.#open = false;
      this.#dialog.remove();
      done(this.#chosen);
    });
  }

  async open(): Promise<void> {
    document.body.appendChild(this.#dialog);
    await this.#showWays();
    this.#dialog.showModal();
  }

  #show(title: string, body: readonly Child[], foot: readonly Child[]): void {
    if (!this.#open) return; // it was closed while something was made
    this.#dialog.replaceChildren(
      element("h2", { id: "sign-in-title", tabindex: -1 }, title),
      element("div", { class: "dialog-body" }, ...body),
      element("div", { class: "dialog-buttons" }, ...foot),
    );
    this.#dialog.scrollTop = 0;
    const first = this.#dialog.querySelector<HTMLElement>("[data-first]") ?? this.#dialog.querySelector("h2");
    first?.focus();
  }

  #choose(way: SignInWay): void {
    this.#chosen = way;
    this.#dialog.close();
  }

  /** @param trouble - why no key was made. */
  async #showWays(trouble?: string): Promise<void> {
    const { signIn, user, live } = this.#question;
    const ways = await signIn.ways();
    this.#show(
      `Sign in as ${user}`,
      [
        element(
          "p",
          { class: "quiet" },
          live
            ? "Another choice connects anew and gives up the session that is open. The choice is remembered for this guest."
            : "The choice is remembered for this guest.",
        ),
        element("ul", { class: "ways" }, ...ways.map((way) => this.#row(way))),
        trouble !== undefined && element("p", { class: "trouble", role: "alert" }, icon("alert"), trouble),
        this.#makers(),
        this.#otherPage(),
      ],
      [button("Close", () => this.#dialog.close(), { class: "button" })],
    );
  }

  #row(way: SignInWay): HTMLElement {
    const { signIn, now, live } = this.#question;
    const isNow = signIn.idOf(way) === signIn.idOf(now);
    const { keys } = signIn;
    const { title, detail, drawing } = wordsFor(way, keys);
    const whyNot = way.kind === "page-key" ? keys.whyNot(way.key.kind) : undefined;
    const label = (what: string): string => `${what}: ${title}, ${detail}`;
    return element(
      "li",
      { "aria-current": isNow ? "true" : undefined },
      icon(drawing),
      element(
        "div",
        { class: "way-words" },
        element("strong", {}, title, isNow && element("span", { class: "now-chip" }, "now")),
        element("span", { class: "way-detail" }, whyNot ?? detail),
        way.kind === "page-key" &&
          element(
            "span",
            { class: "way-links" },
            button("Show its line", () => this.#showEnrolment(way.key), {
              class: "text-button",
              "aria-label": label("Show the line to enrol"),
            }),
            button("Forget", () => this.#showForget(way.key), {
              class: "text-button",
              "aria-label": label("Forget"),
            }),
          ),
      ),
      whyNot === undefined &&
        !(isNow && live) &&
        button("Use", () => this.#choose(way), {
          class: "button small",
          "aria-label": label("Use"),
          "data-first": isNow,
        }),
    );
  }

  #makers(): Child {
    const { keys } = this.#question.signIn;
    if (keys.forbidden) return undefined; // on any other machine's page there is no word of them
    const maker = (kind: PageKeyKind, words: string): HTMLElement => {
      const whyNot = keys.whyNot(kind);
      const make = button(KINDS[kind].make, () => void this.#make(kind, make), {
        class: "button",
        disabled: whyNot !== undefined,
      });
      return element("div", { class: "maker" }, make, element("p", { class: "quiet" }, whyNot ?? words));
    };
    return element(
      "section",
      { class: "makers", "aria-label": "New keys" },
      maker(
        "passkey",
        "Kept by this device or a security key. It asks you each time: PIN, fingerprint or face.",
      ),
      maker(
        "browser-key",
        "Kept by this browser, which signs without asking. Nothing can read it out; clearing the site's data loses it.",
      ),
    );
  }

  #otherPage(): Child {
    const { otherPage: other } = this.#question;
    if (other === undefined) return undefined;
    const section = (go: HTMLElement, words: HTMLElement): HTMLElement =>
      element(
        "section",
        { class: "makers other-page", "aria-label": "Other ways" },
        element("div", { class: "maker" }, go, words),
      );
    if (other.page === "kept") {
      return section(
        button("Passkeys, browser keys", () => other.go(), { class: "button" }),
        element(
          "p",
          { class: "quiet" },
          `They are kept by the page at ${other.host}, which opens in place of this one. Keys of sealtty open sign in this page alone: its address is new each time, so no other program can have left anything in it.`,
        ),
      );
    }
    const words = element(
      "p",
      { class: "quiet", role: "status" },
      "They sign in a page of their own alone, whose address is new each time: what another program may have left here gets nothing from them.",
    );
    const ask = button(
      "Keys of sealtty open",
      () => {
        ask.disabled = true;
        other.ask();
        words.textContent =
          "sealtty open prints the link of the page for them, and opens it where it can. This page can be closed then.";
      },
      { class: "button" },
    );
    return section(ask, words);
  }

  async #make(kind: PageKeyKind, pressed: HTMLButtonElement): Promise<void> {
    const { keys } = this.#question.signIn;
    pressed.disabled = true;
    try {
      this.#showEnrolment(await keys.make(kind), true);
    } catch (error) {
      if (this.#open) await this.#showWays(error instanceof Error ? error.message : String(error));
    }
  }

  #showEnrolment(key: PageKey, isNew = false): void {
    const { signIn } = this.#question;
    this.#show(
      isNew ? "Made. Now the guest has to know it" : `${KINDS[key.kind].name} of ${dateWords(key.madeAt)}`,
      [enrolment(key, signIn.keys, isNew ? "new" : "known")],
      [
        button("Back", () => void this.#showWays(), { class: "button" }),
        signIn.keys.whyNot(key.kind) === undefined &&
          button("Sign in with it", () => this.#choose({ kind: "page-key", key }), {
            class: "button primary",
          }),
      ],
    );
  }

  #showForget(key: PageKey): void {
    const { signIn } = this.#question;
    const forget = async (): Promise<void> => {
      await signIn.keys.forget(key).catch(() => undefined); // then it is still in the list
      await this.#showWays();
    };
    this.#show(
      "Forget this key?",
      [
        element("p", {}, `${KINDS[key.kind].name} of ${dateWords(key.madeAt)}`),
        element("p", { class: "fingerprint" }, signIn.keys.fingerprint(key.publicKey)),
        element(
          "p",
          {},
          key.kind === "passkey"
            ? "This page can then use it no more. The passkey itself stays where it is: delete it in the settings of your device, too."
            : "It will be gone for good: nobody has a copy.",
        ),
        element("p", {}, "Guests still know it until its line is taken out of their authorized_keys."),
      ],
      [
        button("Back", () => void this.#showWays(), { class: "button", "data-first": true }),
        button("Forget it", () => void forget(), { class: "button danger" }),
      ],
    );
  }
}

function wordsFor(
  way: SignInWay,
  keys: PageKeys,
): { readonly title: string; readonly detail: string; readonly drawing: IconName } {
  switch (way.kind) {
    case "prompt":
      return {
        title: "The guest's login prompt",
        detail: "no key: it asks for the password, inside the channel",
        drawing: "prompt",
      };
    case "command-key":
      return {
        title: plainText(way.key.source, 120) || "The key of sealtty open",
        detail: keys.fingerprint(way.key.publicKey),
        drawing: "key",
      };
    case "page-key":
      return {
        title: `${KINDS[way.key.kind].name}, ${dateWords(way.key.madeAt)}`,
        detail: keys.fingerprint(way.key.publicKey),
        drawing: KINDS[way.key.kind].icon,
      };
  }
}

/** The key's line, and where it goes. @param status - what the guest is likely to know of it. */
export function enrolment(key: PageKey, keys: PageKeys, status: "new" | "known" | "unknown"): HTMLElement {
  const line = keys.line(key);
  return element(
    "section",
    { class: "enrolment" },
    element(
      "p",
      {},
      status === "unknown"
        ? "If the guest does not know this key yet, put this line into its "
        : "The guest lets in whoever has this line in its ",
      element("code", {}, "authorized_keys"),
      ", in the measured image or on the encrypted disk. Never hand it over through cloud-init or anything else that the host passes on: the host would choose who comes in.",
    ),
    status === "unknown" &&
      key.kind === "passkey" &&
      element(
        "p",
        {},
        "A passkey counts only from a page that the guest allows (",
        element("code", {}, "passkey_origins"),
        `): this one is ${keys.origin}.`,
      ),
    element("pre", { class: "key-line", tabindex: 0, "aria-label": "The line for authorized_keys" }, line),
    element(
      "div",
      { class: "key-line-foot" },
      copyButton("Copy the line", () => line),
    ),
    element("p", { class: "quiet" }, "Fingerprint, as ssh-keygen -l and the guest's log have it:"),
    element("p", { class: "fingerprint" }, keys.fingerprint(key.publicKey)),
  );
}

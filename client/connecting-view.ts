// What is the page doing before there is a terminal? Steps, time, and what to check when nothing comes back.

import { button, element, type Child } from "./dom.ts";
import { icon } from "./icons.ts";
import type { SignInMethod } from "./page-config.ts";
import { type ConnectingAnew, SILENCE_ADVICE, STEPS, type Step } from "./page-state.ts";
import { noiseDetails } from "./trust-panel.ts";

/** After this long without progress the page says what to check. */
export const SILENCE_MS = 10_000;

export class ConnectingView {
  readonly element: HTMLElement;
  readonly #title: HTMLElement;
  readonly #becauseWords = element("span", {});
  readonly #anew = element(
    "p",
    { class: "assurance", role: "status", hidden: true },
    icon("clock", "icon"),
    this.#becauseWords,
  );
  readonly #steps = element("ol", { class: "steps" });
  readonly #ask = element("div", { class: "sign-in-ask", hidden: true });
  readonly #hint = element("div", { class: "hint", hidden: true });
  readonly #hintWords = element("div", { role: "status" });
  readonly #hintNoise = element("div", {});
  readonly #now: () => number;
  #step: Step | "signing-in" = "dialing";
  #since: number;
  #because: ConnectingAnew | undefined;
  #noiseBytes = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(identity: string, now: () => number = () => performance.now()) {
    this.#now = now;
    this.#since = now();
    this.#title = element("h1", {}, "Connecting to ", element("span", { class: "identity" }, identity));
    this.#hint.append(this.#hintWords, this.#hintNoise);
    this.element = element(
      "div",
      { class: "state-page" },
      element(
        "div",
        { class: "card" },
        this.#title,
        element(
          "p",
          { class: "lead" },
          "No terminal is shown and nothing secret is sent before the evidence has met your policy.",
        ),
        this.#anew,
        this.#steps,
        this.#ask,
        this.#hint,
      ),
    );
    this.#timer = setInterval(() => this.#tick(), 500);
  }

  dispose(): void {
    clearInterval(this.#timer);
    this.element.remove();
  }

  /** @param because - said for as long as this connection is being made. */
  show(step: Step, attempt: number, because: ConnectingAnew | undefined): void {
    this.#because = because;
    this.#anew.hidden = because === undefined;
    const words = because === undefined ? "" : BECAUSE[because];
    if (this.#becauseWords.textContent !== words) this.#becauseWords.textContent = words;
    this.#ask.hidden = true;
    if (step !== this.#step) {
      this.#since = this.#now();
      this.#hint.hidden = true;
    }
    this.#step = step;
    const current = STEPS.findIndex((each) => each.step === step);
    this.#steps.replaceChildren(
      ...STEPS.map(({ words, detail }, index) =>
        stepLine(
          words,
          index === current && attempt > 1 ? `${detail}, attempt ${attempt}` : detail,
          placeOf(index, current),
        ),
      ),
      stepLine("Sign in", "only then", "later"),
    );
    this.#tick();
  }

  showSigningIn(user: string, method: SignInMethod): void {
    if (this.#step !== "signing-in") this.#since = this.#now();
    this.#step = "signing-in";
    this.#hint.hidden = true;
    this.#anew.hidden = true;
    this.#steps.replaceChildren(
      ...STEPS.map(({ words, detail }) => stepLine(words, detail, "done")),
      stepLine(`Sign in as ${user}`, SIGNING_IN[method], "now"),
    );
  }

  /**
   * Nothing is asked of an authenticator before the user's own click. @param trouble - what came of the click before.
   * @param otherWay - to sign in. @param unlooked - the user may be typing without a look: no key is to press the button.
   */
  askForPasskey(trouble: string | undefined, otherWay: () => void, unlooked: boolean): Promise<void> {
    return new Promise((resolve) => {
      const use = button(
        "Use your passkey",
        () => {
          use.disabled = true;
          use.textContent = "Your device asks you now…";
          resolve();
        },
        { class: "button primary" },
      );
      const waits = element(
        "p",
        { class: "quiet", role: "status", tabindex: -1, hidden: !unlooked },
        "The new connection waits for your passkey. Nothing that you type presses the button before you go to it.",
      );
      this.#ask.replaceChildren(
        waits,
        element(
          "p",
          { class: "trouble", role: "alert", hidden: trouble === undefined },
          icon("alert"),
          trouble,
        ),
        element(
          "div",
          { class: "card-foot" },
          use,
          button("Sign in another way", otherWay, { class: "button" }),
        ),
      );
      this.#ask.hidden = false;
      if (document.activeElement === document.body) (unlooked ? waits : use).focus();
    });
  }

  addHostNoise(noise: Uint8Array): void {
    this.#noiseBytes += noise.length;
    const open = this.#hintNoise.querySelector("details")?.open ?? false;
    const details = noiseDetails(this.#noiseBytes, noise.slice(-2048));
    if (open) details.setAttribute("open", "");
    this.#hintNoise.replaceChildren(details);
  }

  #tick(): void {
    const waited = this.#now() - this.#since;
    const clock = this.#steps.querySelector(".now .elapsed");
    if (clock !== null) clock.textContent = waited < 1000 ? "" : `${Math.floor(waited / 1000)} s`;
    if (waited < SILENCE_MS || !this.#hint.hidden || this.#step === "signing-in") return;
    const silent = this.#step === "dialing" || this.#step === "waiting-for-guest";
    const advice = this.#because === "hand-over" ? SYSTEM_STARTS_ADVICE : SILENCE_ADVICE;
    this.#hintWords.replaceChildren(
      element(
        "h2",
        {},
        this.#step === "dialing"
          ? "The host has not answered"
          : silent
            ? this.#because === "hand-over"
              ? "The system has not answered yet"
              : "The guest has not answered"
            : "This takes unusually long",
      ),
      silent
        ? element("ul", {}, ...advice.map((words) => element("li", {}, words)))
        : element(
            "p",
            {},
            "The guest answered, but the line is slow or the host holds it up. The page goes on trying.",
          ),
    );
    this.#hint.hidden = false;
  }
}

const BECAUSE: Readonly<Record<ConnectingAnew, string>> = {
  "late-answer":
    "The guest waits for its user only so long, and your answer took longer: the connection is made anew. Your policy is the same, and the evidence is checked again.",
  "hand-over":
    "The machine leaves its initramfs, and its system takes over the console. What ran in the initramfs has ended. The page connects again by itself: with new keys, and the evidence is checked again, against the same policy. It waits some minutes for the system.",
};

const SYSTEM_STARTS_ADVICE: readonly string[] = [
  "The system may still be starting: checks of its disks can take minutes.",
  "Is sealttyd enabled in it, and not in the initramfs alone (systemctl enable sealttyd)?",
  "Where the boot failed, the machine waits on its own console, or starts again.",
];

const SIGNING_IN: Readonly<Record<SignInMethod, string>> = {
  "ssh-key": "your SSH key signs; touch it or unlock the agent if it asks",
  passkey: "your passkey signs once you say so; the guest waits for two minutes",
  "browser-key": "the key that this browser keeps signs",
  none: "the guest will ask for the password",
};

type Place = "done" | "now" | "later";

function placeOf(index: number, current: number): Place {
  if (index < current) return "done";
  return index === current ? "now" : "later";
}

function stepLine(words: string, detail: string, place: Place): HTMLElement {
  const mark: Child =
    place === "done" ? icon("check", "icon good") : element("span", { class: "dot", "aria-hidden": "true" });
  return element(
    "li",
    { class: place, "aria-current": place === "now" ? "step" : undefined },
    element("span", { class: "mark" }, mark),
    element("span", { class: "step-words" }, words, element("small", {}, detail)),
    element("span", { class: "elapsed" }),
  );
}

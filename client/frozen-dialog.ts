// The guest became another one while it was open, or no longer proves that it did not: nothing goes in or out until the
// user chose. It cannot be overlooked, Escape does not dismiss it, and going on takes two steps.

import { CHANGE_WORDS } from "./change-words.ts";
import { changesTable } from "./changes-view.ts";
import { button, element, type Child } from "./dom.ts";
import { icon } from "./icons.ts";
import { kindOfChange, sentence, type GuestChanged } from "./page-state.ts";
import { plainText } from "./plain-text.ts";
import { comparison, otherChecks } from "./refusal-view.ts";
import { hourWords, spanWords } from "./time-words.ts";

export interface FrozenChoices {
  close(): void;
  goOn(): void;
}

export class FrozenDialog {
  readonly #dialog: HTMLDialogElement;
  readonly #confirm: HTMLInputElement;
  readonly #goOn: HTMLButtonElement;
  readonly #stepTwo: HTMLElement;
  readonly #over: HTMLElement;
  #answered = false;

  /** @param checkedAt - when it last proved itself, milliseconds since 1970. */
  constructor(
    event: GuestChanged,
    identity: string,
    checkedAt: number | undefined,
    now: number,
    choices: FrozenChoices,
  ) {
    const answer = (choose: () => void) => (): void => {
      this.dismiss();
      choose();
    };
    const close = button(
      "Close the console",
      answer(() => choices.close()),
      {
        class: "button primary",
        autofocus: true,
      },
    );
    const goOn = answer(() => choices.goOn());
    const words = CHANGE_WORDS[kindOfChange(event)];
    this.#goOn = button(
      words.goOn,
      () => {
        if (this.#confirm.checked) goOn();
      },
      { class: "button danger", disabled: true },
    );
    this.#confirm = element("input", { type: "checkbox" });
    this.#confirm.addEventListener("change", () => {
      this.#goOn.disabled = !this.#confirm.checked;
    });
    this.#stepTwo = element("label", { class: "check-label" }, this.#confirm, words.confirm);
    this.#over = element("p", { class: "frozen-over", role: "status" });
    this.#dialog = element(
      "dialog",
      {
        class: "dialog frozen",
        role: "alertdialog",
        closedby: "none",
        "aria-labelledby": "frozen-title",
        "aria-describedby": "frozen-reason",
      },
      element(
        "div",
        { class: "frozen-head" },
        icon("shield-alert"),
        element(
          "div",
          {},
          element("h2", { id: "frozen-title" }, words.title),
          element("p", { class: "breakable" }, identity),
        ),
      ),
      element(
        "div",
        { class: "dialog-body", tabindex: 0, role: "group", "aria-label": "What happened" },
        ...bodyOf(event, checkedAt, now),
      ),
      element(
        "div",
        { class: "frozen-foot" },
        this.#over,
        this.#stepTwo,
        element("div", { class: "dialog-buttons" }, close, this.#goOn),
      ),
    );
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) close.focus(); // beside it: the keyboard's place is not lost
    });
    this.#holdOpen();
    document.body.appendChild(this.#dialog);
    this.#dialog.showModal();
    close.focus();
  }

  /** The connection ended meanwhile: there is nothing left to go on with. */
  connectionEnded(): void {
    this.#stepTwo.hidden = true;
    this.#goOn.hidden = true;
    this.#over.textContent = "The connection has ended meanwhile.";
  }

  dismiss(): void {
    this.#answered = true;
    this.#dialog.close();
    this.#dialog.remove();
  }

  /** Browsers give in to a second Escape, or do not know `closedby`. */
  #holdOpen(): void {
    this.#dialog.addEventListener("keydown", (event) => {
      if (event.key === "Escape") event.preventDefault();
      event.stopPropagation(); // no shortcut of the page works here
    });
    this.#dialog.addEventListener("cancel", (event) => event.preventDefault());
    this.#dialog.addEventListener("close", () => {
      if (!this.#answered) this.#dialog.showModal();
    });
  }
}

function bodyOf(event: GuestChanged, checkedAt: number | undefined, now: number): Child[] {
  const { reason, changes, refusal } = event;
  const kind = kindOfChange(event);
  const onlyBoot = kind === "changed" && changes.every(({ scope }) => scope === "boot");
  return [
    element("p", { id: "frozen-reason", class: "lead" }, sentence(plainText(reason, 600))),
    element(
      "p",
      {},
      "The console is frozen: nothing that you type goes out, and nothing that arrives is shown.",
      checkedAt !== undefined &&
        ` It last proved itself at ${hourWords(checkedAt)} (${spanWords(now - checkedAt)} ago); what you typed since then may have reached what is there now.`,
    ),
    element("p", {}, CHANGE_WORDS[kind].meaning),
    refusal !== undefined && comparison(refusal),
    refusal !== undefined && element("p", { class: "next" }, plainText(refusal.next, 600)),
    refusal !== undefined && otherChecks(refusal.others ?? []),
    changes.length > 0 && changesTable(changes),
    kind === "unproven" &&
      element(
        "p",
        { class: "quiet" },
        "A device in the guest that is busy, throttled or broken looks like this. The guest's own log says more (journalctl -u sealttyd, in the guest).",
      ),
    onlyBoot &&
      element(
        "p",
        { class: "quiet" },
        "An ordinary restart would have ended this connection. A migration, a restored snapshot or another TPM looks like this; so does a copy of the guest.",
      ),
  ];
}

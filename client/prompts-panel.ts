// What the guest asks for now, below the terminal: its words as text on the terminal's colours, a field for each question,
// and what became of the last answer. It takes the place that it needs and covers nothing.

import { button, element } from "./dom.ts";
import { icon } from "./icons.ts";
import { plainText } from "./plain-text.ts";
import type { PromptsView } from "./guest-prompts.ts";
import type { Prompt } from "../protocol/prompts/messages.ts";

/** Characters of the guest's that are shown. */
const MAX_MESSAGE = 300;
const MAX_NAME = 150;
const ASKED_BY: Readonly<Record<Prompt["origin"], string>> = {
  initramfs: "asked by the guest's initramfs",
  systemd: "asked by a program of the guest's, through systemd",
};

export interface PromptsPanelActions {
  answer(prompt: Prompt, text: string): void;
  /** The user dismissed what is said: the keyboard's place is gone. */
  leave(): void;
}

/** Where the question goes away that somebody may be typing an answer to. */
const GONE =
  "The question is gone, with whatever you had typed: that went nowhere. Look what is asked before you type again.";
/** Where an answer's question goes away before it is known what became of the answer. */
const WAITING =
  "Your answer is with the guest. What becomes of it is said here, and what you type until then goes nowhere.";
const NOT_TOLD =
  "It was not told what became of your answer. What you typed after it went nowhere: look what is asked before you type it anew.";

interface Row {
  readonly element: HTMLElement;
  readonly field: HTMLInputElement;
  readonly button: HTMLButtonElement;
  readonly trouble: HTMLElement;
}

export class PromptsPanel implements PromptsView {
  readonly element: HTMLElement;
  readonly #actions: PromptsPanelActions;
  readonly #list = element("ul", { class: "prompt-list" });
  readonly #outcome = element("p", { class: "prompt-outcome", role: "status", tabindex: -1 });
  readonly #dismiss: HTMLButtonElement;
  readonly #asked = element("p", { class: "quiet", role: "status" });
  readonly #rows = new Map<number, Row>();
  #busy: number | undefined;
  #typedOn = false; // while an answer was under way

  constructor(actions: PromptsPanelActions) {
    this.#actions = actions;
    this.#dismiss = button(
      "Dismiss",
      () => {
        this.say(undefined);
        actions.leave();
      },
      { class: "button small", hidden: true },
    );
    this.element = element(
      "section",
      { class: "prompts", "aria-labelledby": "prompts-title", hidden: true },
      element(
        "header",
        { class: "prompts-head" },
        icon("key"),
        element("h2", { id: "prompts-title" }, "The guest asks you"),
        this.#asked,
        this.#dismiss,
      ),
      this.#outcome,
      this.#list,
    );
    this.element.addEventListener(
      "keydown",
      ({ key, repeat }) => {
        if (this.#busy !== undefined && key !== "Tab" && key !== "Shift" && !repeat) this.#typedOn = true;
      },
      { capture: true },
    );
  }

  show(prompts: readonly Prompt[], busy: number | undefined): void {
    const held = this.element.contains(document.activeElement);
    const answered = [busy, this.#busy];
    const isAnswered = this.#busy !== undefined && busy === undefined;
    if (this.#busy === undefined) this.#typedOn = false;
    this.#busy = busy;
    let gone = false; // from under the user's fingers
    const numbers = new Set(prompts.map(({ number }) => number));
    for (const [number, row] of this.#rows) {
      if (numbers.has(number)) continue;
      gone ||= row.element.contains(document.activeElement) && !answered.includes(number);
      row.field.value = ""; // before it goes: nothing of it is anybody's to keep
      row.element.remove();
      this.#rows.delete(number);
    }
    for (const prompt of prompts) {
      if (this.#rows.has(prompt.number)) continue;
      const row = this.#rowOf(prompt);
      this.#rows.set(prompt.number, row);
      this.#list.append(row.element);
    }
    for (const [number, { field, button }] of this.#rows) {
      field.readOnly = busy !== undefined; // one answer at a time; "disabled" would lose the keyboard's place
      button.setAttribute("aria-disabled", String(field.readOnly));
      button.textContent = busy === number ? "Waiting…" : "Answer";
    }
    const words = askedWords(prompts.length);
    if (this.#asked.textContent !== words) this.#asked.textContent = words;
    this.#showOrHide();
    if (gone) return this.#standOn(GONE, "caution");
    if (isAnswered && this.#outcome.textContent === WAITING) this.#tell(NOT_TOLD, "caution");
    const lost = held && !this.element.contains(document.activeElement);
    const isWaiting = lost || document.activeElement === this.#outcome;
    // Whoever typed on, without a look perhaps, types to nobody: the next question is another one.
    if (isAnswered && isWaiting && !this.#typedOn && this.focus()) return;
    if (!lost) return;
    if (busy !== undefined) this.#standOn(WAITING, "");
    else if (this.#outcome.textContent === "") this.#standOn(NOT_TOLD, "caution");
    else this.#outcome.focus();
  }

  /** What is said stays where the keyboard is in it: what is typed on must not get to what comes next. */
  close(): void {
    this.show([], undefined);
    if (!this.element.contains(document.activeElement)) this.say(undefined);
  }

  say(outcome: { readonly words: string; readonly tone: "good" | "caution" } | undefined): void {
    this.#tell(outcome?.words ?? "", outcome?.tone ?? "");
  }

  #tell(words: string, tone: "good" | "caution" | ""): void {
    this.#outcome.textContent = words;
    this.#outcome.className = `prompt-outcome ${tone}`;
    this.#outcome.hidden = this.#dismiss.hidden = words === "";
    this.#showOrHide();
  }

  trouble(number: number, words: string): void {
    const row = this.#rows.get(number);
    if (row === undefined) return;
    row.trouble.textContent = words;
    row.field.focus();
  }

  clearFields(): void {
    for (const { field } of this.#rows.values()) field.value = "";
  }

  /** @returns false where nothing is asked. */
  focus(): boolean {
    const [first] = this.#rows.values();
    first?.field.focus();
    return first !== undefined;
  }

  /** The rest of a passphrase, and Enter, must not reach another question, the terminal, or a button. */
  #standOn(words: string, tone: "caution" | ""): void {
    this.#tell(words, tone);
    this.#outcome.focus();
  }

  #showOrHide(): void {
    this.element.hidden = this.#rows.size === 0 && this.#outcome.textContent === "";
  }

  #rowOf(prompt: Prompt): Row {
    const { number, origin, echo } = prompt;
    const id = `prompt-${number}`;
    const message = plainText(prompt.message, MAX_MESSAGE);
    const name = plainText(prompt.name, MAX_NAME);
    // No form: browsers offer to keep what one sends. "off" for those that fill in what was never asked for; with passwords
    // some do so all the same, but not where a code is good for once.
    const field = element("input", {
      id,
      class: "prompt-field",
      type: echo ? "text" : "password",
      autocomplete: echo ? "off" : "one-time-code",
      autocapitalize: "off",
      autocorrect: "off",
      spellcheck: "false",
      "aria-describedby": `${id}-by ${id}-trouble`,
      "data-1p-ignore": true,
      "data-bwignore": true,
      "data-lpignore": "true",
    });
    const trouble = element("p", { id: `${id}-trouble`, class: "trouble", role: "alert" });
    const answer = (): void => {
      if (field.readOnly) return;
      const text = field.value;
      field.value = "";
      trouble.textContent = "";
      this.#actions.answer(prompt, text);
    };
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      answer();
    });
    const send = button("Answer", answer, { class: "button primary" });
    return {
      field,
      button: send,
      trouble,
      element: element(
        "li",
        { class: "prompt" },
        element(
          "label",
          { for: id, class: "prompt-words" },
          message === "" ? "a passphrase" : message,
          name !== "" && !message.includes(name) && element("small", {}, ` (${name})`),
        ),
        element(
          "p",
          { id: `${id}-by`, class: "quiet prompt-by" },
          `${ASKED_BY[origin]}; ${echo ? "shown while you type" : "hidden while you type"}`,
        ),
        element("div", { class: "prompt-line" }, field, send),
        trouble,
      ),
    };
  }
}

function askedWords(count: number): string {
  if (count === 0) return "";
  const many = count === 1 ? "" : `${count} questions. `;
  return `${many}An answer goes to the guest alone, sealed, and is kept nowhere here.`;
}

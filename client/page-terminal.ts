// The terminal on the page, where there is one, and how its user wants to have it.

import type { Stage } from "./stage.ts";
import { TerminalView, type TerminalViewOptions } from "./terminal-view.ts";

export class PageTerminal {
  readonly #stage: Stage;
  readonly #options: TerminalViewOptions;
  #view: TerminalView | undefined;
  #fontSize = 14;
  #screenReader = false;

  constructor(stage: Stage, options: TerminalViewOptions) {
    this.#stage = stage;
    this.#options = options;
  }

  get isThere(): boolean {
    return this.#view !== undefined;
  }

  /** In place of whatever was there. */
  mount(): TerminalView {
    this.drop();
    const view = new TerminalView(this.#options);
    this.#view = view;
    this.#stage.show(view.element);
    view.open();
    view.fontSize = this.#fontSize;
    view.screenReaderMode = this.#screenReader;
    return view;
  }

  drop(): void {
    this.#view?.dispose();
    this.#view = undefined;
  }

  /** Until the user lets the keyboard in. */
  hold(isTyping: () => boolean, onOpened: () => void): void {
    this.#view?.hold(isTyping, onOpened);
  }

  /** @returns false where there is none that could be seen. */
  focus(): boolean {
    if (this.#view === undefined || this.#stage.view !== "terminal") return false;
    this.#view.focus();
    return true;
  }

  openSearch(): void {
    if (this.#stage.view === "terminal") this.#view?.openSearch();
  }

  mark(words: string): void {
    this.#view?.mark(words);
  }

  changeFont(by: number): void {
    if (this.#view === undefined) return;
    this.#view.fontSize += by;
    this.#fontSize = this.#view.fontSize;
  }

  setScreenReader(on: boolean): void {
    this.#screenReader = on;
    if (this.#view !== undefined) this.#view.screenReaderMode = on;
  }
}

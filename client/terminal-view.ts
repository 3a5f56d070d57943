// xterm.js, told what it may do: every byte passes the escape guard, every paste, link and clipboard write a question.

import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { WebglAddon } from "@xterm/addon-webgl";
import { Terminal } from "@xterm/xterm";
import { utf8 } from "../protocol/bytes.ts";
import { MAX_SCREEN_LINES, MAX_TERMINAL_SIDE } from "../protocol/limits.ts";
import { parseClipboardRequest } from "./clipboard-guard.ts";
import type { TerminalPort } from "./channel-pump.ts";
import { element } from "./dom.ts";
import {
  erasesPastTheEnd,
  EscapeGuard,
  LEAVE_OTHER_SCREEN,
  REPEATING_FINALS,
  repeatsTooOften,
  RESET_AFTER_SESSION,
  RESET_COLOURS,
} from "../protocol/terminal/escape-guard.ts";
import { ScreenRestore } from "./screen-restore.ts";
import { askAboutLink } from "./link-dialog.ts";
import { safeLink } from "./link-guard.ts";
import { PasteDialog } from "./paste-dialog.ts";
import { MAX_PASTE, pasteInput, reviewPaste } from "./paste-guard.ts";
import { TerminalGate } from "./terminal-gate.ts";
import { TerminalNotices } from "./terminal-notices.ts";
import { TerminalSearch } from "./terminal-search.ts";
import { DARK, LIGHT, MONOSPACE } from "./terminal-theme.ts";

export interface TerminalViewOptions {
  /** Raw: the caller applies the title rules. */
  onTitle(title: string): void;
  /** The user asked to leave the terminal by keyboard. */
  onLeave(): void;
}

const MIN_FONT = 8;
const MAX_FONT = 32;
/** Parsed in one go at most (UTF-16 units), so that the page answers between two pieces whatever they hold. */
const PIECE = 16 * 1024;
/** A restored screen has MAX_SCREEN_LINES above it: these are for what a smaller window moves up there. */
const SPARE_LINES = 200;
/** Keys that type nothing alone. */
const MODIFIERS: ReadonlySet<string> = new Set(["Shift", "Control", "Alt", "Meta", "AltGraph", "CapsLock"]);
/** A screen that is larger than this on a side is written at the page's own size: every line takes memory for all columns. */
const MAX_RESTORED_SIDE = 1000;

export class TerminalView implements TerminalPort {
  readonly element: HTMLElement;
  readonly #options: TerminalViewOptions;
  readonly #terminal: Terminal;
  readonly #fit = new FitAddon();
  readonly #search: TerminalSearch;
  readonly #screen: HTMLElement;
  readonly #notices = new TerminalNotices();
  readonly #lightScheme = matchMedia("(prefers-color-scheme: light)");
  readonly #stillness = matchMedia("(prefers-reduced-motion: reduce)");
  readonly #ends = new AbortController();
  readonly #resizeObserver: ResizeObserver;
  readonly #restore = new ScreenRestore({
    write: (bytes, parsed) => this.#writeThrough(bytes, parsed),
    begin: (columns, rows) => this.#beginScreen(columns, rows),
    end: () => this.#endScreen(),
  });
  #guard = this.#newGuard();
  /** The size that the guest knows, while the terminal has that of a screen that is being written. */
  #restoring: { readonly columns: number; readonly rows: number } | undefined;
  #input: ((bytes: Uint8Array) => void) | undefined;
  #resize: ((columns: number, rows: number) => void) | undefined;
  #fitPending = false;
  #finished = false;
  #gate: TerminalGate | undefined;
  readonly #pastes = new PasteDialog();
  #clipboard: "ask" | "asking" | "allowed" | "blocked" = "ask";

  constructor(options: TerminalViewOptions) {
    this.#options = options;
    this.#terminal = new Terminal({
      allowProposedApi: true, // unicode11 and the search decorations
      cursorBlink: !this.#stillness.matches,
      fontFamily: MONOSPACE,
      fontSize: 14,
      lineHeight: 1.15,
      scrollback: MAX_SCREEN_LINES + SPARE_LINES,
      minimumContrastRatio: 4.5,
      macOptionIsMeta: true,
      rightClickSelectsWord: false,
      scrollOnUserInput: true,
      smoothScrollDuration: 0,
      theme: this.#lightScheme.matches ? LIGHT : DARK,
      windowOptions: {}, // all off: the guest learns and changes nothing about the window
      logLevel: "off",
      linkHandler: { activate: (_event, text) => void this.#offerLink(text) },
    });
    const search = new SearchAddon({ highlightLimit: 500 });
    this.#terminal.loadAddon(this.#fit);
    this.#terminal.loadAddon(search);
    this.#terminal.loadAddon(new Unicode11Addon());
    this.#terminal.loadAddon(new WebLinksAddon((_event, uri) => void this.#offerLink(uri)));
    this.#terminal.unicode.activeVersion = "11";
    this.#search = new TerminalSearch(search, () => this.focus());

    this.#screen = element("div", { class: "terminal-screen" });
    this.element = element(
      "section",
      { class: "terminal", "aria-label": "Guest terminal" },
      this.#notices.banners,
      element("div", { class: "terminal-place" }, this.#screen, this.#search.element, this.#notices.passing),
    );
    this.#resizeObserver = new ResizeObserver(() => this.#fitSoon());
  }

  /** Call once, when `element` is in the document and has its size. */
  open(): void {
    const { signal } = this.#ends;
    // Before xterm.js hears of it: its own paste path sends ESC [ 201 ~ unchanged.
    this.#screen.addEventListener("paste", (event) => this.#pasted(event), { capture: true, signal });
    this.#screen.addEventListener("drop", (event) => event.preventDefault(), { capture: true, signal });
    this.#terminal.open(this.#screen);
    this.#useWebgl();
    this.#fit.fit();
    this.#resizeObserver.observe(this.#screen);
    this.#lightScheme.addEventListener("change", () => this.#applyTheme(), { signal });
    this.#stillness.addEventListener(
      "change",
      () => {
        this.#terminal.options.cursorBlink = !this.#stillness.matches;
      },
      { signal },
    );
    this.#terminal.attachCustomKeyEventHandler((event) => this.#keyGoesToGuest(event));
    this.#terminal.onData((text) => this.#send(utf8(text)));
    this.#terminal.onBinary((text) => this.#send(Uint8Array.from(text, (char) => char.charCodeAt(0))));
    this.#terminal.onResize(() => {
      if (this.#restoring === undefined) this.#resize?.(this.columns, this.rows);
    });
    this.#terminal.onCursorMove(() =>
      this.#notices.cursorMoved(this.#terminal.buffer.active.cursorY < this.#terminal.rows / 2),
    );
    this.#terminal.onTitleChange((title) => this.#options.onTitle(title));
    for (const final of REPEATING_FINALS) {
      this.#terminal.parser.registerCsiHandler({ final }, (parameters) => repeatsTooOften(parameters));
    }
    for (const id of [{ final: "J" }, { prefix: "?", final: "J" }]) {
      this.#terminal.parser.registerCsiHandler(id, (parameters) =>
        erasesPastTheEnd(parameters, this.#terminal.buffer.active, this.#terminal.cols),
      );
    }
    this.#terminal.parser.registerOscHandler(52, (data) => {
      this.#clipboardRequest(data);
      return true;
    });
  }

  get columns(): number {
    return Math.min(this.#terminal.cols, MAX_TERMINAL_SIDE);
  }
  get rows(): number {
    return Math.min(this.#terminal.rows, MAX_TERMINAL_SIDE);
  }

  write(bytes: Uint8Array, parsed: () => void): void {
    this.#restore.write(bytes, parsed);
  }

  restore(columns: number, rows: number, length: number): void {
    this.#restore.restore(columns, rows, length);
  }

  /** Stays until it is dismissed or a key is typed, outside of what the guest can write. */
  mark(words: string): void {
    this.#notices.mark(words);
  }

  #writeThrough(bytes: Uint8Array, parsed: () => void): void {
    const text = this.#guard.filter(bytes);
    let at = 0;
    for (; text.length - at > PIECE; at += PIECE) this.#terminal.write(text.slice(at, at + PIECE));
    this.#terminal.write(text.slice(at), parsed);
  }

  onInput(listener: (bytes: Uint8Array) => void): void {
    this.#input = listener;
  }

  onResize(listener: (columns: number, rows: number) => void): void {
    this.#resize = listener;
  }

  finish(): void {
    this.#finished = true;
    this.#letIn(); // to read and to copy: nothing is typed any more
    this.#restore.abandon();
    this.#input = undefined;
    this.#resize = undefined;
    this.#terminal.options.disableStdin = true;
    this.#terminal.options.cursorBlink = false;
    this.#guard = this.#newGuard(); // whatever sequence was open is abandoned
    this.#terminal.write(RESET_AFTER_SESSION, () => {
      if (this.#terminal.buffer.active.type === "alternate") this.#terminal.write(LEAVE_OTHER_SCREEN);
    });
    this.#notices.clear();
  }

  /** Takes the terminal off the page for good. */
  dispose(): void {
    this.#ends.abort();
    this.#resizeObserver.disconnect();
    this.#terminal.dispose();
    this.element.remove();
  }

  focus(): void {
    if (this.#gate === undefined) this.#terminal.focus();
    else this.#gate.focus();
  }

  /** No key reaches the terminal, whatever has or gets the focus, until the user lets the keyboard in. @param onOpened - by then. */
  hold(isTyping: () => boolean, onOpened: () => void): void {
    this.#gate = new TerminalGate(isTyping, () => {
      this.#letIn();
      onOpened();
      this.focus();
    });
    this.#screen.inert = true;
    this.#screen.after(this.#gate.element);
  }

  #letIn(): void {
    this.#gate?.element.remove();
    this.#gate = undefined;
    this.#screen.inert = false;
  }

  openSearch(): void {
    this.#search.open();
  }

  get fontSize(): number {
    return this.#terminal.options.fontSize ?? 14;
  }
  set fontSize(size: number) {
    this.#terminal.options.fontSize = Math.min(MAX_FONT, Math.max(MIN_FONT, size));
    this.#fitSoon();
  }

  get screenReaderMode(): boolean {
    return this.#terminal.options.screenReaderMode ?? false;
  }
  set screenReaderMode(on: boolean) {
    this.#terminal.options.screenReaderMode = on;
  }

  #beginScreen(columns: number, rows: number): void {
    this.#restoring = { columns: this.columns, rows: this.rows };
    this.#guard = this.#newGuard(); // whatever sequence was open is abandoned
    this.#terminal.reset();
    this.#terminal.options.convertEol = false;
    this.#terminal.write(RESET_COLOURS);
    if (Math.max(columns, rows) <= MAX_RESTORED_SIDE) this.#terminal.resize(columns, rows);
  }

  #endScreen(): void {
    this.#fit.fit();
    const known = this.#restoring;
    this.#restoring = undefined;
    if (known?.columns !== this.columns || known.rows !== this.rows) this.#resize?.(this.columns, this.rows);
  }

  #send(bytes: Uint8Array): void {
    if (!this.#finished && bytes.length > 0) this.#input?.(bytes);
  }

  #newGuard(): EscapeGuard {
    return new EscapeGuard(() => ({ columns: this.#terminal.cols, rows: this.#terminal.rows }));
  }

  /** Falls back to the DOM renderer, which the page's style-src allows, where there is no WebGL or it gets lost. */
  #useWebgl(): void {
    try {
      const webgl = new WebglAddon();
      webgl.onContextLoss(() => webgl.dispose());
      this.#terminal.loadAddon(webgl);
    } catch {
      // no WebGL here
    }
  }

  #applyTheme(): void {
    this.#terminal.options.theme = this.#lightScheme.matches ? LIGHT : DARK;
  }

  /** Once per frame: dragging a window edge must not flood the guest with sizes. */
  #fitSoon(): void {
    if (this.#fitPending) return;
    this.#fitPending = true;
    requestAnimationFrame(() => {
      this.#fitPending = false;
      if (this.#restoring !== undefined) return; // it ends with the size of its place
      if (this.#screen.isConnected && this.#screen.clientWidth > 0) this.#fit.fit();
    });
  }

  /** Shortcuts of the page. `false` keeps the key from xterm.js. */
  #keyGoesToGuest(event: KeyboardEvent): boolean {
    const ours = event.ctrlKey && event.shiftKey && !event.altKey && !event.metaKey;
    const action = {
      KeyC: () => this.#copySelection(),
      KeyV: () => this.#pasteFromClipboard(),
      KeyM: () => this.#options.onLeave(),
      KeyF: () => this.openSearch(),
    }[event.code];
    if (!ours || action === undefined) {
      if (event.type === "keydown" && !MODIFIERS.has(event.key)) this.#notices.wentOn();
      return true;
    }
    event.preventDefault();
    if (event.type === "keydown") action();
    return false;
  }

  #copySelection(): void {
    const selection = this.#terminal.getSelection();
    if (selection === "") return;
    navigator.clipboard.writeText(selection).then(
      () => this.#notices.pass("Copied."),
      () => this.#notices.pass("The browser did not allow copying."),
    );
  }

  #pasteFromClipboard(): void {
    navigator.clipboard.readText().then(
      (text) => this.#paste(text),
      () =>
        this.#notices.pass(
          "The browser did not allow reading the clipboard. Use its Paste menu entry instead.",
        ),
    );
  }

  #pasted(event: ClipboardEvent): void {
    event.preventDefault();
    event.stopImmediatePropagation();
    void this.#paste(event.clipboardData?.getData("text/plain") ?? "");
  }

  async #paste(clipboard: string): Promise<void> {
    if (clipboard === "" || this.#finished) return;
    const review = reviewPaste(clipboard);
    if (review === undefined) {
      this.#notices.pass(
        `Nothing was pasted: the text is longer than ${MAX_PASTE / 1024 / 1024} MiB. Send a file through sealtty exec: its stdin is binary-clean.`,
      );
      return;
    }
    const chosen = await this.#pastes.chosen(review, this.#terminal.modes.bracketedPasteMode);
    if (chosen !== undefined)
      this.#terminal.input(pasteInput(chosen, this.#terminal.modes.bracketedPasteMode), true);
    this.focus();
  }

  async #offerLink(text: string): Promise<void> {
    const link = safeLink(text);
    if (link === undefined) {
      this.#notices.pass("This link was not opened: only http and https links are.");
      return;
    }
    const open = await askAboutLink(link);
    if (open === true) window.open(link.href, "_blank", "noopener,noreferrer");
    this.focus();
  }

  #clipboardRequest(data: string): void {
    const request = parseClipboardRequest(data);
    if (request.kind === "read") return; // no answer at all
    if (request.kind === "refused") {
      if (request.why === "too-large")
        this.#notices.pass("The guest wanted to put more than 100 KB on your clipboard. It was not done.");
      return;
    }
    // A tab in the background must not change what the user pastes elsewhere.
    if (this.#clipboard === "blocked" || this.#clipboard === "asking" || !this.#hasFocus()) return;
    if (this.#clipboard === "allowed") this.#writeClipboard(request.text);
    else this.#askAboutClipboard(request.text);
  }

  #hasFocus(): boolean {
    return document.hasFocus() && this.#screen.contains(document.activeElement);
  }

  #askAboutClipboard(text: string): void {
    this.#clipboard = "asking";
    const decide = (decision: "ask" | "allowed" | "blocked", write: boolean) => () => {
      this.#clipboard = decision;
      if (write) this.#writeClipboard(text);
      this.focus();
    };
    this.#notices.question(
      "Clipboard request",
      `A program in the guest wants to put ${text.length} characters on your clipboard.`,
      [
        { label: "Block", choose: decide("blocked", false) },
        { label: "Once", choose: decide("ask", true) },
        { label: "Allow in this session", choose: decide("allowed", true) },
      ],
    );
  }

  #writeClipboard(text: string): void {
    navigator.clipboard.writeText(text).then(
      () => this.#notices.pass("The guest put text on your clipboard."),
      () => this.#notices.pass("The browser did not allow the guest's clipboard write."),
    );
  }
}

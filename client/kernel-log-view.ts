// The guest's kernel log as a view of its own beside the terminal: since power-on and live, the latest that fit. What devices and
// tables of the host's wrote into it is text here, and nothing else.

import { LatestRecords } from "../protocol/kernel-log/latest-records.ts";
import { type Level, LEVELS } from "../protocol/kernel-log/record.ts";
import { button, element } from "./dom.ts";
import type { LogEntry, LogPort } from "./kernel-log-feed.ts";
import { plainLines, plainText } from "./plain-text.ts";

/** Kept and shown at most; characters of all their text. */
export const MAX_RECORDS = 5000;
export const MAX_LOG_TEXT = 4 * 1024 * 1024;
/** Taken before they are drawn, while the view is looked at. */
const MAX_AHEAD = 1000;
/** Characters: a record has no more bytes. */
const MAX_TEXT = 8192;
/** Nearer to its end than this, the list goes on with it (pixels). */
const AT_END = 40;

const LEVEL_CHOICES: readonly (readonly [Level, string])[] = [
  ["debug", "All levels"],
  ["info", "Info and above"],
  ["notice", "Notices and above"],
  ["warn", "Warnings and above"],
  ["err", "Errors and above"],
  ["crit", "Critical and above"],
];

export class KernelLogView implements LogPort {
  readonly element: HTMLElement;
  readonly #list = element("div", {
    class: "log-list",
    role: "log",
    "aria-live": "off",
    "aria-label": "Kernel log of the guest",
    tabindex: 0,
  });
  readonly #status = element("p", { class: "quiet log-status", role: "status" });
  readonly #pause: HTMLButtonElement;
  readonly #again: HTMLButtonElement;
  #held = newStore();
  #added = 0; // records and gaps
  #seen = 0; // records
  #new = 0; // since the pause
  #level: Level = "debug";
  #paused = false;
  #caughtUp = false;
  #over: string | undefined; // why nothing comes any more
  #fresh: LogEntry[] = []; // not drawn yet, while it is drawn
  #following = true; // the end is in view, and stays there
  #scrollTop = 0; // where it is not: a list that was hidden has forgotten it
  #shown: number[] = []; // characters of each row
  #shownText = 0; // of all
  #drawPending = false;
  #drawn: (() => void)[] = [];

  /** @param onAgain - the user wants it read once more, after its end. */
  constructor(onAgain: () => void) {
    this.#pause = button("Pause", () => this.#setPaused(!this.#paused), {
      class: "button small",
      "aria-pressed": "false",
    });
    this.#again = button("Try again", onAgain, { class: "button small", hidden: true });
    const level = element(
      "select",
      { class: "log-level-choice", "aria-label": "Least level shown" },
      ...LEVEL_CHOICES.map(([value, words]) => element("option", { value }, words)),
    );
    level.addEventListener("change", () => {
      this.#level = LEVELS.find((each) => each === level.value) ?? "debug";
      this.#redraw();
    });
    this.element = element(
      "div",
      { class: "log", hidden: true },
      element("div", { class: "log-head" }, level, this.#pause, this.#again, this.#status),
      this.#list,
    );
    this.#list.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.#list;
      if (clientHeight === 0) return; // hidden
      this.#following = scrollHeight - scrollTop - clientHeight < AT_END;
      this.#scrollTop = scrollTop;
    });
    document.addEventListener("visibilitychange", () => this.#visibilityChanged());
  }

  set hidden(hidden: boolean) {
    this.element.hidden = hidden;
    this.#visibilityChanged();
  }

  focus(): void {
    this.#list.focus();
  }

  /** A log is read from its beginning on. */
  begin(): void {
    this.#held = newStore();
    this.#added = this.#seen = this.#new = 0;
    this.#fresh = [];
    this.#caughtUp = false;
    this.#over = undefined;
    this.#again.hidden = true;
    this.#pause.hidden = false;
    this.#setPaused(false);
  }

  add(entry: LogEntry): void {
    this.#held.push(entry);
    this.#added++;
    if (!("lost" in entry)) {
      this.#seen++;
      if (this.#paused) this.#new++;
    }
    if (this.#isDrawn) this.#fresh.push(entry);
    this.#drawSoon();
  }

  caughtUp(): void {
    this.#caughtUp = true;
    this.#drawSoon();
  }

  /** While it is looked at, hardly faster than it is drawn; else only the latest are kept. */
  ready(): Promise<void> {
    if (!this.#isDrawn || this.#fresh.length < MAX_AHEAD) return Promise.resolve();
    return new Promise((resolve) => this.#drawn.push(resolve));
  }

  /** Nothing comes any more. @param words - why. @param again - asking once more may help. */
  end(words: string, again: boolean): void {
    if (this.#paused) this.#setPaused(false); // what came since is all that there is
    this.#over = plainText(words, 800);
    this.#again.hidden = !again;
    this.#pause.hidden = true;
    this.#sayStatus();
  }

  get #isDrawn(): boolean {
    return !this.element.hidden && !this.#paused && document.visibilityState === "visible";
  }

  #visibilityChanged(): void {
    if (this.#isDrawn) return this.#redraw();
    this.#fresh = [];
    this.#letGo(); // the browser draws nothing now, and the guest need not wait for that
  }

  #setPaused(paused: boolean): void {
    this.#paused = paused;
    this.#new = 0;
    this.#pause.setAttribute("aria-pressed", String(paused));
    this.#pause.textContent = paused ? "Go on" : "Pause";
    this.#fresh = [];
    this.#letGo();
    if (!paused) {
      this.#following = true;
      this.#redraw();
    }
    this.#sayStatus();
  }

  #drawSoon(): void {
    if (this.#drawPending) return;
    this.#drawPending = true;
    requestAnimationFrame(() => {
      this.#drawPending = false;
      this.#draw();
    });
  }

  /** What is new, at the end. */
  #draw(): void {
    this.#sayStatus();
    const fresh = this.#fresh.slice(-MAX_RECORDS);
    this.#fresh = [];
    if (fresh.length > 0) {
      this.#append(fresh.filter((entry) => this.#isShown(entry)));
      if (this.#following) this.#list.scrollTop = this.#list.scrollHeight;
    }
    this.#letGo();
  }

  /** All that is kept. */
  #redraw(): void {
    this.#fresh = [];
    const shown = this.#held.held().filter((entry) => this.#isShown(entry));
    this.#list.replaceChildren();
    this.#shown = [];
    this.#shownText = 0;
    this.#append(shown);
    this.#list.scrollTop = this.#following ? this.#list.scrollHeight : this.#scrollTop;
    this.#sayStatus();
    this.#letGo();
  }

  /** The oldest rows go as they do from what is kept: rows are more memory still. */
  #append(entries: readonly LogEntry[]): void {
    this.#list.append(...entries.map(rowOf));
    for (const entry of entries) {
      const size = textOf(entry);
      this.#shown.push(size);
      this.#shownText += size;
    }
    let gone = 0;
    while (this.#shown.length - gone > MAX_RECORDS || this.#shownText > MAX_LOG_TEXT) {
      this.#list.firstElementChild?.remove();
      this.#shownText -= this.#shown[gone++] ?? 0;
    }
    this.#shown = this.#shown.slice(gone);
  }

  #letGo(): void {
    const waiting = this.#drawn;
    this.#drawn = [];
    for (const resolve of waiting) resolve();
  }

  #isShown(entry: LogEntry): boolean {
    return "lost" in entry || LEVELS.indexOf(entry.level) <= LEVELS.indexOf(this.#level);
  }

  #sayStatus(): void {
    const words = this.#statusWords();
    if (this.#status.textContent !== words) this.#status.textContent = words;
    this.#status.classList.toggle("over", this.#over !== undefined);
  }

  #statusWords(): string {
    if (this.#over !== undefined) return this.#over;
    if (this.#paused) return this.#new === 0 ? "Paused." : `Paused: ${counted(this.#new)} came since.`;
    if (!this.#caughtUp) return "Reading what there is since power-on…";
    const rest =
      this.#held.length === this.#added
        ? ""
        : ` The latest ${this.#held.length.toLocaleString("en")} are kept here.`;
    return `Live, ${counted(this.#seen)} since power-on.${rest}`;
  }
}

function newStore(): LatestRecords<LogEntry> {
  return new LatestRecords(MAX_RECORDS, textOf, MAX_LOG_TEXT);
}

/** Characters. */
function textOf(entry: LogEntry): number {
  return "lost" in entry ? 0 : entry.text.length;
}

function counted(count: number): string {
  return count === 1 ? "1 record" : `${count.toLocaleString("en")} records`;
}

function rowOf(entry: LogEntry): HTMLElement {
  if ("lost" in entry) {
    return element(
      "p",
      { class: "log-row log-gap" },
      entry.atStart
        ? `${counted(entry.lost)} since power-on, the oldest, gone: the kernel had written over what was there.`
        : `${counted(entry.lost)} lost here: the kernel wrote over what nobody had read.`,
    );
  }
  const { at, level, facility, text } = entry;
  return element(
    "p",
    { class: `log-row level-${level}` },
    element("time", { title: new Date(at).toISOString() }, timeWords(at)),
    element("span", { class: "log-level" }, level),
    element(
      "span",
      { class: "log-text" },
      facility !== "kern" && element("small", {}, `${facility} `),
      plainLines(text, MAX_TEXT),
    ),
  );
}

/** In this machine's time zone. */
function timeWords(ms: number): string {
  const at = new Date(ms);
  const two = (value: number, digits = 2): string => String(value).padStart(digits, "0");
  const day = `${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${two(at.getMilliseconds(), 3)}`;
}

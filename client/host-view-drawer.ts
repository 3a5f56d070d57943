// Demonstration: what does the host see? The frames that cross it, live, in hex and ASCII, within a fixed memory.

import { button, element } from "./dom.ts";
import { hexDump } from "./hex-dump.ts";
import type { WireFrame } from "./host-view-source.ts";
import { icon } from "./icons.ts";

/** Frames kept, and bytes shown of each: the drawer's whole memory. */
export const MAX_FRAMES = 150;
export const MAX_BYTES_SHOWN = 256;

interface KeptFrame {
  readonly direction: WireFrame["direction"];
  readonly at: number;
  readonly shown: Uint8Array;
  readonly length: number;
}

export class HostViewDrawer {
  readonly element: HTMLElement;
  readonly #list = element("div", {
    class: "wire-list",
    role: "log",
    "aria-live": "off",
    tabindex: 0,
    "aria-label": "Frames on the host",
  });
  readonly #counts = element("span", { class: "wire-counts" });
  readonly #pause: HTMLButtonElement;
  readonly #totals = { "to-guest": { frames: 0, bytes: 0 }, "to-client": { frames: 0, bytes: 0 } };
  #waiting: KeptFrame[] = [];
  #drawPending = false;
  #paused = false;
  #first: number | undefined;

  constructor(onClose: () => void) {
    this.#pause = button("Pause", () => this.#togglePause(), {
      class: "button small",
      "aria-pressed": "false",
    });
    this.element = element(
      "section",
      { class: "drawer", id: "host-view", "aria-labelledby": "host-view-title" },
      element(
        "header",
        { class: "drawer-head" },
        element("h2", { id: "host-view-title" }, "What the host sees"),
        element("p", { class: "quiet" }, "This is all that crosses the host."),
        this.#counts,
        this.#pause,
        button(icon("cross"), onClose, {
          class: "icon-button",
          "aria-label": "Close what the host sees",
          title: "Close (Escape)",
        }),
      ),
      this.#list,
    );
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") onClose();
    });
    this.#draw();
  }

  add(frame: WireFrame): void {
    this.#first ??= frame.at;
    const total = this.#totals[frame.direction];
    total.frames++;
    total.bytes += frame.bytes.length;
    if (!this.#paused) {
      const shown = frame.bytes.slice(0, MAX_BYTES_SHOWN); // a copy, so that the rest can go
      this.#waiting.push({ direction: frame.direction, at: frame.at, shown, length: frame.bytes.length });
      if (this.#waiting.length > MAX_FRAMES) this.#waiting.shift();
    }
    if (this.element.isConnected) this.#drawSoon();
  }

  /** Call when the drawer was put on the page: what came before is drawn now. */
  opened(): void {
    this.#draw();
    this.#list.scrollTop = this.#list.scrollHeight;
  }

  #drawSoon(): void {
    if (this.#drawPending) return;
    this.#drawPending = true;
    requestAnimationFrame(() => {
      this.#drawPending = false;
      this.#draw();
    });
  }

  #draw(): void {
    const { "to-guest": up, "to-client": down } = this.#totals;
    this.#counts.textContent = `→ guest ${words(up)} · ← guest ${words(down)}`;
    if (this.#waiting.length === 0 || !this.element.isConnected) return;
    const atEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 40;
    this.#list.append(...this.#waiting.map((frame) => this.#frameLine(frame)));
    this.#waiting = [];
    while (this.#list.childElementCount > MAX_FRAMES) this.#list.firstElementChild?.remove();
    if (atEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }

  #frameLine(frame: KeptFrame): HTMLElement {
    const seconds = ((frame.at - (this.#first ?? frame.at)) / 1000).toFixed(3);
    const hidden = frame.length - frame.shown.length;
    return element(
      "article",
      { class: `wire ${frame.direction}` },
      element(
        "header",
        {},
        element(
          "span",
          { class: "wire-arrow" },
          frame.direction === "to-guest" ? "→ to the guest" : "← from the guest",
        ),
        element("span", {}, `${frame.length} bytes`),
        element("span", {}, `${seconds} s`),
      ),
      element(
        "pre",
        {},
        hexDump(frame.shown, this.#list.clientWidth < 560 ? 8 : 16) +
          (hidden > 0 ? `\n… ${hidden} more bytes` : ""),
      ),
    );
  }

  #togglePause(): void {
    this.#paused = !this.#paused;
    this.#pause.setAttribute("aria-pressed", String(this.#paused));
    this.#pause.textContent = this.#paused ? "Go on" : "Pause";
  }
}

function words({ frames, bytes }: { frames: number; bytes: number }): string {
  const size =
    bytes < 10_000
      ? `${bytes} B`
      : bytes < 10_000_000
        ? `${(bytes / 1000).toFixed(1)} kB`
        : `${(bytes / 1e6).toFixed(1)} MB`;
  return `${frames} frames, ${size}`;
}

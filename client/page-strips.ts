// The strips that stand on the page now, one of a kind at a time: what became of the connection, who else is attached, and so on.

import type { Viewer } from "../protocol/session/session-api.ts";
import { inputStuckStrip, viewersStrip } from "./session-strip.ts";

export interface StateStrip {
  readonly element: HTMLElement;
  dispose(): void;
}

export class PageStrips {
  readonly #stage: HTMLElement;
  #state: StateStrip | undefined;
  #inputStuck: HTMLElement | undefined;
  #unavailable: HTMLElement | undefined;
  #viewers: HTMLElement | undefined;

  /** @param stage - they go to its end. */
  constructor(stage: HTMLElement) {
    this.#stage = stage;
  }

  setState(strip: StateStrip): void {
    this.#state = strip;
    this.#stage.append(strip.element);
  }
  clearState(): void {
    this.#state?.dispose();
    this.#state?.element.remove();
    this.#state = undefined;
  }

  /** None of them, where there is nothing that they could stand below. */
  clear(): void {
    this.clearState();
    this.clearUnavailable();
    this.warnInputStuck(false);
    this.setViewers([], false);
  }

  setUnavailable(strip: HTMLElement): void {
    this.#unavailable = strip;
    this.#stage.append(strip);
  }
  clearUnavailable(): void {
    this.#unavailable?.remove();
    this.#unavailable = undefined;
  }

  warnInputStuck(stuck: boolean): void {
    if (!stuck) {
      this.#inputStuck?.remove();
      this.#inputStuck = undefined;
      return;
    }
    if (this.#inputStuck !== undefined) return;
    this.#inputStuck = inputStuckStrip();
    this.#stage.append(this.#inputStuck);
  }

  /** @param shown - false where there is no terminal that they could be attached to. */
  setViewers(viewers: readonly Viewer[], shown: boolean): void {
    this.#viewers?.remove();
    this.#viewers = viewers.length > 1 ? viewersStrip(viewers) : undefined;
    if (this.#viewers !== undefined && shown) this.#stage.append(this.#viewers);
  }
}

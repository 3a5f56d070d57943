// Waiting, for a while, until something holds that is looked at whenever anything happened.

import type { Clock } from "../clock.ts";

export class Lookout {
  readonly #clock: Clock;
  #looking: (() => void)[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Something happened: whoever waits looks again. */
  look(): void {
    if (this.#looking.length > 0) for (const look of this.#looking.splice(0)) look();
  }

  /** Resolves once `holds`, or after `atMost` ms. */
  async until(holds: () => boolean, atMost: number): Promise<void> {
    let late = false;
    const cancel = this.#clock.after(atMost, () => {
      late = true;
      this.look();
    });
    while (!holds() && !late) await new Promise<void>((resolve) => this.#looking.push(resolve));
    cancel();
  }
}

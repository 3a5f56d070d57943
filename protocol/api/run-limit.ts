// A program that may run for so long and no longer: asked to end, then made to.

import type { Clock } from "../clock.ts";
import { SealttyError } from "../errors.ts";
import type { Channel } from "../session/channel-api.ts";

/** Between SIGTERM and SIGKILL, and from there until nothing more is waited for. */
const GRACE_MS = 5000;

export class RunLimit {
  /** Rejects where the program did not even end of SIGKILL, or the guest does not say so. */
  readonly givenUp: Promise<never>;
  #error: SealttyError | undefined;
  #cancel: () => void;

  /** @param ms - from now on. */
  constructor(channel: Pick<Channel, "signal" | "hangUp">, clock: Clock, ms: number) {
    let giveUp: (error: SealttyError) => void = () => {};
    this.givenUp = new Promise((_, reject) => {
      giveUp = reject;
    });
    this.givenUp.catch(() => undefined); // whoever waits for something else does not wait for this
    this.#cancel = clock.after(ms, () => {
      const error = new SealttyError(
        "timeout",
        `The command did not end within ${ms / 1000} s, and was ended. Give it more time, or find out what it waits for.`,
      );
      this.#error = error;
      channel.signal("SIGTERM");
      this.#cancel = clock.after(GRACE_MS, () => {
        channel.signal("SIGKILL");
        this.#cancel = clock.after(GRACE_MS, () => {
          channel.hangUp();
          giveUp(error);
        });
      });
    });
  }

  /** What to say in place of the program's own end; undefined while there was time. */
  get error(): SealttyError | undefined {
    return this.#error;
  }

  stop(): void {
    this.#cancel();
  }
}

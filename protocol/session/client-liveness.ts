// Whether the guest is still there, as far as its silence tells, and what the user hears of it: who is asked, when a
// connection hangs, when it is given up.

import { SealttyError } from "../errors.ts";
import type { ConnectionState } from "./api.ts";

/** A PING after this much silence: hosts cut idle connections at 20 s (facts of KubeVirt). */
const KEEP_ALIVE = 15_000;
/** Nothing authentic for this long: the guest is gone, or the host keeps everything back. */
const GIVE_UP = 10 * 60_000;
/** Nothing authentic this long after a repeated question: say that the connection hangs. */
const HANGING = 5000;

export class ClientLiveness {
  readonly #tell: (state: ConnectionState) => void;
  #phase: ConnectionState = { phase: "dialing", attempt: 1 }; // where the connection stands apart from lost pipes
  #saidLost = false;
  #lastPing = 0;

  constructor(tell: (state: ConnectionState) => void) {
    this.#tell = tell;
    tell(this.#phase);
  }

  /** The connection's next phase. */
  enter(state: ConnectionState): void {
    this.#phase = state;
    this.#tell(state);
  }

  /** Told once, until something is heard. */
  lost(reason: string): void {
    if (this.#saidLost) return;
    this.#saidLost = true;
    this.#tell({ phase: "reconnecting", reason });
  }

  /** Something authentic came. */
  heard(): void {
    if (!this.#saidLost) return;
    this.#saidLost = false;
    this.#tell(this.#phase);
  }

  /** When the guest must be asked next. @param lastHeard - when something authentic came. */
  pingAt(lastHeard: number): number {
    return Math.max(lastHeard, this.#lastPing) + KEEP_ALIVE;
  }
  pinged(now: number): void {
    this.#lastPing = now;
  }

  /** @returns why the connection is given up, undefined where it is not. */
  check(lastHeard: number, now: number): SealttyError | undefined {
    const silent = now - lastHeard;
    // This clock may have jumped (a suspended machine, a page in the background): then nobody was asked yet.
    const asked = this.#lastPing > lastHeard && now - this.#lastPing >= HANGING;
    if (silent >= GIVE_UP && asked) {
      return new SealttyError(
        "transport-lost",
        "Nothing authentic came from the guest for 10 minutes; the connection is given up. The guest may have restarted, or have been restored from an old snapshot: connect again.",
      );
    }
    if (silent >= KEEP_ALIVE + HANGING) this.lost("the guest does not answer");
    return undefined;
  }
}

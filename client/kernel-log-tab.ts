// The tab with the guest's kernel log: asked for once the user looks at it, and again over each new connection.

import { SealttyError } from "../protocol/errors.ts";
import type { Guest } from "../protocol/session/api.ts";
import { followKernelLog, portWhile } from "./kernel-log-feed.ts";
import { KernelLogView } from "./kernel-log-view.ts";

const NEEDS_KEY =
  "The guest shows its kernel's log only to users who sign in with a key: the key in the bar has the ways that there are.";

export class KernelLogTab {
  readonly view = new KernelLogView(() => this.#read());
  #guest: Pick<Guest, "openChannel"> | undefined;
  #keyed = false;
  #shown = false;
  #begun = false;
  #readings = 0; // only the last one counts

  /** @param keyed - the user signed in with a key. */
  signedIn(guest: Pick<Guest, "openChannel">, keyed: boolean): void {
    this.#guest = guest;
    this.#keyed = keyed;
    this.#begun = false;
    if (this.#shown) this.#read();
  }

  /** What was read stays, and can be looked at. */
  signedOut(): void {
    if (this.#guest === undefined) return;
    this.#guest = undefined;
    if (this.#begun) this.view.end("The connection has ended: this is what came until then.", false);
  }

  show(shown: boolean): void {
    if (shown !== this.#shown) this.view.hidden = !shown;
    this.#shown = shown;
    if (shown && !this.#begun) this.#read();
  }

  #read(): void {
    const guest = this.#guest;
    if (guest === undefined) return;
    this.#begun = true;
    this.view.begin();
    const reading = ++this.#readings;
    const counts = (): boolean => reading === this.#readings;
    if (!this.#keyed) return this.view.end(NEEDS_KEY, false);
    followKernelLog(guest, portWhile(this.view, counts)).catch((error: unknown) => {
      if (guest === this.#guest && counts()) this.#ended(error);
    });
  }

  #ended(error: unknown): void {
    const known = error instanceof SealttyError ? error : undefined;
    switch (known?.code) {
      case "user-refused":
        return this.view.end(`You may not see the kernel's log here. ${known.message}`, true);
      case "program-failed":
      case "limit-exceeded":
        return this.view.end(known.message, true);
      case "peer-misbehaved":
        return this.view.end("What the guest sent as its kernel's log cannot be read.", true);
      default: // the connection's end, which is said louder elsewhere
        return this.view.end("The connection has ended: this is what came until then.", false);
    }
  }
}

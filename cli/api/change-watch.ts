// A guest that is another one by then: the owner's program is asked, and unless it says yes all that goes on fails with it.

import type { AppraisedClaims } from "../../protocol/attestation/verified-guest.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { AttestationEvent } from "../../protocol/session/api.ts";
import type { GuestChange } from "./types.ts";

export interface ChangeListeners {
  /** Absent: nobody says that a change was meant. */
  readonly onChanged?: (change: GuestChange) => boolean | Promise<boolean>;
  /** It was meant, and the connection goes on. */
  onAccepted?(claims: AppraisedClaims): void;
}

/** Tells everybody once that the guest is another one. A set, not a promise that all wait for: that would never forget them. */
export class ChangeWatch {
  readonly #listeners: ChangeListeners;
  readonly #waiting = new Set<(error: SealttyError) => void>();
  readonly #entered: Promise<() => AppraisedClaims>;
  #enter!: (goOn: () => AppraisedClaims) => void;
  #error: SealttyError | undefined;

  constructor(listeners: ChangeListeners = {}) {
    this.#listeners = listeners;
    this.#entered = new Promise((resolve) => {
      this.#enter = resolve;
    });
  }

  get error(): SealttyError | undefined {
    return this.#error;
  }

  /** @returns what takes it off again. */
  watch(fail: (error: SealttyError) => void): () => void {
    if (this.#error !== undefined) fail(this.#error);
    this.#waiting.add(fail);
    return () => this.#waiting.delete(fail);
  }

  /** The user is in. @param goOn - has the connection go on with the guest as it is now. @returns what it shows now. */
  entered(goOn: () => AppraisedClaims): void {
    this.#enter(goOn);
  }

  /** One question at a time: who is frozen is not asked for evidence. */
  event(event: AttestationEvent): void {
    if (event.kind !== "changed" || this.#error !== undefined) return;
    const change = { reason: event.reason, changes: event.changes, refusal: event.refusal };
    const { onChanged } = this.#listeners;
    if (onChanged === undefined) this.#fail(changedError(change));
    else void this.#ask(change, onChanged);
  }

  async #ask(
    change: GuestChange,
    onChanged: (change: GuestChange) => boolean | Promise<boolean>,
  ): Promise<void> {
    try {
      const meant: unknown = await onChanged(change);
      if (meant !== true) return this.#fail(changedError(change));
    } catch (cause) {
      return this.#fail(changedError(change, cause)); // whoever cannot answer has not said yes
    }
    const goOn = await this.#entered;
    this.#listeners.onAccepted?.(goOn());
  }

  #fail(error: SealttyError): void {
    this.#error = error;
    for (const fail of this.#waiting) fail(error);
  }
}

/** What ends whatever nobody answers for. */
function changedError({ reason, changes, refusal }: GuestChange, cause?: unknown): SealttyError {
  const first = changes[0];
  return new SealttyError("evidence-refused", `${reason}. The session was ended`, {
    refusal: refusal ?? {
      check: "re-attestation",
      expected: first === undefined ? "the same guest" : `${first.words}: ${first.before ?? "absent"}`,
      found: first === undefined ? "another" : (first.after ?? "absent"),
      next: "If you restarted or moved the guest yourself, connect again; otherwise find out why it changed first.",
    },
    ...(cause === undefined ? {} : { cause }),
  });
}

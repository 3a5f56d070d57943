// A guest that is another one by then: nobody is there to say that the change was meant, so all that goes on fails with it.

import type { SealttyError } from "../../protocol/errors.ts";
import type { AttestationEvent } from "../../protocol/session/api.ts";
import { changedError } from "../attestation-watch.ts";

/** Tells everybody once that the guest is another one. A set, not a promise that all wait for: that would never forget them. */
export class ChangeWatch {
  readonly #waiting = new Set<(error: SealttyError) => void>();
  #error: SealttyError | undefined;

  get error(): SealttyError | undefined {
    return this.#error;
  }

  /** @returns what takes it off again. */
  watch(fail: (error: SealttyError) => void): () => void {
    if (this.#error !== undefined) fail(this.#error);
    this.#waiting.add(fail);
    return () => this.#waiting.delete(fail);
  }

  event(event: AttestationEvent): void {
    if (event.kind !== "changed" || this.#error !== undefined) return;
    this.#error = changedError(event.reason, event.changes, event.refusal);
    for (const fail of this.#waiting) fail(this.#error);
  }
}

// A guest that is another one by then: the owner's program is asked, and unless it says yes all that goes on fails with it.

import type { AppraisedClaims } from "../attestation/verified-guest.ts";
import { SealttyError } from "../errors.ts";
import type { AttestationEvent } from "../session/api.ts";
import { callHook, hookError } from "./hooks.ts";
import type { GuestChange } from "./types.ts";

/** Says whether a change was meant. */
export type OnChanged = (change: GuestChange) => boolean | Promise<boolean>;

export interface ChangeListeners {
  /** Absent: nobody says that a change was meant. */
  readonly onChanged?: OnChanged;
  /** It was meant, and the connection goes on. */
  onAccepted?(claims: AppraisedClaims): void;
}

/** Tells everybody once that the guest is another one, or that a hook of the program's failed. A set, not a promise that all wait for: that would never forget them. */
export class ChangeWatch {
  readonly #listeners: ChangeListeners;
  readonly #waiting = new Set<(error: SealttyError) => void>();
  readonly #entered: Promise<() => AppraisedClaims>;
  #enter!: (goOn: () => AppraisedClaims) => void;
  #question: Promise<void> | undefined;
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

  /** Resolves once the question that stands is answered, either way; undefined where none stands. */
  get question(): Promise<void> | undefined {
    return this.#question;
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
    else
      this.#question = this.#ask(change, onChanged).finally(() => {
        this.#question = undefined;
      });
  }

  /** Calls a hook: one that fails ends what a guest that is another one would end. @param name - of its option. */
  tell(name: string, hook: () => unknown): void {
    callHook(hook, (cause) => this.#fail(hookError(name, cause)));
  }

  /** Never rejects. */
  async #ask(change: GuestChange, onChanged: OnChanged): Promise<void> {
    try {
      const meant: unknown = await onChanged(change);
      if (meant !== true) return this.#fail(changedError(change));
    } catch (cause) {
      return this.#fail(changedError(change, cause)); // whoever cannot answer has not said yes
    }
    const goOn = await this.#entered;
    if (this.#error !== undefined) return; // a hook failed meanwhile
    const claims = goOn(); // whether anybody hears of it or not
    this.tell("onEvidence", () => this.#listeners.onAccepted?.(claims));
  }

  #fail(error: SealttyError): void {
    if (this.#error !== undefined) return;
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

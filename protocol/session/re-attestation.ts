// Evidence again during a connection: every so often, and when asked for. A guest that changed is frozen until its user
// chose. docs/protocol.md §6.10

import { type ClaimedChange, changesBetween } from "../attestation/changes.ts";
import type { VerifiedGuest } from "../attestation/verified-guest.ts";
import type { Clock } from "../clock.ts";
import { type Refusal, SealttyError } from "../errors.ts";
import type { AttestationEvent } from "./api.ts";

export interface ReAttestationParts {
  readonly clock: Clock;
  /** Milliseconds between two askings. */
  readonly every: number;
  /** So many times in a row without evidence, and the user is asked; 0: never. */
  readonly missesAllowed: number;
  /** Asks the guest and appraises against the policy. Undefined: the guest could collect none. @throws SealttyError. */
  renew(): Promise<VerifiedGuest | undefined>;
  freeze(): void;
  thaw(): void;
  tell(event: AttestationEvent): void;
}

const CHANGED = "The guest is no longer what it was when this connection began";
const UNCHECKED = "The guest's evidence could not be checked again";
const REFUSED = "The guest's evidence no longer meets your policy";

export class ReAttestation {
  readonly #parts: ReAttestationParts;
  /** What counts: the first appraisal, or what the user accepted since. */
  #accepted: VerifiedGuest;
  /** A changed guest that waits for the user's choice. */
  #changed: { readonly guest: VerifiedGuest | undefined } | undefined;
  #running: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;
  #missedInARow = 0;
  #stopped = false;

  constructor(parts: ReAttestationParts, first: VerifiedGuest) {
    this.#parts = parts;
    this.#accepted = first;
    this.#schedule();
  }

  /** What counts now. */
  get accepted(): VerifiedGuest {
    return this.#accepted;
  }

  get frozen(): boolean {
    return this.#changed !== undefined;
  }

  /** Asks once; a second call while one runs waits for that one. Never rejects: what came of it is told. */
  now(): Promise<void> {
    this.#running ??= this.#ask().finally(() => {
      this.#running = undefined;
      this.#schedule();
    });
    return this.#running;
  }

  /** The user knows of the change: what is there now counts. */
  goOn(): void {
    if (this.#changed === undefined) return;
    this.#accepted = this.#changed.guest ?? this.#accepted;
    this.#changed = undefined;
    this.#missedInARow = 0;
    this.#parts.thaw();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTimer?.();
  }

  #schedule(): void {
    this.#cancelTimer?.();
    if (this.#stopped) return;
    this.#cancelTimer = this.#parts.clock.after(this.#parts.every, () => void this.now());
  }

  async #ask(): Promise<void> {
    if (this.#stopped || this.frozen) return;
    let guest: VerifiedGuest | undefined;
    try {
      guest = await this.#parts.renew();
    } catch (error) {
      if (this.#stopped) return;
      if (error instanceof SealttyError && error.code === "evidence-refused") {
        return this.#freeze(`${REFUSED}: ${error.message}`, [], error.refusal, undefined);
      }
      if (error instanceof SealttyError && (error.code === "timeout" || error.code === "transport-lost"))
        return this.#missed(error.message);
      // A peer that breaks the rules, or a mistake of ours: not known to be the same guest.
      return this.#freeze(UNCHECKED, [], undefined, undefined);
    }
    if (this.#stopped) return;
    if (guest === undefined)
      return this.#missed("the guest could not collect evidence; its own log says why");
    this.#missedInARow = 0;
    const changes = changesBetween(this.#accepted.claims.values, guest.claims.values);
    if (changes.length > 0) return this.#freeze(CHANGED, changes, undefined, guest);
    this.#accepted = guest;
    this.#parts.tell({ kind: "renewed", verified: guest });
  }

  #missed(reason: string): void {
    const inARow = ++this.#missedInARow;
    const { missesAllowed } = this.#parts;
    // Whoever took the guest's place need only be silent: so silence is not without an end either.
    const tooMany = missesAllowed > 0 && inARow >= missesAllowed;
    if (tooMany) this.#shut(undefined); // before anyone is told: a listener that fails holds nothing up
    try {
      this.#parts.tell({ kind: "unavailable", reason, inARow });
    } finally {
      if (tooMany) {
        const words = `The guest gave no fresh evidence, ${inARow} times in a row: ${reason}`;
        this.#parts.tell({ kind: "changed", reason: words, changes: [], refusal: undefined });
      }
    }
  }

  #freeze(
    reason: string,
    changes: readonly ClaimedChange[],
    refusal: Refusal | undefined,
    guest: VerifiedGuest | undefined,
  ): void {
    this.#shut(guest); // before anyone is told: nothing passes while they decide
    this.#parts.tell({ kind: "changed", reason, changes, refusal });
  }

  #shut(guest: VerifiedGuest | undefined): void {
    this.#changed = { guest };
    this.#parts.freeze();
  }
}

// What re-attestation says during a session, told to the user; a changed guest ends a script, and asks a person.

import type { ClaimedChange } from "../protocol/attestation/changes.ts";
import type { AppraisedClaims } from "../protocol/attestation/verified-guest.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { AttestationEvent } from "../protocol/session/api.ts";
import { type Talk, changeLines } from "./report.ts";

export class AttestationWatch {
  readonly #reporter: Talk;
  /** Resolves once, with the reason, when the connection froze and nobody took `onChanged`. */
  readonly frozen: Promise<SealttyError>;
  #freeze!: (reason: SealttyError) => void;
  #ask: (() => void) | undefined;
  #asked = false;
  /** Said already. */
  #warnings: readonly string[] = [];

  constructor(reporter: Talk) {
    this.#reporter = reporter;
    this.frozen = new Promise((resolve) => {
      this.#freeze = resolve;
    });
  }

  /** A person is there to choose: `ask` is called after the change was told, instead of ending the command. */
  askPerson(ask: () => void): void {
    this.#ask = ask;
  }

  /** The user asked for it: say what came of it even where all is well. */
  sayNext(): void {
    this.#asked = true;
  }

  /** The user was told these claims: only what later ones warn of beyond them is news. */
  told(claims: Pick<AppraisedClaims, "warnings">): void {
    this.#warnings = claims.warnings;
  }

  /** These claims count from now on: says what they warn of and the last ones did not. @returns that. */
  tell(claims: Pick<AppraisedClaims, "warnings">): readonly string[] {
    const fresh = claims.warnings.filter((warning) => !this.#warnings.includes(warning));
    for (const warning of fresh)
      this.#reporter.warn(`sealtty: warning, new since the last evidence: ${warning}`);
    this.told(claims);
    return fresh;
  }

  event(event: AttestationEvent): void {
    const asked = this.#asked;
    this.#asked = false;
    switch (event.kind) {
      case "renewed":
        this.#reporter.event("attestation-renewed", { newWarnings: this.tell(event.verified.claims) });
        if (asked)
          this.#reporter.say("sealtty: evidence checked again: the same guest, and your policy is met");
        else this.#reporter.detail("sealtty: evidence checked again, all the same");
        return;
      case "unavailable":
        this.#reporter.event("attestation-unavailable", { reason: event.reason, inARow: event.inARow });
        if (asked || event.inARow % 3 === 0)
          this.#reporter.warn(
            `sealtty: warning: no fresh evidence (${event.inARow} times in a row): ${event.reason}`,
          );
        return;
      case "changed": {
        const { reason, changes, refusal } = event;
        this.#reporter.event("attestation-changed", { reason, changes, refusal });
        const error = changedError(reason, changes, event.refusal);
        if (this.#ask === undefined) return this.#freeze(error);
        this.#reporter.warn(`sealtty: FROZEN: ${reason}`);
        for (const line of changeLines(changes)) this.#reporter.warn(`  ${line}`);
        if (refusal !== undefined) {
          this.#reporter.warn(
            `  check ${refusal.check}: expected ${refusal.expected}, found ${refusal.found}`,
          );
        }
        this.#ask();
      }
    }
  }
}

/** What ends whatever cannot ask a person. */
export function changedError(
  reason: string,
  changes: readonly ClaimedChange[],
  refusal: SealttyError["refusal"],
): SealttyError {
  const first = changes[0];
  return new SealttyError("evidence-refused", `${reason}. The session was ended`, {
    refusal: refusal ?? {
      check: "re-attestation",
      expected: first === undefined ? "the same guest" : `${first.words}: ${first.before ?? "absent"}`,
      found: first === undefined ? "another" : (first.after ?? "absent"),
      next: "If you restarted or moved the guest yourself, connect again; otherwise find out why it changed first.",
    },
  });
}

// What re-attestation says during a session, told to the user; a changed guest ends a script, and asks a person.

import type { EvidenceEvent, GuestChange } from "./api/types.ts";
import { type Talk, changeLines } from "./report.ts";

export class AttestationWatch {
  readonly #reporter: Talk;
  #ask: (() => void) | undefined;
  #asked = false;
  /** What the person says of a guest that is another one; undefined while there is no question. */
  #answer: ((meant: boolean) => void) | undefined;
  #thawed = Promise.resolve();
  #thaw: () => void = () => {};
  /** Said already. */
  #warnings: readonly string[] = [];

  constructor(reporter: Talk) {
    this.#reporter = reporter;
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
  told(claims: { readonly warnings: readonly string[] }): void {
    this.#warnings = claims.warnings;
  }

  /** The person was asked, and has not answered. */
  get frozen(): boolean {
    return this.#answer !== undefined;
  }

  /** Resolves at once where nothing is frozen, else when it goes on; never where it does not. */
  get thawed(): Promise<void> {
    return this.#thawed;
  }

  /** The person says that the change is their own. @returns false where nothing is frozen. */
  goOn(): boolean {
    const answer = this.#answer;
    this.#answer = undefined;
    answer?.(true);
    return answer !== undefined;
  }

  event(event: EvidenceEvent): void {
    const asked = this.#asked;
    this.#asked = false;
    switch (event.kind) {
      case "renewed":
        this.#reporter.event("attestation-renewed", { newWarnings: this.#tell(event.claims) });
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
      case "accepted":
        this.#tell(event.claims);
        this.#reporter.say("sealtty: going on with the guest as it is now");
        this.#thaw();
    }
  }

  /** @returns whether the change is meant: nobody's is, where there is no person to ask. */
  changed({ reason, changes, refusal }: GuestChange): boolean | Promise<boolean> {
    this.#asked = false;
    this.#reporter.event("attestation-changed", { reason, changes, refusal });
    if (this.#ask === undefined) return false;
    this.#thawed = new Promise((resolve) => {
      this.#thaw = resolve;
    });
    const answered = new Promise<boolean>((resolve) => {
      this.#answer = resolve;
    });
    this.#reporter.warn(`sealtty: FROZEN: ${reason}`);
    for (const line of changeLines(changes)) this.#reporter.warn(`  ${line}`);
    if (refusal !== undefined) {
      this.#reporter.warn(`  check ${refusal.check}: expected ${refusal.expected}, found ${refusal.found}`);
    }
    this.#ask();
    return answered;
  }

  /** These claims count from now on: says what they warn of and the last ones did not. @returns that. */
  #tell(claims: { readonly warnings: readonly string[] }): readonly string[] {
    const fresh = claims.warnings.filter((warning) => !this.#warnings.includes(warning));
    for (const warning of fresh)
      this.#reporter.warn(`sealtty: warning, new since the last evidence: ${warning}`);
    this.told(claims);
    return fresh;
  }
}

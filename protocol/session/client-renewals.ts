// Evidence asked for again during a connection, as messages: a question with a count, and the answer to that one or none.

import type { Evidence } from "../attestation/evidence.ts";
import type { Clock } from "../clock.ts";
import { SealttyError } from "../errors.ts";
import type { SessionMessage } from "./messages.ts";
import { type Waiter, waiter } from "./waiter.ts";

/** For an answer: slow hardware, and others before us. A peer that has something to hide would just be silent. */
const RENEWAL_WAIT = 2 * 60_000;

export class ClientRenewals {
  readonly #clock: Clock;
  #asked = 0;
  #standing: { readonly counter: number; readonly answer: Waiter<Evidence | undefined> } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * @param renewalNonce - 32 fresh bytes.
   * @returns the question's count, and the evidence; undefined where the guest could collect none.
   * @throws SealttyError `timeout` where no answer came in time, or whatever the connection failed with.
   */
  async ask(
    renewalNonce: Uint8Array,
    send: (message: SessionMessage) => void,
  ): Promise<{ counter: number; evidence: Evidence | undefined }> {
    if (this.#standing !== undefined) throw new SealttyError("api-misuse", "Already asking for evidence");
    const counter = ++this.#asked;
    const answer = waiter<Evidence | undefined>();
    this.#standing = { counter, answer };
    send({ type: "attest", counter, nonce: renewalNonce });
    const cancel = this.#clock.after(RENEWAL_WAIT, () =>
      answer.reject(new SealttyError("timeout", "the guest did not answer in time")),
    );
    try {
      return { counter, evidence: await answer.promise };
    } finally {
      cancel();
      this.#standing = undefined;
    }
  }

  /** @throws SealttyError `peer-misbehaved` on an answer to a question that was never asked. */
  answer(counter: number, evidence: Evidence | undefined): void {
    if (counter > this.#asked)
      throw new SealttyError("peer-misbehaved", "The guest sent evidence that nobody asked for");
    // One that comes after its question was given up is no answer any more.
    if (this.#standing?.counter === counter) this.#standing.answer.resolve(evidence);
  }

  fail(error: SealttyError): void {
    this.#standing?.answer.reject(error);
  }
}

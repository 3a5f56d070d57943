// Evidence asked for again during a connection, as messages: a question with a count, and the answer to that one or none.

import type { Evidence } from "../attestation/evidence.ts";
import type { Clock } from "../clock.ts";
import { SealttyError } from "../errors.ts";
import { Deadline } from "./deadline.ts";
import type { SessionMessage } from "./messages.ts";
import { type Waiter, waiter } from "./waiter.ts";

/** For an answer: slow hardware, and others before us. A peer that has something to hide would just be silent. */
const RENEWAL_WAIT = 2 * 60_000;
/**
 * Longer for each byte of the answer that came, ms: a slot of 249 bytes every 50 ms, of which a channel has half, carries some
 * two bytes a millisecond. One that comes slower is not waited for: a peer must not put the end off by a byte every minute.
 */
const RENEWAL_PER_BYTE = 1;

interface Question {
  readonly counter: number;
  readonly asked: number;
  readonly answer: Waiter<Evidence | undefined>;
  until: number; // it is given up then
}

export class ClientRenewals {
  readonly #clock: Clock;
  #asked = 0;
  #standing: Question | undefined;

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
    const asked = this.#clock.now();
    const standing: Question = { counter, asked, answer, until: asked + RENEWAL_WAIT };
    this.#standing = standing;
    send({ type: "attest", counter, nonce: renewalNonce });
    const wait = new Deadline(this.#clock, () => {
      if (this.#clock.now() < standing.until) wait.set(standing.until);
      else answer.reject(new SealttyError("timeout", "the guest did not answer in time"));
    });
    wait.set(standing.until);
    try {
      return { counter, evidence: await answer.promise };
    } finally {
      wait.stop();
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

  /** @param bytes - so much of an answer came, the rest is on its way: at most one message's length, so that there is an end. */
  arriving(bytes: number): void {
    const standing = this.#standing;
    if (standing !== undefined)
      standing.until = Math.max(standing.until, standing.asked + RENEWAL_WAIT + bytes * RENEWAL_PER_BYTE);
  }

  fail(error: SealttyError): void {
    this.#standing?.answer.reject(error);
  }
}

// Questions about sessions that stand, by number: each is answered once, or fails with its connection.

import { SealttyError } from "../errors.ts";
import type { SessionSummary } from "./session-api.ts";
import { type Waiter, waiter } from "./waiter.ts";

interface Answers {
  readonly sessions: readonly SessionSummary[];
  readonly killed: number; // the code
}

export class ClientQuestions {
  readonly #standing = new Map<string, Waiter<Answers[keyof Answers]>>();
  #asked = 0;

  async ask<K extends keyof Answers>(send: (question: number) => void, kind: K): Promise<Answers[K]> {
    const question = ++this.#asked;
    const answer = waiter<Answers[K]>();
    this.#standing.set(`${kind} ${question}`, answer);
    send(question);
    return answer.promise;
  }

  /** @throws SealttyError `peer-misbehaved` where nobody asked that. */
  answer<K extends keyof Answers>(question: number, kind: K, answer: Answers[K]): void {
    const standing = this.#standing.get(`${kind} ${question}`);
    if (standing === undefined)
      throw new SealttyError("peer-misbehaved", "The guest answers a question that nobody asked");
    this.#standing.delete(`${kind} ${question}`);
    standing.resolve(answer);
  }

  fail(error: SealttyError): void {
    for (const standing of this.#standing.values()) standing.reject(error);
    this.#standing.clear();
  }
}

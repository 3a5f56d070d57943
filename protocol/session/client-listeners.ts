// What a client has the guest listen on, and who connected there. docs/protocol.md §8.10

import { SealttyError } from "../errors.ts";
import { type ForwardMessage, LISTEN_OK } from "../forward/forward-messages.ts";
import type { ListenPlace } from "../forward/target.ts";
import { MAX_INCOMING } from "../limits.ts";
import type { Channel } from "./channel-api.ts";
import { notListeningError } from "./client-words.ts";
import type { IncomingStream, Listener } from "./stream-api.ts";
import { type Waiter, waiter } from "./waiter.ts";

/** The connection that listens. */
export interface ClientListenersOwner {
  send(message: ForwardMessage): void;
  openIncoming(incoming: number): Promise<Channel>;
}

interface Standing {
  readonly onIncoming: (stream: IncomingStream) => void;
  /** The port, once the guest answered. */
  readonly answer: Waiter<number>;
  answered: boolean;
}

export class ClientListeners {
  readonly #owner: ClientListenersOwner;
  readonly #standing = new Map<number, Standing>();
  readonly #waiting = new Set<number>(); // neither opened nor dismissed
  #asked = 0;
  #newestIncoming = 0;

  constructor(owner: ClientListenersOwner) {
    this.#owner = owner;
  }

  /** @throws SealttyError `user-refused`, `limit-exceeded`, `program-failed`. */
  async listen(place: ListenPlace, onIncoming: (stream: IncomingStream) => void): Promise<Listener> {
    const number = ++this.#asked;
    const answer = waiter<number>();
    this.#standing.set(number, { onIncoming, answer, answered: false });
    this.#owner.send({ type: "listen", listener: number, place });
    const port = await answer.promise;
    return {
      port,
      close: () => {
        if (this.#standing.delete(number)) this.#owner.send({ type: "unlisten", listener: number });
      },
    };
  }

  /** @throws SealttyError `peer-misbehaved` on a message that is none of a guest's, or not due. */
  onMessage(message: ForwardMessage): void {
    switch (message.type) {
      case "listening":
        return this.#onListening(message.listener, message.code, message.port ?? 0);
      case "incoming":
        return this.#onIncoming(message.listener, message.incoming);
      default:
        throw new SealttyError("peer-misbehaved", "The guest sent a message that only clients send");
    }
  }

  /** The connection is over: nothing may be sent any more. */
  fail(error: SealttyError): void {
    for (const { answer } of this.#standing.values()) answer.reject(error);
    this.#standing.clear();
    this.#waiting.clear();
  }

  #onListening(listener: number, code: number, port: number): void {
    const standing = this.#standing.get(listener);
    if (standing === undefined || standing.answered)
      throw new SealttyError("peer-misbehaved", "The guest answers a question that nobody asked");
    standing.answered = true;
    if (code === LISTEN_OK) return standing.answer.resolve(port);
    this.#standing.delete(listener);
    standing.answer.reject(notListeningError(code));
  }

  #onIncoming(listener: number, incoming: number): void {
    const standing = this.#standing.get(listener);
    const known = standing === undefined ? listener >= 1 && listener <= this.#asked : standing.answered;
    if (!known || incoming <= this.#newestIncoming)
      throw new SealttyError("peer-misbehaved", "Somebody connected where nobody listens");
    this.#newestIncoming = incoming;
    if (this.#waiting.size >= MAX_INCOMING)
      throw new SealttyError("peer-misbehaved", "More wait for a word than may");
    this.#waiting.add(incoming);
    const dismiss = (): void => {
      if (this.#waiting.delete(incoming)) this.#owner.send({ type: "dismiss", incoming });
    };
    if (standing === undefined) return dismiss(); // UNLISTEN is on its way
    standing.onIncoming({
      accept: async () => {
        if (!this.#waiting.delete(incoming))
          throw new SealttyError("api-misuse", "Answered already, or its connection is over");
        return await this.#owner.openIncoming(incoming);
      },
      dismiss,
    });
  }
}

// What one of the guest's connections listens on, and who waits there for the client's word. docs/protocol.md §8.10

import type { Clock } from "../clock.ts";
import { SealttyError } from "../errors.ts";
import {
  type ForwardMessage,
  LISTEN_FAILED,
  LISTEN_NOT_ALLOWED,
  LISTEN_OK,
  LISTEN_TOO_MANY,
} from "../forward/forward-messages.ts";
import { mayListen } from "../forward/permission.ts";
import type { ListenPlace } from "../forward/target.ts";
import { MAX_INCOMING, MAX_LISTENERS } from "../limits.ts";
import type { AuthenticatedUser, GuestProcess } from "./guest-process.ts";
import type { GuestListener, GuestStreams, StreamRefusal, WaitingStream } from "./guest-streams.ts";

/** Whoever connected waits so long for the client's word, ms. */
const WAIT_FOR_CLIENT = 60_000;

/** The connection that listens. */
export interface ListenersOwner {
  readonly clock: Clock;
  readonly streams: GuestStreams | undefined;
  isLive(): boolean;
  /** What the user's key was granted has ended. */
  isOver(user: AuthenticatedUser): boolean;
  ending(): boolean;
  send(message: ForwardMessage): void;
}

interface Waiting {
  readonly stream: WaitingStream;
  readonly listener: number;
  stopTimer(): void;
}

export class GuestListeners {
  readonly #owner: ListenersOwner;
  readonly #listeners = new Map<number, GuestListener | "opening">();
  readonly #waiting = new Map<number, Waiting>();
  #newestListener = 0;
  #newestIncoming = 0;

  constructor(owner: ListenersOwner) {
    this.#owner = owner;
  }

  /** @throws SealttyError `peer-misbehaved` on a message that only guests send, and on a number used again. */
  onMessage(user: AuthenticatedUser, message: ForwardMessage): void {
    switch (message.type) {
      case "listen":
        if (message.listener <= this.#newestListener)
          throw new SealttyError("peer-misbehaved", "A listener's number was used again");
        this.#newestListener = message.listener;
        void this.#listen(user, message.listener, message.place);
        return;
      case "unlisten":
        return this.#close(message.listener);
      case "dismiss":
        this.#take(message.incoming)?.dismiss();
        return;
      default:
        throw new SealttyError("peer-misbehaved", "A message that only guests send");
    }
  }

  /** What waits under a number, for a channel. @returns undefined where it has gone. */
  accept(incoming: number): Promise<GuestProcess | StreamRefusal> | undefined {
    return this.#take(incoming)?.accept();
  }

  /** The connection is over. */
  end(): void {
    for (const listener of this.#listeners.keys()) this.#close(listener);
  }

  async #listen(user: AuthenticatedUser, listener: number, place: ListenPlace): Promise<void> {
    const answer = (code: number): void => this.#owner.send({ type: "listening", listener, code });
    const { streams } = this.#owner;
    if (user.method === "none" || this.#owner.isOver(user)) return answer(LISTEN_NOT_ALLOWED);
    if (streams === undefined || !mayListen(user.restrictions, place)) return answer(LISTEN_NOT_ALLOWED);
    if (this.#listeners.size >= MAX_LISTENERS) return answer(LISTEN_TOO_MANY);
    this.#listeners.set(listener, "opening");
    const opened = await streams
      .listen(user, place, {
        isLive: () => this.#owner.isLive(),
        incoming: (stream) => this.#incoming(listener, stream),
      })
      .catch(() => ({ code: LISTEN_FAILED }));
    const wanted = this.#listeners.has(listener) && !this.#owner.ending();
    if ("code" in opened) {
      this.#listeners.delete(listener);
      if (!this.#owner.ending()) answer(opened.code);
    } else if (wanted) {
      this.#listeners.set(listener, opened);
      this.#owner.send({ type: "listening", listener, code: LISTEN_OK, port: opened.port });
    } else {
      opened.close();
      if (!this.#owner.ending()) answer(LISTEN_FAILED); // UNLISTEN overtook it
    }
  }

  #incoming(listener: number, stream: WaitingStream): boolean {
    // Before LISTENING was sent the client could not know what it is of.
    if (this.#listeners.get(listener) === "opening" || !this.#listeners.has(listener)) return false;
    if (this.#waiting.size >= MAX_INCOMING || this.#owner.ending()) return false;
    const incoming = ++this.#newestIncoming;
    const stopTimer = this.#owner.clock.after(WAIT_FOR_CLIENT, () => this.#take(incoming)?.dismiss());
    this.#waiting.set(incoming, { stream, listener, stopTimer });
    this.#owner.send({ type: "incoming", listener, incoming });
    return true;
  }

  #take(incoming: number): WaitingStream | undefined {
    const found = this.#waiting.get(incoming);
    this.#waiting.delete(incoming);
    found?.stopTimer();
    return found?.stream;
  }

  /** With whoever waits there. */
  #close(listener: number): void {
    const open = this.#listeners.get(listener);
    this.#listeners.delete(listener);
    if (open !== undefined && open !== "opening") open.close();
    for (const [incoming, waiting] of this.#waiting)
      if (waiting.listener === listener) this.#take(incoming)?.dismiss();
  }
}

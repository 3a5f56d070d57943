// A guest whose user is in, as every program has it: what is opened in it fails with what the connection fails with, and a guest
// that is another one by then is asked about.

import type { AppraisedClaims } from "../attestation/verified-guest.ts";
import type { Clock } from "../clock.ts";
import { asError, SealttyError } from "../errors.ts";
import type { Guest } from "../session/api.ts";
import type { Channel, ChannelRequest } from "../session/channel-api.ts";
import type { ChangeWatch } from "./change-watch.ts";
import type { Owner } from "./program-end.ts";

export interface Connection {
  readonly guest: Guest;
  /** Hex. */
  readonly key: string;
  readonly clock: Clock;
  readonly change: ChangeWatch;
  /** Ends it. Never rejects. */
  close(): Promise<void>;
}

export class WatchedGuest {
  readonly closed: Promise<string>;
  readonly owner: Owner;
  readonly #connection: Connection;
  readonly #onEnd: () => void;
  #over = false;

  /** @param onEnd - called at the latest once the connection is over, and perhaps more than once. */
  constructor(connection: Connection, onEnd: () => void = () => {}) {
    this.#connection = connection;
    this.#onEnd = onEnd;
    const { guest, change, clock } = connection;
    this.closed = guest.closed;
    change.watch(() => void this.close());
    change.entered(() => {
      guest.goOn();
      return guest.verified.claims;
    });
    this.owner = {
      clock,
      onChanged: (fail) => change.watch(fail),
      explain: (error) => change.error ?? asError(error),
    };
    void guest.closed.then(() => this.#end());
  }

  get claims(): AppraisedClaims {
    return this.#connection.guest.verified.claims;
  }

  get key(): string {
    return this.#connection.key;
  }

  openChannel(request: ChannelRequest): Promise<Channel> {
    return this.explained(this.#connection.guest.openChannel(request));
  }

  reattest(): Promise<void> {
    return this.explained(this.#reattest());
  }

  async close(): Promise<void> {
    this.#end();
    await this.#connection.close();
  }

  /** @throws SealttyError where the connection is over. */
  requireOpen(): void {
    if (this.#over) throw this.owner.explain(connectionOver());
  }

  /** What fails meanwhile because the guest is another one, fails with that. */
  async explained<T>(opening: Promise<T>): Promise<T> {
    let off = (): void => {};
    const changed = new Promise<never>((_, reject) => {
      off = this.owner.onChanged(reject);
    });
    try {
      return await Promise.race([opening, changed]);
    } catch (error) {
      throw this.owner.explain(error);
    } finally {
      off();
    }
  }

  async #reattest(): Promise<void> {
    const { guest, change } = this.#connection;
    await guest.reattest();
    const { question } = change;
    if (question !== undefined) await Promise.race([question, guest.closed]);
    if (this.#over) throw connectionOver();
  }

  #end(): void {
    this.#over = true;
    this.#onEnd();
  }
}

function connectionOver(): SealttyError {
  return new SealttyError("transport-lost", "The connection is over");
}

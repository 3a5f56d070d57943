// Which connection to the keeper is the front's. Whatever is of the front's user can connect; the one that is it has heard a
// random number of the monitor's, which the keeper has heard, too. There is one at a time, and with its front it ends.

import type { Socket } from "node:net";
import { equalBytes } from "../../protocol/bytes.ts";
import type { Clock } from "../../protocol/clock.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import type { NamedUser } from "../monitor/operations.ts";
import type { SessionRegistry } from "../sessions/registry.ts";
import { serveSessions } from "./serve-sessions.ts";
import { Turns } from "./turns.ts";
import { PASS_LENGTH } from "./pass.ts";

/** Ms until a connection has said its number. */
const SAID_WITHIN = 5000;
/** Connections that have not; the oldest of more is cut. */
const MAX_SILENT = 16;
/** Questions to the monitor about users at a time, however many connections there were: it answers 1024 calls at once. */
const MAX_ASKED = 64;

export interface FrontsOptions {
  readonly sessions: SessionRegistry;
  readonly clock: Clock;
  /** @throws SealttyError `user-refused` where nobody has signed in so (any more). */
  readonly whoIs: (user: NamedUser) => Promise<AuthenticatedUser>;
}

export class Fronts {
  readonly #options: FrontsOptions;
  readonly #asking = new Turns(MAX_ASKED);
  readonly #silent = new Set<Socket>();
  #pass: Uint8Array | undefined;
  #front: Socket | undefined;

  constructor(options: FrontsOptions) {
    this.#options = options;
  }

  /** The monitor's word: whoever says this is the front, and nobody else. @param pass - 16 random bytes. */
  admit(pass: Uint8Array): void {
    if (this.#pass !== undefined && equalBytes(pass, this.#pass)) return;
    this.#pass = pass;
    this.#cut();
  }

  /** The monitor's word. Its clients know secrets of sessions that they say to its key alone, which is gone with it. */
  ended(): void {
    this.#pass = undefined;
    this.#cut();
    this.#options.sessions.hangUpKeyless();
  }

  /** A connection, of anybody's. Resolves once it is over. */
  async take(socket: Socket): Promise<void> {
    socket.on("error", () => {}); // its close says enough
    this.#silent.add(socket);
    const [oldest] = this.#silent;
    if (oldest !== undefined && this.#silent.size > MAX_SILENT) {
      this.#silent.delete(oldest); // now, and not with its close: else the next ones would cut this one again, and stay
      oldest.destroy();
    }
    const said = await this.#saidOn(socket);
    this.#silent.delete(socket);
    const pass = this.#pass;
    if (said === undefined || pass === undefined || !equalBytes(said, pass) || socket.destroyed) {
      socket.destroy();
      return;
    }
    this.#front?.destroy(); // the same front, which made another one
    this.#front = socket;
    const { sessions, whoIs } = this.#options;
    await serveSessions(socket, {
      sessions,
      whoIs: (user) => this.#asking.run(socket, () => whoIs(user)),
    });
    this.#asking.drop(socket);
    if (this.#front === socket) this.#front = undefined;
  }

  #cut(): void {
    this.#front?.destroy();
    this.#front = undefined;
    for (const socket of this.#silent) socket.destroy();
  }

  /** @returns the number, 16 bytes; undefined where it did not come. */
  #saidOn(socket: Socket): Promise<Uint8Array | undefined> {
    return new Promise((resolve) => {
      const done = (said: Uint8Array | undefined): void => {
        cancel();
        socket.off("readable", look);
        socket.off("close", closed);
        resolve(said);
      };
      const look = (): void => {
        const said = socket.read(PASS_LENGTH) as Uint8Array | null;
        if (said !== null) done(said);
      };
      const closed = (): void => done(undefined);
      const cancel = this.#options.clock.after(SAID_WITHIN, closed);
      socket.on("readable", look);
      socket.on("close", closed);
    });
  }
}

// Forwarding for the users of this machine: what the configuration allows, with which rights, and to where.

import net from "node:net";
import { errorCode } from "../../node/socket-pipe.ts";
import { type Listening, connectTo, listenOn, listenOnPath } from "../../node/sockets.ts";
import { toHex } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { LISTEN_FAILED, LISTEN_NOT_ALLOWED } from "../../protocol/forward/forward-messages.ts";
import { type ListenPlace, type StreamPlace, placeWords } from "../../protocol/forward/target.ts";
import type { AuthenticatedUser, GuestProcess } from "../../protocol/session/guest-process.ts";
import type {
  GuestListener,
  GuestStreams,
  ListenerEvents,
  StreamRefusal,
  WaitingStream,
} from "../../protocol/session/guest-streams.ts";
import { OPEN_FAILED, OPEN_NOT_ALLOWED, OPEN_REFUSED } from "../../protocol/session/messages.ts";
import type { ForwardConfig } from "../config/sessions.ts";
import type { Log } from "../log.ts";
import type { HelperRequest } from "../monitor/operations.ts";
import { type Account, findAccount } from "../sessions/account.ts";
import { connectAsUser, listenAsUser } from "./as-user.ts";
import { listenCodeOf, openCodeOf } from "./codes.ts";
import { lookupInTurn } from "./lookup.ts";
import { SocketStream } from "./socket-stream.ts";

/** Below it a port is root's. */
const FIRST_USER_PORT = 1024;
const SSH_PORT = 22;

export interface StreamsOptions {
  readonly config: ForwardConfig;
  readonly log: Log;
  /** Opens sockets as a user, or the service `ssh`. */
  readonly startHelper: StartHelper;
}

/** @throws SealttyError `device-unavailable`, `user-refused`. */
export type StartHelper = (user: AuthenticatedUser, helper: HelperRequest) => Promise<GuestProcess>;

interface Held {
  readonly owner: string;
  readonly events: ListenerEvents;
  close(): void;
}

export class Streams implements GuestStreams {
  readonly #config: ForwardConfig;
  readonly #log: Log;
  readonly #startHelper: StartHelper;
  readonly #lookup = lookupInTurn();
  readonly #held = new Map<string, Held>(); // by place

  constructor({ config, log, startHelper }: StreamsOptions) {
    this.#config = config;
    this.#log = log;
    this.#startHelper = startHelper;
  }

  async open(user: AuthenticatedUser, place: StreamPlace): Promise<GuestProcess | StreamRefusal> {
    try {
      switch (place.kind) {
        case "tcp":
          await knownAccount(user.name);
          return await this.#tcp(place.host, place.port);
        case "unix":
          return await this.#unix(user, place.path);
        case "service":
          return await this.#service(user, place.name);
      }
    } catch (error) {
      return { code: this.#codeOf("connect", error, openCodeOf, OPEN_NOT_ALLOWED) };
    }
  }

  async listen(
    user: AuthenticatedUser,
    place: ListenPlace,
    events: ListenerEvents,
  ): Promise<GuestListener | StreamRefusal> {
    try {
      const owner = `${user.name} ${user.method === "none" ? "" : toHex(user.key)}`;
      const name = placeWords(place);
      const listening = await this.#listenInTurn(user, place, events, owner, name);
      if ("code" in listening) return listening;
      const { port } = listening;
      const own: Held = {
        owner,
        events,
        close: () => {
          if (this.#held.get(name) === own) this.#held.delete(name);
          listening.close();
        },
      };
      if (place.kind === "unix" || place.port !== 0) this.#held.set(name, own);
      return { port, close: () => own.close() };
    } catch (error) {
      return { code: this.#codeOf("listen", error, listenCodeOf, LISTEN_NOT_ALLOWED) };
    }
  }

  /** No more rights than any user has: connecting to a port asks for none. */
  async #tcp(host: string, port: number): Promise<GuestProcess | StreamRefusal> {
    return new SocketStream(await connectTo({ host, port, lookup: this.#lookup }));
  }

  async #unix(user: AuthenticatedUser, path: string): Promise<GuestProcess | StreamRefusal> {
    const account = await knownAccount(user.name);
    if (account.uid === process.getuid?.()) return new SocketStream(await connectTo({ path }));
    return await connectAsUser((helper) => this.#startHelper(user, helper), path);
  }

  /** As sealttyd's own user, like the login program: it is the owner's choice, and asks for a user by itself. */
  async #service(user: AuthenticatedUser, name: string): Promise<GuestProcess | StreamRefusal> {
    if (name !== "ssh") return { code: OPEN_FAILED };
    if (this.#config.ssh === undefined) return await this.#tcp("127.0.0.1", SSH_PORT);
    return await this.#startHelper(user, { kind: "ssh" });
  }

  /** What a client left behind that was cut off, and came back on another connection, must not keep it out. */
  async #listenInTurn(
    user: AuthenticatedUser,
    place: ListenPlace,
    events: ListenerEvents,
    owner: string,
    name: string,
  ): Promise<Listening | StreamRefusal> {
    try {
      return await this.#listen(user, place, events);
    } catch (error) {
      const held = this.#held.get(name);
      if (errorCode(error) !== "EADDRINUSE" || held?.owner !== owner || held.events.isLive()) throw error;
      held.close();
      return await this.#listen(user, place, events);
    }
  }

  async #listen(
    user: AuthenticatedUser,
    place: ListenPlace,
    events: ListenerEvents,
  ): Promise<Listening | StreamRefusal> {
    const account = await knownAccount(user.name);
    const onSocket = (socket: net.Socket): void => {
      if (!events.incoming(waitingStream(socket))) socket.destroy();
    };
    if (place.kind === "tcp") {
      const { host, port } = place;
      if (port !== 0 && port < FIRST_USER_PORT && account.uid !== 0) return { code: LISTEN_NOT_ALLOWED };
      if (host !== "localhost" && host !== "*" && net.isIP(host) === 0) return { code: LISTEN_FAILED };
      if (!this.#config.gateway && !isLoopback(host)) return { code: LISTEN_NOT_ALLOWED };
      return await listenOn(host, port, onSocket);
    }
    if (account.uid === process.getuid?.()) return await listenOnPath(place.path, onSocket);
    const start = (helper: HelperRequest) => this.#startHelper(user, helper);
    return await listenAsUser(start, place.path, (stream) => events.incoming(stream));
  }

  /** What the system said is told by a code, what this program says stays in the log. */
  #codeOf(
    what: string,
    error: unknown,
    ofSystem: (code: string | undefined) => number,
    notAllowed: number,
  ): number {
    if (error instanceof SealttyError) {
      this.#log.info(`could not ${what} for a user`, { why: error.message });
      if (error.code === "user-refused") return notAllowed;
    }
    return ofSystem(errorCode(error));
  }
}

async function knownAccount(name: string): Promise<Account> {
  const account = await findAccount(name);
  if (account === undefined) throw new SealttyError("user-refused", "No such user");
  return account;
}

function isLoopback(host: string): boolean {
  if (host === "localhost" || host === "::1") return true;
  return net.isIPv4(host) && host.startsWith("127.");
}

/** Paused until the client wants it. */
function waitingStream(socket: net.Socket): WaitingStream {
  let gone = false;
  socket.on("error", () => {}); // `closed` tells
  socket.once("close", () => {
    gone = true;
  });
  return {
    accept: () => Promise.resolve(gone ? { code: OPEN_REFUSED } : new SocketStream(socket)),
    dismiss: () => socket.destroy(),
  };
}

// What is listened on, here and in the guest, and what becomes of whoever connects.

import type { Socket } from "node:net";
import { Places } from "../../../node/places.ts";
import { PullReader } from "../../../node/pull-reader.ts";
import { errorCode } from "../../../node/socket-pipe.ts";
import { breakOff, connectTo, type Listening, listenOn, listenOnPath } from "../../../node/sockets.ts";
import { asError, SealttyError } from "../../../protocol/errors.ts";
import type { SocksOutcome } from "../../../protocol/forward/socks.ts";
import { type ListenPlace, type StreamPlace, placeWords } from "../../../protocol/forward/target.ts";
import type { Channel } from "../../../protocol/session/channel-api.ts";
import type { IncomingStream } from "../../../protocol/session/stream-api.ts";
import type { ChannelSource } from "../channel-source.ts";
import type { PeerPlace } from "../../../protocol/api/places.ts";
import type { Forward, ForwardOptions } from "../types.ts";
import { carry, discard } from "./carry.ts";
import { GREETING_WITHIN_MS, greet } from "./socks-proxy.ts";

/** Channels of one connection that this uses at once: a guest has 64 places. Others wait for theirs. */
const MAX_AT_ONCE = 60;

/** What it opens in a guest. */
interface ForwardGuest {
  readonly channels: ChannelSource;
}

export class Forwarder {
  readonly #guest: () => Promise<ForwardGuest>;
  readonly #forwards = new Set<OneForward>();
  readonly #places = new Places(MAX_AT_ONCE);
  #over = false;

  /** @param guest - resolves once there is a connection: what listens here may outlive one, and wait for the next. */
  constructor(guest: () => Promise<ForwardGuest>) {
    this.#guest = guest;
  }

  /** @param to - undefined: whoever connects says so, by SOCKS. @throws SealttyError `device-unavailable` where it cannot listen. */
  async local(listen: ListenPlace, to: PeerPlace | undefined, options: ForwardOptions): Promise<Forward> {
    const forward = new OneForward(options, this.#forwards);
    const onSocket = (socket: Socket): void => {
      forward.keep(socket);
      void (to === undefined ? this.#proxyThere(forward, socket) : this.#fromHere(forward, to, socket));
    };
    let listening: Listening;
    try {
      listening = await (listen.kind === "unix"
        ? listenOnPath(listen.path, onSocket)
        : listenOn(listen.host, listen.port, onSocket));
    } catch (cause) {
      throw cannotListen(listen, cause);
    }
    return this.#begun(forward, listening, listen);
  }

  /** For as long as the guest's connection. @param to - as with local(). @throws SealttyError as `Guest.listen`. */
  async remote(
    guest: ForwardGuest,
    listen: ListenPlace,
    to: PeerPlace | undefined,
    options: ForwardOptions,
  ): Promise<Forward> {
    const forward = new OneForward(options, this.#forwards);
    const listener = await guest.channels
      .listen(listen, (stream) => void this.#fromThere(forward, to, stream))
      .catch((error: unknown) => {
        if (!(error instanceof SealttyError)) throw error;
        throw new SealttyError(error.code, `${placeWords(listen)}: ${error.message}`, { cause: error });
      });
    return this.#begun(forward, listener, listen);
  }

  /** Nobody can connect any more, and who has connected is cut off. */
  end(): void {
    this.#over = true;
    for (const forward of this.#forwards) forward.close();
  }

  #begun(forward: OneForward, listening: Listening, listen: ListenPlace): Forward {
    forward.begun(listening, listen);
    if (!this.#over) return forward;
    forward.close();
    throw new SealttyError("transport-lost", "The connection ended before anybody could listen");
  }

  /** Never rejects. */
  async #fromHere(forward: OneForward, to: PeerPlace, socket: Socket): Promise<void> {
    const peer = { socket, reader: new PullReader(socket) };
    try {
      await this.#places.use(async () => carry(await this.#open(to), peer));
    } catch (error) {
      forward.failed(error, placeWords(to));
      breakOff(socket);
    }
  }

  /** A SOCKS proxy for somebody here. Never rejects. */
  async #proxyThere(forward: OneForward, socket: Socket): Promise<void> {
    const peer = { socket, reader: new PullReader(socket) };
    let failedAt: string | undefined;
    try {
      const timer = setTimeout(() => breakOff(socket), GREETING_WITHIN_MS);
      const greeted = await greet({
        read: () => peer.reader.read(),
        write: (bytes) => writtenTo(socket, bytes),
      }).finally(() => clearTimeout(timer));
      if (greeted === undefined) return void socket.end(() => socket.destroy());
      const { host, port } = greeted.request;
      failedAt = placeWords({ kind: "tcp", host, port });
      await this.#places.use(async () => {
        let channel: Channel;
        try {
          channel = await this.#open({ kind: "tcp", host, port });
        } catch (error) {
          await greeted.answer(outcomeOf(error));
          socket.end(() => socket.destroy());
          throw error;
        }
        await greeted.answer("succeeded");
        return await carry(channel, peer, { toGuest: greeted.rest });
      });
    } catch (error) {
      forward.failed(error, failedAt);
      if (!socket.writableEnded) breakOff(socket);
    }
  }

  /** Never rejects. @param to - undefined: whoever connected says so, by SOCKS. */
  async #fromThere(forward: OneForward, to: PeerPlace | undefined, stream: IncomingStream): Promise<void> {
    try {
      await this.#places.use(async () => {
        if (forward.closed) return stream.dismiss();
        if (to !== undefined) {
          const socket = await connectHere(forward, to); // first: who is not let in must not seem to be
          const channel = await stream.accept().catch((error: unknown): never => {
            breakOff(socket);
            throw error;
          });
          await carry(channel, { socket, reader: new PullReader(socket) });
          return;
        }
        await this.#proxyHere(forward, await stream.accept());
      });
    } catch (error) {
      stream.dismiss();
      forward.failed(error, to === undefined ? undefined : placeWords(to));
    }
  }

  /** A SOCKS proxy for somebody in the guest. */
  async #proxyHere(forward: OneForward, channel: Channel): Promise<void> {
    const off = forward.onClose(() => channel.hangUp());
    const timer = setTimeout(() => channel.hangUp(), GREETING_WITHIN_MS);
    const end = async (): Promise<void> => {
      channel.end();
      await Promise.all([discard(channel.stdout), discard(channel.stderr)]);
    };
    const greeted = await greet({
      async read() {
        const chunk = await channel.stdout.read();
        channel.stdout.consumed(chunk?.length ?? 0);
        return chunk;
      },
      write: (bytes) => channel.write(bytes),
    }).finally(() => {
      clearTimeout(timer);
      off(); // from here on the socket's end is the channel's
    });
    if (greeted === undefined) return await end();
    const { host, port } = greeted.request;
    let socket: Socket;
    try {
      socket = await connectHere(forward, { kind: "tcp", host, port });
    } catch (error) {
      await greeted.answer(outcomeOf(error));
      await end();
      throw error;
    }
    await greeted.answer("succeeded");
    await carry(channel, { socket, reader: new PullReader(socket) }, { toSocket: greeted.rest });
  }

  async #open(target: StreamPlace): Promise<Channel> {
    const { channels } = await this.#guest();
    return await channels.openChannel({ kind: "stream", target });
  }
}

/** One place that is listened on, and all who came by it. */
class OneForward implements Forward {
  readonly #options: ForwardOptions;
  readonly #all: Set<OneForward>;
  readonly #sockets = new Set<Socket>();
  readonly #onClose = new Set<() => void>();
  #address: Forward["address"] | undefined;
  #listening: Listening | undefined;
  #closed = false;

  constructor(options: ForwardOptions, all: Set<OneForward>) {
    this.#options = options;
    this.#all = all;
  }

  get address(): Forward["address"] {
    if (this.#address === undefined) throw new SealttyError("api-misuse", "Nothing listens yet");
    return this.#address;
  }
  get closed(): boolean {
    return this.#closed;
  }

  begun(listening: Listening, place: ListenPlace): void {
    this.#listening = listening;
    this.#address = place.kind === "unix" ? { path: place.path } : { host: place.host, port: listening.port };
    this.#all.add(this);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#all.delete(this);
    this.#listening?.close();
    for (const socket of this.#sockets) breakOff(socket);
    for (const end of this.#onClose) end();
  }

  keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined); // readers and writers tell
    socket.once("close", () => this.#sockets.delete(socket));
    if (this.#closed) breakOff(socket);
  }

  /** @returns what takes it off again. */
  onClose(end: () => void): () => void {
    this.#onClose.add(end);
    if (this.#closed) end();
    return () => this.#onClose.delete(end);
  }

  /** Of one who connected: the others go on. */
  failed(error: unknown, to: string | undefined): void {
    if (!this.#closed) this.#options.onFailed?.(asError(error), to);
  }
}

/** @throws SealttyError `device-unavailable`. */
async function connectHere(forward: OneForward, to: PeerPlace): Promise<Socket> {
  try {
    const socket = await connectTo(to.kind === "unix" ? { path: to.path } : to);
    forward.keep(socket);
    return socket;
  } catch (cause) {
    const code = errorCode(cause) ?? "unknown error";
    throw new SealttyError("device-unavailable", `cannot connect to ${placeWords(to)} here (${code})`, {
      cause,
    });
  }
}

function outcomeOf(error: unknown): SocksOutcome {
  if (!(error instanceof SealttyError)) return "failed";
  if (error.code === "user-refused") return "not-allowed";
  return error.code === "program-failed" || error.code === "device-unavailable" ? "refused" : "failed";
}

function writtenTo(socket: Socket, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.write(bytes, (error) => (error === null || error === undefined ? resolve() : reject(error)));
  });
}

function cannotListen(place: ListenPlace, cause: unknown): SealttyError {
  const code = errorCode(cause) ?? "unknown error";
  const reasons: Readonly<Record<string, string>> = CANNOT_LISTEN[place.kind];
  const next = Object.hasOwn(reasons, code) ? reasons[code] : "check the address or path";
  return new SealttyError(
    "device-unavailable",
    `cannot listen here on ${placeWords(place)} (${code}): ${next}`,
    { cause },
  );
}

const CANNOT_LISTEN = {
  tcp: {
    EADDRINUSE: "somebody listens there already; name another, or 0 for any port",
    EACCES: "this user may not; ports below 1024 are root's",
    EADDRNOTAVAIL: "this machine does not have this address",
  },
  unix: {
    EADDRINUSE: "something is there already; name another path, or remove what is there if nobody needs it",
    // Node says so of a directory that is not there, too.
    EACCES: "its directory is not there, or this user may not write in it",
  },
} as const;

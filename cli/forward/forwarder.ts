// What `sealtty forward` listens on, here and in the guest, and what becomes of whoever connects.

import type { Socket } from "node:net";
import { PullReader } from "../../node/pull-reader.ts";
import { breakOff, connectTo, type Listening, listenOn, listenOnPath } from "../../node/sockets.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { SocksOutcome } from "../../protocol/forward/socks.ts";
import { type ListenPlace, type StreamPlace, placeWords } from "../../protocol/forward/target.ts";
import type { Guest } from "../../protocol/session/api.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import type { IncomingStream } from "../../protocol/session/stream-api.ts";
import type { Reporter } from "../report.ts";
import { carry, discard } from "./carry.ts";
import { Places } from "../../node/places.ts";
import { GREETING_WITHIN_MS, greet } from "./socks-proxy.ts";
import type { ForwardSpec, PeerPlace } from "./specs.ts";

/** Channels of one connection that this uses at once: a guest has 64 places. Others wait for theirs. */
const MAX_AT_ONCE = 60;

export class Forwarder {
  readonly #specs: readonly ForwardSpec[];
  readonly #reporter: Reporter;
  /** Resolves with the guest, once there is a connection. */
  readonly #guest: () => Promise<Guest>;
  readonly #listening: Listening[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #places = new Places(MAX_AT_ONCE);

  constructor(specs: readonly ForwardSpec[], reporter: Reporter, guest: () => Promise<Guest>) {
    this.#specs = specs;
    this.#reporter = reporter;
    this.#guest = guest;
  }

  /** @throws SealttyError `device-unavailable` where one cannot be listened on. */
  async listenHere(): Promise<void> {
    for (const spec of this.#specs) {
      if (spec.kind === "remote") continue;
      const onSocket = (socket: Socket): void => void this.#fromHere(spec, socket);
      const { listen } = spec;
      let listening: Listening;
      try {
        listening = await (listen.kind === "unix"
          ? listenOnPath(listen.path, onSocket)
          : listenOn(listen.host, listen.port, onSocket));
      } catch (cause) {
        throw cannotListen(listen, cause);
      }
      this.#listening.push(listening);
      this.#told(spec.kind, withPort(listen, listening.port), spec.kind === "local" ? spec.to : undefined);
    }
  }

  /** Anew on each connection. @throws SealttyError as `Guest.listen`. */
  async listenThere(guest: Guest): Promise<void> {
    for (const spec of this.#specs) {
      if (spec.kind !== "remote") continue;
      const { listen, to } = spec;
      const listener = await guest
        .listen(listen, (stream) => void this.#fromThere(to, stream))
        .catch((error: unknown) => {
          if (!(error instanceof SealttyError)) throw error;
          throw new SealttyError(error.code, `-R ${placeWords(listen)}: ${error.message}`, { cause: error });
        });
      this.#told(spec.kind, withPort(listen, listener.port), to);
    }
  }

  /** Nobody can connect any more, and who has connected is cut off. */
  end(): void {
    for (const listening of this.#listening) listening.close();
    for (const socket of this.#sockets) breakOff(socket);
  }

  #told(kind: ForwardSpec["kind"], listen: ListenPlace, to: PeerPlace | undefined): void {
    const at = placeWords(listen);
    const towards = to === undefined ? undefined : placeWords(to);
    this.#reporter.event("listening", { kind, at, to: towards });
    const there = towards ?? "wherever its clients ask for (SOCKS)";
    this.#reporter.say(
      kind === "remote"
        ? `sealtty: the guest listens on ${at}, and from here goes to ${there}`
        : `sealtty: listening here on ${at}, and from the guest going to ${there}`,
    );
  }

  /** Never rejects. */
  async #fromHere(spec: Extract<ForwardSpec, { kind: "local" | "dynamic" }>, socket: Socket): Promise<void> {
    this.#keep(socket);
    const peer = { socket, reader: new PullReader(socket) };
    let failedAt: string | undefined;
    try {
      if (spec.kind === "local") {
        failedAt = placeWords(spec.to);
        await this.#places.use(async () => carry(await this.#open(spec.to), peer));
        return;
      }
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
      this.#failed(error, failedAt);
      if (!socket.writableEnded) breakOff(socket);
    }
  }

  /** Never rejects. @param to - undefined: whoever connected says so, by SOCKS. */
  async #fromThere(to: PeerPlace | undefined, stream: IncomingStream): Promise<void> {
    try {
      await this.#places.use(async () => {
        if (to !== undefined) {
          const socket = await this.#connectHere(to); // first: who is not let in must not seem to be
          await carry(await stream.accept(), { socket, reader: new PullReader(socket) });
          return;
        }
        await this.#proxyHere(await stream.accept());
      });
    } catch (error) {
      stream.dismiss();
      this.#failed(error, to === undefined ? undefined : placeWords(to));
    }
  }

  /** A SOCKS proxy for somebody in the guest. */
  async #proxyHere(channel: Channel): Promise<void> {
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
    }).finally(() => clearTimeout(timer));
    if (greeted === undefined) return await end();
    const { host, port } = greeted.request;
    let socket: Socket;
    try {
      socket = await this.#connectHere({ kind: "tcp", host, port });
    } catch (error) {
      await greeted.answer(outcomeOf(error));
      await end();
      throw error;
    }
    await greeted.answer("succeeded");
    await carry(channel, { socket, reader: new PullReader(socket) }, { toSocket: greeted.rest });
  }

  async #open(target: StreamPlace): Promise<Channel> {
    const guest = await this.#guest();
    return await guest.openChannel({ kind: "stream", target });
  }

  /** @throws SealttyError `device-unavailable`. */
  async #connectHere(to: PeerPlace): Promise<Socket> {
    try {
      const socket = await connectTo(to.kind === "unix" ? { path: to.path } : to);
      this.#keep(socket);
      return socket;
    } catch (cause) {
      const { code = "unknown error" } = cause as NodeJS.ErrnoException;
      throw new SealttyError("device-unavailable", `cannot connect to ${placeWords(to)} here (${code})`, {
        cause,
      });
    }
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined); // readers and writers tell
    socket.once("close", () => this.#sockets.delete(socket));
  }

  /** Of one who connected: the others go on. */
  #failed(error: unknown, to: string | undefined): void {
    const words = error instanceof SealttyError ? error.message : "whoever connected has gone";
    this.#reporter.event("forward-failed", {
      code: error instanceof SealttyError ? error.code : "transport-lost",
      message: words,
      to,
    });
    const where = to === undefined ? "" : ` to ${to}`;
    if (error instanceof SealttyError)
      this.#reporter.say(`sealtty: one connection${where} came to nothing: ${words}`);
    else this.#reporter.detail(`sealtty: ${words}`);
  }
}

function withPort(place: ListenPlace, port: number): ListenPlace {
  return place.kind === "unix" ? place : { ...place, port };
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
  const { code = "unknown error" } = cause as NodeJS.ErrnoException;
  const next =
    code === "EADDRINUSE"
      ? "somebody listens there already; name another, or 0 for any port"
      : code === "EACCES"
        ? "this user may not; ports below 1024 are root's"
        : "check the address or path";
  return new SealttyError(
    "device-unavailable",
    `cannot listen here on ${placeWords(place)} (${code}): ${next}`,
    {
      cause,
    },
  );
}

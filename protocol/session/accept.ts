// The guest's side of a console: pipes that the host owns, handshakes, and the connections behind them.
// docs/protocol.md §3 and §4. The guest never speaks first, and answers nobody faster than its limits.

import type { KeyPair, CryptoSuite } from "../crypto/suite.ts";
import type { Clock } from "../clock.ts";
import { SealttyError } from "../errors.ts";
import {
  connectionIdOf,
  FRAME_HELLO,
  FRAME_INIT,
  FRAME_PACE,
  FRAME_PACKET,
  FRAME_PROBE,
  FRAME_RETIRED,
  FragmentAssembly,
  frameHead,
  probedBody,
  readInit,
  replyBodies,
  welcomeBody,
} from "../frames/frame-body.ts";
import { FrameDecoder } from "../frames/frame-decoder.ts";
import type { FrameEncoding, OutgoingFrame } from "../frames/frame-encoder.ts";
import { decodeClientHello, decodeInitMessage, prologueOf } from "../handshake/client-hello.ts";
import { CookieJar } from "../handshake/cookie.ts";
import { respond } from "../handshake/responder.ts";
import {
  LONG_BODY_TO_CLIENT,
  MAX_ARMOUR_BODY,
  MAX_CANDIDATES_PER_ID,
  MAX_LOGIN_CONNECTIONS,
  MAX_OPEN_CONNECTIONS,
  MAX_PENDING_CONNECTIONS,
} from "../limits.ts";
import type { Pipe } from "../pipe.ts";
import { GuestConnection, type GuestPort, type GuestServices, sameInit } from "./guest-connection.ts";
import { PipePump } from "./pipe-pump.ts";
import { Receipts } from "./receipts.ts";
import { AuthTurns } from "./auth-turns.ts";
import { TokenBucket } from "./token-bucket.ts";

/** Checks of users' keys, over all connections: as often as handshakes are made. */
const AUTH_PER_SECOND = 20;
const AUTH_BURST = 20;
const MAX_ASSEMBLIES = 16;
const MAX_ANSWERS_WAITING = 64;
/** Connections that were given up because of a rollback, remembered to tell clients that did not hear of it. */
const MAX_RETIRED = 64;
const IDLE = 60_000;
/** How long clients have to acknowledge the last word of a daemon that ends, ms. Its callers wait longer: server/monitor/split.ts. */
const GOODBYE_WITHIN = 1000;
/** How long a pipe has to take that word where nobody is waited for, ms. */
const UNHEARD_GOODBYE = 100;

/** One pipe: what comes in is decoded, what goes out takes turns. */
class Port implements GuestPort {
  readonly pump: PipePump;
  readonly receipts: Receipts;
  readonly #pace: () => "paced" | "usual" | "free";
  readonly #answers: { body: Uint8Array; encoding: FrameEncoding }[] = [];
  readonly #ready = new Set<GuestConnection>();
  // Of one packet, until the pump asks for the next. Not before there is one: connections that say nothing come by the thousand.
  #body: Uint8Array | undefined;

  constructor(pipe: Pipe, clock: Clock, checksum: (bytes: Uint8Array) => number) {
    this.receipts = new Receipts(clock, () => this.pump.wake());
    // A receipt that is due stands behind no more than one frame.
    const gathers = (): number => (this.receipts.active ? 0 : (pipe.gathers ?? 0));
    this.#pace = () => (this.receipts.active ? "paced" : gathers() > 0 ? "free" : "usual");
    this.pump = new PipePump(pipe, checksum, () => this.#next(), gathers);
  }

  /** WELCOME and REPLY; beyond the bound they are dropped, the client asks again. */
  answer(body: Uint8Array, encoding: FrameEncoding): void {
    if (this.#answers.length >= MAX_ANSWERS_WAITING) return;
    this.#answers.push({ body, encoding });
    this.pump.wake();
  }

  wake(connection: GuestConnection): void {
    this.#ready.add(connection);
    this.pump.wake();
  }

  #next(): OutgoingFrame | undefined {
    const receipt = this.receipts.next();
    if (receipt !== undefined) return receipt;
    const answer = this.#answers.shift();
    if (answer !== undefined) return answer;
    for (const connection of this.#ready) {
      this.#ready.delete(connection);
      if (connection.port !== this) continue; // it moved to another pipe
      this.#body ??= new Uint8Array(LONG_BODY_TO_CLIENT);
      const body = connection.next(this.#pace(), this.#body);
      if (body === undefined) continue;
      this.#ready.add(connection); // behind the others: each has its turn
      return { body, encoding: connection.encoding, oneLength: connection.slotted };
    }
    return undefined;
  }
}

export interface GuestEndpointOptions {
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  /** X25519, made at this boot; never on disk. */
  readonly staticKey: KeyPair;
  readonly services: GuestServices;
}

export class GuestEndpoint {
  readonly #options: GuestEndpointOptions;
  readonly #cookies: CookieJar;
  readonly #connections = new Map<number, GuestConnection[]>(); // by connection id
  readonly #assemblies = new Map<number, FragmentAssembly>(); // by connection id, newest last
  /** RETIRED bodies by connection id, newest last; users without a key, who may be anybody, push out only their own. */
  readonly #retired = { "ssh-key": new Map<number, Uint8Array>(), none: new Map<number, Uint8Array>() };
  readonly #hellos = new TokenBucket(200, 100);
  readonly #handshakes = new TokenBucket(20, 20);
  readonly #probes = new TokenBucket(100, 50);
  readonly #turns: AuthTurns;
  readonly #pumps = new Set<PipePump>();
  #ending = false;
  #stopped = false;
  #onLastOver: (() => void) | undefined; // while a daemon that ends waits for clients

  constructor(options: GuestEndpointOptions) {
    this.#options = options;
    this.#cookies = new CookieJar(options.suite);
    this.#turns = new AuthTurns(options.clock, AUTH_PER_SECOND, AUTH_BURST);
  }

  get connectionCount(): number {
    return this.#all().length;
  }

  /** Serves one pipe until it ends. Its connections outlive it: a client may come back over another. */
  async servePipe(
    pipe: Pipe,
    traits: { readonly armourOnly: boolean } = { armourOnly: false },
  ): Promise<void> {
    const port = new Port(pipe, this.#options.clock, this.#options.suite.crc32);
    const { clock, suite } = this.#options;
    const decoder = new FrameDecoder(suite.crc32, "lends", !traits.armourOnly);
    this.#pumps.add(port.pump);
    try {
      for await (const chunk of pipe.incoming) {
        if (this.#stopped) break;
        for (const { body, encoding } of decoder.push(chunk, clock.now()).frames) {
          // Binary bytes on a kernel console could be a SysRq: neither taken nor, so, ever answered in kind.
          if (encoding === "armour" || !traits.armourOnly) this.#onFrame(body, encoding, port);
        }
        port.receipts.read(chunk);
      }
    } finally {
      port.pump.stop();
      this.#pumps.delete(port.pump);
      await pipe.close();
    }
  }

  /** The machine may have been restored from a snapshot: no connection sends before its client was heard anew. */
  doubt(): void {
    for (const connection of this.#all()) connection.doubt();
  }

  /**
   * Tells every client, hangs up every program. Pipes are read on until each user's client has said that it heard so, for
   * GOODBYE_WITHIN at most: else it would wait for a guest that is not there any more. docs/protocol.md §8.5
   */
  async stop(why: "shutting-down" | "handed-over" = "shutting-down"): Promise<void> {
    this.#ending = true;
    for (const connection of this.#all()) connection.close(why);
    const { clock } = this.#options;
    // Who is no user yet may be anybody, and silent: told, and not waited for.
    const others = this.#all().some((connection) => !connection.waitsForGoodbye);
    const told = new Promise<void>((resolve) =>
      others ? void clock.after(UNHEARD_GOODBYE, resolve) : resolve(),
    );
    if (this.#waitsForGoodbye) {
      await new Promise<void>((resolve) => {
        this.#onLastOver = resolve;
        clock.after(GOODBYE_WITHIN, resolve);
      });
    }
    await told;
    this.#stopped = true;
    for (const connection of this.#all()) connection.destroy();
    for (const pump of this.#pumps) pump.stop();
  }

  #onFrame(body: Uint8Array, encoding: FrameEncoding, port: Port): void {
    const head = frameHead(body);
    if (head === undefined) return;
    try {
      if (head.type === FRAME_PACKET) this.#onPacket(head.id, body, encoding, port);
      else if (head.type === FRAME_RETIRED) this.#onRetired(head.id, body);
      else if (this.#ending)
        return; // nobody new
      else if (head.type === FRAME_HELLO) this.#onHello(body, encoding, port);
      else if (head.type === FRAME_INIT) this.#onInit(head.id, body, encoding, port);
      else if (head.type === FRAME_PROBE) this.#onProbe(body, encoding, port);
      else if (head.type === FRAME_PACE) port.receipts.ask(body, encoding);
    } catch (error) {
      // Whoever sent this proved nothing: no answer, no state, no log line a frame.
      if (!(error instanceof SealttyError && error.code === "peer-misbehaved")) throw error;
    }
  }

  #onPacket(id: number, body: Uint8Array, encoding: FrameEncoding, port: Port): void {
    for (const connection of this.#connections.get(id) ?? []) {
      if (!connection.receive(body, port, encoding)) continue;
      this.#lookWhoIsLeft(); // it may have said CLOSE itself
      return;
    }
    const retired = this.#retired["ssh-key"].get(id) ?? this.#retired.none.get(id);
    if (retired !== undefined && this.#hellos.take(this.#options.clock.now())) port.answer(retired, encoding);
  }

  #onRetired(id: number, body: Uint8Array): void {
    for (const connection of this.#connections.get(id) ?? []) if (connection.takeRetirement(body)) return;
  }

  #onHello(body: Uint8Array, encoding: FrameEncoding, port: Port): void {
    const now = this.#options.clock.now();
    if (body.length !== 5 || !this.#hellos.take(now)) return;
    const id = connectionIdOf(body).slice();
    port.answer(welcomeBody(id, this.#cookies.issue(id, now)), encoding);
  }

  /** Says back what arrived: no state, no key, and never more bytes than came. */
  #onProbe(body: Uint8Array, encoding: FrameEncoding, port: Port): void {
    const answer = probedBody(body);
    if (answer !== undefined && this.#probes.take(this.#options.clock.now())) port.answer(answer, encoding);
  }

  #onInit(id: number, body: Uint8Array, encoding: FrameEncoding, port: Port): void {
    const { suite, clock } = this.#options;
    const now = clock.now();
    const connectionId = connectionIdOf(body).slice();
    const { cookie, fragment } = readInit(body);
    if (!this.#cookies.accepts(connectionId, cookie, now)) {
      if (this.#hellos.take(now))
        port.answer(welcomeBody(connectionId, this.#cookies.issue(connectionId, now)), encoding);
      return;
    }
    const message = this.#assemblyFor(id).add(fragment);
    if (message === undefined) return;
    this.#assemblies.delete(id);
    const digest = suite.sha256(message);
    const known = this.#connections.get(id)?.find((connection) => sameInit(connection, digest));
    if (known !== undefined) {
      for (const reply of known.replies) port.answer(reply, encoding);
      return;
    }
    if (!this.#handshakes.take(now)) return;
    this.#makeRoom(id);
    this.#handshake(id, connectionId, message, digest, encoding, port);
  }

  #handshake(
    id: number,
    connectionId: Uint8Array,
    message: Uint8Array,
    initDigest: Uint8Array,
    encoding: FrameEncoding,
    port: Port,
  ): void {
    const { suite, clock, staticKey, services } = this.#options;
    const { clientHello, message1 } = decodeInitMessage(message);
    const hello = decodeClientHello(clientHello);
    const { message2, handshaken } = respond(
      suite,
      prologueOf(connectionId, clientHello),
      staticKey,
      message1,
    );
    const replies = replyBodies(connectionId, message2, MAX_ARMOUR_BODY);
    const connection: GuestConnection = new GuestConnection(
      {
        suite,
        clock,
        services,
        admit: (method) => this.#admit(method),
        turns: this.#turns,
        onOver: (retired) => this.#forget(id, connection, retired),
      },
      { connectionId, initDigest, replies, handshaken, hello, port, encoding },
    );
    this.#connections.set(id, [...(this.#connections.get(id) ?? []), connection]);
    for (const reply of replies) port.answer(reply, encoding);
  }

  /**
   * Whether one more user of this kind may come in. A connection whose client lives pings every 15 s: one that was
   * silent for a minute makes room. Users without a key never take the places of those with one.
   */
  #admit(method: "none" | "ssh-key"): boolean {
    const alike = this.#all().filter((connection) => connection.method === method);
    if (alike.length < (method === "none" ? MAX_LOGIN_CONNECTIONS : MAX_OPEN_CONNECTIONS)) return true;
    const ending = alike.find((connection) => connection.ending);
    if (ending !== undefined) {
      ending.destroy(); // it only lingers
      return true;
    }
    const idle = alike.reduce((a, b) => (a.lastHeard <= b.lastHeard ? a : b));
    if (this.#options.clock.now() - idle.lastHeard < IDLE) return false;
    idle.destroy();
    return true;
  }

  /** Connections whose user is in are never pushed out by newcomers; of the rest the oldest goes. */
  #makeRoom(id: number): void {
    const sameId = (this.#connections.get(id) ?? []).filter((connection) => !connection.authenticated);
    if (sameId.length >= MAX_CANDIDATES_PER_ID) (sameId[0] as GuestConnection).destroy();
    const pending = this.#all().filter((connection) => !connection.authenticated);
    if (pending.length >= MAX_PENDING_CONNECTIONS) (pending[0] as GuestConnection).destroy();
  }

  #assemblyFor(id: number): FragmentAssembly {
    const assembly = this.#assemblies.get(id) ?? new FragmentAssembly();
    this.#assemblies.delete(id); // to the end: the least recently used makes room
    this.#assemblies.set(id, assembly);
    if (this.#assemblies.size > MAX_ASSEMBLIES) {
      for (const oldest of this.#assemblies.keys()) {
        this.#assemblies.delete(oldest);
        break;
      }
    }
    return assembly;
  }

  #forget(id: number, connection: GuestConnection, retired: Uint8Array | undefined): void {
    if (retired !== undefined) this.#rememberRetired(id, retired, connection.method ?? "none");
    const rest = (this.#connections.get(id) ?? []).filter((other) => other !== connection);
    if (rest.length > 0) this.#connections.set(id, rest);
    else this.#connections.delete(id);
    this.#lookWhoIsLeft();
  }

  /** Of a daemon that ends. */
  #lookWhoIsLeft(): void {
    if (this.#onLastOver !== undefined && !this.#waitsForGoodbye) this.#onLastOver();
  }

  #rememberRetired(id: number, body: Uint8Array, method: "ssh-key" | "none"): void {
    const alike = this.#retired[method];
    alike.set(id, body);
    if (alike.size <= MAX_RETIRED) return;
    for (const oldest of alike.keys()) {
      alike.delete(oldest);
      break;
    }
  }

  get #waitsForGoodbye(): boolean {
    return this.#all().some((connection) => connection.waitsForGoodbye);
  }

  #all(): GuestConnection[] {
    return [...this.#connections.values()].flat();
  }
}

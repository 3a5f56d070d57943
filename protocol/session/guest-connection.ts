// One connection of the guest through its phases: evidence, user, channels. Nothing private goes out before the user is in.

import type { BindingContext } from "../attestation/binder.ts";
import type { Evidence } from "../attestation/evidence.ts";
import { equalBytes } from "../bytes.ts";
import type { Clock } from "../clock.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import type { FrameEncoding } from "../frames/frame-encoder.ts";
import type { ClientHello } from "../handshake/client-hello.ts";
import type { Handshaken } from "../handshake/messages.ts";
import {
  CONTROL_STREAM_WINDOW,
  INPUT_STREAM_WINDOW,
  MAX_AUTH_MESSAGE,
  MAX_BODY_TO_CLIENT,
  MAX_CHANNELS,
  MAX_COMMAND_BYTES,
  MAX_FLIGHT_TO_CLIENT_BYTES,
  MAX_FLIGHT_TO_CLIENT_FRAMES,
  MAX_LOGIN_CHANNELS,
  MAX_ARMOUR_BODY,
  OUTPUT_STREAM_WINDOW,
} from "../limits.ts";
import { StreamConnection } from "../streams/stream-connection.ts";
import type { ChannelRequest, UserAuthFields } from "./api.ts";
import { Deadline } from "./deadline.ts";
import { GuestChannel } from "./guest-channel.ts";
import { type EvidenceRequest, GuestEvidence } from "./guest-evidence.ts";
import type { AuthenticatedUser, GuestProcess, StartProcess } from "./guest-process.ts";
import { MessageStream } from "./message-stream.ts";
import {
  AUTH_METHOD_NOT_ALLOWED,
  AUTH_OK,
  AUTH_REFUSED,
  CLOSE_CODES,
  CONTROL_STREAM,
  OPEN_FAILED,
  OPEN_NOT_ALLOWED,
  OPEN_OK,
  OPEN_TOO_MANY,
  SERVICE,
  type SessionMessage,
  channelStreams,
} from "./messages.ts";

/** A connection whose user is not in by then makes room. */
const AUTHENTICATE_WITHIN = 120_000;
/** Nothing authentic for this long: the client is gone, its programs are hung up. */
const FORGET_AFTER = 30 * 60_000;
/** After its CLOSE a connection lingers this long to acknowledge and repeat. */
const LINGER = 3000;
const MAX_AUTH_ATTEMPTS = 5;
const REFUSAL_DELAY = 1000;
/** A client that does not take its answers is not heard further: each OPEN would leave one more here. */
const MAX_ANSWERS_HELD = 64 * 1024;

export interface GuestServices {
  /** @throws SealttyError `evidence-unavailable`, `limit-exceeded`. */
  collectEvidence(request: EvidenceRequest): Promise<Evidence>;
  /** Whether a session without a key is allowed: it gets the login program and nothing else. */
  readonly loginAllowed: boolean;
  readonly keysAllowed: boolean;
  /** Equal work for unknown keys. */
  verifyUserKey(fields: UserAuthFields, publicKey: Uint8Array, sshsig: Uint8Array): Promise<boolean>;
  readonly startProcess: StartProcess;
  /** For the guest's own log: fixed words, user names that were checked; never bytes of the peer. */
  log(event: string): void;
}

/** Where a connection's frames leave. */
export interface GuestPort {
  /** The connection has something to send. */
  wake(connection: GuestConnection): void;
}

export class GuestConnection {
  /** SHA-256 of the INIT message: tells replays of it from other attempts under the same id. */
  readonly initDigest: Uint8Array;
  /** REPLY bodies, kept until the client shows that it has the keys. */
  replies: readonly Uint8Array[];
  port: GuestPort;
  encoding: FrameEncoding;
  readonly #suite: CryptoSuite;
  readonly #clock: Clock;
  readonly #services: GuestServices;
  readonly #connection: StreamConnection;
  readonly #messages: MessageStream;
  readonly #deadline: Deadline;
  /** Of this connection's handshake; the exporter in it is secret. */
  readonly #context: BindingContext;
  readonly #onOver: () => void;
  readonly #admit: (method: AuthenticatedUser["method"]) => boolean;
  readonly #started: number;
  readonly #channels = new Map<number, GuestChannel>();
  #starting = 0; // channels whose program is being started
  #newestChannel = 0; // numbers only grow: none is ever used again
  readonly #evidence: GuestEvidence;
  #user: AuthenticatedUser | undefined;
  #newest = -1; // highest packet number heard
  #attempts = 0;
  #deciding = false; // an authentication attempt is being answered
  #closedAt: number | undefined;
  #over = false;

  constructor(
    own: {
      suite: CryptoSuite;
      clock: Clock;
      services: GuestServices;
      /** Whether there is a place for one more user of this kind. */
      admit(method: AuthenticatedUser["method"]): boolean;
      onOver(): void;
    },
    opened: {
      connectionId: Uint8Array;
      initDigest: Uint8Array;
      replies: readonly Uint8Array[];
      handshaken: Handshaken;
      hello: ClientHello;
      port: GuestPort;
      encoding: FrameEncoding;
    },
  ) {
    this.#suite = own.suite;
    this.#clock = own.clock;
    this.#services = own.services;
    this.#onOver = () => own.onOver();
    this.#admit = (method) => own.admit(method);
    this.initDigest = opened.initDigest;
    this.replies = opened.replies;
    this.port = opened.port;
    this.encoding = opened.encoding;
    const { handshaken } = opened;
    this.#started = this.#clock.now();
    this.#deadline = new Deadline(this.#clock, () => this.#onTime());
    const flight = { bytes: MAX_FLIGHT_TO_CLIENT_BYTES, frames: MAX_FLIGHT_TO_CLIENT_FRAMES };
    const keys = {
      connectionId: opened.connectionId,
      sendKey: handshaken.sendKey,
      receiveKey: handshaken.receiveKey,
    };
    this.#connection = new StreamConnection(this.#suite, keys, flight, this.#started);
    this.#connection.onWork = () => {
      if (!this.#over) this.port.wake(this);
    };
    const windows = { receive: CONTROL_STREAM_WINDOW, send: CONTROL_STREAM_WINDOW };
    this.#messages = new MessageStream(
      this.#connection,
      this.#connection.openStream(CONTROL_STREAM, windows),
    );
    this.#deadline.set(this.#nextDeadline());
    this.#context = { ...handshaken, clientNonce: opened.hello.nonce };
    this.#evidence = new GuestEvidence({
      suite: this.#suite,
      clock: this.#clock,
      context: this.#context,
      collect: (request) => this.#services.collectEvidence(request),
      log: (event) => this.#services.log(event),
      send: (message) => this.#messages.send(message),
      close: (code) => this.close(code),
      gone: () => this.#over,
      ending: () => this.#ending,
    });
    void this.#evidence.first();
  }

  get authenticated(): boolean {
    return this.#user !== undefined;
  }
  /** How its user was let in; undefined while nobody was. */
  get method(): AuthenticatedUser["method"] | undefined {
    return this.#user?.method;
  }
  get over(): boolean {
    return this.#over;
  }
  get lastHeard(): number {
    return this.#connection.lastHeard;
  }

  /** @param paced - receipts wait behind this frame. @returns the next frame body to send, undefined where none is due. */
  next(paced = false): Uint8Array | undefined {
    if (this.#over) return undefined;
    const limit = this.encoding === "armour" || paced ? MAX_ARMOUR_BODY : MAX_BODY_TO_CLIENT;
    try {
      const body = this.#connection.next(limit, this.#clock.now());
      this.#deadline.set(this.#nextDeadline());
      return body;
    } catch (error) {
      // One connection's end (its packet limit, or a mistake of ours) must not take the others on this pipe with it.
      this.#services.log(
        error instanceof SealttyError ? error.message : "internal error while making a packet",
      );
      this.destroy();
      return undefined;
    }
  }

  /**
   * Takes a PACKET frame of this connection's id.
   * @returns whether it was authentic: then, and only then, the connection follows it to its pipe.
   */
  receive(body: Uint8Array, port: GuestPort, encoding: FrameEncoding): boolean {
    if (this.#over) return false;
    try {
      const number = this.#connection.receive(body, this.#clock.now());
      if (number === undefined) return false;
      if (number > this.#newest) {
        // Only the newest packet moves the connection: the host may hold older ones back and let them out elsewhere.
        this.#newest = number;
        this.encoding = encoding;
        if (this.port !== port) {
          this.port = port;
          this.#connection.onNewPipe(this.#clock.now());
        }
      }
      this.replies = [];
      this.#readMessages();
      if (this.#connection.peerClose !== undefined) {
        this.#hangUpAll();
        this.#linger();
      }
      this.#deadline.set(this.#nextDeadline());
    } catch (error) {
      if (!(error instanceof SealttyError)) this.#services.log("internal error while taking a packet");
      this.close(error instanceof SealttyError ? "protocol" : "internal");
    }
    return true;
  }

  /** Sends CLOSE, lingers a moment to repeat it, hangs up every program. */
  close(code: keyof typeof CLOSE_CODES): void {
    if (this.#over || this.#connection.closing) return;
    this.#hangUpAll();
    this.#connection.close(CLOSE_CODES[code]);
    this.#linger();
  }

  /** Without a word: makes room, or the daemon ends. */
  destroy(): void {
    if (this.#over) return;
    this.#over = true;
    this.#deadline.stop();
    this.#hangUpAll();
    this.#connection.destroy();
    this.#onOver();
  }

  #readMessages(): void {
    // One attempt to authenticate at a time, and answers that were taken: what follows waits in the stream, under credit.
    // After a CLOSE of either side nothing counts any more, a further attempt least of all.
    while (!this.#deciding && !this.#ending && this.#messages.held <= MAX_ANSWERS_HELD) {
      const message = this.#messages.next(
        this.authenticated ? MAX_COMMAND_BYTES + 128 * 1024 : MAX_AUTH_MESSAGE,
      );
      if (message === undefined) return;
      this.#onMessage(message);
    }
  }

  #onMessage(message: SessionMessage): void {
    if (message.type === "authenticate") return this.#onAuthenticate(message);
    const user = this.#user;
    if (user === undefined)
      throw new SealttyError("peer-misbehaved", "A message before the user was authenticated");
    switch (message.type) {
      case "open":
        this.#onOpen(user, message.channel, message.request).catch((error: unknown) => {
          const ours = !(error instanceof SealttyError);
          this.#services.log(ours ? "internal error in a channel" : error.message);
          this.close(ours ? "internal" : "protocol");
        });
        return;
      case "resize":
        this.#channels.get(message.channel)?.process.resize(message.columns, message.rows);
        return;
      case "signal":
        this.#channels.get(message.channel)?.process.signal(message.signal);
        return;
      case "hang-up":
        this.#channels.get(message.channel)?.hangUp();
        return;
      case "attest":
        this.#evidence.again(message.counter, message.nonce).catch(() => this.close("protocol"));
        return;
      default:
        throw new SealttyError("peer-misbehaved", "A message that only guests send");
    }
  }

  #onAuthenticate(message: Extract<SessionMessage, { type: "authenticate" }>): void {
    const evidenceDigest = this.#evidence.digest;
    if (evidenceDigest === undefined || this.#user !== undefined || message.service !== SERVICE) {
      throw new SealttyError("peer-misbehaved", "Authentication out of turn");
    }
    this.#deciding = true;
    void this.#judge(message, evidenceDigest).then((code) => this.#decided(message, code));
  }

  #decided(message: Extract<SessionMessage, { type: "authenticate" }>, code: number): void {
    if (this.#ending) return; // closed meanwhile: nobody is let in any more, and no place is taken
    if (code === AUTH_OK) {
      this.#deciding = false;
      const method = message.key === undefined ? "none" : "ssh-key";
      if (!this.#admit(method)) return this.close("busy");
      this.#user = { name: message.user, method };
      this.#services.log(`user authenticated by ${this.#user.method}`);
      this.#messages.send({ type: "authenticated", code });
      return this.#readOn();
    }
    this.#services.log("user authentication refused");
    this.#attempts++;
    this.#clock.after(REFUSAL_DELAY, () => {
      this.#deciding = false;
      if (this.#ending) return;
      this.#messages.send({ type: "authenticated", code });
      if (this.#attempts >= MAX_AUTH_ATTEMPTS) this.close("not-authenticated");
      else this.#readOn();
    });
  }

  async #judge(
    message: Extract<SessionMessage, { type: "authenticate" }>,
    evidenceDigest: Uint8Array,
  ): Promise<number> {
    if (message.key === undefined) return this.#services.loginAllowed ? AUTH_OK : AUTH_METHOD_NOT_ALLOWED;
    if (!this.#services.keysAllowed) return AUTH_METHOD_NOT_ALLOWED;
    const fields = {
      handshakeHash: this.#context.handshakeHash,
      evidenceDigest,
      user: message.user,
      service: message.service,
    };
    try {
      return (await this.#services.verifyUserKey(fields, message.key.publicKey, message.key.sshsig))
        ? AUTH_OK
        : AUTH_REFUSED;
    } catch {
      this.#services.log("internal error while checking a key");
      return AUTH_REFUSED;
    }
  }

  /** Messages that waited for a decision. */
  #readOn(): void {
    try {
      this.#readMessages();
    } catch {
      this.close("protocol");
    }
  }

  async #onOpen(user: AuthenticatedUser, channel: number, request: ChannelRequest): Promise<void> {
    if (channel <= this.#newestChannel)
      throw new SealttyError("peer-misbehaved", "A channel number was used again");
    this.#newestChannel = channel;
    const answer = (code: number): void => this.#messages.send({ type: "opened", channel, code });
    if (user.method === "none" && request.kind !== "login") return answer(OPEN_NOT_ALLOWED);
    const limit = user.method === "none" ? MAX_LOGIN_CHANNELS : MAX_CHANNELS;
    if (this.#channels.size + this.#starting >= limit) return answer(OPEN_TOO_MANY);
    // Before anything is awaited, so that streams open in the order of their numbers.
    const ids = channelStreams(channel);
    const streams = {
      inOut: this.#connection.openStream(ids.inOut, {
        receive: INPUT_STREAM_WINDOW,
        send: OUTPUT_STREAM_WINDOW,
      }),
      error: this.#connection.openStream(ids.error, { receive: 0, send: OUTPUT_STREAM_WINDOW }),
    };
    let process: GuestProcess | undefined;
    this.#starting++;
    try {
      process = await this.#services.startProcess(user, request);
    } catch (error) {
      const why = error instanceof Error ? error.message : "unknown";
      this.#services.log(`could not start a ${request.kind} program: ${why}`);
    } finally {
      this.#starting--;
    }
    if (this.#ending) return process?.hangUp();
    if (process === undefined) {
      this.#connection.dropStream(ids.inOut);
      this.#connection.dropStream(ids.error);
      return answer(OPEN_FAILED);
    }
    const open = new GuestChannel(process, this.#connection, streams);
    this.#channels.set(channel, open);
    answer(OPEN_OK);
    await open.run(channel, this.#messages);
    this.#channels.delete(channel);
  }

  get #ending(): boolean {
    return this.#over || this.#connection.closing || this.#connection.peerClose !== undefined;
  }

  #hangUpAll(): void {
    for (const channel of this.#channels.values()) channel.end();
  }

  #linger(): void {
    this.#closedAt ??= this.#clock.now();
    this.#deadline.set(this.#nextDeadline()); // a host that takes no frames must not keep the keys alive
  }

  #nextDeadline(): number | undefined {
    if (this.#over) return undefined;
    return Math.min(this.#connection.deadline ?? Number.POSITIVE_INFINITY, this.#endsAt);
  }

  /** When this connection is forgotten if nothing more happens. */
  get #endsAt(): number {
    if (this.#closedAt !== undefined) return this.#closedAt + LINGER;
    return this.#user === undefined
      ? this.#started + AUTHENTICATE_WITHIN
      : this.#connection.lastHeard + FORGET_AFTER;
  }

  #onTime(): void {
    if (this.#over) return;
    const now = this.#clock.now();
    if (this.#connection.closeArrived) return this.destroy();
    if (now >= this.#endsAt) {
      if (this.#closedAt !== undefined) return this.destroy();
      this.close(this.authenticated ? "done" : "not-authenticated"); // said once, then lingered over
    }
    this.#connection.onTime(now);
    this.#deadline.set(this.#nextDeadline());
  }
}

export function sameInit(connection: GuestConnection, digest: Uint8Array): boolean {
  return equalBytes(connection.initDigest, digest);
}

// One connection of the client through its phases, over however many pipes: what connect.ts tells as one story.

import type { Evidence } from "../attestation/evidence.ts";
import { equalBytes } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import type { FrameEncoding } from "../frames/frame-encoder.ts";
import {
  connectionIdOf,
  FRAME_PACKET,
  FRAME_RECEIPT,
  FRAME_RETIRED,
  isRetirement,
  retiredBody,
} from "../frames/frame-body.ts";
import type { PipeFindings } from "../handshake/client-hello.ts";
import type { Handshaken } from "../handshake/messages.ts";
import { CONTROL_STREAM_WINDOW, LONG_BODY_TO_GUEST, MAX_CONTROL_MESSAGE } from "../limits.ts";
import { SLOTS_TO_GUEST, type ShapingProfile } from "../packets/shaping.ts";
import { StreamConnection } from "../streams/stream-connection.ts";
import type { ConnectOptions, ConnectionState, ConnectionStats, UserAuth } from "./api.ts";
import { ClientChannels } from "./client-channels.ts";
import { ClientHandshake } from "./client-handshake.ts";
import { ClientRenewals } from "./client-renewals.ts";
import { type ReceivedEvidence, evidenceOf } from "./client-evidence.ts";
import { flightToGuest, longBody, maxBody, quickBody } from "./client-flight.ts";
import { ClientLink } from "./client-link.ts";
import { ClientLiveness } from "./client-liveness.ts";
import { Lookout } from "./lookout.ts";
import {
  asSealttyError,
  closedError,
  rolledBackError,
  timeoutError,
  userRefusedError,
} from "./client-words.ts";
import { retirementToken } from "./retirement.ts";
import { ShapingAnswer } from "./shaping-answer.ts";
import { Deadline } from "./deadline.ts";
import { type Waiter, waiter } from "./waiter.ts";
import { Gate } from "./gate.ts";
import { Pacer } from "./pacer.ts";
import { MessageStream } from "./message-stream.ts";
import {
  AUTH_OK,
  CLOSE_CODES,
  CONTROL_STREAM,
  SERVICE,
  type SessionMessage,
  closeReason,
} from "./messages.ts";

const CLOSE_WAIT = 1000;

type Options = Pick<ConnectOptions, "dial" | "suite" | "clock" | "encoding" | "onState" | "onHostNoise">;

export class ClientConnection {
  readonly closed: Promise<string>;
  /** Only after the user was authenticated: the guest closes the connection otherwise. */
  readonly channels: ClientChannels;
  readonly #options: Options;
  readonly #id: Uint8Array;
  readonly #body = new Uint8Array(LONG_BODY_TO_GUEST); // of one packet, until the link asks for the next
  readonly #link: ClientLink;
  readonly #pacer: Pacer;
  readonly #handshake: ClientHandshake;
  readonly #deadline: Deadline;
  readonly #evidence = waiter<ReceivedEvidence>();
  readonly #end = waiter<string>();
  #handshaken: Handshaken | undefined;
  #connection: StreamConnection | undefined; // from the keys on
  #messages: MessageStream | undefined;
  #newest = -1; // the highest number of an authentic packet
  #evidenceTaken = false;
  #authentication: Waiter<number> | undefined;
  readonly #gate = new Gate();
  readonly #renewals: ClientRenewals;
  readonly #shaped = new ShapingAnswer();
  #failure: SealttyError | undefined;
  #linkLost = false;
  #lostBy: string | undefined; // why the last pipe ended, in our words
  readonly #liveness: ClientLiveness;
  readonly #lookout: Lookout;
  #retirement: Uint8Array | undefined; // a RETIRED body to send
  #retiring = false; // there was one

  constructor(options: Options, clientHello: (pipe: PipeFindings) => Uint8Array) {
    this.#options = options;
    this.#lookout = new Lookout(options.clock);
    this.#id = options.suite.randomBytes(4);
    this.closed = this.#end.promise;
    this.channels = new ClientChannels({ suite: options.suite, gate: this.#gate, open: () => this.#open() });
    const encodings: readonly FrameEncoding[] =
      options.encoding === "auto" ? ["binary", "armour"] : [options.encoding];
    const checksum = options.suite.crc32;
    this.#pacer = new Pacer(options.clock, this.#id, checksum, () => this.#link.encoding);
    const encoding = options.encoding === "armour" ? "armour" : "binary";
    this.#link = new ClientLink(() => options.dial(), options.clock, checksum, encoding, this.#pacer, {
      onPipe: () => this.#onPipe(),
      onFrame: (body, how) => this.#onFrame(body, how),
      onNoise: (noise) => options.onHostNoise?.(noise),
      onLost: (reason) => this.#onLost(reason),
      source: () => this.#source(),
      oneLength: () => this.#connection?.slotted ?? false,
      mayGather: () => this.#connection !== undefined,
    });
    const { suite, clock } = options;
    this.#handshake = new ClientHandshake(suite, clock, this.#id, clientHello, encodings, this.#pacer, {
      wake: () => this.#link.wake(),
      alternate: () => {
        if (options.encoding === "auto")
          this.#link.encoding = this.#link.encoding === "binary" ? "armour" : "binary";
      },
      use: (how) => {
        this.#link.encoding = how;
      },
    });
    this.#renewals = new ClientRenewals(options.clock);
    this.#deadline = new Deadline(options.clock, () => this.#onTime());
    this.#liveness = new ClientLiveness((state) => options.onState?.(state));
    this.#link.run().catch((error: unknown) => this.#fail(asSealttyError(error)));
  }

  get stats(): ConnectionStats {
    const none = {
      roundTripMs: undefined,
      packetsSent: 0,
      packetsReceived: 0,
      packetsLost: 0,
      packetsRefused: 0,
    };
    const { burst, rate } = this.#pacer;
    const carries = {
      encoding: this.#link.encoding,
      burst,
      rate: burst > 0 ? rate : (this.#handshake.findings?.rate ?? 0),
    };
    return { ...(this.#connection?.stats ?? none), pipes: this.#link.pipes, carries };
  }

  /** The connection's next phase, told to the caller. */
  enter(state: ConnectionState): void {
    this.#liveness.enter(state);
  }

  evidence(): Promise<ReceivedEvidence> {
    return this.#evidence.promise;
  }

  /** Why nothing came in time, as far as can be told. */
  explainTimeout(timeout: number, address: string): SealttyError {
    const { welcomed, otherVersion } = this.#handshake;
    const dialing = this.#link.pipes === 0;
    return timeoutError(
      { dialing, keys: this.#handshaken !== undefined, welcomed, otherVersion, lostBy: this.#lostBy },
      timeout,
      address,
    );
  }

  /** Only after the appraisal. @throws SealttyError `user-refused`. */
  async authenticate(auth: UserAuth, evidenceDigest: Uint8Array): Promise<void> {
    const { messages, handshaken } = this.#open();
    this.#authentication = waiter<number>();
    const base = { type: "authenticate", user: auth.user, service: SERVICE } as const;
    if (auth.method === "none") {
      messages.send(base);
    } else {
      const fields = {
        handshakeHash: handshaken.handshakeHash,
        evidenceDigest,
        user: auth.user,
        service: SERVICE,
      };
      const sshsig = await auth.sign(fields);
      messages.send({ ...base, key: { publicKey: auth.publicKey, sshsig } });
    }
    const code = await this.#authentication.promise;
    if (code !== AUTH_OK) throw userRefusedError(auth, code);
  }

  /** Only after the appraisal. From here on what goes out is shaped; what comes in is, once the user is authenticated. */
  shape(profile: ShapingProfile): void {
    const { connection, messages } = this.#open();
    if (connection.shaping !== undefined) return;
    connection.shape(profile, SLOTS_TO_GUEST, this.#options.clock.now(), this.#handshake.findings?.rate);
    this.#deadline.set(this.#nextDeadline());
    messages.send({ type: "shape", profile });
  }

  /** Asks the guest for evidence again: client-renewal.ts. */
  renewEvidence(renewalNonce: Uint8Array): Promise<{ counter: number; evidence: Evidence | undefined }> {
    const { messages } = this.#open();
    return this.#renewals.ask(renewalNonce, (message) => messages.send(message));
  }

  /** Frozen: nothing of the user's goes out, nothing of the guest's programs is delivered. */
  get frozen(): boolean {
    return this.#gate.shut;
  }
  freeze(): void {
    this.#gate.close();
    this.#connection?.holdChannels(true);
  }
  thaw(): void {
    try {
      // While nothing passes yet: what they change is told once, as it is now.
      if (this.#failure === undefined) this.#readMessages();
    } catch (error) {
      this.#fail(asSealttyError(error));
    }
    this.#connection?.holdChannels(false);
    this.#gate.open();
  }

  /** As it is, without any rule: for the methods here, and for tests of the guest. */
  sendMessage(message: SessionMessage): void {
    this.#open().messages.send(message);
  }

  /**
   * Lets messages arrive, sends an authenticated CLOSE, waits for its acknowledgement, each at most a second, and lets
   * everything go. @param atOnce - there is no time for that: CLOSE leaves before this returns, if the pipe takes it.
   */
  async close(code: keyof typeof CLOSE_CODES, atOnce = false): Promise<void> {
    const connection = this.#connection;
    const messages = this.#messages;
    if (connection !== undefined && messages !== undefined && this.#failure === undefined) {
      const over = (): boolean =>
        connection.peerClose !== undefined || this.#linkLost || this.#failure !== undefined;
      // Behind CLOSE nothing is sent, and a slot may be a while: what hangs a session up must not be lost by that.
      if (messages.held > 0 && !atOnce)
        await this.#lookout.until(() => messages.held === 0 || over(), CLOSE_WAIT);
      if (this.#failure === undefined) connection.close(CLOSE_CODES[code], atOnce);
      await this.#lookout.until(() => connection.closeArrived || over(), CLOSE_WAIT);
    }
    this.#fail(new SealttyError("transport-lost", "The connection was closed"), "closed");
    await this.#link.close();
  }

  #open(): { connection: StreamConnection; messages: MessageStream; handshaken: Handshaken } {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#connection === undefined || this.#messages === undefined || this.#handshaken === undefined) {
      throw new SealttyError("api-misuse", "No keys yet");
    }
    return { connection: this.#connection, messages: this.#messages, handshaken: this.#handshaken };
  }

  #source(): Uint8Array | undefined {
    const connection = this.#connection;
    if (connection === undefined) return this.#handshake.source();
    if (connection.rolledBack !== undefined) {
      const body = this.#retirement;
      this.#retirement = undefined;
      return body;
    }
    const rate = this.#handshake.findings?.rate ?? 0;
    const quick = quickBody(this.#link.encoding, rate);
    const limit = Math.min(quick, this.#pacer.bodyLimit);
    // A probe is so short that a busy machine makes every pipe a slow one.
    const shown = Math.max(rate, connection.deliveryRate);
    const long = this.#link.gathers ? longBody(this.#link.encoding, shown) : limit;
    try {
      const body = connection.next(limit, this.#options.clock.now(), this.#body, long);
      this.#deadline.set(this.#nextDeadline());
      return body;
    } catch (error) {
      this.#fail(asSealttyError(error));
      return undefined;
    }
  }

  #onPipe(): void {
    this.#linkLost = false;
    if (this.#connection === undefined) {
      this.enter({ phase: "waiting-for-guest" });
      this.#handshake.start();
    } else {
      this.#connection.onNewPipe(this.#options.clock.now());
      this.#connection.ping(); // tells the guest where we are now
    }
  }

  #onLost(reason: string): void {
    this.#linkLost = true;
    this.#lostBy = reason;
    if (this.#failure === undefined) this.#liveness.lost(reason);
    this.#checkAlive();
    this.#lookout.look();
  }

  #onFrame(body: Uint8Array, encoding: FrameEncoding): void {
    const ours = equalBytes(connectionIdOf(body), this.#id); // others are of clients behind the same relay
    if (ours && body[0] === FRAME_RECEIPT) this.#pacer.onReceipt(body); // what is under way at the end needs it, too
    if (this.#failure !== undefined) return;
    const connection = this.#connection;
    try {
      if (connection === undefined) this.#onHandshakeFrame(body, encoding);
      else if (!ours) return;
      else if (body[0] === FRAME_PACKET) this.#onPacket(connection, body, encoding);
      else if (body[0] === FRAME_RETIRED && isRetirement(body, this.#token("guest")))
        this.#fail(rolledBackError("guest"), "state-rolled-back");
    } catch (error) {
      if (connection?.rolledBack === undefined) return this.#fail(asSealttyError(error));
      this.#retiring = true;
      this.#retirement = retiredBody(this.#id, this.#token("client"));
      this.#link.wake();
      if (connection.rolledBack === "peer") this.#fail(rolledBackError("guest"), "state-rolled-back");
      else this.#fail(rolledBackError("client"));
    }
  }

  #token(who: "guest" | "client"): Uint8Array {
    return retirementToken(this.#options.suite, (this.#handshaken as Handshaken).exporter, who);
  }

  #onHandshakeFrame(body: Uint8Array, encoding: FrameEncoding): void {
    const wasWelcomed = this.#handshake.welcomed;
    const handshaken = this.#handshake.onFrame(body, encoding);
    if (!wasWelcomed && this.#handshake.welcomed) this.enter({ phase: "handshaking" });
    if (handshaken === undefined) return;
    this.#link.heardGuest();
    this.#handshaken = handshaken;
    const flight = flightToGuest(this.#handshake.findings?.rate ?? 0);
    const keys = { connectionId: this.#id, sendKey: handshaken.sendKey, receiveKey: handshaken.receiveKey };
    const connection = new StreamConnection(this.#options.suite, keys, flight, this.#options.clock.now());
    connection.onWork = () => {
      this.#deadline.set(this.#nextDeadline()); // before a packet is made: what is in it must not move the next slot's timer
      this.#link.wake();
    };
    const control = connection.openStream(CONTROL_STREAM, {
      receive: CONTROL_STREAM_WINDOW,
      send: CONTROL_STREAM_WINDOW,
    });
    this.#connection = connection;
    this.#messages = new MessageStream(connection, control);
    this.#deadline.set(this.#nextDeadline());
    this.enter({ phase: "collecting-evidence" });
    this.#link.wake();
  }

  #onPacket(connection: StreamConnection, body: Uint8Array, encoding: FrameEncoding): void {
    const number = connection.receive(body, this.#options.clock.now());
    if (number === undefined) return;
    this.#link.heardGuest();
    this.#noteLosses(connection);
    // Only the newest says how the pipe is now: the host may hold older ones back, and let them out in another encoding.
    if (number > this.#newest && this.#options.encoding === "auto") this.#link.encoding = encoding;
    this.#newest = Math.max(this.#newest, number);
    this.#liveness.heard();
    // What a changed guest says waits in the stream, under credit, until the user chose: no answer of it counts before.
    if (!this.#gate.shut) this.#readMessages();
    if (connection.peerClose !== undefined && !connection.closing) {
      const reason = closeReason(connection.peerClose);
      connection.endNow();
      this.#fail(closedError(reason), reason);
    }
    this.#deadline.set(this.#nextDeadline());
    this.#lookout.look();
  }

  #readMessages(): void {
    for (;;) {
      const message = this.#messages?.next(MAX_CONTROL_MESSAGE);
      if (message === undefined) break;
      this.#onMessage(message);
    }
    this.#renewals.arriving(this.#messages?.arriving("attested") ?? 0);
  }

  #onMessage(message: SessionMessage): void {
    if (!this.#evidenceTaken) {
      this.#evidenceTaken = true;
      return this.#evidence.resolve(evidenceOf(message, this.#handshaken as Handshaken));
    }
    switch (message.type) {
      case "authenticated":
        if (message.code === AUTH_OK) this.#shaped.mustBe(this.#connection?.shaping);
        this.#authentication?.resolve(message.code);
        return;
      case "shaped":
        this.#shaped.take(message.profile, this.#connection?.shaping);
        return;
      case "attested":
        this.#renewals.answer(message.counter, message.evidence);
        return;
      case "opened":
      case "attached":
        this.#shaped.mustBe(this.#connection?.shaping);
        this.channels.onMessage(message);
        return;
      default:
        this.channels.onMessage(message);
    }
  }

  #nextDeadline(): number | undefined {
    const connection = this.#connection;
    if (connection === undefined || this.#failure !== undefined) return undefined;
    return Math.min(
      connection.deadline ?? Number.POSITIVE_INFINITY,
      this.#liveness.pingAt(connection.lastHeard),
    );
  }

  #onTime(): void {
    const connection = this.#connection;
    if (connection === undefined || this.#failure !== undefined) return;
    const now = this.#options.clock.now();
    this.#checkAlive(); // before the next PING: what counts is that the last one was not answered
    if (this.#failed) return;
    if (this.#liveness.pingAt(connection.lastHeard) <= now) {
      this.#liveness.pinged(now);
      connection.ping();
    }
    connection.onTime(now, maxBody(this.#link.encoding));
    this.#noteLosses(connection);
    this.#deadline.set(this.#nextDeadline());
  }

  /**
   * Not where packets have slots: only those with content count as lost, so a host that loses some would see by the PACE
   * how many had any.
   */
  #noteLosses(connection: StreamConnection): void {
    if (!connection.slotted) this.#pacer.note(connection.stats);
  }

  #checkAlive(): void {
    const connection = this.#connection;
    if (connection === undefined || this.#failure !== undefined) return;
    const why = this.#liveness.check(connection.lastHeard, this.#options.clock.now());
    if (why !== undefined) this.#fail(why);
  }

  get #failed(): boolean {
    return this.#failure !== undefined;
  }

  #fail(error: SealttyError, reason: string = error.message): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#deadline.stop();
    this.#handshake.destroy();
    this.#evidence.reject(error);
    this.#authentication?.reject(error);
    this.#renewals.fail(error);
    this.channels.fail(error);
    this.#end.resolve(reason);
    this.#gate.open(); // readers find the failure; what was held back is gone
    this.#options.onState?.({ phase: "closed", reason });
    this.#lookout.look();
    // Let an acknowledgement of the peer's CLOSE leave first.
    this.#options.clock.soon(() => {
      // A RETIRED may stand behind a frame that goes out in small bursts, and be some itself; nothing repeats it.
      const gone = this.#retiring ? this.#link.drained(CLOSE_WAIT) : Promise.resolve();
      void gone.then(() => this.#link.close()).finally(() => this.#connection?.destroy());
    });
  }
}

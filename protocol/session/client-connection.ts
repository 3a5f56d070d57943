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
import {
  CONTROL_STREAM_WINDOW,
  MAX_ARMOUR_BODY,
  MAX_BODY_TO_GUEST,
  MAX_CONTROL_MESSAGE,
  MAX_FLIGHT_TO_GUEST_BYTES,
  MAX_FLIGHT_TO_GUEST_FRAMES,
  MAX_QUEUE_TO_GUEST_MS,
} from "../limits.ts";
import { SLOTS_TO_GUEST, type ShapingProfile } from "../packets/shaping.ts";
import { StreamConnection } from "../streams/stream-connection.ts";
import type { ConnectOptions, ConnectionState, ConnectionStats, UserAuth } from "./api.ts";
import { ClientChannels } from "./client-channels.ts";
import { ClientHandshake } from "./client-handshake.ts";
import { ClientRenewals } from "./client-renewals.ts";
import { ClientLink } from "./client-link.ts";
import { closedError, rolledBackError, timeoutError, userRefusedError } from "./client-words.ts";
import { retirementToken } from "./retirement.ts";
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

/** A PING after this much silence: hosts cut idle connections at 20 s (facts of KubeVirt). */
const KEEP_ALIVE = 15_000;
/** Nothing authentic for this long: the guest is gone, or the host keeps everything back. */
const GIVE_UP = 10 * 60_000;
const CLOSE_WAIT = 1000;
/** How long one frame may take at the rate found, ms, and the least body all the same. */
const QUICK = 250;
const MIN_QUICK_BODY = 160;
/** Nothing authentic this long after a repeated question: say that the connection hangs. */
const HANGING = 5000;

type Options = Pick<ConnectOptions, "dial" | "suite" | "clock" | "encoding" | "onState" | "onHostNoise">;

interface ReceivedEvidence {
  readonly encoded: Uint8Array;
  readonly evidence: Evidence;
  readonly handshaken: Handshaken;
}

export class ClientConnection {
  readonly closed: Promise<string>;
  /** Only after the user was authenticated: the guest closes the connection otherwise. */
  readonly channels: ClientChannels;
  readonly #options: Options;
  readonly #id: Uint8Array;
  readonly #link: ClientLink;
  readonly #pacer: Pacer;
  readonly #handshake: ClientHandshake;
  readonly #deadline: Deadline;
  readonly #evidence = waiter<ReceivedEvidence>();
  readonly #end = waiter<string>();
  #handshaken: Handshaken | undefined;
  #connection: StreamConnection | undefined; // from the keys on
  #messages: MessageStream | undefined;
  #evidenceTaken = false;
  #authentication: Waiter<number> | undefined;
  readonly #gate = new Gate();
  readonly #renewals: ClientRenewals;
  #shapedByGuest: ShapingProfile | undefined;
  #failure: SealttyError | undefined;
  #linkLost = false;
  #phase: ConnectionState = { phase: "dialing", attempt: 1 }; // where the connection stands apart from lost pipes
  #saidLost = false;
  #lastPing = 0;
  #looking: (() => void)[] = [];
  #retirement: Uint8Array | undefined; // a RETIRED body to send
  #retiring = false; // there was one

  constructor(options: Options, clientHello: (pipe: PipeFindings) => Uint8Array) {
    this.#options = options;
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
    options.onState?.(this.#phase);
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
    this.#phase = state;
    this.#options.onState?.(state);
  }

  evidence(): Promise<ReceivedEvidence> {
    return this.#evidence.promise;
  }

  /** Why nothing came in time, as far as can be told. */
  explainTimeout(timeout: number, address: string): SealttyError {
    const { welcomed, otherVersion } = this.#handshake;
    const dialing = this.#link.pipes === 0;
    return timeoutError(
      { dialing, keys: this.#handshaken !== undefined, welcomed, otherVersion },
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
      if (messages.held > 0 && !atOnce) await this.#until(() => messages.held === 0 || over(), CLOSE_WAIT);
      if (this.#failure === undefined) connection.close(CLOSE_CODES[code], atOnce);
      await this.#until(() => connection.closeArrived || over(), CLOSE_WAIT);
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

  /** What a frame holds now, bytes of body. */
  get #maxBody(): number {
    return this.#link.encoding === "armour" ? MAX_ARMOUR_BODY : MAX_BODY_TO_GUEST;
  }

  #source(): Uint8Array | undefined {
    const connection = this.#connection;
    if (connection === undefined) return this.#handshake.source();
    if (connection.rolledBack !== undefined) {
      const body = this.#retirement;
      this.#retirement = undefined;
      return body;
    }
    const { rate = 0 } = this.#handshake.findings ?? {};
    const most = this.#maxBody;
    // On a slow pipe a frame is a long time: no keystroke should wait for one.
    const quick = rate === 0 ? most : Math.max(MIN_QUICK_BODY, (rate * QUICK) / 1000);
    const limit = Math.min(most, Math.floor(quick), this.#pacer.bodyLimit);
    try {
      const body = connection.next(limit, this.#options.clock.now());
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
    this.#sayLost(reason);
    this.#checkAlive();
    for (const look of this.#looking.splice(0)) look();
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
    const rate = this.#handshake.findings?.rate ?? 0;
    const flight = {
      bytes: MAX_FLIGHT_TO_GUEST_BYTES,
      frames: MAX_FLIGHT_TO_GUEST_FRAMES,
      queue: MAX_QUEUE_TO_GUEST_MS,
      ...(rate > 0 ? { start: (rate * MAX_QUEUE_TO_GUEST_MS) / 1000 } : {}),
    };
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
    if (connection.receive(body, this.#options.clock.now()) === undefined) return;
    this.#link.heardGuest();
    this.#noteLosses(connection);
    if (this.#options.encoding === "auto") this.#link.encoding = encoding;
    if (this.#saidLost) {
      this.#saidLost = false;
      this.#options.onState?.(this.#phase);
    }
    // What a changed guest says waits in the stream, under credit, until the user chose: no answer of it counts before.
    if (!this.#gate.shut) this.#readMessages();
    if (connection.peerClose !== undefined && !connection.closing) {
      const reason = closeReason(connection.peerClose);
      this.#fail(closedError(reason), reason);
    }
    this.#deadline.set(this.#nextDeadline());
    if (this.#looking.length > 0) for (const look of this.#looking.splice(0)) look();
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
    // The guest's first message is its evidence; before that nothing else means anything.
    if (!this.#evidenceTaken) {
      this.#evidenceTaken = true;
      if (message.type === "no-evidence") {
        throw new SealttyError(
          "evidence-unavailable",
          "The guest could not collect evidence, so nothing can be verified. Its own log says why (journalctl -u sealttyd, in the guest).",
        );
      }
      if (message.type !== "evidence")
        throw new SealttyError("peer-misbehaved", "The guest sent something before its evidence");
      const { encoded, evidence } = message;
      this.#evidence.resolve({ encoded, evidence, handshaken: this.#handshaken as Handshaken });
      return;
    }
    switch (message.type) {
      case "authenticated":
        if (message.code === AUTH_OK) this.#needsShaped();
        this.#authentication?.resolve(message.code);
        return;
      case "shaped":
        this.#onShaped(message.profile);
        return;
      case "attested":
        this.#renewals.answer(message.counter, message.evidence);
        return;
      case "opened":
      case "attached":
        this.#needsShaped();
        this.channels.onMessage(message);
        return;
      default:
        this.channels.onMessage(message);
    }
  }

  /** It answers SHAPE before anything private: what it sends unshaped would tell what the user asked to hide. */
  #needsShaped(): void {
    if (this.#shapedByGuest !== this.#connection?.shaping)
      throw new SealttyError("peer-misbehaved", "The guest goes on without shaping its traffic");
  }

  #onShaped(profile: ShapingProfile): void {
    if (this.#shapedByGuest !== undefined || profile !== this.#connection?.shaping)
      throw new SealttyError("peer-misbehaved", "The guest does not shape its traffic as it was asked to");
    this.#shapedByGuest = profile;
  }

  #nextDeadline(): number | undefined {
    const connection = this.#connection;
    if (connection === undefined || this.#failure !== undefined) return undefined;
    return Math.min(connection.deadline ?? Number.POSITIVE_INFINITY, this.#keepAliveAt(connection));
  }

  #keepAliveAt(connection: StreamConnection): number {
    return Math.max(connection.lastHeard, this.#lastPing) + KEEP_ALIVE;
  }

  #onTime(): void {
    const connection = this.#connection;
    if (connection === undefined || this.#failure !== undefined) return;
    const now = this.#options.clock.now();
    this.#checkAlive(); // before the next PING: what counts is that the last one was not answered
    if (this.#failed) return;
    if (this.#keepAliveAt(connection) <= now) {
      this.#lastPing = now;
      connection.ping();
    }
    connection.onTime(now, this.#maxBody);
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
    if (connection === undefined) return;
    const now = this.#options.clock.now();
    const silent = now - connection.lastHeard;
    // This clock may have jumped (a suspended machine, a page in the background): then nobody was asked yet.
    const asked = this.#lastPing > connection.lastHeard && now - this.#lastPing >= HANGING;
    if (silent >= GIVE_UP && asked) {
      this.#fail(
        new SealttyError(
          "transport-lost",
          "Nothing authentic came from the guest for 10 minutes; the connection is given up. The guest may have restarted, or have been restored from an old snapshot: connect again.",
        ),
      );
    } else if (silent >= KEEP_ALIVE + HANGING) {
      this.#sayLost("the guest does not answer");
    }
  }

  get #failed(): boolean {
    return this.#failure !== undefined;
  }

  #sayLost(reason: string): void {
    if (this.#saidLost || this.#failure !== undefined) return;
    this.#saidLost = true;
    this.#options.onState?.({ phase: "reconnecting", reason });
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
    for (const look of this.#looking.splice(0)) look();
    // Let an acknowledgement of the peer's CLOSE leave first.
    this.#options.clock.soon(() => {
      // A RETIRED may stand behind a frame that goes out in small bursts, and be some itself; nothing repeats it.
      const gone = this.#retiring ? this.#link.drained(CLOSE_WAIT) : Promise.resolve();
      void gone.then(() => this.#link.close()).finally(() => this.#connection?.destroy());
    });
  }

  /** Resolves once `holds`, or after `atMost` ms. */
  async #until(holds: () => boolean, atMost: number): Promise<void> {
    let late = false;
    const cancel = this.#options.clock.after(atMost, () => {
      late = true;
      for (const look of this.#looking.splice(0)) look();
    });
    while (!holds() && !late) await new Promise<void>((resolve) => this.#looking.push(resolve));
    cancel();
  }
}

function asSealttyError(error: unknown): SealttyError {
  if (error instanceof SealttyError) return error;
  return new SealttyError(
    "transport-lost",
    error instanceof Error ? error.message : "The connection failed",
    { cause: error },
  );
}

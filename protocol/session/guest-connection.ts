// One connection of the guest through its phases: evidence, user, channels. Nothing private goes out before the user is in.

import type { BindingContext } from "../attestation/binder.ts";
import type { Evidence } from "../attestation/evidence.ts";
import { equalBytes } from "../bytes.ts";
import type { Clock } from "../clock.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import { isRetirement, retiredBody } from "../frames/frame-body.ts";
import type { FrameEncoding } from "../frames/frame-encoder.ts";
import type { ClientHello } from "../handshake/client-hello.ts";
import type { Handshaken } from "../handshake/messages.ts";
import {
  CONTROL_STREAM_WINDOW,
  LONG_BODY_TO_CLIENT,
  MAX_AUTH_MESSAGE,
  MAX_BODY_TO_CLIENT,
  MAX_COMMAND_BYTES,
  MAX_FLIGHT_TO_CLIENT_BYTES,
  MAX_FLIGHT_TO_CLIENT_FRAMES,
  MAX_ARMOUR_BODY,
} from "../limits.ts";
import { SLOTS_TO_CLIENT, type ShapingProfile } from "../packets/shaping.ts";
import { StreamConnection } from "../streams/stream-connection.ts";
import type { AuthTurns } from "./auth-turns.ts";
import { Deadline } from "./deadline.ts";
import { GuestChannels } from "./guest-channels.ts";
import { type EvidenceRequest, GuestEvidence } from "./guest-evidence.ts";
import type { AuthenticatedUser, StartProcess } from "./guest-process.ts";
import type { GuestSessions } from "./guest-sessions.ts";
import type { GuestStreams } from "./guest-streams.ts";
import { RefusalTime } from "./refusal-time.ts";
import { grantWords, type Judgement, judgeUser, type UserServices } from "./guest-user.ts";
import { MessageStream } from "./message-stream.ts";
import { AUTH_OK, CLOSE_CODES, CONTROL_STREAM, SERVICE, type SessionMessage } from "./messages.ts";
import { retirementToken } from "./retirement.ts";

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

export interface GuestServices extends UserServices {
  /** @throws SealttyError `evidence-unavailable`, `limit-exceeded`. */
  collectEvidence(request: EvidenceRequest): Promise<Evidence>;
  readonly startProcess: StartProcess;
  /** Ms since 1970 UTC, of the guest's clock: whether what a key was granted is over. */
  wallTime(): number;
  /** This sign-in opens nothing any more. */
  signedOff?(user: AuthenticatedUser): void;
  /** Programs that outlive their connections; undefined: none are allowed. */
  readonly sessions?: GuestSessions | undefined;
  /** Connections to elsewhere; undefined: none are allowed. */
  readonly streams?: GuestStreams | undefined;
  /** For the guest's own log: fixed words, user names that were checked; never bytes of the peer. */
  log(event: string): void;
}

/** Where a connection's frames leave. */
export interface GuestPort {
  /** The connection has something to send. */
  wake(connection: GuestConnection): void;
  /** Sends a body that is not a packet. */
  answer(body: Uint8Array, encoding: FrameEncoding): void;
}

export class GuestConnection {
  /** SHA-256 of the INIT message: tells replays of it from other attempts under the same id. */
  readonly initDigest: Uint8Array;
  /** REPLY bodies, kept until the client shows that it has the keys. */
  replies: readonly Uint8Array[];
  port: GuestPort;
  encoding: FrameEncoding;
  readonly #connectionId: Uint8Array;
  readonly #suite: CryptoSuite;
  readonly #clock: Clock;
  readonly #services: GuestServices;
  readonly #connection: StreamConnection;
  readonly #messages: MessageStream;
  readonly #deadline: Deadline;
  /** Of this connection's handshake; the exporter in it is secret. */
  readonly #context: BindingContext;
  readonly #onOver: (retired?: Uint8Array) => void;
  readonly #admit: (method: AuthenticatedUser["method"]) => boolean;
  readonly #turns: AuthTurns;
  readonly #started: number;
  readonly #channels: GuestChannels;
  readonly #evidence: GuestEvidence;
  #user: AuthenticatedUser | undefined;
  #shaping: ShapingProfile | undefined; // as the client asked
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
      /** For the check of a user's key. */
      readonly turns: AuthTurns;
      /** @param retired - a RETIRED body with which to answer whatever still comes. */
      onOver(retired?: Uint8Array): void;
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
    this.#onOver = (retired) => own.onOver(retired);
    this.#admit = (method) => own.admit(method);
    this.#turns = own.turns;
    this.initDigest = opened.initDigest;
    this.#connectionId = opened.connectionId;
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
      if (this.#over) return;
      this.#deadline.set(this.#nextDeadline()); // before a packet is made: what is in it must not move the next slot's timer
      this.port.wake(this);
    };
    const windows = { receive: CONTROL_STREAM_WINDOW, send: CONTROL_STREAM_WINDOW };
    this.#messages = new MessageStream(
      this.#connection,
      this.#connection.openStream(CONTROL_STREAM, windows),
    );
    this.#channels = new GuestChannels({
      clock: this.#clock,
      connection: this.#connection,
      messages: this.#messages,
      services: this.#services,
      ending: () => this.#ending,
      close: (code) => this.close(code),
    });
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
  /** Its client has to hear that it ends. */
  get waitsForGoodbye(): boolean {
    return !this.#over && this.authenticated && this.#connection.peerClose === undefined;
  }
  /** Its CLOSE, or the client's, was said: it only lingers. */
  get ending(): boolean {
    return this.#ending;
  }
  /** Its frames must have one length. */
  get slotted(): boolean {
    return this.#connection.slotted;
  }
  get lastHeard(): number {
    return this.#connection.lastHeard;
  }

  /** What a frame holds in this encoding, bytes of body. */
  get #maxBody(): number {
    return this.encoding === "armour" ? MAX_ARMOUR_BODY : MAX_BODY_TO_CLIENT;
  }

  /**
   * @param pace - "paced": receipts wait behind this frame; "free": a long one is better than several. @param into - where the
   * body goes, if it is long enough.
   * @returns the next frame body to send, undefined where none is due.
   */
  next(pace: "paced" | "usual" | "free" = "usual", into?: Uint8Array): Uint8Array | undefined {
    if (this.#over) return undefined;
    try {
      const limit = pace === "paced" ? MAX_ARMOUR_BODY : this.#maxBody;
      const long = pace === "free" && this.encoding === "binary" ? LONG_BODY_TO_CLIENT : limit;
      const body = this.#connection.next(limit, this.#clock.now(), into, long);
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
        this.#channels.end();
        this.#linger();
      }
      if (this.#connection.closeArrived) this.destroy();
      this.#deadline.set(this.#nextDeadline());
    } catch (error) {
      if (this.#connection.rolledBack !== undefined) this.#retire(this.#connection.rolledBack);
      if (!(error instanceof SealttyError)) this.#services.log("internal error while taking a packet");
      this.close(error instanceof SealttyError ? "protocol" : "internal");
    }
    return true;
  }

  /** Sends CLOSE, lingers a moment to repeat it, hangs up every program. */
  close(code: keyof typeof CLOSE_CODES): void {
    if (this.#over || this.#connection.closing) return;
    this.#channels.end();
    const ends = code === "shutting-down" || code === "handed-over"; // the daemon: no slot is sure to come
    this.#connection.close(CLOSE_CODES[code], ends);
    this.#linger();
  }

  /** The machine may have been restored from a snapshot: nothing goes out before the client was heard anew. */
  doubt(): void {
    if (!this.#over) this.#connection.doubt();
  }

  /** Takes a RETIRED frame. @returns whether the client itself said it: it has no keys any more. */
  takeRetirement(body: Uint8Array): boolean {
    if (this.#over || !isRetirement(body, this.#token("client"))) return false;
    if (this.#user !== undefined)
      this.#services.log("a client says that a state was rolled back: its connection is over");
    this.destroy();
    return true;
  }

  /** These keys must not seal anything more: not even a CLOSE. */
  #retire(whose: "ours" | "peer"): void {
    const body = retiredBody(this.#connectionId, this.#token("guest"));
    this.port.answer(body, this.encoding);
    // Anybody can get as far as keys, and then lie: only a user's word is worth a line in the log, and being remembered.
    if (this.#user === undefined) return this.#end();
    const doubtful =
      this.#user.method === "none" ? " (so says a client without a key, as anybody could)" : "";
    this.#services.log(
      (whose === "ours"
        ? "STATE ROLLED BACK: a client has packets that this machine never sent. It was restored from a snapshot, or cloned; the connection is over, its keys are thrown away"
        : "a client's state was rolled back: two packets came under one number. The connection is over, its keys are thrown away") +
        doubtful,
    );
    this.#end(body);
  }

  #token(who: "guest" | "client"): Uint8Array {
    return retirementToken(this.#suite, this.#context.exporter, who);
  }

  /** Without a word: makes room, or the daemon ends. */
  destroy(): void {
    if (!this.#over) this.#end();
  }

  #end(retired?: Uint8Array): void {
    this.#over = true;
    this.#deadline.stop();
    this.#channels.end();
    this.#connection.destroy();
    if (this.#user !== undefined) this.#services.signedOff?.(this.#user);
    this.#onOver(retired);
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
    if (message.type === "shape") return this.#onShape(message.profile);
    const user = this.#user;
    if (user === undefined)
      throw new SealttyError("peer-misbehaved", "A message before the user was authenticated");
    if (message.type === "attest") {
      this.#evidence.again(message.counter, message.nonce).catch(() => this.close("protocol"));
      return;
    }
    this.#channels.onMessage(user, message);
  }

  #onAuthenticate(message: Extract<SessionMessage, { type: "authenticate" }>): void {
    const evidenceDigest = this.#evidence.digest;
    if (evidenceDigest === undefined || this.#user !== undefined || message.service !== SERVICE) {
      throw new SealttyError("peer-misbehaved", "Authentication out of turn");
    }
    this.#deciding = true;
    void this.#judge(message, evidenceDigest);
  }

  async #judge(
    message: Extract<SessionMessage, { type: "authenticate" }>,
    evidenceDigest: Uint8Array,
  ): Promise<void> {
    if (message.key !== undefined) await this.#turns.take(() => this.#ending);
    const refusal = new RefusalTime(this.#clock, REFUSAL_DELAY);
    this.#decided(message, await judgeUser(this.#services, this.#context, evidenceDigest, message), refusal);
  }

  /** Done once the user is in: nobody else may have packets made for nothing. */
  #onShape(profile: ShapingProfile): void {
    if (this.#evidence.digest === undefined || this.#shaping !== undefined)
      throw new SealttyError("peer-misbehaved", "Shaping was asked for out of turn");
    this.#shaping = profile;
    if (this.authenticated) this.#shape(profile);
  }

  #shape(profile: ShapingProfile): void {
    this.#connection.shape(profile, SLOTS_TO_CLIENT, this.#clock.now());
    this.#deadline.set(this.#nextDeadline());
    this.#messages.send({ type: "shaped", profile });
  }

  #decided(
    message: Extract<SessionMessage, { type: "authenticate" }>,
    { code, grant }: Judgement,
    refusal: RefusalTime,
  ): void {
    if (this.#ending) return refusal.stop(); // closed meanwhile: nobody is let in any more, and no place is taken
    if (code === AUTH_OK) {
      refusal.stop();
      this.#deciding = false;
      const user: AuthenticatedUser =
        grant === undefined
          ? { name: message.user, method: "none" }
          : { name: message.user, method: "ssh-key", ...grant };
      if (!this.#admit(user.method)) return this.close("busy");
      this.#user = user;
      this.#services.log(grantWords(grant));
      if (this.#shaping !== undefined) this.#shape(this.#shaping); // first, so that the answer is in a slot, too
      this.#messages.send({ type: "authenticated", code });
      return this.#readOn();
    }
    this.#services.log("user authentication refused");
    this.#attempts++;
    refusal.next(() => {
      this.#deciding = false;
      if (this.#ending) return;
      this.#messages.send({ type: "authenticated", code });
      if (this.#attempts >= MAX_AUTH_ATTEMPTS) this.close("not-authenticated");
      else this.#readOn();
    });
  }

  /** Messages that waited for a decision. */
  #readOn(): void {
    try {
      this.#readMessages();
    } catch {
      this.close("protocol");
    }
  }

  get #ending(): boolean {
    return this.#over || this.#connection.closing || this.#connection.peerClose !== undefined;
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
    this.#connection.onTime(now, this.#maxBody);
    this.#deadline.set(this.#nextDeadline());
  }
}

export function sameInit(connection: GuestConnection, digest: Uint8Array): boolean {
  return equalBytes(connection.initDigest, digest);
}

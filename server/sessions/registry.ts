// All sessions of this guest: whose they are, how many there may be, and when one is forgotten.

import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { Clock } from "../../protocol/clock.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";
import { MAX_LOGIN_SESSIONS, MAX_SESSION_TITLE, MAX_SESSIONS } from "../../protocol/limits.ts";
import type { AuthenticatedUser, StartProcess } from "../../protocol/session/guest-process.ts";
import type {
  AttachmentEvents,
  AttachRefusal,
  AttachRequestOf,
  GuestSessions,
  NewSessionOptions,
  SessionAttachment,
} from "../../protocol/session/guest-sessions.ts";
import {
  SESSION_ID_LENGTH,
  SESSION_SECRET_LENGTH,
  type SessionName,
  type SessionSummary,
  type TerminalRequest,
} from "../../protocol/session/session-api.ts";
import {
  ATTACH_NO_SUCH_OFFSET,
  ATTACH_NOT_ALLOWED,
  ATTACH_TOO_MANY,
  ATTACH_UNKNOWN,
} from "../../protocol/session/session-messages.ts";
import { fingerprintOf } from "../../protocol/user-auth/key-line.ts";
import { allowsKind, allowsSession } from "../../protocol/user-auth/restrictions.ts";
import { type CarrierEvent, secondsSince } from "../audit/events.ts";
import { CarriedProcess } from "../recording/carried-process.ts";
import type { StartScreenThread } from "./screen-keeper.ts";
import { Session } from "./session.ts";

/**
 * What an ended session's last output and its exit status wait for a client that lost its connection just then; once more
 * for as long where somebody who lives is still attached.
 */
const KEEP_ENDED = 10 * 60_000;
/** But no longer: who takes nothing and only stays alive does not hold the memory for ever. */
const KEEP_ENDED_AT_MOST = 6 * 60 * 60_000;

/**
 * A session without a key belongs to whoever has its secret: one whose client never showed that the secret reached it waits
 * no longer than this. The client may have it all the same, and lost its connection just then.
 */
const UNCONFIRMED_IDLE = 10 * 60_000;

/** Whose a session is: a key and the user name that it was used for; without a key, whoever has the secret. */
type Owner =
  | {
      readonly method: "ssh-key";
      readonly key: Uint8Array;
      readonly user: string;
      /** The forced command that runs in it; undefined: the user chose. */
      readonly command: string | undefined;
    }
  | { readonly method: "none"; readonly secretDigest: Uint8Array }; // SHA-256, 32 bytes

interface Entry {
  readonly session: Session;
  readonly owner: Owner;
  /** Of the timer that forgets it, once it has ended: the timer holds the session. */
  cancelForgetting: () => void;
}

export interface SessionLimits {
  /** Bytes of output that each session keeps. */
  readonly ringBytes: number;
  /** Ms without any attachment after which a session is hung up. */
  readonly idleMs: number;
}

export interface RegistryOptions {
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  readonly limits: SessionLimits;
  readonly startProcess: StartProcess;
  readonly startScreenThread?: StartScreenThread | undefined;
  log(event: string): void;
  /** For the audit. */
  say?(event: CarrierEvent): void;
  /** Once that changes: whether there are sessions of keys, or such are just beginning; others nobody comes back to from elsewhere. */
  holds?(any: boolean): void;
}

export class SessionRegistry implements GuestSessions {
  readonly #options: RegistryOptions;
  #entries: Entry[] = []; // oldest first
  readonly #starting = { "ssh-key": 0, none: 0 };
  #stopped = false;
  #toldToHold = false;

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  async open(
    user: AuthenticatedUser,
    request: TerminalRequest,
    own: NewSessionOptions,
    events: AttachmentEvents,
  ): Promise<SessionAttachment | AttachRefusal> {
    try {
      return await this.#open(user, request, own, events);
    } finally {
      this.#tellWhetherItHolds();
    }
  }

  async #open(
    user: AuthenticatedUser,
    request: TerminalRequest,
    own: NewSessionOptions,
    events: AttachmentEvents,
  ): Promise<SessionAttachment | AttachRefusal> {
    const { suite, clock, limits } = this.#options;
    const allowed =
      user.method === "none" ? request.kind === "login" : allowsKind(user.restrictions, request.kind);
    if (!allowed) return { code: ATTACH_NOT_ALLOWED };
    if (!this.#makeRoom(user.method)) return { code: ATTACH_TOO_MANY };
    this.#starting[user.method]++;
    this.#tellWhetherItHolds(); // before there is a program
    let process: Awaited<ReturnType<StartProcess>>;
    try {
      process = await this.#options.startProcess(user, request);
    } finally {
      this.#starting[user.method]--;
    }
    if (this.#stopped) {
      process.hangUp();
      return { code: ATTACH_TOO_MANY };
    }
    const id = suite.randomBytes(SESSION_ID_LENGTH);
    const secret = user.method === "none" ? suite.randomBytes(SESSION_SECRET_LENGTH) : undefined;
    const { columns, rows } = request;
    const idleMs = own.idleSeconds === 0 ? limits.idleMs : Math.min(limits.idleMs, own.idleSeconds * 1000);
    const { method } = user;
    const began = clock.now();
    const program = process instanceof CarriedProcess ? process.program : undefined;
    this.#say({ event: "session-open", session: shortId(id), program, ...nameAndKey(user) });
    const session: Session = new Session({
      id,
      title: titleOf(user, request),
      process,
      clock,
      ringBytes: limits.ringBytes,
      idleMs,
      unconfirmedIdleMs: secret === undefined ? idleMs : Math.min(idleMs, UNCONFIRMED_IDLE),
      sizing: own.sizing,
      columns,
      rows,
      startScreenThread: this.#options.startScreenThread,
      log: (event) => this.#options.log(event),
      onLeft: (attachment) => {
        if (session.ended) return; // its end was told
        const user = method === "none" ? undefined : attachment.user;
        this.#say({ event: "session-detach", session: shortId(id), user, mode: attachment.mode });
      },
      onEnded: () => {
        this.#say({ event: "session-end", session: shortId(id), seconds: secondsSince(clock, began) });
        const ended = this.#entries.find((entry) => entry.session === session);
        if (ended !== undefined) this.#forgetLater(ended, clock.now());
      },
    });
    this.#entries.push({ session, owner: ownerOf(suite, user, secret), cancelForgetting: () => {} });
    const { client, screenLines } = own;
    const place = { client, mode: "read-write", offset: 0, columns, rows, screenLines } as const;
    return session.attach({ id, secret }, user.name, place, events);
  }

  attach(
    user: AuthenticatedUser,
    name: SessionName,
    request: AttachRequestOf,
    events: AttachmentEvents,
  ): SessionAttachment | AttachRefusal {
    const session = this.#find(user, name);
    if (session === undefined) return { code: ATTACH_UNKNOWN };
    if (request.offset > session.end) return { code: ATTACH_NO_SUCH_OFFSET };
    if (!session.makePlace(request.client, request.mode)) return { code: ATTACH_TOO_MANY };
    session.confirm(); // it was named
    const { mode } = request;
    this.#say({ event: "session-attach", session: shortId(session.id), ...nameAndKey(user), mode });
    return session.attach({ id: session.id, secret: undefined }, user.name, request, events);
  }

  list(user: AuthenticatedUser, proofs: readonly SessionName[]): SessionSummary[] {
    if (user.method === "ssh-key") {
      return this.#entries
        .filter(({ session, owner }) => this.#owns(user, owner, { id: session.id, secret: undefined }))
        .map(({ session }) => session.summary);
    }
    const found = new Set(proofs.map((proof) => this.#find(user, proof)));
    return this.#entries.filter(({ session }) => found.has(session)).map(({ session }) => session.summary);
  }

  kill(user: AuthenticatedUser, name: SessionName): boolean {
    const session = this.#find(user, name);
    if (session === undefined) return false;
    this.#say({ event: "session-kill", session: shortId(session.id), ...nameAndKey(user) });
    session.hangUp();
    if (session.ended) this.#forget(session);
    return true;
  }

  /** Those whose secret no client will say any more: it says it to the guest's key that it heard it from, and to no other. */
  hangUpKeyless(): void {
    for (const { session, owner } of [...this.#entries])
      if (owner.method === "none" && !session.ended) session.hangUp();
  }

  /** Hangs up every program. */
  stop(): void {
    this.#stopped = true;
    for (const { session, cancelForgetting } of this.#entries) {
      cancelForgetting();
      session.stop();
    }
    this.#entries = [];
  }

  #say(event: CarrierEvent): void {
    this.#options.say?.(event);
  }

  #find(user: AuthenticatedUser, name: SessionName): Session | undefined {
    const entry = this.#entries.find(({ session }) => equalBytes(session.id, name.id));
    return entry !== undefined && this.#owns(user, entry.owner, name) ? entry.session : undefined;
  }

  #owns(user: AuthenticatedUser, owner: Owner, name: SessionName): boolean {
    if (owner.method === "ssh-key") {
      return (
        user.method === "ssh-key" &&
        user.name === owner.user &&
        equalBytes(user.key, owner.key) &&
        allowsSession(user.restrictions, owner.command)
      );
    }
    if (user.method !== "none" || name.secret === undefined) return false;
    return equalBytes(this.#options.suite.sha256(name.secret), owner.secretDigest);
  }

  /** Ended ones go first, the oldest of them before the others; a running one never makes room. */
  #makeRoom(method: AuthenticatedUser["method"]): boolean {
    if (this.#stopped) return false;
    const limit = method === "none" ? MAX_LOGIN_SESSIONS : MAX_SESSIONS;
    const alike = this.#entries.filter(({ owner }) => owner.method === method);
    if (alike.length + this.#starting[method] < limit) return true;
    const over = alike.find(({ session }) => session.ended && !session.watched);
    if (over === undefined) return false;
    this.#forget(over.session);
    return true;
  }

  /** @param endedAt - of the guest's clock. */
  #forgetLater(entry: Entry, endedAt: number): void {
    const { clock } = this.#options;
    entry.cancelForgetting = clock.after(KEEP_ENDED, () => {
      const late = clock.now() - endedAt >= KEEP_ENDED_AT_MOST;
      if (entry.session.watched && !late) this.#forgetLater(entry, endedAt);
      else this.#forget(entry.session);
    });
  }

  #forget(session: Session): void {
    this.#entries.find((entry) => entry.session === session)?.cancelForgetting();
    this.#entries = this.#entries.filter((entry) => entry.session !== session);
    session.forget();
    this.#tellWhetherItHolds();
  }

  #tellWhetherItHolds(): void {
    const any =
      this.#starting["ssh-key"] > 0 || this.#entries.some(({ owner }) => owner.method === "ssh-key");
    if (any === this.#toldToHold) return;
    this.#toldToHold = any;
    this.#options.holds?.(any);
  }
}

/** Enough to tell sessions apart in a log; it is no secret. */
const shortId = (id: Uint8Array): string => toHex(id).slice(0, 8);

function nameAndKey(user: AuthenticatedUser): { readonly user?: string; readonly key?: string } {
  return user.method === "none" ? {} : { user: user.name, key: fingerprintOf(user.key) };
}

function ownerOf(suite: CryptoSuite, user: AuthenticatedUser, secret: Uint8Array | undefined): Owner {
  if (secret !== undefined) return { method: "none", secretDigest: suite.sha256(secret) };
  if (user.method === "none") throw new Error("A session without a key has no secret");
  return { method: "ssh-key", key: user.key, user: user.name, command: user.restrictions.command };
}

function titleOf(user: AuthenticatedUser, request: TerminalRequest): string {
  if (request.kind === "login") return "login";
  const forced = user.method === "ssh-key" ? user.restrictions.command : undefined;
  // Only what any terminal shows as it is: the client escapes it, too.
  const words = (forced ?? request.command.join(" ")).replaceAll(/[^\x20-\x7e]/g, "?");
  return words === "" ? "shell" : words.slice(0, MAX_SESSION_TITLE);
}

// What a connection of the guest needs of the sessions that outlive it; server/sessions makes them.

import type { ExitStatus } from "./channel-api.ts";
import type { AuthenticatedUser } from "./guest-process.ts";
import type { SignalName } from "./messages.ts";
import type {
  AttachMode,
  SessionName,
  SessionSummary,
  SessionScreen,
  Sizing,
  TerminalRequest,
  Viewers,
} from "./session-api.ts";
import type { AttachedPlace } from "./session-messages.ts";

/** A connection's end of an attachment, as the session sees it. Nothing here may call back into the session at once. */
export interface AttachmentEvents {
  /** Something authentic came of late: a client that is gone holds nobody back. */
  isLive(): boolean;
  /** A newer attachment of the same client took over. */
  fenced(): void;
  /** The session ended and is not kept any longer: nothing more can be read. @param lost - bytes that never were. */
  forgotten(lost: number): void;
  /** Sessions that are elsewhere: whether it goes on cannot be known here, and what its client lacks only another attachment gives. */
  unreachable?(): void;
  /** Who is attached, or the size, is different. */
  viewersChanged(): void;
}

export interface AttachRequestOf {
  readonly client: Uint8Array; // 16 bytes
  readonly mode: AttachMode;
  readonly offset: number;
  readonly columns: number;
  readonly rows: number;
  /** Lines wanted above the screen where output is gone; undefined: no screen. */
  readonly screenLines?: number | undefined;
}

/** What a client wants of a session that it opens, besides its program. */
export interface NewSessionOptions {
  readonly client: Uint8Array; // 16 bytes
  readonly sizing: Sizing;
  /** Without anybody attached, after which it is hung up; 0: the guest's own limit. */
  readonly idleSeconds: number;
  /** Lines wanted above the screen where output is gone; undefined: no screen. */
  readonly screenLines?: number | undefined;
}

/** One client's hold on a session. */
export interface SessionAttachment {
  readonly place: AttachedPlace;
  readonly mode: AttachMode;
  readonly viewers: Viewers;
  /** The client has the answer, and so the session's name. Idempotent. */
  confirm(): void;
  /**
   * What comes next for this client: output; or how much of it is gone, or the screen in its place. Undefined at the end.
   * One read at a time.
   */
  read(): Promise<Uint8Array | { readonly lost: number } | { readonly screen: SessionScreen } | undefined>;
  /**
   * Resolves once the program took them, or this attachment was left. @returns whether they were taken: only then credit
   * may be given for them. A read-only attachment's are thrown away, and count as taken.
   */
  write(bytes: Uint8Array): Promise<boolean>;
  endInput(): void;
  resize(columns: number, rows: number): void;
  signal(name: SignalName): void;
  /** Ends the program; nothing where this attachment is read-only. */
  hangUp(): void;
  /** The program runs on. `read` then ends. Idempotent. */
  leave(): void;
  /**
   * Never rejects; stays pending where the program outlives the attachment. Undefined: it was hung up, does not end, and nobody
   * waits for it any longer.
   */
  readonly exit: Promise<ExitStatus | undefined>;
}

/** Why nothing was opened or attached: a code of docs/protocol.md §8.7. */
export type AttachRefusal = { readonly code: number };

export interface GuestSessions {
  /** @throws where the program cannot be started. */
  open(
    user: AuthenticatedUser,
    request: TerminalRequest,
    own: NewSessionOptions,
    events: AttachmentEvents,
  ): Promise<SessionAttachment | AttachRefusal>;
  attach(
    user: AuthenticatedUser,
    name: SessionName,
    request: AttachRequestOf,
    events: AttachmentEvents,
  ): SessionAttachment | AttachRefusal | Promise<SessionAttachment | AttachRefusal>;
  /** @param proofs - without a key: the sessions that the user can name the secrets of. */
  list(
    user: AuthenticatedUser,
    proofs: readonly SessionName[],
  ): readonly SessionSummary[] | Promise<readonly SessionSummary[]>;
  /** @returns whether there was such a session of this user's. */
  kill(user: AuthenticatedUser, name: SessionName): boolean | Promise<boolean>;
}

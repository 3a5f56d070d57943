// One client's place at a session: what it has been given, what it may type, and how it leaves.

import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import type { GuestProcess } from "../../protocol/session/guest-process.ts";
import type {
  AttachmentEvents,
  AttachRequestOf,
  SessionAttachment,
} from "../../protocol/session/guest-sessions.ts";
import type { SignalName } from "../../protocol/session/messages.ts";
import type { AttachMode, SessionScreen, Viewers } from "../../protocol/session/session-api.ts";
import type { AttachedPlace } from "../../protocol/session/session-messages.ts";

/** How often an attachment is given a new screen because output has overtaken the one before. */
const MAX_SCREEN_TRIES = 3;

/** What an attachment has of its session. */
export interface AttachedSession {
  readonly process: GuestProcess;
  readonly exit: Promise<ExitStatus | undefined>;
  /** All of its output was read. */
  readonly ended: boolean;
  /** Offsets of the oldest output byte that is kept, and of the next one. */
  readonly start: number;
  readonly end: number;
  /** A client has its name. */
  confirm(): void;
  viewersFor(own: Attachment): Viewers;
  /** Some bytes from an offset that is kept on: a copy, because the ring goes on. */
  piece(offset: number): Uint8Array;
  /** @returns undefined where none can be had. */
  screen(lines: number): Promise<SessionScreen | undefined>;
  left(attachment: Attachment): void;
  resized(attachment: Attachment): void;
  /** @returns whether the bytes were counted: then they are the program's. */
  type(attachment: Attachment, bytes: Uint8Array): Promise<boolean>;
  hangUp(): void;
  /** Wakes who waits for `change`. */
  changed(): void;
  change(): Promise<void>;
}

export class Attachment implements SessionAttachment {
  readonly place: AttachedPlace;
  readonly client: string; // hex
  readonly user: string;
  readonly mode: AttachMode;
  readonly events: AttachmentEvents;
  readonly exit: Promise<ExitStatus | undefined>;
  readonly #session: AttachedSession;
  readonly #screenLines: number | undefined;
  offset: number; // of the next output byte that this client gets
  columns: number;
  rows: number;
  over = false;

  constructor(
    session: AttachedSession,
    client: string,
    user: string,
    request: AttachRequestOf,
    place: AttachedPlace,
    events: AttachmentEvents,
  ) {
    this.#session = session;
    this.client = client;
    this.user = user;
    this.mode = request.mode;
    this.#screenLines = request.screenLines;
    this.columns = request.columns;
    this.rows = request.rows;
    this.place = place;
    this.offset = place.from;
    this.events = events;
    this.exit = session.exit;
  }

  get live(): boolean {
    return this.events.isLive();
  }
  get viewers(): Viewers {
    return this.#session.viewersFor(this);
  }

  confirm(): void {
    this.#session.confirm();
  }

  async read(): Promise<
    Uint8Array | { readonly lost: number } | { readonly screen: SessionScreen } | undefined
  > {
    const session = this.#session;
    let tries = 0;
    for (;;) {
      if (this.over) return undefined;
      if (this.offset < session.start) {
        if (this.#screenLines !== undefined && tries++ < MAX_SCREEN_TRIES) {
          const screen = await session.screen(this.#screenLines);
          if (screen === undefined) tries = MAX_SCREEN_TRIES;
          else if (screen.end >= session.start && !this.over) {
            this.offset = screen.end;
            session.changed();
            return { screen };
          }
          continue;
        }
        const lost = session.start - this.offset;
        this.offset = session.start;
        session.changed();
        return { lost };
      }
      if (this.offset < session.end) {
        const bytes = session.piece(this.offset);
        this.offset += bytes.length;
        session.changed(); // it may have been waited for
        return bytes;
      }
      if (session.ended) return undefined;
      await session.change();
    }
  }

  async write(bytes: Uint8Array): Promise<boolean> {
    if (this.over) return false;
    return this.mode === "read-only" || (await this.#session.type(this, bytes));
  }

  endInput(): void {
    if (this.#may) this.#session.process.endInput();
  }

  resize(columns: number, rows: number): void {
    if (this.over) return;
    this.columns = columns;
    this.rows = rows;
    if (this.#may) this.#session.resized(this);
  }

  signal(name: SignalName): void {
    if (this.#may) this.#session.process.signal(name);
  }

  hangUp(): void {
    if (this.#may) this.#session.hangUp();
  }

  leave(): void {
    if (this.over) return;
    this.over = true;
    this.#session.left(this);
    this.#session.changed();
  }

  fence(): void {
    this.leave();
    this.events.fenced();
  }

  forget(): void {
    if (this.over) return;
    const lost = this.#session.end - this.offset;
    this.leave();
    this.events.forgotten(lost);
  }

  get #may(): boolean {
    return !this.over && this.mode === "read-write";
  }
}

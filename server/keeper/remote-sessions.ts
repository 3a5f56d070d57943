// The front's side: the keeper's sessions, as a connection needs them. Where the keeper is gone its sessions are.

import net from "node:net";
import type { Clock } from "../../protocol/clock.ts";
import { concat, u32 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import type { ExitStatus } from "../../protocol/session/channel-api.ts";
import type {
  AttachmentEvents,
  AttachRefusal,
  AttachRequestOf,
  GuestSessions,
  NewSessionOptions,
  SessionAttachment,
} from "../../protocol/session/guest-sessions.ts";
import type { SignalName } from "../../protocol/session/messages.ts";
import type {
  AttachMode,
  SessionName,
  SessionScreen,
  SessionSummary,
  TerminalRequest,
  Viewers,
} from "../../protocol/session/session-api.ts";
import {
  ATTACH_UNKNOWN,
  type AttachedPlace,
  KILL_OK,
  type KeptMessage,
} from "../../protocol/session/session-messages.ts";
import { Link } from "../monitor/link.ts";
import type { KeeperPlace } from "./pass.ts";
import { namedUser, readNumber, signalBody } from "../monitor/operations.ts";
import { Turns } from "./turns.ts";
import {
  askedBody,
  ATTACHMENT_NOTICES,
  CALLS,
  KEEPER_NOTICES,
  readExit,
  readKept,
  readPair,
  readReadAnswer,
  pairBody,
  resizeBody,
  writeBody,
} from "./wire.ts";

/** How often the keeper is told of connections that fell silent, or are heard again, ms. */
const LOOK_EVERY = 1000;
/**
 * Questions to the keeper at a time. With a read, a write and the wait for an end of each attachment that there can be (480 of 20
 * sessions with 8 each) they stay below the 1024 calls that it answers at once.
 */
const MAX_QUESTIONS = 128;
/** Numbers of attachments are channels' in the messages. */
const MAX_NUMBER = 0x00ffffff;

export interface RemoteSessionsOptions {
  readonly clock: Clock;
  /** @param start - where none runs; else undefined says so. @throws SealttyError where it cannot be had. */
  find(start: boolean): Promise<KeeperPlace | undefined>;
  readonly log: (event: string) => void;
}

export class RemoteSessions implements GuestSessions {
  readonly #options: RemoteSessionsOptions;
  #keeper: Promise<Keeper | undefined> | undefined;

  constructor(options: RemoteSessionsOptions) {
    this.#options = options;
  }

  async open(
    user: AuthenticatedUser,
    request: TerminalRequest,
    own: NewSessionOptions,
    events: AttachmentEvents,
  ): Promise<SessionAttachment | AttachRefusal> {
    const { client, sizing, idleSeconds, screenLines } = own;
    const keeper = await this.#reach(true);
    if (keeper === undefined) throw new SealttyError("device-unavailable", "There is no keeper of sessions");
    return await keeper.attach(
      CALLS.open,
      user,
      (channel) => ({ type: "keep", channel, client, sizing, idleSeconds, screenLines, request }),
      "read-write",
      events,
    );
  }

  async attach(
    user: AuthenticatedUser,
    session: SessionName,
    request: AttachRequestOf,
    events: AttachmentEvents,
  ): Promise<SessionAttachment | AttachRefusal> {
    const { client, mode, offset, columns, rows, screenLines } = request;
    const keeper = await this.#reach(false);
    if (keeper === undefined) return { code: ATTACH_UNKNOWN };
    return await keeper.attach(
      CALLS.attach,
      user,
      (channel) => ({ type: "attach", channel, session, client, mode, offset, columns, rows, screenLines }),
      mode,
      events,
    );
  }

  async list(user: AuthenticatedUser, proofs: readonly SessionName[]): Promise<readonly SessionSummary[]> {
    const keeper = await this.#reach(false);
    if (keeper === undefined) return [];
    const body = askedBody(namedUser(user), { type: "list", question: 0, proofs });
    return readKept("sessions", await keeper.ask(CALLS.list, body)).sessions;
  }

  async kill(user: AuthenticatedUser, session: SessionName): Promise<boolean> {
    const keeper = await this.#reach(false);
    if (keeper === undefined) return false;
    const body = askedBody(namedUser(user), { type: "kill", question: 0, session });
    return readKept("killed", await keeper.ask(CALLS.kill, body)).code === KILL_OK;
  }

  /** The front ends: its attachments are left, and the sessions go on where the keeper does. */
  stop(): void {
    void this.#keeper?.then((keeper) => keeper?.link.close()).catch(() => {});
  }

  /** @param start - where none runs: else undefined says so, and that there is no session. */
  async #reach(start: boolean): Promise<Keeper | undefined> {
    this.#keeper ??= this.#connect(start);
    const found = await this.#keeper;
    // Somebody who would not start one asked first.
    return found === undefined && start ? await this.#reach(start) : found;
  }

  async #connect(start: boolean): Promise<Keeper | undefined> {
    let keeper: Keeper | undefined;
    try {
      const place = await this.#options.find(start);
      if (place === undefined) return undefined;
      const socket = net.connect(place.socket);
      await new Promise<void>((resolve, reject) => {
        socket.once("connect", resolve);
        socket.once("error", () =>
          reject(new SealttyError("device-unavailable", "The keeper of sessions cannot be reached")),
        );
      });
      socket.write(place.pass);
      keeper = new Keeper(socket, this.#options, () => {
        this.#keeper = undefined; // the next session has another one started
      });
      return keeper;
    } finally {
      if (keeper === undefined) this.#keeper = undefined;
    }
  }
}

/** A connection to the keeper that runs. */
class Keeper {
  readonly link: Link;
  readonly #clock: Clock;
  readonly #attachments = new Map<number, RemoteAttachment>();
  readonly #questions = new Turns(MAX_QUESTIONS);
  #newest = 0;
  #watching = false;

  constructor(socket: net.Socket, { clock, log }: RemoteSessionsOptions, gone: () => void) {
    this.#clock = clock;
    this.link = new Link(socket, {
      onNotice: (operation, body) => this.#notice(operation, body),
      onEnd: () => {
        gone();
        this.#questions.drop(this);
        if (this.#attachments.size > 0)
          log("the connection to the keeper of sessions ended: clients of its sessions have to come back");
        const cutOff = [...this.#attachments.values()];
        this.#attachments.clear();
        for (const each of cutOff) each.gone();
      },
    });
  }

  /** What clients ask as often as they like, and all of them together. @throws SealttyError as the keeper says, or `transport-lost`. */
  ask(operation: number, body: Uint8Array): Promise<Uint8Array> {
    return this.#questions.run(this, () => this.link.call(operation, body));
  }

  async attach(
    operation: number,
    user: AuthenticatedUser,
    message: (channel: number) => KeptMessage,
    mode: AttachMode,
    events: AttachmentEvents,
  ): Promise<SessionAttachment | AttachRefusal> {
    if (this.#newest === MAX_NUMBER)
      throw new SealttyError("limit-exceeded", "This sealttyd had all the attachments that it can number");
    const number = ++this.#newest;
    const own = new RemoteAttachment(this.link, number, mode, events, () => this.#attachments.delete(number));
    this.#attachments.set(number, own); // before: what happens to it may be told before the answer
    this.#watch();
    try {
      const answer = await this.ask(operation, askedBody(namedUser(user), message(number)));
      const { code, place } = readKept("attached", answer);
      if (place === undefined) {
        this.#attachments.delete(number);
        return { code };
      }
      own.attached(place);
      return own;
    } catch (error) {
      this.#attachments.delete(number);
      throw error;
    }
  }

  #notice(operation: number, body: Uint8Array): void {
    switch (operation) {
      case KEEPER_NOTICES.fenced:
        return this.#attachments.get(readNumber(body))?.events.fenced();
      case KEEPER_NOTICES.forgotten: {
        const { attachment, value } = readPair(body);
        return this.#attachments.get(attachment)?.events.forgotten(value);
      }
      case KEEPER_NOTICES.viewers: {
        const { channel, state } = readKept("viewers", body);
        return this.#attachments.get(channel)?.viewersAre(state);
      }
      default:
        throw new SealttyError("peer-misbehaved", "Unknown notice");
    }
  }

  #watch(): void {
    if (this.#watching) return;
    this.#watching = true;
    this.#clock.after(LOOK_EVERY, () => {
      this.#watching = false;
      for (const each of this.#attachments.values()) each.tellLive();
      if (this.#attachments.size > 0) this.#watch();
    });
  }
}

class RemoteAttachment implements SessionAttachment {
  readonly mode: AttachMode;
  readonly events: AttachmentEvents;
  readonly #link: Link;
  readonly #number: number;
  readonly #forget: () => void;
  #place: AttachedPlace | undefined;
  #viewers: Viewers = { columns: 1, rows: 1, viewers: [] };
  #exit: Promise<ExitStatus | undefined> | undefined;
  #live = true;
  #left = false;
  #gone = false;

  constructor(link: Link, number: number, mode: AttachMode, events: AttachmentEvents, forget: () => void) {
    this.#link = link;
    this.#number = number;
    this.mode = mode;
    this.events = events;
    this.#forget = forget;
  }

  attached(place: AttachedPlace): void {
    this.#place = place;
  }

  get place(): AttachedPlace {
    if (this.#place === undefined) throw new Error("An attachment that was not answered yet");
    return this.#place;
  }

  /** As the keeper told last: the first time before the attachment's own answer. */
  get viewers(): Viewers {
    return this.#viewers;
  }

  get exit(): Promise<ExitStatus | undefined> {
    this.#exit ??= this.#link.call(CALLS.exit, u32(this.#number)).then(readExit, () => undefined);
    return this.#exit;
  }

  viewersAre(viewers: Viewers): void {
    this.#viewers = viewers;
    this.events.viewersChanged();
  }

  tellLive(): void {
    const live = this.events.isLive();
    if (live === this.#live) return;
    this.#live = live;
    this.#link.notify(ATTACHMENT_NOTICES.live, pairBody(this.#number, live ? 1 : 0));
  }

  /** The keeper's session may go on, for a client that comes back; if the keeper ended, it hears that then. */
  gone(): void {
    if (this.#left) return;
    this.#gone = true;
    this.events.unreachable?.();
  }

  confirm(): void {
    this.#notify(ATTACHMENT_NOTICES.confirm);
  }

  async read(): Promise<
    Uint8Array | { readonly lost: number } | { readonly screen: SessionScreen } | undefined
  > {
    const answer = await this.#call(CALLS.read);
    if (answer === undefined) return undefined;
    const next = readReadAnswer(answer);
    switch (next.kind) {
      case "bytes":
        return next.bytes;
      case "lost":
        return { lost: next.lost };
      case "end":
        return undefined;
      case "screen": {
        const text = new Uint8Array(next.length);
        for (let at = 0; at < text.length; ) {
          const piece = await this.#call(CALLS.text);
          if (piece === undefined || piece.length === 0 || piece.length > text.length - at) return undefined;
          text.set(piece, at);
          at += piece.length;
        }
        return { screen: { ...next.screen, text } };
      }
    }
  }

  async write(bytes: Uint8Array): Promise<boolean> {
    if (this.#left || this.#gone) return false;
    const taken = await this.#link.call(CALLS.write, writeBody(this.#number, bytes)).catch(() => undefined); // gone: its client was not told that it was taken
    return taken?.[0] === 1;
  }

  endInput(): void {
    this.#notify(ATTACHMENT_NOTICES.endInput);
  }

  resize(columns: number, rows: number): void {
    if (!this.#left) this.#link.notify(ATTACHMENT_NOTICES.resize, resizeBody(this.#number, columns, rows));
  }

  signal(name: SignalName): void {
    if (!this.#left) this.#link.notify(ATTACHMENT_NOTICES.signal, signalBody(this.#number, name));
  }

  hangUp(): void {
    this.#notify(ATTACHMENT_NOTICES.hangUp);
  }

  leave(): void {
    if (this.#left) return;
    this.#notify(ATTACHMENT_NOTICES.leave);
    this.#left = true;
    this.#forget();
  }

  #notify(operation: number): void {
    if (!this.#left) this.#link.notify(operation, u32(this.#number));
  }

  /** @returns undefined where it was left, or the keeper is gone. */
  async #call(operation: number): Promise<Uint8Array | undefined> {
    if (this.#left || this.#gone) return undefined;
    return await this.#link.call(operation, concat(u32(this.#number))).catch(() => undefined);
  }
}

// The channels of one of the guest's connections: programs that end with it, and places at sessions that do not.

import type { Clock } from "../clock.ts";
import { SealttyError } from "../errors.ts";
import { isForwardMessage } from "../forward/forward-messages.ts";
import { mayOpen } from "../forward/permission.ts";
import type { StreamTarget } from "../forward/target.ts";
import { INPUT_STREAM_WINDOW, MAX_CHANNELS, MAX_LOGIN_CHANNELS, OUTPUT_STREAM_WINDOW } from "../limits.ts";
import { allowsKind, isExpired } from "../user-auth/restrictions.ts";
import type { Stream } from "../streams/stream.ts";
import type { StreamConnection } from "../streams/stream-connection.ts";
import type { ChannelRequest } from "./channel-api.ts";
import { GuestAttachment } from "./guest-attachment.ts";
import { GuestChannel } from "./guest-channel.ts";
import { GuestListeners } from "./guest-listeners.ts";
import type { AuthenticatedUser, GuestProcess, StartProcess } from "./guest-process.ts";
import type { AttachmentEvents, AttachRefusal, GuestSessions, SessionAttachment } from "./guest-sessions.ts";
import type { GuestStreams, StreamRefusal } from "./guest-streams.ts";
import type { MessageStream } from "./message-stream.ts";
import {
  ATTACH_FAILED,
  ATTACH_NOT_ALLOWED,
  ATTACH_OK,
  ATTACH_TOO_MANY,
  DETACH_FENCED,
  KILL_OK,
  KILL_UNKNOWN,
} from "./session-messages.ts";
import { TokenBucket } from "./token-bucket.ts";
import { ViewersNotice } from "./viewers-notice.ts";
import {
  type CLOSE_CODES,
  OPEN_FAILED,
  OPEN_NOT_ALLOWED,
  OPEN_OK,
  OPEN_REFUSED,
  OPEN_TOO_MANY,
  type SessionMessage,
  channelStreams,
} from "./messages.ts";
import { isTerminalRequest } from "./open-request.ts";
import { WidePlaces } from "./wide-places.ts";

/** A client that lives pings every 15 s; one that was silent for three times that holds no session's program back. */
const LIVE_WITHIN = 45_000;
/** Of one connection; more are dropped. */
const SIGNALS_PER_SECOND = 20;
/** About sessions, of one connection, that wait for their answers: a client asks one at a time, or a few. */
const MAX_QUESTIONS = 16;
/** Bytes of answers not taken above which nobody is told of viewers. */
const MAX_HELD_FOR_VIEWERS = 32 * 1024;

/** The connection that the channels belong to. */
export interface ChannelsOwner {
  readonly clock: Clock;
  readonly connection: StreamConnection;
  readonly messages: MessageStream;
  readonly services: {
    readonly startProcess: StartProcess;
    readonly sessions?: GuestSessions | undefined;
    readonly streams?: GuestStreams | undefined;
    wallTime(): number;
    log(event: string): void;
  };
  /** CLOSE was said by either side, or the connection is over. */
  ending(): boolean;
  close(code: keyof typeof CLOSE_CODES): void;
}

export class GuestChannels {
  readonly #owner: ChannelsOwner;
  readonly #connection: StreamConnection;
  readonly #messages: MessageStream;
  readonly #open = new Map<number, GuestChannel | GuestAttachment>();
  readonly #wide = new WidePlaces();
  readonly #listeners: GuestListeners;
  readonly #signals = new TokenBucket(SIGNALS_PER_SECOND, SIGNALS_PER_SECOND);
  #questions = 0; // about sessions, not answered yet
  #starting = 0; // whose program is being started
  #newestChannel = 0; // numbers only grow: none is ever used again

  constructor(owner: ChannelsOwner) {
    this.#owner = owner;
    this.#connection = owner.connection;
    this.#messages = owner.messages;
    this.#listeners = new GuestListeners({
      clock: owner.clock,
      streams: owner.services.streams,
      isLive: () => this.#isLive,
      isOver: (user) => this.#isOver(user),
      ending: () => owner.ending(),
      send: (message) => owner.messages.send(message),
    });
  }

  /** @throws SealttyError `peer-misbehaved` on a message that is none of a user's. */
  onMessage(user: AuthenticatedUser, message: SessionMessage): void {
    if (isForwardMessage(message)) return this.#listeners.onMessage(user, message);
    switch (message.type) {
      case "open":
        return this.#run(this.#start(user, message.channel, message.request));
      case "keep":
        return this.#run(
          this.#attach(
            user,
            message,
            async (sessions, events) => await sessions.open(user, message.request, message, events),
          ),
        );
      case "attach":
        return this.#run(
          this.#attach(user, message, (sessions, events) =>
            sessions.attach(user, message.session, message, events),
          ),
        );
      case "detach": {
        const channel = this.#open.get(message.channel);
        if (channel instanceof GuestAttachment) channel.detachAfter(message.input);
        return;
      }
      case "list":
        return this.#run(this.#list(user, message));
      case "kill":
        return this.#run(this.#kill(user, message));
      case "resize":
        this.#open.get(message.channel)?.resize(message.columns, message.rows);
        return;
      case "signal":
        // Each is work for whoever has rights; nobody who presses keys sends so many.
        if (this.#signals.take(this.#owner.clock.now()))
          this.#open.get(message.channel)?.signal(message.signal);
        return;
      case "hang-up":
        this.#open.get(message.channel)?.hangUp();
        return;
      default:
        throw new SealttyError("peer-misbehaved", "A message that only guests send");
    }
  }

  /** The connection is over: programs are hung up, places at sessions left. */
  end(): void {
    for (const channel of this.#open.values()) channel.end();
    this.#listeners.end();
  }

  /** A client of whose connection nothing is heard holds nobody back. */
  get #isLive(): boolean {
    return !this.#owner.ending() && this.#owner.clock.now() - this.#connection.lastHeard < LIVE_WITHIN;
  }

  #run(channel: Promise<void>): void {
    channel.catch((error: unknown) => {
      const ours = !(error instanceof SealttyError);
      this.#owner.services.log(ours ? "internal error in a channel" : error.message);
      this.#owner.close(ours ? "internal" : "protocol");
    });
  }

  async #start(user: AuthenticatedUser, channel: number, request: ChannelRequest): Promise<void> {
    this.#takeNumber(channel);
    const answer = (code: number): void => this.#messages.send({ type: "opened", channel, code });
    if (!this.#mayOpen(user, request.kind)) return answer(OPEN_NOT_ALLOWED);
    if (this.#isFull(user)) return answer(OPEN_TOO_MANY);
    const streams = this.#openStreams(channel);
    let process: GuestProcess | StreamRefusal = { code: OPEN_FAILED };
    this.#starting++;
    try {
      process =
        request.kind === "stream"
          ? await this.#connect(user, request.target)
          : await this.#owner.services.startProcess(user, request);
    } catch (error) {
      this.#sayNotStarted(request.kind, error);
    } finally {
      this.#starting--;
    }
    if ("code" in process) {
      if (this.#owner.ending()) return;
      this.#dropStreams(channel);
      return answer(process.code);
    }
    if (this.#owner.ending()) return await abandon(process);
    const mayWiden = (): boolean =>
      !isTerminalRequest(request) && this.#open.has(channel) && this.#wide.admit(channel);
    const open = new GuestChannel(process, this.#connection, streams, mayWiden);
    this.#open.set(channel, open);
    answer(OPEN_OK);
    await open.run(channel, this.#messages);
    this.#wide.leave(channel);
    this.#open.delete(channel);
  }

  async #connect(user: AuthenticatedUser, target: StreamTarget): Promise<GuestProcess | StreamRefusal> {
    // Whoever came to a listener came by a permission of its own.
    if (target.kind === "incoming")
      return (await this.#listeners.accept(target.incoming)) ?? { code: OPEN_REFUSED };
    const { streams } = this.#owner.services;
    if (user.method === "none" || streams === undefined || !mayOpen(user.restrictions, target))
      return { code: OPEN_NOT_ALLOWED };
    return await streams.open(user, target);
  }

  /** @param attach - finds the session, or for KEEP makes it. */
  async #attach(
    user: AuthenticatedUser,
    { type, channel }: { readonly type: "keep" | "attach"; readonly channel: number },
    attach: (
      sessions: GuestSessions,
      events: AttachmentEvents,
    ) => SessionAttachment | AttachRefusal | Promise<SessionAttachment | AttachRefusal>,
  ): Promise<void> {
    this.#takeNumber(channel);
    const sessions = this.#sessionsFor(user);
    const refuse = (code: number): void => this.#messages.send({ type: "attached", channel, code });
    if (sessions === undefined) return refuse(ATTACH_NOT_ALLOWED);
    if (this.#isFull(user)) return refuse(ATTACH_TOO_MANY);
    const streams = this.#openStreams(channel);
    let fenced = false; // while it was being answered, as below
    let forgotten: number | undefined; // bytes lost
    let open: GuestAttachment | undefined;
    let viewers: ViewersNotice | undefined;
    const events: AttachmentEvents = {
      isLive: () => this.#isLive,
      fenced: () => {
        fenced = true;
        this.#onFenced(open);
      },
      forgotten: (lost) => {
        forgotten = lost;
        open?.forgotten(lost);
      },
      unreachable: () => this.#owner.close("internal"),
      viewersChanged: () => viewers?.changed(),
    };
    let attached: SessionAttachment | AttachRefusal = { code: ATTACH_FAILED };
    this.#starting++;
    try {
      attached = await attach(sessions, events);
    } catch (error) {
      this.#sayNotStarted("session's", error);
    } finally {
      this.#starting--;
    }
    if (this.#owner.ending()) {
      if ("code" in attached) return;
      if (type === "keep") attached.hangUp(); // its client never learned its name
      return attached.leave();
    }
    if ("code" in attached) {
      this.#dropStreams(channel);
      return refuse(attached.code);
    }
    open = new GuestAttachment(attached, this.#connection, streams);
    this.#open.set(channel, open);
    this.#messages.send({ type: "attached", channel, code: ATTACH_OK, place: attached.place });
    viewers = this.#viewersNotice(channel, attached);
    if (fenced) this.#onFenced(open);
    else if (forgotten !== undefined) open.forgotten(forgotten);
    try {
      await open.run(channel, this.#messages);
    } finally {
      viewers.stop();
    }
    this.#open.delete(channel);
  }

  /** The client is elsewhere. A connection that has nothing else is over, and its keys are gone with it. */
  #onFenced(open: GuestAttachment | undefined): void {
    if (open === undefined) return;
    const others = [...this.#open.values()].some((channel) => channel !== open);
    if (others || this.#starting > 0) open.detach(DETACH_FENCED);
    else this.#owner.close("superseded");
  }

  /** One that does not take its messages is told later, and then of how it is by then: this must not grow. */
  #viewersNotice(channel: number, attachment: SessionAttachment): ViewersNotice {
    let last = 0; // where it ends in what was sent
    return new ViewersNotice(this.#owner.clock, () => {
      if (this.#owner.ending()) return true; // nothing is told any more
      const { sent, held } = this.#messages;
      if (sent - held < last || held > MAX_HELD_FOR_VIEWERS) return false;
      this.#messages.send({ type: "viewers", channel, state: attachment.viewers });
      last = this.#messages.sent;
      return true;
    });
  }

  #list(
    user: AuthenticatedUser,
    { question, proofs }: Extract<SessionMessage, { type: "list" }>,
  ): Promise<void> {
    return this.#answered(async () => {
      const sessions = await this.#askSessions(async () => await this.#sessionsFor(user)?.list(user, proofs));
      return { type: "sessions", question, sessions: sessions ?? [] };
    });
  }

  #kill(
    user: AuthenticatedUser,
    { question, session }: Extract<SessionMessage, { type: "kill" }>,
  ): Promise<void> {
    return this.#answered(async () => {
      const killed = await this.#askSessions(async () => await this.#sessionsFor(user)?.kill(user, session));
      return { type: "killed", question, code: killed === true ? KILL_OK : KILL_UNKNOWN };
    });
  }

  /**
   * Where they are kept elsewhere, that may not answer: no mistake of the client's. Nor is it told that there are none: the connection
   * ends, as where one that is attached to is out of reach.
   */
  async #askSessions<T>(ask: () => Promise<T | undefined>): Promise<T | undefined> {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof SealttyError)) throw error;
      this.#owner.services.log(`could not ask about sessions: ${error.message}`);
      if (error.code !== "user-refused") this.#owner.close("internal");
      return undefined;
    }
  }

  /** @throws SealttyError `peer-misbehaved` where a client asks and asks, and waits for no answer. */
  async #answered(answer: () => Promise<SessionMessage>): Promise<void> {
    if (this.#questions >= MAX_QUESTIONS)
      throw new SealttyError("peer-misbehaved", "Too many questions about sessions at once");
    this.#questions++;
    try {
      const message = await answer();
      if (!this.#owner.ending()) this.#messages.send(message);
    } finally {
      this.#questions--;
    }
  }

  #takeNumber(channel: number): void {
    if (channel <= this.#newestChannel)
      throw new SealttyError("peer-misbehaved", "A channel number was used again");
    this.#newestChannel = channel;
  }

  /** What runs there in place of what was asked for, `startProcess` sees to. */
  #mayOpen(user: AuthenticatedUser, kind: ChannelRequest["kind"]): boolean {
    if (user.method === "none") return kind === "login";
    return !this.#isOver(user) && allowsKind(user.restrictions, kind);
  }

  #isOver(user: AuthenticatedUser): boolean {
    return user.method === "ssh-key" && isExpired(user.restrictions, this.#owner.services.wallTime());
  }

  /** Which of them are this user's is theirs to know; undefined for a user who may come to none (any more). */
  #sessionsFor(user: AuthenticatedUser): GuestSessions | undefined {
    return this.#isOver(user) ? undefined : this.#owner.services.sessions;
  }

  #isFull(user: AuthenticatedUser): boolean {
    const limit = user.method === "none" ? MAX_LOGIN_CHANNELS : MAX_CHANNELS;
    return this.#open.size + this.#starting >= limit;
  }

  /** Before anything is awaited, so that streams open in the order of their numbers. */
  #openStreams(channel: number): { inOut: Stream; error: Stream } {
    const ids = channelStreams(channel);
    return {
      inOut: this.#connection.openStream(ids.inOut, {
        receive: INPUT_STREAM_WINDOW,
        send: OUTPUT_STREAM_WINDOW,
      }),
      error: this.#connection.openStream(ids.error, { receive: 0, send: OUTPUT_STREAM_WINDOW }),
    };
  }

  #dropStreams(channel: number): void {
    const ids = channelStreams(channel);
    this.#connection.dropStream(ids.inOut);
    this.#connection.dropStream(ids.error);
  }

  #sayNotStarted(kind: string, error: unknown): void {
    const why = error instanceof Error ? error.message : "unknown";
    this.#owner.services.log(`could not start a program (${kind}): ${why}`);
  }
}

/** Nobody takes what it still says: read, so that its end is seen. */
async function abandon(process: GuestProcess): Promise<void> {
  process.hangUp();
  await Promise.all(
    [process.stdout, process.stderr].map(async (output) => {
      while ((await output.read()) !== undefined);
    }),
  );
}

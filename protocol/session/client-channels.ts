// The channels of one of the client's connections: programs that end with it, sessions that do not, and questions about those.

import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import { INPUT_STREAM_WINDOW, MAX_CHANNELS, OUTPUT_STREAM_WINDOW } from "../limits.ts";
import { isForwardMessage } from "../forward/forward-messages.ts";
import type { ListenPlace } from "../forward/target.ts";
import type { Stream } from "../streams/stream.ts";
import type { StreamConnection } from "../streams/stream-connection.ts";
import type { ChannelRequest, OwnChannel } from "./channel-api.ts";
import { ClientChannel } from "./client-channel.ts";
import { ClientListeners } from "./client-listeners.ts";
import { ClientQuestions } from "./client-questions.ts";
import { ClientSession } from "./client-session.ts";
import { notAttachedError, notOpenedError } from "./client-words.ts";
import type { Gate } from "./gate.ts";
import type { MessageStream } from "./message-stream.ts";
import { OPEN_OK, type SessionMessage, channelStreams } from "./messages.ts";
import { checkRequest, checkSize, isTerminalRequest } from "./open-request.ts";
import {
  type AttachRequest,
  CLIENT_ID_LENGTH,
  type OpenSessionRequest,
  type SessionChannel,
  type SessionName,
  type SessionSummary,
} from "./session-api.ts";
import { ATTACH_OK, type AttachedPlace, KILL_OK } from "./session-messages.ts";
import type { IncomingStream, Listener } from "./stream-api.ts";
import { type Waiter, waiter } from "./waiter.ts";
import { WidePlaces } from "./wide-places.ts";

/** Credit of a terminal's output where packets have slots: an answer takes a slot of each side, and a slot is long. */
const SLOTTED_OUTPUT_WINDOW = 2 * 1024 * 1024;

/** The connection that the channels belong to. */
export interface ChannelsOwner {
  readonly suite: CryptoSuite;
  /** Shut while the connection is frozen. */
  readonly gate: Gate;
  /** @throws SealttyError what the connection failed with; `api-misuse` before there are keys. */
  open(): { readonly connection: StreamConnection; readonly messages: MessageStream };
}

interface Opening extends Waiter<AttachedPlace | undefined> {
  /** Of OPEN. */
  readonly kind: ChannelRequest["kind"] | undefined;
}

export class ClientChannels {
  readonly #owner: ChannelsOwner;
  readonly #open = new Map<number, ClientChannel>();
  readonly #wide = new WidePlaces(); // channels whose output has the wide window
  readonly #sessions = new Map<number, ClientSession>(); // by channel, beside #open
  readonly #openings = new Map<number, Opening>();
  readonly #questions = new ClientQuestions();
  readonly #listeners: ClientListeners;
  #nextChannel = 1;

  constructor(owner: ChannelsOwner) {
    this.#owner = owner;
    this.#listeners = new ClientListeners({
      send: (message) => owner.open().messages.send(message),
      openIncoming: (incoming) => this.open({ kind: "stream", target: { kind: "incoming", incoming } }),
    });
  }

  /** Only after the user was authenticated: the guest closes the connection otherwise. */
  async open(request: ChannelRequest): Promise<OwnChannel> {
    checkRequest(request);
    await this.#owner.gate.opened();
    const { channel } = await this.#openWith((number) => ({ type: "open", channel: number, request }));
    return channel;
  }

  async listen(place: ListenPlace, onIncoming: (stream: IncomingStream) => void): Promise<Listener> {
    await this.#owner.gate.opened();
    return await this.#listeners.listen(place, onIncoming);
  }

  async openSession({
    request,
    sizing = "smallest",
    idleSeconds = 0,
    screenLines,
  }: OpenSessionRequest): Promise<SessionChannel> {
    checkRequest(request);
    await this.#owner.gate.opened();
    const client = this.#owner.suite.randomBytes(CLIENT_ID_LENGTH);
    const takesScreens = screenLines !== undefined;
    return this.#session(
      (channel) => ({ type: "keep", channel, client, sizing, idleSeconds, screenLines, request }),
      (place) => ({ session: place.session, client, mode: "read-write", takesScreens, after: undefined }),
    );
  }

  async attach(request: AttachRequest): Promise<SessionChannel> {
    checkSize(request.columns, request.rows);
    await this.#owner.gate.opened();
    const { session, mode, columns, rows, screenLines } = request;
    this.#owner.open(); // before anything is taken over
    if (request.after !== undefined && !(request.after instanceof ClientSession))
      throw new SealttyError("api-misuse", "Can only go on after an attachment of this program");
    const after = request.after?.takeOver();
    const client = after?.client ?? request.client ?? this.#owner.suite.randomBytes(CLIENT_ID_LENGTH);
    const offset = after?.offset ?? request.from;
    return this.#session(
      (channel) => ({ type: "attach", channel, session, client, mode, offset, columns, rows, screenLines }),
      () => ({ session, client, mode, takesScreens: screenLines !== undefined, after }),
    );
  }

  async list(proofs: readonly SessionName[]): Promise<readonly SessionSummary[]> {
    await this.#owner.gate.opened();
    const { messages } = this.#owner.open();
    const ask = (question: number): void => messages.send({ type: "list", question, proofs });
    return await this.#questions.ask(ask, "sessions");
  }

  async kill(session: SessionName): Promise<boolean> {
    await this.#owner.gate.opened();
    const { messages } = this.#owner.open();
    const ask = (question: number): void => messages.send({ type: "kill", question, session });
    return (await this.#questions.ask(ask, "killed")) === KILL_OK;
  }

  async #session(
    request: (channel: number) => SessionMessage,
    own: (
      place: AttachedPlace,
    ) => Omit<ConstructorParameters<typeof ClientSession>[1], "place" | "send" | "gate" | "sendDetach">,
  ): Promise<SessionChannel> {
    let open: ClientSession | undefined;
    await this.#openWith(request, (number, channel, send, place) => {
      open = new ClientSession(channel, {
        ...own(place),
        place,
        send,
        gate: this.#owner.gate,
        sendDetach: (input) => this.#owner.open().messages.send({ type: "detach", channel: number, input }),
      });
      this.#sessions.set(number, open);
    });
    if (open === undefined) throw new SealttyError("peer-misbehaved", "The guest opened no session");
    return open;
  }

  /** @param onPlace - called as soon as the guest's answer was read, before any message behind it. */
  async #openWith(
    request: (channel: number) => SessionMessage,
    onPlace?: (number: number, channel: ClientChannel, send: Stream["send"], place: AttachedPlace) => void,
  ): Promise<{ channel: ClientChannel }> {
    const { connection, messages } = this.#owner.open();
    if (this.#open.size >= MAX_CHANNELS) {
      throw new SealttyError(
        "limit-exceeded",
        `At most ${MAX_CHANNELS} channels at once on one connection; run fewer at a time, or try again once one has ended.`,
      );
    }
    const number = this.#nextChannel++;
    const ids = channelStreams(number);
    const streams = {
      inOut: connection.openStream(ids.inOut, {
        receive: connection.slotted ? SLOTTED_OUTPUT_WINDOW : OUTPUT_STREAM_WINDOW,
        send: INPUT_STREAM_WINDOW,
      }),
      error: connection.openStream(ids.error, { receive: OUTPUT_STREAM_WINDOW, send: 0 }),
    };
    const forget = (): void => {
      this.#open.delete(number);
      this.#sessions.delete(number);
      this.#wide.leave(number);
      // The streams stay known until our side is through too: an acknowledgement may still be owed. All of theirs is here, and
      // whoever reads it at leisure, or never, must not keep a place of the connection's.
      streams.inOut.send.end();
      streams.inOut.abandoned = true;
      streams.error.abandoned = true;
    };
    const message = request(number);
    // Not to terminals: all of it would come before what answers a Ctrl-C.
    const wide = message.type === "open" && !isTerminalRequest(message.request);
    const mayWiden = (): boolean => wide && this.#open.has(number) && this.#wide.admit(number);
    const channel = new ClientChannel(
      number,
      streams,
      messages,
      connection,
      this.#owner.gate,
      forget,
      mayWiden,
    );
    this.#open.set(number, channel);
    const opening = waiter<AttachedPlace | undefined>();
    this.#openings.set(number, {
      ...opening,
      kind: message.type === "open" ? message.request.kind : undefined,
      resolve: (place) => {
        streams.inOut.windowDue = connection.slotted; // more than the guest takes for granted
        channel.opened();
        if (place !== undefined) onPlace?.(number, channel, streams.inOut.send, place);
        opening.resolve(place);
      },
    });
    messages.send(message);
    try {
      await opening.promise;
    } catch (error) {
      this.#open.delete(number);
      this.#wide.leave(number);
      connection.dropStream(ids.inOut);
      connection.dropStream(ids.error);
      throw error;
    }
    return { channel };
  }

  /** @throws SealttyError `peer-misbehaved` on a message that is none of a channel's. */
  onMessage(message: SessionMessage): void {
    if (isForwardMessage(message)) return this.#listeners.onMessage(message);
    switch (message.type) {
      case "opened":
        return this.#onOpened(message.channel, message.code);
      case "exit":
        this.#open.get(message.channel)?.exited(message.status);
        return;
      case "attached":
        return this.#onAttached(message.channel, message.code, message.place);
      case "detached":
        this.#sessions.get(message.channel)?.detached(message.why);
        return;
      case "viewers":
        this.#sessions.get(message.channel)?.setViewers(message.state);
        return;
      case "sessions":
        this.#questions.answer(message.question, "sessions", message.sessions);
        return;
      case "killed":
        this.#questions.answer(message.question, "killed", message.code);
        return;
      default:
        throw new SealttyError("peer-misbehaved", "The guest sent a message that only clients send");
    }
  }

  /** The connection is over: whoever waits for anything of it learns why. */
  fail(error: SealttyError): void {
    this.#questions.fail(error);
    this.#listeners.fail(error);
    for (const opening of this.#openings.values()) opening.reject(error);
    for (const channel of this.#open.values()) channel.fail(error);
    this.#open.clear();
    this.#sessions.clear();
  }

  #onOpened(channel: number, code: number): void {
    const opening = this.#openings.get(channel);
    this.#openings.delete(channel);
    if (code === OPEN_OK) opening?.resolve(undefined);
    else opening?.reject(notOpenedError(code, opening.kind));
  }

  #onAttached(channel: number, code: number, place: AttachedPlace | undefined): void {
    const opening = this.#openings.get(channel);
    this.#openings.delete(channel);
    if (code === ATTACH_OK && place !== undefined) opening?.resolve(place);
    else opening?.reject(notAttachedError(code));
  }
}

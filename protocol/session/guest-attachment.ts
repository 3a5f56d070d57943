// An attachment as a channel of the guest: a session's output into a stream under its own credit, input back.

import type { Stream } from "../streams/stream.ts";
import type { StreamConnection } from "../streams/stream-connection.ts";
import type { ExitStatus } from "./channel-api.ts";
import type { SessionAttachment } from "./guest-sessions.ts";
import type { MessageStream } from "./message-stream.ts";
import type { SignalName } from "./messages.ts";
import { DETACH_ASKED, DETACH_FENCED, DETACH_LOST } from "./session-messages.ts";
import type { SessionScreen } from "./session-api.ts";
import { dataRecord, gapRecord, screenHead, textRecord } from "./session-records.ts";

/** Output waits in the session's ring, not here, above this many bytes not yet sent. */
const MAX_UNSENT = 64 * 1024;
/** Bytes of a screen's text that are handed over at once. */
const SCREEN_PIECE = 16 * 1024;

export class GuestAttachment {
  readonly #attachment: SessionAttachment;
  readonly #connection: StreamConnection;
  readonly #inOut: Stream;
  readonly #error: Stream;
  #left = false;
  #forgotten = false; // the session ended, and what it printed is gone
  #lost = 0; // bytes of that, which the client never gets
  #outputEnded = false; // only the program's end is waited for
  #why: number = DETACH_ASKED;
  #fed = 0; // bytes of input that the program took
  #leaveAt: number | undefined; // the client leaves once so many were
  #silent = false; // the connection is over: nothing may be sent
  #changed: (() => void)[] = [];

  constructor(
    attachment: SessionAttachment,
    connection: StreamConnection,
    streams: { inOut: Stream; error: Stream },
  ) {
    this.#attachment = attachment;
    this.#connection = connection;
    this.#inOut = streams.inOut;
    this.#error = streams.error;
    streams.inOut.onChange = () => this.#wake();
    // The first thing that a client does with the answer: it has nothing to say on this stream.
    streams.error.onChange = () => {
      if (streams.error.receive.ended) attachment.confirm();
    };
  }

  /** Runs until the session ended, or was left; tells the client which. */
  async run(channel: number, messages: MessageStream): Promise<void> {
    this.#error.send.end(); // a terminal has one output
    void this.#feedInput();
    await this.#carryOutput();
    if (this.#lost > 0 && !this.#left) this.detach(DETACH_LOST); // with an EXIT it would look whole
    this.#outputEnded = true;
    const status = this.#left ? undefined : await this.#untilOver();
    if (status === undefined) this.detach(DETACH_LOST); // unless it was left already
    this.#left = true;
    this.#wake();
    this.#attachment.leave();
    // Input that nobody will read any more must not keep the streams alive.
    this.#inOut.abandoned = true;
    this.#error.abandoned = true;
    if (this.#silent) return;
    if (status === undefined) messages.send({ type: "detached", channel, why: this.#why });
    else messages.send({ type: "exit", channel, status });
  }

  resize(columns: number, rows: number): void {
    if (!this.#left) this.#attachment.resize(columns, rows);
  }
  signal(name: SignalName): void {
    if (!this.#left) this.#attachment.signal(name);
  }
  hangUp(): void {
    if (this.#left) return;
    if (this.#attachment.mode === "read-only") this.detach();
    else this.#attachment.hangUp();
  }

  /** What was typed before is still typed. */
  detachAfter(input: number): void {
    this.#leaveAt = input;
    if (this.#fed >= input) this.detach();
  }

  detach(why: typeof DETACH_ASKED | typeof DETACH_FENCED | typeof DETACH_LOST = DETACH_ASKED): void {
    if (this.#left) return;
    this.#left = true;
    this.#why = why;
    this.#attachment.leave();
    this.#wake();
  }

  /** @param lost - bytes of output that the client never gets, and is told of. */
  forgotten(lost: number): void {
    this.#forgotten = true;
    this.#lost = lost;
    if (this.#outputEnded) this.detach(DETACH_LOST); // nobody will tell how its program ended
    this.#wake();
  }

  /** The connection is over; the session is not. */
  end(): void {
    this.#silent = true;
    this.detach();
  }

  async #carryOutput(): Promise<void> {
    const { send } = this.#inOut;
    for (;;) {
      while (this.#connection.isFull(this.#inOut, MAX_UNSENT) && !this.#over) await this.#change();
      const next = this.#over ? undefined : await this.#attachment.read();
      if (next === undefined || this.#left) break;
      if ("screen" in next) await this.#carryScreen(next.screen);
      else send.write(next instanceof Uint8Array ? dataRecord(next) : gapRecord(next.lost));
      this.#connection.onWork();
    }
    if (this.#lost > 0 && !this.#left) send.write(gapRecord(this.#lost));
    send.end();
    if (!this.#silent) this.#connection.onWork();
  }

  /** Whole, unless the client leaves in the middle of it: it had asked for that, or is gone. */
  async #carryScreen({ text, ...screen }: SessionScreen): Promise<void> {
    const { send } = this.#inOut;
    send.write(screenHead(screen, text.length));
    for (let at = 0; at < text.length && !this.#left; at += SCREEN_PIECE) {
      send.write(textRecord(text.subarray(at, at + SCREEN_PIECE)));
      this.#connection.onWork();
      while (this.#connection.isFull(this.#inOut, MAX_UNSENT) && !this.#left) await this.#change();
    }
  }

  async #feedInput(): Promise<void> {
    const { receive } = this.#inOut;
    while (!this.#left) {
      const chunk = receive.shift();
      if (chunk !== undefined) {
        const taken = await this.#attachment.write(chunk);
        if (!taken || this.#left) return; // credit would tell the client to forget what may still be its to send
        this.#fed += chunk.length;
        if (this.#leaveAt !== undefined && this.#fed >= this.#leaveAt) return this.detach();
        if (receive.consume(chunk.length)) {
          this.#inOut.windowDue = true;
          this.#connection.onWork();
        }
      } else if (receive.drained) {
        return this.#attachment.endInput();
      } else {
        await this.#change();
      }
    }
  }

  get #over(): boolean {
    return this.#left || this.#forgotten;
  }

  /** @returns how the program ended, where that is known before this is left; a session that is gone waits for nothing. */
  #untilOver(): Promise<ExitStatus | undefined> {
    const over = this.#forgotten ? Promise.resolve(undefined) : this.#untilLeft();
    return Promise.race([this.#attachment.exit, over]); // the status where both are there
  }

  async #untilLeft(): Promise<undefined> {
    while (!this.#left) await this.#change();
  }

  #wake(): void {
    if (this.#changed.length > 0) for (const resolve of this.#changed.splice(0)) resolve();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#changed.push(resolve));
  }
}

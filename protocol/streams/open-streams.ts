// The streams that a connection has: which there are, what they want to send, and what of it is kept.

import { SealttyError } from "../errors.ts";
import type { SlotLoad } from "../packets/shaping.ts";
import { Stream, type StreamWindows } from "./stream.ts";

const MAX_STREAMS = 256;
/** Of the session's messages; all others are channels'. */
const CONTROL = 0;

export class OpenStreams {
  readonly #streams = new Map<number, Stream>();
  #highest = -1; // ever opened
  /** Only the control stream's bytes leave; what is written to the others waits. */
  channelsHeld = false;

  /** @throws SealttyError `api-misuse`, `limit-exceeded`. */
  open(id: number, windows: StreamWindows): Stream {
    if (this.#streams.has(id)) throw new SealttyError("api-misuse", "Stream opened twice");
    if (this.#streams.size >= MAX_STREAMS / 2) this.#forgetFinished();
    if (this.#streams.size >= MAX_STREAMS) throw new SealttyError("limit-exceeded", "Too many streams");
    const stream = new Stream(id, windows);
    this.#streams.set(id, stream);
    this.#highest = Math.max(this.#highest, id);
    return stream;
  }

  #forgetFinished(): void {
    for (const stream of this.#streams.values()) if (stream.over) this.#streams.delete(stream.id);
  }

  get(id: number): Stream | undefined {
    return this.#streams.get(id);
  }

  /** Whether there was one of this id, or a higher one. */
  knew(id: number): boolean {
    return id <= this.#highest;
  }

  all(): Iterable<Stream> {
    return this.#streams.values();
  }

  drop(id: number): void {
    this.#streams.get(id)?.send.wipe();
    this.#streams.delete(id);
  }

  /** Best effort. */
  wipe(): void {
    for (const stream of this.#streams.values()) stream.send.wipe();
  }

  #maySend(stream: Stream): boolean {
    return stream.send.hasWork && (stream.id === CONTROL || !this.channelsHeld);
  }

  get haveContent(): boolean {
    for (const stream of this.#streams.values()) if (stream.windowDue || this.#maySend(stream)) return true;
    return false;
  }

  /** Channels that may send. */
  get sending(): Stream[] {
    const sending: Stream[] = [];
    for (const stream of this.#streams.values())
      if (stream.id !== CONTROL && this.#maySend(stream)) sending.push(stream);
    return sending;
  }

  get control(): Stream | undefined {
    return this.#streams.get(CONTROL);
  }

  /**
   * Bytes of all channels together that were sent and are not dropped: there is a byte before them that was not acknowledged.
   * A stream whose channel is over keeps its bytes, too.
   */
  get kept(): number {
    let sent = 0;
    for (const { id, send } of this.#streams.values()) if (id !== CONTROL) sent += send.held - send.unsent;
    return sent;
  }

  load(): SlotLoad {
    let sendable = 0;
    let fresh = 0;
    let backlog = 0;
    for (const stream of this.#streams.values()) {
      if (stream.id !== CONTROL && this.channelsHeld) continue;
      backlog += stream.send.backlog; // that credit lets none of it go says nothing about what is there
      if (!this.#maySend(stream)) continue;
      sendable += stream.send.sendable;
      fresh += stream.send.written - stream.writtenBefore;
    }
    return { sendable, fresh, backlog };
  }

  /** A slot begins: what is written from now on is fresh in the next one. */
  markWritten(): void {
    for (const stream of this.#streams.values()) stream.writtenBefore = stream.send.written;
  }
}

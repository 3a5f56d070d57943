// The control stream as whole messages, each bounded by what the phase of the connection allows.

import { SealttyError } from "../errors.ts";
import type { Stream } from "../streams/stream.ts";
import type { StreamConnection } from "../streams/stream-connection.ts";
import { decodeMessage, encodeMessage, type SessionMessage, TYPES } from "./messages.ts";

const HEAD = 4;

export class MessageStream {
  readonly #connection: StreamConnection;
  readonly #stream: Stream;
  readonly #head = new Uint8Array(HEAD);
  #headLength = 0;
  #body: Uint8Array | undefined; // allocated once the head was read and its length allowed
  #bodyLength = 0;
  #rest: Uint8Array | undefined; // of the chunk under way

  constructor(connection: StreamConnection, stream: Stream) {
    this.#connection = connection;
    this.#stream = stream;
  }

  /** Bytes sent and not yet acknowledged. */
  get held(): number {
    return this.#stream.send.held;
  }
  /** Bytes ever sent: with `held`, whether all up to here has arrived. */
  get sent(): number {
    return this.#stream.send.written;
  }

  /** Bytes of body that came of the message under way, where it is of this type. */
  arriving(type: SessionMessage["type"]): number {
    return this.#body !== undefined && this.#head[0] === TYPES[type] ? this.#bodyLength : 0;
  }

  send(message: SessionMessage): void {
    this.#stream.send.write(encodeMessage(message));
    this.#connection.onWork();
  }

  /**
   * @param limit - bytes that a message's body may have in this phase.
   * @returns the next whole message, undefined where none is there yet.
   * @throws SealttyError `peer-misbehaved`.
   */
  next(limit: number): SessionMessage | undefined {
    for (;;) {
      this.#rest ??= this.#stream.receive.shift();
      if (this.#rest === undefined) return this.#finished();
      if (this.#headLength < HEAD) {
        this.#headLength += this.#copy(this.#head, this.#headLength);
        if (this.#headLength < HEAD) continue;
        const length =
          ((this.#head[1] as number) << 16) | ((this.#head[2] as number) << 8) | (this.#head[3] as number);
        if (length > limit)
          throw new SealttyError("peer-misbehaved", "Session message longer than allowed here");
        this.#body = new Uint8Array(length);
        this.#bodyLength = 0;
      }
      if (this.#body !== undefined && this.#rest !== undefined)
        this.#bodyLength += this.#copy(this.#body, this.#bodyLength);
      const message = this.#finished();
      if (message !== undefined) return message;
    }
  }

  #finished(): SessionMessage | undefined {
    const body = this.#body;
    if (body === undefined || this.#bodyLength < body.length) return undefined;
    this.#body = undefined;
    this.#headLength = 0;
    return decodeMessage(this.#head[0] as number, body);
  }

  #copy(target: Uint8Array, at: number): number {
    const source = this.#rest as Uint8Array;
    const part = source.subarray(0, target.length - at);
    target.set(part, at);
    this.#rest = part.length < source.length ? source.subarray(part.length) : undefined;
    if (this.#stream.receive.consume(part.length)) {
      this.#stream.windowDue = true;
      this.#connection.onWork();
    }
    return part.length;
  }
}

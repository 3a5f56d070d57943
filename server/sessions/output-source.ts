// Where a program's output is taken from: one of Node's streams, or a socket that is read into one and the same memory.

import type { OnReadOpts, Socket } from "node:net";
import type { Readable } from "node:stream";

export interface OutputSource {
  /** What is there now; null where that is nothing. It is the caller's until the next call. */
  take(): Uint8Array | null;
  /** @param changed - there is something to take. @param ended - nothing comes any more. May be called more than once. */
  watch(changed: () => void, ended: () => void): void;
  /** Resolves once it was read or thrown away, and nobody writes any more. */
  readonly closed: Promise<void>;
  /** From now on as much at once as is there, up to WIDE_LANDING bytes. */
  widen(): void;
  destroy(): void;
}

const closedOf = (stream: Readable): Promise<void> =>
  new Promise((resolve) => {
    if (stream.closed) resolve();
    else stream.once("close", () => resolve());
  });

/** Its own buffer is the read-ahead. */
export class StreamSource implements OutputSource {
  readonly closed: Promise<void>;
  readonly #stream: Readable;

  constructor(stream: Readable) {
    this.#stream = stream;
    this.closed = closedOf(stream);
  }

  take(): Uint8Array | null {
    return this.#stream.read() as Buffer | null;
  }

  watch(changed: () => void, ended: () => void): void {
    this.#stream.on("readable", changed);
    this.#stream.once("end", ended);
    this.#stream.once("close", ended);
    this.#stream.on("error", ended);
  }

  widen(): void {} // Node reads as it reads

  destroy(): void {
    this.#stream.destroy();
  }
}

const LANDING = 64 * 1024;
/** More than a unix socket holds by itself. */
const WIDE_LANDING = 256 * 1024;

/**
 * Reads nothing ahead: the kernel keeps what comes meanwhile. Memory that is made for each read, and is outside of the engine's
 * heap, would bring its collector in again and again.
 */
export class SocketSource implements OutputSource {
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  #landing = new Uint8Array(LANDING);
  #landed: Uint8Array | null = null;
  #most = LANDING;
  #changed = (): void => {};

  /** @param connect - makes the socket with these options; nobody else reads it. */
  constructor(connect: (onread: OnReadOpts) => Socket) {
    this.#socket = connect({
      buffer: () => this.#landing,
      callback: (length) => {
        this.#landed = this.#landing.subarray(0, length);
        if (length === this.#landing.length && length < this.#most)
          this.#landing = new Uint8Array(this.#most);
        this.#changed();
        return false;
      },
    });
    this.#socket.resume(); // else its end would not be told
    this.closed = closedOf(this.#socket);
  }

  get socket(): Socket {
    return this.#socket;
  }

  take(): Uint8Array | null {
    const landed = this.#landed;
    this.#landed = null;
    if (landed === null) this.#socket.resume(); // what was taken before has been used
    return landed;
  }

  watch(changed: () => void, ended: () => void): void {
    this.#changed = changed;
    this.#socket.once("end", ended);
    this.#socket.once("close", ended);
    this.#socket.on("error", ended);
  }

  widen(): void {
    this.#most = WIDE_LANDING;
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

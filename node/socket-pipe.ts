// A connected stream socket (unix or TCP) as a Pipe, and what is common to connecting one.

import net from "node:net";
import { SealttyError } from "../protocol/errors.ts";
import type { SealttyErrorCode } from "../protocol/errors.ts";
import type { Pipe } from "../protocol/pipe.ts";
import { ChunkQueue } from "./chunk-queue.ts";
import { ReadSlabs } from "./read-slabs.ts";

/** Bytes read ahead of the pipe's reader. */
const MAX_WAITING = 256 * 1024;
/** After an orderly close began, the peer has this long to take what is still buffered. */
const CLOSE_GRACE_MS = 500;
const TAKEN = Promise.resolve();
/** What the peer's kernel gives its reader at once. */
const GATHERS = 64 * 1024;

export class SocketPipe implements Pipe {
  readonly incoming: AsyncIterable<Uint8Array>;
  readonly gathers = GATHERS;
  readonly #socket: net.Socket;
  readonly #what: string;
  #closing: Promise<void> | undefined;
  #error: Error | undefined;

  /**
   * @param socket - connected, nobody reads it yet; owned by the pipe from now on. @param what - names the link in errors.
   * @param reads - what the socket was made with; absent: it reads by itself.
   */
  constructor(socket: net.Socket, what: string, reads?: ReadSlabs) {
    this.#socket = socket;
    this.#what = what;
    socket.setNoDelay(true); // does nothing on a unix socket
    // Without a listener an error that comes while nobody reads would end the process.
    socket.on("error", (error) => {
      this.#error ??= error;
    });
    this.incoming = this.#read(reads);
  }

  send(chunk: Uint8Array): Promise<void> {
    if (chunk.length === 0) return TAKEN;
    const socket = this.#socket;
    if (this.#closing !== undefined || !socket.writable) return Promise.reject(this.#lost());
    let settle: ((error: Error | null | undefined) => void) | undefined;
    socket.write(chunk, (error) => settle?.(error)); // never before `write` returns
    // The kernel took it at once, as it mostly does. Else wait: the socket refers to the caller's bytes until then.
    if (socket.writableLength === 0 && !socket.destroyed) return TAKEN;
    return new Promise((resolve, reject) => {
      settle = (error) => {
        if (error) reject(this.#lost(error));
        else resolve();
      };
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  /** Not the socket's own iterator: that takes several turns of the event loop a chunk, and a keystroke is a chunk. */
  #read(reads: ReadSlabs | undefined): ChunkQueue {
    const socket = this.#socket;
    const queue = new ChunkQueue(MAX_WAITING, () => socket.resume());
    if (reads !== undefined) reads.onChunk = (chunk) => queue.push(chunk);
    // Without a listener to data the end would not be told either.
    socket.on("data", (chunk: Buffer) => {
      if (!queue.push(chunk)) socket.pause();
    });
    socket.once("end", () => queue.end());
    socket.once("close", () => {
      if (this.#closing !== undefined) return queue.discard();
      queue.end(socket.readableEnded ? undefined : this.#lost());
    });
    return queue;
  }

  async #end(): Promise<void> {
    const socket = this.#socket;
    if (socket.closed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => socket.destroy(), CLOSE_GRACE_MS);
      socket.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
      if (socket.destroyed) return;
      socket.end(() => socket.destroy());
    });
  }

  #lost(cause: unknown = this.#error): SealttyError {
    const code = errorCode(cause);
    return new SealttyError(
      "transport-lost",
      `The connection to ${this.#what} was lost${code === undefined ? "" : ` (${code})`}.`,
      cause === undefined ? {} : { cause },
    );
  }
}

/** The `code` of a Node system error: "ECONNREFUSED", … */
export function errorCode(error: unknown): string | undefined {
  const code = (error as NodeJS.ErrnoException | undefined | null)?.code;
  return typeof code === "string" ? code : undefined;
}

/** What to tell a person about each way connecting can fail: code of ours, reason, next step. */
export type ConnectProblems = Readonly<
  Record<string, readonly [code: SealttyErrorCode, why: string, next: string]>
>;

/**
 * Connects a socket, and waits until it is.
 * @param timeout - milliseconds.
 * @throws SealttyError as `problems` says for the system's error code, else `transport-lost`.
 */
export function connected(
  to: net.NetConnectOpts,
  what: string,
  timeout: number,
  problems: ConnectProblems,
): Promise<SocketPipe> {
  return new Promise((resolve, reject) => {
    const reads = new ReadSlabs();
    const socket = net.connect({ ...to, onread: reads.onread });
    const timer = setTimeout(() => {
      fail(Object.assign(new Error("Connecting took too long"), { code: "ETIMEDOUT" }));
    }, timeout);
    const fail = (cause: Error) => {
      clearTimeout(timer);
      socket.destroy();
      const code = errorCode(cause) ?? "unknown error";
      const [ours, why, next] = problems[code] ?? ["transport-lost", code, "Check the address."];
      reject(new SealttyError(ours, `Cannot connect to ${what}: ${why}. ${next}`, { cause }));
    };
    socket.once("error", fail);
    socket.once("connect", () => {
      clearTimeout(timer);
      const pipe = new SocketPipe(socket, what, reads); // listens for errors itself
      socket.off("error", fail);
      resolve(pipe);
    });
  });
}

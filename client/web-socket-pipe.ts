// A pipe over a browser WebSocket: straight to a host's websocket, or through the local server.

import { SealttyError } from "../protocol/errors.ts";
import type { Pipe } from "../protocol/pipe.ts";

/** Above this the socket's own buffer counts as full. */
const HIGH_WATER = 256 * 1024;
/** A WebSocket has no event for "buffer drained". */
const DRAIN_POLL_MS = 4;
/** Received and not read: the protocol's flight limit keeps a true guest far below, so only a flooding host gets here. */
const MAX_UNREAD = 8 * 1024 * 1024;

export interface WebSocketPipeOptions {
  readonly protocol?: string;
  /** Sent as the one text frame, before any bytes. */
  readonly firstMessage?: string;
  readonly openTimeoutMs?: number;
}

/** @throws SealttyError `transport-lost`. The browser never says why a WebSocket failed, so neither can we. */
export async function openWebSocketPipe(url: string, options: WebSocketPipeOptions = {}): Promise<Pipe> {
  let socket: WebSocket;
  try {
    socket = options.protocol === undefined ? new WebSocket(url) : new WebSocket(url, options.protocol);
  } catch (cause) {
    throw new SealttyError("transport-lost", `The browser refused to open ${url}`, { cause });
  }
  socket.binaryType = "arraybuffer";
  const pipe = new WebSocketPipe(socket); // listens from the first moment on
  await opened(socket, options.openTimeoutMs ?? 15_000);
  if (options.firstMessage !== undefined) socket.send(options.firstMessage);
  return pipe;
}

/** Straight to a websocket of the host's, as QEMU has it. @throws SealttyError `transport-lost`. */
export function openHostSocket(url: string): Promise<Pipe> {
  return openWebSocketPipe(url, { protocol: "binary" });
}

function opened(socket: WebSocket, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.close();
      reject(new SealttyError("transport-lost", `${socket.url} did not open in time`));
    }, timeoutMs);
    socket.addEventListener("open", () => {
      clearTimeout(timer);
      resolve();
    });
    socket.addEventListener("close", () => {
      clearTimeout(timer);
      reject(new SealttyError("transport-lost", `${socket.url} could not be opened`));
    });
  });
}

class WebSocketPipe implements Pipe {
  readonly #socket: WebSocket;
  readonly #unread: Uint8Array[] = [];
  #unreadBytes = 0;
  #end: "open" | "clean" | SealttyError = "open";
  #wake: (() => void) | undefined;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener("message", (event: MessageEvent<unknown>) => this.#receive(event.data));
    socket.addEventListener("close", (event) => {
      const clean = event.wasClean && event.code === 1000;
      this.#finish(
        clean ? "clean" : new SealttyError("transport-lost", `The web socket closed (code ${event.code})`),
      );
    });
  }

  get incoming(): AsyncIterable<Uint8Array> {
    return { [Symbol.asyncIterator]: () => ({ next: () => this.#next() }) };
  }

  async send(chunk: Uint8Array): Promise<void> {
    // Waits before it sends, so that at most one chunk per caller stands above the mark.
    while (this.#socket.readyState === WebSocket.OPEN && this.#socket.bufferedAmount > HIGH_WATER) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    }
    if (this.#socket.readyState !== WebSocket.OPEN) throw this.#lost();
    this.#socket.send(new Uint8Array(chunk));
  }

  async close(): Promise<void> {
    this.#finish("clean");
    this.#socket.close(1000);
  }

  #receive(data: unknown): void {
    if (this.#end !== "open") return;
    // A host that sends text frames: its bytes are as good as any other noise.
    const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : new TextEncoder().encode(String(data));
    if (bytes.length === 0) return;
    this.#unreadBytes += bytes.length;
    if (this.#unreadBytes > MAX_UNREAD) {
      this.#finish(new SealttyError("transport-lost", "The host sent more than can be taken"));
      this.#socket.close();
      return;
    }
    this.#unread.push(bytes);
    this.#wake?.();
  }

  #finish(end: "clean" | SealttyError): void {
    if (this.#end === "open") this.#end = end;
    this.#wake?.();
  }

  async #next(): Promise<IteratorResult<Uint8Array>> {
    for (;;) {
      const chunk = this.#unread.shift();
      if (chunk !== undefined) {
        this.#unreadBytes -= chunk.length;
        return { done: false, value: chunk };
      }
      if (this.#end === "clean") return { done: true, value: undefined };
      if (this.#end !== "open") throw this.#end;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  #lost(): SealttyError {
    return this.#end instanceof SealttyError
      ? this.#end
      : new SealttyError("transport-lost", "The web socket is closed");
  }
}

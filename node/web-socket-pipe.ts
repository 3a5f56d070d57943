// A web socket as a Pipe, client side: QEMU's `websocket=on` chardev, a relay, KubeVirt, Proxmox.

import type { IncomingMessage } from "node:http";
import net from "node:net";
import { WebSocket } from "ws";
import type { ClientOptions, RawData } from "ws";
import { SealttyError } from "../protocol/errors.ts";
import type { Pipe } from "../protocol/pipe.ts";
import { isRfbGreeting } from "../protocol/rfb/opening.ts";
import { errorCode } from "./socket-pipe.ts";

/** One message of the peer; QEMU sends at most 4096 bytes, relays at most 260 KiB. */
const MAX_MESSAGE = 1024 * 1024;
/** Received and not yet read: above it the socket is paused. */
const MAX_UNREAD = 256 * 1024;
/** Sent and not yet taken by the kernel: above it send() waits. */
const MAX_UNSENT = 256 * 1024;
/** How long the peer may take to answer the closing handshake. */
const CLOSE_GRACE_MS = 500;

const CLOSE_NORMAL = 1000;
/** Normal, going away, no code given. */
const CLEAN_CLOSES: readonly number[] = [CLOSE_NORMAL, 1001, 1005];
const CLOSE_UNSUPPORTED_DATA = 1003;

export interface WebSocketPipeOptions {
  /** Default: `binary`, which is what QEMU and noVNC's proxies know. An empty list offers none. */
  readonly protocols?: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  /** Milliseconds for connecting and for the peer's answer to the upgrade. */
  readonly timeout?: number;
  /** PEM certificates to trust in place of the system's, for `wss:`. */
  readonly ca?: string | Buffer;
  /** Name to expect in the certificate where it is not the address's. */
  readonly tlsServerName?: string;
  /** PEM: what the client shows for itself. */
  readonly certificate?: string;
  readonly privateKey?: string;
  /** A unix socket to connect to in place of the address's host and port. */
  readonly socketPath?: string;
  /** Text is the peer's way to say that the stream is over, as with Incus; else it is an error. */
  readonly textEnds?: boolean;
  /** What to look at when the server refuses with this HTTP status. */
  readonly adviceByStatus?: Readonly<Record<number, string>>;
}

/** @throws SealttyError `transport-lost`, or `api-misuse` where `url` is not a ws: or wss: address. */
export async function connectWebSocket(
  url: string,
  options: WebSocketPipeOptions = {},
): Promise<WebSocketPipe> {
  const timeout = options.timeout ?? 10_000;
  const socketOptions: ClientOptions = {
    perMessageDeflate: false, // compressing ciphertext only costs time
    maxPayload: MAX_MESSAGE,
    handshakeTimeout: timeout,
    followRedirects: false,
    rejectUnauthorized: true, // whatever NODE_TLS_REJECT_UNAUTHORIZED says
    ...(options.headers === undefined ? {} : { headers: { ...options.headers } }),
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...(options.tlsServerName === undefined ? {} : { servername: options.tlsServerName }),
    ...(options.certificate === undefined ? {} : { cert: options.certificate }),
    ...(options.privateKey === undefined ? {} : { key: options.privateKey }),
  };
  const { socketPath } = options;
  if (socketPath !== undefined) {
    socketOptions.createConnection = () => net.connect({ path: socketPath });
  }
  let socket: WebSocket;
  try {
    socket = new WebSocket(url, [...(options.protocols ?? ["binary"])], socketOptions);
  } catch (cause) {
    throw new SealttyError("api-misuse", `Not a web socket address: ${JSON.stringify(url)}`, { cause });
  }
  const shown = JSON.stringify(withoutQuery(url));
  socket.once("upgrade", (response: IncomingMessage) => response.socket.setNoDelay(true));
  // Made before the connection opens: what the peer sends with its first packet is already data.
  const pipe = new WebSocketPipe(socket, shown, options.textEnds ?? false);
  await new Promise<void>((resolve, reject) => {
    const refuse = (why: string, next: string, cause?: unknown) =>
      reject(
        new SealttyError("transport-lost", `Cannot connect to ${shown}: ${why}. ${next}`, {
          ...(cause === undefined ? {} : { cause }),
        }),
      );
    // From beginning to end: `handshakeTimeout` starts anew with every byte that comes.
    const late = setTimeout(() => {
      refuse(...TOOK_TOO_LONG);
      socket.terminate();
    }, timeout);
    socket.once("close", () => clearTimeout(late));
    socket.once("open", () => {
      clearTimeout(late);
      resolve();
    });
    socket.once("unexpected-response", (request, response) => {
      request.destroy();
      const next =
        options.adviceByStatus?.[response.statusCode ?? 0] ??
        (response.statusCode === 404
          ? "QEMU serves the path / only, a relay /NAME for the names it was given."
          : "Check the address and the credentials.");
      refuse(`the server answered with HTTP status ${String(response.statusCode)}`, next);
    });
    socket.once("error", (error) => refuse(...whyNot(error), error));
  });
  return pipe;
}

const TOOK_TOO_LONG: [why: string, next: string] = [
  "the server took the connection but does not answer",
  "QEMU serves one client at a time: another one is probably connected.",
];

/** What OpenSSL says of an answer to its hello that is no TLS; the code with it differs between versions of Node. */
export function speaksNoTls(cause: unknown): boolean {
  return (
    cause instanceof Error && /wrong version number|packet length too long|http request/i.test(cause.message)
  );
}

function whyNot(error: Error): [why: string, next: string] {
  const code = errorCode(error);
  if (code === "ECONNREFUSED") return ["nobody listens there", "Check the port, and that the machine runs."];
  if (code === "ENOTFOUND") return ["the host name is unknown", "Check the name."];
  if (/handshake has timed out/.test(error.message)) {
    return TOOK_TOO_LONG;
  }
  if (code?.startsWith("HPE_") === true) {
    return saysRfb(error)
      ? ["that port is a VNC server's own, and no web socket", "Write vnc+tcp:HOST:PORT for it."]
      : ["that port speaks no HTTP", "Check the port."];
  }
  if (speaksNoTls(error)) return ["that port speaks no TLS", "Check the port, or write ws: for wss:."];
  if (/subprotocol/i.test(error.message)) {
    return ["the server does not speak the subprotocol offered", "Check that this is a console's address."];
  }
  return [code ?? "the web socket handshake failed", "Check the address, the network and the certificate."];
}

/** Node's parser of HTTP shows what it could not read. */
function saysRfb(error: Error): boolean {
  return "rawPacket" in error && error.rawPacket instanceof Uint8Array && isRfbGreeting(error.rawPacket);
}

/** The query of an address may hold a ticket or token. */
function withoutQuery(url: string): string {
  return url.replace(/[?#].*$/s, "");
}

/** @param socket - of a client: those copy what they send, because they mask it. Must not have received anything yet. */
export class WebSocketPipe implements Pipe {
  readonly incoming: AsyncIterable<Uint8Array>;
  readonly #socket: WebSocket;
  readonly #what: string;
  readonly #textEnds: boolean;
  readonly #unread: Uint8Array[] = [];
  #unreadBytes = 0;
  #wakeReader: (() => void) | undefined;
  #problem: string | undefined;
  #cause: unknown;
  #closedByPeer = false;
  #closing: Promise<void> | undefined;

  constructor(socket: WebSocket, what: string, textEnds = false) {
    this.#socket = socket;
    this.#what = what;
    this.#textEnds = textEnds;
    socket.binaryType = "nodebuffer";
    socket.on("message", (data, isBinary) => this.#receive(data, isBinary));
    socket.on("error", (error) => {
      this.#problem ??= errorCode(error) ?? "web socket protocol error";
      this.#cause ??= error;
    });
    socket.on("close", (code) => {
      if (!CLEAN_CLOSES.includes(code)) this.#problem ??= `closed by the peer with code ${code}`;
      this.#closedByPeer = true;
      this.#wakeReader?.();
    });
    this.incoming = this.#read();
  }

  async send(chunk: Uint8Array): Promise<void> {
    if (chunk.length === 0) return;
    const socket = this.#socket;
    if (this.#closing !== undefined || socket.readyState !== WebSocket.OPEN) throw this.#lost();
    await new Promise<void>((resolve, reject) => {
      socket.send(chunk, { binary: true }, (error) => {
        if (error) reject(this.#lost());
        else resolve(); // the kernel has taken it, and so all before it
      });
      if (socket.bufferedAmount <= MAX_UNSENT) resolve();
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#closing !== undefined) return;
    if (!isBinary && this.#textEnds) {
      this.#closedByPeer = true;
      this.#wakeReader?.();
      return;
    }
    if (!isBinary) {
      this.#problem ??= "the peer sent text, where only binary data is allowed";
      this.#socket.close(CLOSE_UNSUPPORTED_DATA);
      this.#closedByPeer = true;
      this.#wakeReader?.();
      return;
    }
    const chunk = data as Buffer; // binaryType says so
    if (chunk.length === 0 || this.#problem !== undefined || this.#closedByPeer) return;
    this.#unread.push(chunk);
    this.#unreadBytes += chunk.length;
    if (this.#unreadBytes > MAX_UNREAD) this.#socket.pause();
    this.#wakeReader?.();
  }

  async *#read(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = this.#unread.shift();
      if (chunk !== undefined) {
        this.#unreadBytes -= chunk.length;
        if (this.#unreadBytes <= MAX_UNREAD / 2 && this.#socket.isPaused) this.#socket.resume();
        yield chunk;
      } else if (this.#closing !== undefined) {
        return;
      } else if (this.#problem !== undefined && this.#closedByPeer) {
        throw this.#lost();
      } else if (this.#closedByPeer) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wakeReader = resolve;
        });
        this.#wakeReader = undefined;
      }
    }
  }

  async #end(): Promise<void> {
    const socket = this.#socket;
    this.#unread.length = 0;
    this.#wakeReader?.();
    if (socket.readyState === WebSocket.CLOSED) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => socket.terminate(), CLOSE_GRACE_MS);
      socket.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
      socket.resume(); // a paused socket would never see the answer
      socket.close(CLOSE_NORMAL);
    });
  }

  #lost(): SealttyError {
    return new SealttyError(
      "transport-lost",
      `The web socket to ${this.#what} was lost${this.#problem === undefined ? "" : `: ${this.#problem}`}.`,
      this.#cause === undefined ? {} : { cause: this.#cause },
    );
  }
}

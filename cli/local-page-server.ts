// Serves the page on this machine's loopback, and carries what a browser cannot: pipes, signatures, the demo's host view.

import { randomBytes } from "node:crypto";
import http from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { type RawData, type WebSocket, WebSocketServer } from "ws";
import type { Collateral } from "../protocol/attestation/collateral.ts";
import type { ShapingProfile } from "../protocol/packets/shaping.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { Pipe } from "../protocol/pipe.ts";
import { hostsOf, judgeRequest, type PageKind } from "./loopback-guard.ts";
import { newToken, OneUseToken, sameToken } from "./one-use-token.ts";
import type { PageFile } from "./page-files.ts";
import { PageMemory } from "./page-memory.ts";
import { servePageSession } from "./page-session.ts";
import { bridgePipe } from "./pipe-bridge.ts";
import { printable } from "./printable.ts";
import type { Identity } from "./services.ts";

/** Fixed: what the browser keeps for the kept page belongs to an origin, and the port is part of it. */
export const DEFAULT_PAGE_PORT = 8743;
const FIRST_FRAME_MS = 5000;
const MAX_WEB_SOCKETS = 16;
const MAX_IDENTITIES = 16;
/** Not yet past their token. */
const MAX_STRANGERS = 8;
const MAX_CONNECTIONS = 128;
const MAX_CONTROL_FRAME = 16 * 1024;
/** What the page has remembered comes in one. */
const MAX_SESSION_FRAME = 512 * 1024;
/** Of the fresh page's name; in hexadecimal 24 of the 63 characters that a label may have. */
const LABEL_BYTES = 12;
/** Links to the fresh page that the kept one had this program say: it may be anybody's. */
const MAX_FRESH_ASKED = 16;
const MAX_PIPE_FRAME = 256 * 1024;
const MAX_HOST_VIEW_WAITING = 1024 * 1024;

/** What a nosy host saw, for the demonstration. */
export interface HostViewFrame {
  readonly direction: "to-guest" | "to-client";
  readonly bytes: Uint8Array;
  /** Milliseconds since 1970. */
  readonly at: number;
}

export interface PageServerOptions {
  /** 0: any. */
  readonly port: number;
  readonly files: ReadonlyMap<string, PageFile>;
  readonly guest: PageGuest;
  /** Which page the link opens; default: the fresh one. */
  readonly startAt?: PageKind;
  /** The key that the user named. Like the others it signs for the fresh page alone. */
  readonly identity: Identity | undefined;
  /** Further keys that the page's user may choose to sign in with. */
  readonly otherIdentities?: readonly Identity[];
  /** For pipes that a browser cannot open. */
  readonly dial: () => Promise<Pipe>;
  /** What the fresh page finds again; default: nothing. */
  readonly memory?: PageMemory;
  /**
   * The kept page asks for a link to the fresh one. It is for the user's eyes or browser alone: whatever runs in the kept page
   * must not have its token, which some program could present as if it were the fresh page.
   */
  readonly onFreshAsked?: (url: string) => void;
  /** Registers a listener and returns what takes it off again. */
  readonly hostView?: (listener: (frame: HostViewFrame) => void) => () => void;
  /** A link that was used before, or a wrong token, came: worth telling the user. */
  readonly onStranger?: () => void;
  readonly firstFrameTimeout?: number;
}

export interface PageGuest {
  readonly address: string;
  /** A web socket; present where the page can talk to it by itself. */
  readonly directUrl: string | undefined;
  /** Whether a VNC server is there. */
  readonly directVnc?: boolean;
  readonly policyText: string;
  readonly simulated: boolean;
  readonly user: string;
  readonly identity: string;
  readonly encoding: "auto" | "binary" | "armour";
  readonly obfuscate: ShapingProfile;
  /** The owner's own collateral, base64: absent where there is none. */
  readonly collateral?: Readonly<Record<keyof Collateral, readonly string[]>>;
}

export interface PageServer {
  readonly port: number;
  /** Of the page that it starts at, with the one-use token in its fragment. */
  readonly url: string;
  close(): Promise<void>;
}

/** @throws SealttyError `device-unavailable`; its cause's code is EADDRINUSE where the port is taken. */
export async function startPageServer(options: PageServerOptions): Promise<PageServer> {
  const server = new LocalPageServer(options);
  await server.listen();
  return server;
}

type Serve = (socket: WebSocket) => void;

interface Entry {
  readonly page: PageKind;
  readonly token: OneUseToken;
}

class LocalPageServer implements PageServer {
  readonly #options: PageServerOptions;
  readonly #listeners: http.Server[] = [];
  readonly #sockets: Readonly<Record<string, WebSocketServer | undefined>>;
  readonly #memory: PageMemory;
  readonly #label = randomBytes(LABEL_BYTES).toString("hex");
  /** The printed link's; then those for a reload of the page, and for the way to the other one. */
  readonly #entries: Entry[] = [];
  readonly #pipeToken = newToken();
  readonly #hostViewToken = newToken();
  readonly #firstToken: string;
  #port = 0;
  #freshAsked = 0;
  #strangers = 0;
  #pipe: WebSocket | undefined;

  constructor(options: PageServerOptions) {
    this.#options = options;
    this.#memory = options.memory ?? new PageMemory(undefined);
    this.#firstToken = this.#newEntry(options.startAt ?? "fresh");
    const sockets: Record<string, WebSocketServer> = { "/session": webSocketServer(MAX_SESSION_FRAME) };
    if (options.guest.directUrl === undefined) sockets["/pipe"] = webSocketServer(MAX_PIPE_FRAME);
    if (options.hostView !== undefined) sockets["/host-view"] = webSocketServer(MAX_CONTROL_FRAME);
    this.#sockets = sockets;
  }

  get port(): number {
    return this.#port;
  }
  get url(): string {
    return this.#link(this.#options.startAt ?? "fresh", this.#firstToken);
  }

  #link(page: PageKind, token: string): string {
    const name = page === "fresh" ? `${this.#label}.localhost` : "localhost";
    return `http://${name}:${this.#port}/#t=${token}`;
  }

  /** @returns a token that lets this page in once. */
  #newEntry(page: PageKind): string {
    const token = new OneUseToken();
    this.#entries.push({ page, token });
    if (this.#entries.length > MAX_WEB_SOCKETS) this.#entries.shift();
    return token.value ?? "";
  }

  #hosts(page: PageKind): string[] {
    return hostsOf(page, this.#label, this.#port);
  }

  get #allHosts(): string[] {
    return [...this.#hosts("fresh"), ...this.#hosts("kept")];
  }

  #pageOf({ host = "" }: http.IncomingHttpHeaders): PageKind {
    return this.#hosts("fresh").includes(host) ? "fresh" : "kept";
  }

  async listen(): Promise<void> {
    // A free port is asked for on IPv4; on IPv6 it may be taken: try some more.
    for (let attempt = 0; ; attempt++) {
      const first = await this.#listenOn("127.0.0.1", this.#options.port);
      this.#port = (first.address() as AddressInfo).port;
      try {
        // "localhost" may mean ::1 to the browser: a port that somebody else holds there would get our link.
        this.#listeners.push(first, await this.#listenOn("::1", this.#port));
        return;
      } catch (error) {
        const { code } = (error as SealttyError).cause as NodeJS.ErrnoException;
        if (code !== "EADDRINUSE") {
          this.#listeners.push(first); // no IPv6 on this machine
          return;
        }
        await new Promise((resolve) => first.close(resolve));
        if (this.#options.port !== 0 || attempt >= 10) throw error;
      }
    }
  }

  async close(): Promise<void> {
    for (const server of Object.values(this.#sockets)) {
      for (const socket of server?.clients ?? []) socket.terminate();
    }
    await Promise.all(
      this.#listeners.map((listener) => {
        const closed = new Promise((resolve) => listener.close(resolve));
        listener.closeAllConnections();
        return closed;
      }),
    );
  }

  async #listenOn(host: string, port: number): Promise<http.Server> {
    const server = http.createServer({ requestTimeout: 10_000, headersTimeout: 10_000 });
    server.maxConnections = MAX_CONNECTIONS;
    server.on("request", (request, response) => this.#answer(request, response));
    server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
    await new Promise<void>((resolve, reject) => {
      server.once("error", (cause: NodeJS.ErrnoException) => {
        const why = cause.code === "EADDRINUSE" ? "the port is taken" : (cause.code ?? "unknown error");
        const message = `Cannot listen on ${host} port ${port}: ${why}. Choose another with --port, 0 for any.`;
        reject(new SealttyError("device-unavailable", message, { cause }));
      });
      server.listen({ host, port, exclusive: true, ipv6Only: true }, resolve);
    });
    return server;
  }

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const send = (
      status: number,
      type: string,
      body: Uint8Array | string,
      extra: Record<string, string> = {},
    ): void => {
      response.writeHead(status, {
        "content-type": type,
        "content-length": Buffer.byteLength(body),
        ...this.#headers(this.#pageOf(request.headers)),
        ...extra,
      });
      response.end(request.method === "HEAD" ? undefined : body);
    };
    const refuse = (status: number, reason: string, extra?: Record<string, string>): void =>
      send(status, "text/plain; charset=utf-8", `${reason}\n`, { connection: "close", ...extra });
    const verdict = judgeRequest(request, this.#allHosts, false);
    if (verdict.status !== 200) return refuse(verdict.status, verdict.reason);
    if (request.method !== "GET" && request.method !== "HEAD")
      return refuse(405, "GET only", { allow: "GET, HEAD" });
    // A plain look-up of what was sent: nothing is decoded, joined or resolved.
    const file = this.#options.files.get((request.url ?? "").split("?", 1)[0] ?? "");
    if (file === undefined) return refuse(404, "no such file");
    send(200, file.type, file.body);
  }

  #headers(page: PageKind): Record<string, string> {
    const sockets = this.#hosts(page)
      .filter((host) => !host.startsWith("[")) // CSP has no way to write an IPv6 address; 'self' covers it
      .map((host) => `ws://${host}`);
    const { directUrl } = this.#options.guest;
    const connect = ["'self'", ...sockets, ...(directUrl === undefined ? [] : [new URL(directUrl).origin])];
    return {
      "content-security-policy": [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'", // xterm.js paints black without
        `connect-src ${connect.join(" ")}`,
        "img-src data: blob:",
        "font-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types default",
      ].join("; "),
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-resource-policy": "same-origin",
      "cross-origin-embedder-policy": "require-corp",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "permissions-policy":
        "camera=(), microphone=(), geolocation=(), payment=(), usb=(), serial=(), hid=(), midi=(), display-capture=(), " +
        "clipboard-read=(self), clipboard-write=(self), fullscreen=(self), publickey-credentials-get=(self), " +
        "publickey-credentials-create=(self)",
      "cache-control": "no-store",
    };
  }

  #upgrade(request: http.IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => socket.destroy());
    const verdict = judgeRequest(request, this.#allHosts, true);
    if (verdict.status !== 200) return refuseUpgrade(socket, verdict.status, verdict.reason);
    const path = request.url ?? "";
    const sockets = Object.hasOwn(this.#sockets, path) ? this.#sockets[path] : undefined;
    if (sockets === undefined) return refuseUpgrade(socket, 404, "nothing here");
    if (this.#strangers >= MAX_STRANGERS || this.#webSockets >= MAX_WEB_SOCKETS) {
      return refuseUpgrade(socket, 503, "too many connections");
    }
    const page = this.#pageOf(request.headers);
    sockets.handleUpgrade(request, socket, head, (accepted) => this.#expectToken(accepted, path, page));
  }

  get #webSockets(): number {
    let count = 0;
    for (const server of Object.values(this.#sockets)) count += server?.clients.size ?? 0;
    return count;
  }

  /** Nothing is said to a socket before its first frame was the right token. */
  #expectToken(socket: WebSocket, path: string, page: PageKind): void {
    socket.on("error", () => socket.terminate());
    this.#strangers++;
    const settle = (): void => {
      clearTimeout(timer);
      socket.off("close", settle);
      socket.off("message", onFirst);
      this.#strangers--;
    };
    const onFirst = (data: RawData, isBinary: boolean): void => {
      settle();
      const serve = isBinary ? undefined : this.#admit(path, page, (data as Buffer).toString("latin1"));
      if (serve !== undefined) return serve(socket);
      this.#options.onStranger?.();
      socket.close(1008, "refused");
      setTimeout(() => socket.terminate(), 1000).unref();
    };
    const timer = setTimeout(() => {
      settle();
      socket.terminate();
    }, this.#options.firstFrameTimeout ?? FIRST_FRAME_MS);
    socket.on("close", settle);
    socket.on("message", onFirst);
  }

  #admit(path: string, page: PageKind, token: string): Serve | undefined {
    switch (path) {
      case "/session": {
        const entry = this.#entries.find((each) => each.page === page && each.token.use(token));
        if (entry === undefined) return undefined;
        this.#entries.splice(this.#entries.indexOf(entry), 1);
        return page === "fresh" ? (socket) => this.#serveFresh(socket) : (socket) => this.#serveKept(socket);
      }
      case "/pipe":
        return sameToken(token, this.#pipeToken) ? (socket) => this.#servePipe(socket) : undefined;
      case "/host-view":
        return sameToken(token, this.#hostViewToken) ? (socket) => this.#serveHostView(socket) : undefined;
      default:
        return undefined;
    }
  }

  get #identities(): readonly Identity[] {
    const { identity, otherIdentities = [] } = this.#options;
    return [...(identity === undefined ? [] : [identity]), ...otherIdentities].slice(0, MAX_IDENTITIES);
  }

  #serveFresh(socket: WebSocket): void {
    const { identity } = this.#options;
    const config = {
      ...this.#config("fresh"),
      auth: identity === undefined ? "none" : "ssh-key",
      publicKey: identity === undefined ? null : Buffer.from(identity.publicKey).toString("base64"),
      keys: this.#identities.map(({ publicKey, source }) => ({
        publicKey: Buffer.from(publicKey).toString("base64"),
        source: printable(source),
      })),
      memory: this.#memory.items,
      keptPage: this.#link("kept", this.#newEntry("kept")),
    };
    servePageSession(socket, config, {
      signing: { user: this.#options.guest.user, identities: this.#identities },
      remember: (name, value) => this.#memory.remember(name, value),
    });
  }

  /** What an earlier program left at this address may run in place of our page: it is told of no key, and none signs. */
  #serveKept(socket: WebSocket): void {
    const config = { ...this.#config("kept"), auth: "none", publicKey: null, keys: [], memory: null };
    servePageSession(socket, config, {
      askForFresh: () => {
        if (this.#options.onFreshAsked === undefined || this.#freshAsked >= MAX_FRESH_ASKED) return;
        this.#freshAsked++;
        this.#options.onFreshAsked(this.#link("fresh", this.#newEntry("fresh")));
      },
    });
  }

  #config(page: PageKind): Record<string, unknown> {
    const { guest, hostView } = this.#options;
    const { directUrl, directVnc = false, ...told } = guest;
    return {
      ...told,
      pipe:
        directUrl === undefined
          ? { kind: "through-server" }
          : { kind: directVnc ? "direct-vnc" : "direct", url: directUrl },
      pipeToken: directUrl === undefined ? this.#pipeToken : null,
      page,
      hostView: hostView !== undefined,
      hostViewToken: hostView === undefined ? null : this.#hostViewToken,
      nextToken: this.#newEntry(page), // so that the page can be reloaded
    };
  }

  /** One at a time, the newest: most consoles take one client, and a page that reconnects has given up its last pipe. */
  #servePipe(socket: WebSocket): void {
    this.#pipe?.terminate();
    this.#pipe = socket;
    void bridgePipe(socket, this.#options.dial);
  }

  #serveHostView(socket: WebSocket): void {
    const stop = this.#options.hostView?.(({ direction, bytes, at }) => {
      if (socket.readyState !== socket.OPEN || socket.bufferedAmount > MAX_HOST_VIEW_WAITING) return;
      socket.send(JSON.stringify({ direction, bytes: Buffer.from(bytes).toString("base64"), at }));
    });
    socket.on("close", () => stop?.());
  }
}

function webSocketServer(maxPayload: number): WebSocketServer {
  return new WebSocketServer({ noServer: true, maxPayload, perMessageDeflate: false });
}

function refuseUpgrade(socket: Duplex, status: number, reason: string): void {
  const text = http.STATUS_CODES[status] ?? "Refused";
  socket.end(
    `HTTP/1.1 ${status} ${text}\r\nContent-Type: text/plain\r\nContent-Length: ${reason.length + 1}\r\nConnection: close\r\n\r\n${reason}\n`,
  );
}

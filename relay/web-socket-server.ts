// The relay's network side: web sockets at /NAME, and two text pages. It never serves the console page.

import http from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import { SealttyError } from "../protocol/errors.ts";
import { MAX_CLIENT_MESSAGE, MAX_SOCKETS, PING_INTERVAL_MS } from "./limits.ts";
import { originAllowed } from "./origin-check.ts";
import type { ClientLink, GuestRoute } from "./route.ts";

const TEXT = `This is a sealtty relay. It carries ciphertext and serves no console page: a page from a host could not be trusted.
On your own machine run:  sealtty open GUEST --policy FILE
`;

export interface WebSocketServerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly allowOrigins: readonly string[];
  readonly routes: ReadonlyMap<string, GuestRoute>;
  readonly log: (line: string) => void;
}

export interface RelayServer {
  readonly host: string;
  readonly port: number;
  close(): Promise<void>;
}

/** @throws SealttyError `device-unavailable` where the port cannot be had. */
export async function startWebSocketServer(options: WebSocketServerOptions): Promise<RelayServer> {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_CLIENT_MESSAGE,
    perMessageDeflate: false, // ciphertext does not shrink
    clientTracking: true,
    handleProtocols: (offered) => (offered.has("binary") ? "binary" : false),
  });
  const server = http.createServer({ requestTimeout: 10_000, headersTimeout: 10_000 }, answerText);
  server.maxConnections = MAX_SOCKETS;
  server.on("upgrade", (request, socket, head) => {
    socket.on("error", () => socket.destroy());
    const route = options.routes.get(nameOf(request.url));
    if (route === undefined) return refuse(socket, "404 Not Found", "no such guest");
    if (!originAllowed(request.headers.origin, options.allowOrigins)) {
      options.log(`refused the page origin ${loggable(request.headers.origin ?? "")}`);
      return refuse(socket, "403 Forbidden", "this page may not use the relay (--allow-origin)");
    }
    sockets.handleUpgrade(request, socket, head, (client) => serve(client, route));
  });
  const pings = setInterval(() => pingAll(sockets), PING_INTERVAL_MS);
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) =>
      reject(
        new SealttyError(
          "device-unavailable",
          `Cannot listen on ${options.host} port ${options.port}: ${whyNot(cause.code)}`,
          { cause },
        ),
      ),
    );
    server.listen(options.port, options.host, resolve);
  }).catch((error: unknown) => {
    clearInterval(pings);
    throw error;
  });
  server.on("error", (error) => options.log(`server error: ${error.message}`));
  return {
    host: options.host,
    port: (server.address() as AddressInfo).port,
    async close() {
      clearInterval(pings);
      for (const client of sockets.clients) client.terminate();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

function whyNot(code: string | undefined): string {
  switch (code) {
    case "EADDRINUSE":
      return "the port is taken. Stop the other program, or choose another with --listen HOST:PORT.";
    case "EADDRNOTAVAIL":
      return "this machine has no such address. Choose another with --listen HOST:PORT.";
    case "EACCES":
      return "this user may not. Choose a port from 1024 on with --listen HOST:PORT.";
    default:
      return `${code ?? "unknown error"}. Choose another with --listen HOST:PORT.`;
  }
}

function serve(client: WebSocket, route: GuestRoute): void {
  const link: ClientLink = {
    get waiting() {
      return client.bufferedAmount;
    },
    send: (bytes) => client.send(bytes),
    pause: () => client.pause(),
    resume: () => client.resume(),
    cut(reason) {
      client.close(1008, reason);
      setTimeout(() => client.terminate(), 200).unref(); // who does not read does not answer a close either
    },
  };
  const handle = route.add(link);
  if (handle === undefined) return client.close(1013, "too many clients");
  client.binaryType = "nodebuffer";
  client.on("message", (data, isBinary) => {
    if (!isBinary) return client.close(1003, "binary frames only");
    handle.receive(data as Buffer);
  });
  client.on("pong", () => silent.delete(client));
  client.on("error", () => client.terminate());
  client.on("close", () => handle.left());
}

/** Asked at the last tick and not heard since. */
const silent = new WeakSet<WebSocket>();

function pingAll(sockets: WebSocketServer): void {
  for (const client of sockets.clients) {
    if (client.isPaused) continue; // it is we who do not read
    if (silent.has(client)) client.terminate();
    else {
      silent.add(client);
      client.ping();
    }
  }
}

function nameOf(url: string | undefined): string {
  return (url ?? "/").split("?", 1)[0]?.slice(1) ?? "";
}

/** A header may hold 8-bit controls, which JSON leaves as they are and the operator's terminal obeys. */
function loggable(header: string): string {
  return JSON.stringify(header.slice(0, 200).replaceAll(/[^\x20-\x7e]/g, "?"));
}

function answerText(request: http.IncomingMessage, response: http.ServerResponse): void {
  const path = (request.url ?? "/").split("?", 1)[0];
  const get = request.method === "GET" || request.method === "HEAD";
  const [status, text] = !get
    ? [405, "GET only\n"]
    : path === "/"
      ? [200, TEXT]
      : path === "/healthz"
        ? [200, "ok\n"]
        : [404, "Nothing here. Guests are web sockets at /NAME\n"];
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    ...(get ? {} : { allow: "GET, HEAD", connection: "close" }),
  });
  response.end(request.method === "HEAD" ? undefined : text);
}

function refuse(socket: Duplex, status: string, text: string): void {
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain\r\nContent-Length: ${text.length + 1}\r\nConnection: close\r\n\r\n${text}\n`,
  );
}

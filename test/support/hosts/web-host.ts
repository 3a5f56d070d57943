// What the stand-ins of web APIs share: an HTTP(S) server of this machine, with a certificate made for the test.

import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import path from "node:path";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";

export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

/** A certificate for this machine that signs itself, valid for two days. */
export function makeCertificate(
  directory: string,
  name: string,
  subject = "subjectAltName=IP:127.0.0.1,DNS:localhost",
): TlsFiles {
  const certFile = path.join(directory, `${name}.pem`);
  const keyFile = path.join(directory, `${name}.key`);
  execFileSync(
    "openssl",
    [
      ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(" "),
      ...["-subj", `/CN=${name}`, "-addext", subject, "-keyout", keyFile, "-out", certFile],
    ],
    { stdio: "ignore" },
  );
  return { certFile, keyFile };
}

export interface Answer {
  readonly status: number;
  readonly body: string;
}

export interface Asked {
  readonly method: string;
  readonly url: URL;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

export type Upgrade =
  | { readonly status: number }
  /** @param protocol - what of the client's offers is chosen; false: none is. */
  | { readonly protocol: string | false; serve(socket: WebSocket): void };

export abstract class WebHost {
  readonly asked: Asked[] = [];
  readonly #server: http.Server;
  readonly #sockets = new Set<Duplex>();

  constructor(tls?: TlsFiles) {
    this.#server =
      tls === undefined
        ? http.createServer()
        : https.createServer({ cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile) });
    this.#server.on("connection", (socket: Duplex) => {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("request", (request, response) => void this.#serve(request, response));
    this.#server.on("upgrade", (request, socket, head) => this.#serveUpgrade(request, socket, head));
  }

  protected abstract answer(asked: Asked): Answer;
  protected abstract upgrade(asked: Omit<Asked, "body">): Upgrade;

  /** HOST:PORT */
  get authority(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async listen(where: number | string = 0): Promise<void> {
    if (typeof where === "number") this.#server.listen(where, "127.0.0.1");
    else this.#server.listen(where);
    await once(this.#server, "listening");
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const asked: Asked = {
      method: request.method ?? "",
      url: new URL(request.url ?? "", "http://host"),
      headers: request.headers,
      body: Buffer.concat(parts).toString(),
    };
    this.asked.push(asked);
    const { status, body } = this.answer(asked);
    response.writeHead(status, { "content-type": "application/json" });
    response.end(body);
  }

  #serveUpgrade(request: http.IncomingMessage, socket: Duplex, head: Buffer): void {
    const verdict = this.upgrade({
      method: request.method ?? "",
      url: new URL(request.url ?? "", "http://host"),
      headers: request.headers,
    });
    if ("status" in verdict) {
      socket.end(`HTTP/1.1 ${verdict.status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      return;
    }
    const server = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      handleProtocols: () => verdict.protocol,
    });
    server.handleUpgrade(request, socket, head, (accepted) => {
      accepted.on("error", () => accepted.terminate());
      verdict.serve(accepted);
    });
  }
}

export const offers = (headers: http.IncomingHttpHeaders): string[] =>
  (headers["sec-websocket-protocol"] ?? "").split(",").map((each) => each.trim());

export const json = (status: number, value: unknown): Answer => ({ status, body: JSON.stringify(value) });

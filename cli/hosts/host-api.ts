// A host's HTTP API: one bounded request at a time, TLS always verified, and the web sockets beside it.

import http from "node:http";
import https from "node:https";
import type { WebSocketPipe, WebSocketPipeOptions } from "../../node/web-socket-pipe.ts";
import { connectWebSocket, speaksNoTls } from "../../node/web-socket-pipe.ts";
import { errorCode } from "../../node/socket-pipe.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { printable } from "../printable.ts";
import { HostAnswer, MAX_ANSWER } from "./host-json.ts";
import type { HostSettings } from "./settings.ts";

const TIMEOUT_MS = 10_000;
const MAX_HEADERS = 16 * 1024;

/** Where an API is, and how it is known to be the right one. */
export interface HostApi {
  /** For people: "Proxmox". */
  readonly what: string;
  /** `https:`, or `http:` on this machine; its path is what all paths begin with, without the last slash. */
  readonly base: URL;
  /** A unix socket to take in place of the base's host and port. */
  readonly socketPath?: string;
  /** PEM certificates to trust in place of the system's. */
  readonly ca?: string;
  /** Name to expect in the certificate where it is not the address's. */
  readonly tlsServerName?: string;
  /** PEM: what the client shows for itself. */
  readonly certificate?: string;
  readonly privateKey?: string;
  /** Said where it cannot be reached: which settings name another place. */
  readonly settings?: string;
}

export interface ApiRequest {
  readonly method: "GET" | "POST";
  /** Begins with a slash; already escaped. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly form?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  /** Said where the answer is a refusal: what to look at for each status. */
  readonly advice?: Readonly<Record<number, string>>;
  /** Where the answer holds a reason, for people. */
  readonly reasonAt?: readonly string[];
}

const LOOPBACK = /^(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])$/;

export function isLoopback(url: URL): boolean {
  return LOOPBACK.test(url.hostname);
}

/** @param text - a URL of the user's. @throws SealttyError `bad-config`, also where it would send credentials in the clear. */
export function apiBase(text: string, where: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new SealttyError("bad-config", `${where} is not a URL; write https://HOST:PORT`);
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    throw new SealttyError(
      "bad-config",
      `${where} holds more than https://HOST:PORT/PATH; take the rest out`,
    );
  }
  const secure = url.protocol === "https:" || url.protocol === "wss:";
  const plain = url.protocol === "http:" || url.protocol === "ws:";
  if (!secure && !(plain && isLoopback(url))) {
    throw new SealttyError(
      "bad-config",
      `${where} is neither https: nor wss:, and would show your credentials on the network; without TLS only this machine is reached`,
    );
  }
  url.pathname = url.pathname.replace(/\/+$/, "");
  return url;
}

/** CA, name and client certificate, from PREFIX_CA_FILE, PREFIX_TLS_NAME, PREFIX_CERT_FILE and PREFIX_KEY_FILE. */
export async function tlsOf(
  settings: HostSettings,
): Promise<Pick<HostApi, "ca" | "tlsServerName" | "certificate" | "privateKey">> {
  const ca = await settings.pem("CA_FILE", "CERTIFICATE");
  const tlsServerName = settings.text("TLS_NAME");
  const certificate = await settings.pem("CERT_FILE", "CERTIFICATE");
  const privateKey = await settings.pem("KEY_FILE", "PRIVATE KEY");
  if ((certificate === undefined) !== (privateKey === undefined)) {
    throw new SealttyError(
      "bad-config",
      `${settings.prefix}_CERT_FILE and ${settings.prefix}_KEY_FILE belong together; set both or none`,
    );
  }
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(tlsServerName === undefined ? {} : { tlsServerName }),
    ...(certificate === undefined || privateKey === undefined ? {} : { certificate, privateKey }),
  };
}

/** @throws SealttyError `transport-lost` for everything but a 2xx answer that is JSON. */
export async function callApi(api: HostApi, request: ApiRequest, timeout = TIMEOUT_MS): Promise<HostAnswer> {
  const { status, body } = await exchange(api, request, timeout);
  if (status >= 200 && status < 300) return new HostAnswer(body, api.what);
  const reason = request.reasonAt === undefined ? undefined : reasonIn(body, request.reasonAt);
  throw refused(
    api,
    statusWords(status, reason),
    request.advice?.[status] ?? "Check the address and the names in it.",
  );
}

/** @param path - with its query; begins with a slash. @throws SealttyError `transport-lost`. */
export function openApiSocket(
  api: HostApi,
  path: string,
  options: Pick<WebSocketPipeOptions, "protocols" | "headers" | "textEnds" | "adviceByStatus">,
): Promise<WebSocketPipe> {
  const url = new URL(api.base.pathname.replace(/\/$/, "") + path, api.base);
  url.protocol = api.base.protocol === "https:" || api.base.protocol === "wss:" ? "wss:" : "ws:";
  return connectWebSocket(url.href, {
    ...options,
    ...(api.socketPath === undefined ? {} : { socketPath: api.socketPath }),
    ...(api.ca === undefined ? {} : { ca: api.ca }),
    ...(api.tlsServerName === undefined ? {} : { tlsServerName: api.tlsServerName }),
    ...(api.certificate === undefined ? {} : { certificate: api.certificate }),
    ...(api.privateKey === undefined ? {} : { privateKey: api.privateKey }),
  });
}

interface Exchanged {
  readonly status: number;
  readonly body: Uint8Array;
}

async function exchange(api: HostApi, request: ApiRequest, timeout: number): Promise<Exchanged> {
  const body =
    request.form !== undefined
      ? new URLSearchParams({ ...request.form }).toString()
      : request.json === undefined
        ? ""
        : JSON.stringify(request.json);
  const type = request.form === undefined ? "application/json" : "application/x-www-form-urlencoded";
  const secure = api.base.protocol === "https:";
  const options: https.RequestOptions = {
    method: request.method,
    path: api.base.pathname.replace(/\/$/, "") + request.path,
    headers: {
      accept: "application/json",
      ...(body === "" ? {} : { "content-type": type }),
      "content-length": String(Buffer.byteLength(body)),
      ...request.headers,
    },
    agent: false, // nothing is kept open, and no proxy of another part of this program sees it
    maxHeaderSize: MAX_HEADERS,
    ...(api.socketPath === undefined
      ? { host: api.base.hostname.replace(/^\[|\]$/g, ""), port: portOf(api.base) }
      : { socketPath: api.socketPath }),
    ...(secure
      ? {
          rejectUnauthorized: true, // whatever NODE_TLS_REJECT_UNAUTHORIZED says
          ...(api.ca === undefined ? {} : { ca: api.ca }),
          ...(api.tlsServerName === undefined ? {} : { servername: api.tlsServerName }),
          ...(api.certificate === undefined ? {} : { cert: api.certificate }),
          ...(api.privateKey === undefined ? {} : { key: api.privateKey }),
        }
      : {}),
  };
  const abort = AbortSignal.timeout(timeout);
  try {
    const sent = (secure ? https : http).request({ ...options, signal: abort });
    const answered = answerTo(sent, abort);
    sent.on("error", () => undefined); // one that comes after the answer is nobody's, and would end the process
    sent.end(body);
    const response = await answered;
    const parts: Buffer[] = [];
    let length = 0;
    for await (const part of response as AsyncIterable<Buffer>) {
      length += part.length;
      if (length > MAX_ANSWER) {
        sent.destroy();
        throw refused(api, `its answer is longer than ${MAX_ANSWER / 1024} KiB`, "Check the address.");
      }
      parts.push(part);
    }
    return { status: response.statusCode ?? 0, body: Buffer.concat(parts) };
  } catch (cause) {
    if (cause instanceof SealttyError) throw cause;
    throw refused(api, ...(abort.aborted ? NO_ANSWER : whyNot(cause, api.socketPath)), cause);
  }
}

/** A switch of protocols that nobody asked for is an answer, too: Node tells it by no other event. */
function answerTo(sent: http.ClientRequest, abort: AbortSignal): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    sent.once("response", resolve);
    sent.once("upgrade", (response, socket) => {
      socket.destroy();
      resolve(response);
    });
    sent.once("error", reject);
    abort.addEventListener("abort", () => {
      sent.destroy();
      reject(new Error("no answer in time"));
    });
  });
}

const NO_ANSWER = ["no answer in time", "Check the address, the network and firewalls."] as const;

function portOf(url: URL): number {
  if (url.port !== "") return Number(url.port);
  return url.protocol === "https:" ? 443 : 80;
}

const UNTRUSTED: readonly (string | undefined)[] = [
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
];

function whyNot(cause: unknown, socketPath: string | undefined): readonly [why: string, next: string] {
  const code = errorCode(cause);
  if (code === "ENOENT" && socketPath !== undefined) return ["its unix socket is missing", "Check the path."];
  if (code === "EACCES") return ["this user may not open its unix socket", "Join the group that owns it."];
  if (code === "ECONNREFUSED") return ["nobody listens there", "Check the port, and that the API runs."];
  if (code === "ENOTFOUND") return ["the host name is unknown", "Check the name."];
  if (UNTRUSTED.includes(code)) {
    return [
      "its certificate is not from an authority that this machine trusts",
      "Name its CA in the …_CA_FILE setting.",
    ];
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return ["its certificate is for another name", "Use that name in the address, or set …_TLS_NAME."];
  }
  if (speaksNoTls(cause)) return ["that port speaks no TLS", "Check the port: an https: service is meant."];
  if (code === "CERT_HAS_EXPIRED") return ["its certificate has expired", "Have it renewed on the host."];
  return [code ?? "the request failed", "Check the address, the network and the certificate."];
}

function statusWords(status: number, reason: string | undefined): string {
  const words = `it answered with HTTP status ${status}`;
  return reason === undefined ? words : `${words} ("${printable(reason, 200)}")`;
}

/** A reason is for reading only: an answer without one is as good. */
function reasonIn(body: Uint8Array, path: readonly string[]): string | undefined {
  try {
    return new HostAnswer(body, "the host").hint(path);
  } catch {
    return undefined;
  }
}

/** @param cause - of a failure to reach the API; undefined where it answered. */
function refused(api: HostApi, why: string, next: string, cause?: unknown): SealttyError {
  const place = api.socketPath ?? `${api.base.hostname}:${portOf(api.base)}`;
  const settings = cause === undefined || api.settings === undefined ? "" : ` ${api.settings}`;
  return new SealttyError(
    "transport-lost",
    `${api.what} at ${place} did not open the console: ${why}. ${next}${settings}`,
    cause === undefined ? {} : { cause },
  );
}

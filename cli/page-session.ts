// What the page asks of the command that served it: its configuration once, then signatures by the user's key, and small services.

import type { RawData, WebSocket } from "ws";
import { equalBytes } from "../protocol/bytes.ts";
import { SealttyError } from "../protocol/errors.ts";
import { decodeBase64 } from "../protocol/user-auth/base64.ts";
import { printable } from "./printable.ts";
import type { Identity } from "./services.ts";

const SERVICE = "sealtty-session";
/** Signatures under way: a hardware key waits for a touch, and each one asks. */
const MAX_SIGNING = 4;

/** What this page may ask for; what is absent ends the socket. */
export interface PageRights {
  readonly signing?: {
    /** The only one for whom this page may have something signed. */
    readonly user: string;
    /** The only keys that sign; the first where the page names none. */
    readonly identities: readonly Identity[];
  };
  readonly remember?: (name: string, value: string) => void;
  /** The page's user wants the fresh page: this program says its link, the page does not learn it. */
  readonly askForFresh?: () => void;
}

export function servePageSession(
  socket: WebSocket,
  config: Readonly<Record<string, unknown>>,
  { signing, remember, askForFresh }: PageRights,
): void {
  const answer = (message: Readonly<Record<string, unknown>>): void => {
    if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message));
  };
  const sign = signing && signer(signing.user, signing.identities, answer);
  socket.on("message", (data: RawData, isBinary: boolean) => {
    const request = isBinary ? undefined : parseRequest((data as Buffer).toString("utf8"));
    if (request?.type === "sign" && sign !== undefined) return sign(request);
    if (request?.type === "remember" && remember !== undefined) return remember(request.name, request.value);
    if (request?.type === "ask-for-fresh" && askForFresh !== undefined) return askForFresh();
    return socket.close(1008, "not a request");
  });
  answer({ type: "config", ...config });
}

function signer(
  user: string,
  identities: readonly Identity[],
  answer: (message: Readonly<Record<string, unknown>>) => void,
): (request: SignRequest) => void {
  let signing = 0;
  return ({ id, fields, publicKey }) => {
    const refuse = (message: string): void => answer({ type: "sign-failed", id, message });
    const identity = identities.find(
      (each) => publicKey === undefined || equalBytes(each.publicKey, publicKey),
    );
    if (identity === undefined) return refuse("sealtty open has no such key");
    if (fields.user !== user || fields.service !== SERVICE)
      return refuse("not the user that sealtty open was started for");
    if (signing >= MAX_SIGNING) return refuse("too many signatures asked for at once");
    signing++;
    identity
      .sign(fields)
      .then(
        (sshsig) => answer({ type: "signed", id, sshsig: Buffer.from(sshsig).toString("base64") }),
        (error: unknown) =>
          refuse(error instanceof SealttyError ? printable(error.message) : "the key did not sign"),
      )
      .finally(() => {
        signing--;
      });
  };
}

interface SignRequest {
  readonly type: "sign";
  readonly id: number;
  readonly fields: Parameters<Identity["sign"]>[0];
  readonly publicKey: Uint8Array | undefined;
}

type PageRequest =
  | SignRequest
  | { readonly type: "remember"; readonly name: string; readonly value: string }
  | { readonly type: "ask-for-fresh" };

function parseRequest(json: string): PageRequest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const request = value as Record<string, unknown>;
  switch (request["type"]) {
    case "sign":
      return parseSignRequest(request);
    case "remember": {
      const { name, value: text } = request;
      return typeof name === "string" && typeof text === "string"
        ? { type: "remember", name, value: text }
        : undefined;
    }
    case "ask-for-fresh":
      return { type: "ask-for-fresh" };
    default:
      return undefined;
  }
}

function parseSignRequest(request: Readonly<Record<string, unknown>>): SignRequest | undefined {
  const { id, handshakeHash, evidenceDigest, user, service, publicKey } = request;
  if (typeof id !== "number" || !Number.isSafeInteger(id)) return undefined;
  const hash = bytes32(handshakeHash);
  const digest = bytes32(evidenceDigest);
  if (hash === undefined || digest === undefined || typeof user !== "string" || typeof service !== "string") {
    return undefined;
  }
  const key = typeof publicKey === "string" ? decodeBase64(publicKey) : undefined;
  if (publicKey !== undefined && key === undefined) return undefined;
  const fields = { handshakeHash: hash, evidenceDigest: digest, user, service };
  return { type: "sign", id, fields, publicKey: key };
}

function bytes32(value: unknown): Uint8Array | undefined {
  if (typeof value !== "string" || !/^[A-Za-z0-9+/]{43}=$/.test(value)) return undefined;
  return new Uint8Array(Buffer.from(value, "base64"));
}

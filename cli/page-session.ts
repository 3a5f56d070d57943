// What the page asks of the command that served it: its configuration once, then signatures by the user's key.

import type { RawData, WebSocket } from "ws";
import { equalBytes } from "../protocol/bytes.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { UserAuthFields } from "../protocol/session/api.ts";
import { decodeBase64 } from "../protocol/user-auth/base64.ts";
import { printable } from "./printable.ts";
import type { Identity } from "./services.ts";

const SERVICE = "sealtty-session";
/** Signatures under way: a hardware key waits for a touch, and each one asks. */
const MAX_SIGNING = 4;

/**
 * @param user - the only one for whom this page may have something signed.
 * @param identities - the only keys that sign; the first where the page names none.
 */
export function servePageSession(
  socket: WebSocket,
  config: Readonly<Record<string, unknown>>,
  user: string,
  identities: readonly Identity[],
): void {
  let signing = 0;
  const answer = (message: Readonly<Record<string, unknown>>): void => {
    if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message));
  };
  socket.on("message", (data: RawData, isBinary: boolean) => {
    const request = isBinary ? undefined : parseSignRequest((data as Buffer).toString("utf8"));
    if (request === undefined) return socket.close(1008, "not a request");
    const { id, fields, publicKey } = request;
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
  });
  answer({ type: "config", ...config });
}

function parseSignRequest(
  json: string,
): { id: number; fields: UserAuthFields; publicKey: Uint8Array | undefined } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { type, id, handshakeHash, evidenceDigest, user, service, publicKey } = value as Record<
    string,
    unknown
  >;
  if (type !== "sign" || typeof id !== "number" || !Number.isSafeInteger(id)) return undefined;
  const hash = bytes32(handshakeHash);
  const digest = bytes32(evidenceDigest);
  if (hash === undefined || digest === undefined || typeof user !== "string" || typeof service !== "string") {
    return undefined;
  }
  const key = typeof publicKey === "string" ? decodeBase64(publicKey) : undefined;
  if (publicKey !== undefined && key === undefined) return undefined;
  return { id, fields: { handshakeHash: hash, evidenceDigest: digest, user, service }, publicKey: key };
}

function bytes32(value: unknown): Uint8Array | undefined {
  if (typeof value !== "string" || !/^[A-Za-z0-9+/]{43}=$/.test(value)) return undefined;
  return new Uint8Array(Buffer.from(value, "base64"));
}

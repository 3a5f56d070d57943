// What the half that talks to the host may ask of the half that has rights. Every body is read to its exact end.

import { isUserName } from "../../protocol/user-auth/user-auth-message.ts";
import { Reader, concat, lv16, lv32, u32, u8, utf8 } from "../../protocol/bytes.ts";
import { MAX_EVIDENCE_AUX, MAX_EVIDENCE_QUOTE, MAX_USER_NAME } from "../../protocol/limits.ts";
import type { UserAuthFields } from "../../protocol/session/api.ts";
import type { ChannelRequest, ExitStatus } from "../../protocol/session/channel-api.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import { openBody, readOpen } from "../../protocol/session/open-request.ts";

/** Calls of the front. */
export const OPERATIONS = {
  /** Is this signature a good one of this user's? A yes is remembered: see `start`. */
  authorize: 1,
  /** Start a program on a terminal of the front's, or on the connections that `streams` asked for. */
  start: 2,
  prepareAux: 3,
  quote: 4,
  probe: 5,
  /** The parts beside evidence that need a key or files of root's. */
  commonParts: 6,
  /** The console's device, for the front to open. */
  device: 7,
  /** A socket to connect to three times, one after the other: stdin, stdout, stderr of a program to be started. */
  streams: 8,
} as const;

/** Notices of the front. */
export const FRONT_NOTICES = { ready: 1, signal: 2, forget: 3, lost: 4 } as const;
/** Notices to the front. */
export const MONITOR_NOTICES = { settings: 1, ended: 2, stop: 3 } as const;

const MAX_PATH = 108;
const BINDER = 64;
const DIGEST = 32;
const STATUS_FAILURE = 256;

export interface AuthorizeCall {
  readonly fields: UserAuthFields;
  readonly publicKey: Uint8Array;
  readonly sshsig: Uint8Array;
}

export function authorizeBody({ fields, publicKey, sshsig }: AuthorizeCall): Uint8Array {
  return concat(
    fields.handshakeHash,
    fields.evidenceDigest,
    lv16(utf8(fields.user)),
    lv16(utf8(fields.service)),
    lv16(publicKey),
    lv16(sshsig),
  );
}

export function readAuthorize(body: Uint8Array): AuthorizeCall {
  const reader: Reader = new Reader(body, "Call to authorize");
  const handshakeHash = reader.bytes(DIGEST).slice();
  const evidenceDigest = reader.bytes(DIGEST).slice();
  const user = reader.text16(MAX_USER_NAME);
  const service = reader.text16(MAX_USER_NAME);
  const publicKey = reader.lv16(4096).slice();
  const sshsig = reader.lv16(8192).slice();
  reader.end();
  return { fields: { handshakeHash, evidenceDigest, user, service }, publicKey, sshsig };
}

export interface StartCall {
  readonly user: AuthenticatedUser;
  readonly request: ChannelRequest;
  /** Of the terminal, or what `streams` gave. */
  readonly path: string;
}

export function startBody({ user, request, path }: StartCall): Uint8Array {
  const key = user.method === "none" ? new Uint8Array(0) : (user.key ?? new Uint8Array(DIGEST));
  return concat(lv16(utf8(user.name)), lv16(key), lv16(utf8(path)), openBody(request));
}

export function readStart(body: Uint8Array): StartCall {
  const reader: Reader = new Reader(body, "Call to start a program");
  const name = reader.text16(MAX_USER_NAME);
  const key = reader.lv16(DIGEST).slice();
  if (key.length !== 0 && key.length !== DIGEST) reader.fail("has a key's digest of another length");
  if (key.length > 0 && !isUserName(name)) reader.fail("names an impossible user");
  const path = reader.text16(MAX_PATH);
  const request = readOpen(reader);
  reader.end();
  const user: AuthenticatedUser =
    key.length === 0 ? { name, method: "none" } : { name, method: "ssh-key", key };
  return { user, request, path };
}

export function quoteBody(binder: Uint8Array, aux: Uint8Array): Uint8Array {
  return concat(binder, lv32(aux));
}

export function readQuote(body: Uint8Array): { readonly binder: Uint8Array; readonly aux: Uint8Array } {
  const reader: Reader = new Reader(body, "Call to quote");
  const binder = reader.bytes(BINDER).slice();
  const aux = reader.lv32(MAX_EVIDENCE_AUX).slice();
  reader.end();
  return { binder, aux };
}

/** @param quote - undefined: what aux says is stale. */
export function quoteAnswer(quote: Uint8Array | undefined): Uint8Array {
  return quote === undefined ? u8(1) : concat(u8(0), lv32(quote));
}

export function readQuoteAnswer(body: Uint8Array): Uint8Array | undefined {
  const reader: Reader = new Reader(body, "A quote");
  const stale = reader.u8() !== 0;
  const quote = stale ? undefined : reader.lv32(MAX_EVIDENCE_QUOTE).slice();
  reader.end();
  return quote;
}

export function signalBody(program: number, name: string): Uint8Array {
  return concat(u32(program), lv16(utf8(name)));
}

export function readSignal(body: Uint8Array): { readonly program: number; readonly name: string } {
  const reader: Reader = new Reader(body, "Notice of a signal");
  const program = reader.u32();
  const name = reader.text16(16);
  reader.end();
  return { program, name };
}

export function readProgram(body: Uint8Array): number {
  const reader: Reader = new Reader(body, "Number of a program");
  const program = reader.u32();
  reader.end();
  return program;
}

export interface EndedNotice {
  readonly program: number;
  readonly status: ExitStatus;
  readonly failure?: string;
}

export function endedBody({ program, status, failure = "" }: EndedNotice): Uint8Array {
  const [number, signal] = status.kind === "exited" ? [status.status, ""] : [STATUS_FAILURE, status.signal];
  return concat(u32(program), u32(number), lv16(utf8(signal)), lv16(utf8(failure)));
}

export function readEnded(body: Uint8Array): EndedNotice {
  const reader: Reader = new Reader(body, "Notice of an end");
  const program = reader.u32();
  const number = reader.u32();
  const signal = reader.text16(16);
  const failure = reader.text16(256);
  reader.end();
  const status: ExitStatus =
    number === STATUS_FAILURE ? { kind: "signalled", signal } : { kind: "exited", status: number };
  return { program, status, ...(failure === "" ? {} : { failure }) };
}

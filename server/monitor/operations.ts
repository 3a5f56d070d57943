// What the half that talks to the host may ask of the half that has rights. Every body is read to its exact end.

import type { KeeperPlace } from "../keeper/pass.ts";
import { PASS_LENGTH } from "../keeper/pass.ts";
import { isUserName } from "../../protocol/user-auth/user-auth-message.ts";
import { Reader, concat, fromHex, lv16, lv32, textOf, toHex, u32, u8, utf8 } from "../../protocol/bytes.ts";
import {
  MAX_EVIDENCE_AUX,
  MAX_EVIDENCE_QUOTE,
  MAX_SSHSIG,
  MAX_SSH_KEY,
  MAX_TERMINAL_SIDE,
  MAX_USER_NAME,
} from "../../protocol/limits.ts";
import type { UserAuthFields } from "../../protocol/session/api.ts";
import type { AuthenticatedUser } from "../../protocol/session/guest-process.ts";
import type { ExitStatus, ProgramRequest } from "../../protocol/session/channel-api.ts";
import type { KeyGrant } from "../../protocol/user-auth/verify-user.ts";
import { openBody, readOpen } from "../../protocol/session/open-request.ts";

/** Calls of the front. */
export const OPERATIONS = {
  /** Is this signature a good one of this user's, on evidence of ours? A yes is remembered, by a ticket: see `start`. */
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
  /** What a client was sent around a quote: sign-ins are taken on such evidence alone. */
  attested: 10,
  /** Start one of sealttyd's own helpers as the user, on the connections that `streams` asked for: for forwarding. */
  helper: 9,
  /** A socket to connect to three times, one after the other: stdin, stdout, stderr of a program to be started. */
  streams: 8,
  /** The socket of the keeper of sessions, which is started where none runs. */
  keeper: 11,
  /** Of the keeper: who stands behind a sign-in of the front's. */
  who: 12,
  /** A piece of a recorded program's output, its new size, or its end: answered once it is written. */
  record: 20,
} as const;

/** Notices of the front. */
export const FRONT_NOTICES = {
  ready: 1,
  signal: 2,
  forget: 3,
  lost: 4,
  signedOff: 5,
  /** Of the keeper: whether it has sessions that a client of another front can come back to, or such are just beginning. */
  holds: 6,
  audit: 20,
} as const;
/** Notices to the front, and to the keeper. */
export const MONITOR_NOTICES = {
  settings: 1,
  ended: 2,
  stop: 3,
  /** To the keeper: whoever is connected as the front is it no more. */
  frontEnded: 4,
} as const;
/** Calls to the keeper. */
export const KEEPER_CALLS = {
  /** Whoever begins with these 16 bytes is the front. */
  admit: 1,
} as const;

const MAX_PATH = 108;
/** As in OPEN; longer ones no kernel takes. */
const MAX_SOCKET_PATH = 108;
/** One read of a terminal's gives less. */
const MAX_RECORDED = 128 * 1024;
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
  const publicKey = reader.lv16(MAX_SSH_KEY).slice();
  const sshsig = reader.lv16(MAX_SSHSIG).slice();
  reader.end();
  return { fields: { handshakeHash, evidenceDigest, user, service }, publicKey, sshsig };
}

/** Who was let in, as the front names them: by the number of the sign-in. What they may is the monitor's to know. */
export type NamedUser = { readonly name: string; readonly ticket?: number };
/** In place of a ticket: nobody signed in. */
const NO_TICKET = 0;

export interface StartCall {
  readonly user: NamedUser;
  readonly request: ProgramRequest;
  /** Of the terminal, or what `streams` gave. */
  readonly path: string;
}

export function startBody({ user, request, path }: StartCall): Uint8Array {
  return concat(userBody(user), lv16(utf8(path)), openBody(request));
}

export function namedUser(user: AuthenticatedUser): NamedUser {
  return user.method === "none" || user.ticket === undefined
    ? { name: user.name }
    : { name: user.name, ticket: user.ticket };
}

export function userBody({ name, ticket = NO_TICKET }: NamedUser): Uint8Array {
  return concat(lv16(utf8(name)), u32(ticket));
}

export function readUser(reader: Reader): NamedUser {
  const name = reader.text16(MAX_USER_NAME);
  const ticket = reader.u32();
  if (ticket !== NO_TICKET && !isUserName(name)) reader.fail("names an impossible user");
  return ticket === NO_TICKET ? { name } : { name, ticket };
}

export function readStart(body: Uint8Array): StartCall {
  const reader: Reader = new Reader(body, "Call to start a program");
  const user = readUser(reader);
  const path = reader.text16(MAX_PATH);
  const request = readOpen(reader);
  reader.end();
  if (request.kind === "stream") reader.fail("asks for a stream, which is no program");
  return { user, request, path };
}

/** What a helper does (server/streams). */
export type HelperRequest =
  /** To a unix socket, or from one that `listen` made: as the user. */
  | { readonly kind: "connect"; readonly socket: string }
  | { readonly kind: "listen"; readonly socket: string }
  | { readonly kind: "fetch"; readonly socket: string; readonly number: number }
  /** The configured program of the service `ssh`, as sealttyd's own user. */
  | { readonly kind: "ssh" };

const HELPERS = ["connect", "listen", "fetch", "ssh"] as const;

export interface HelperCall {
  readonly user: NamedUser;
  readonly helper: HelperRequest;
  readonly path: string;
}

export function helperBody({ user, helper, path }: HelperCall): Uint8Array {
  return concat(
    userBody(user),
    lv16(utf8(path)),
    u8(HELPERS.indexOf(helper.kind)),
    lv16(utf8(helper.kind === "ssh" ? "" : helper.socket)),
    u32(helper.kind === "fetch" ? helper.number : 0),
  );
}

export function readHelper(body: Uint8Array): HelperCall {
  const reader: Reader = new Reader(body, "Call to start a helper");
  const user = readUser(reader);
  const path = reader.text16(MAX_PATH);
  const kind = HELPERS[reader.u8()];
  const socket = reader.text16(MAX_SOCKET_PATH);
  const number = reader.u32();
  reader.end();
  if (kind === undefined) reader.fail("names an unknown helper");
  if (socket.includes("\0")) reader.fail("has a zero byte in a path");
  if (kind === "ssh") return { user, helper: { kind }, path };
  return { user, helper: kind === "fetch" ? { kind, socket, number } : { kind, socket }, path };
}

/** What a key grants, or undefined; the monitor's own words, for the front alone. */
export function grantBody(grant: KeyGrant | undefined): Uint8Array {
  if (grant === undefined) return new Uint8Array(0);
  const { key, restrictions, ticket, certificate } = grant;
  return utf8(
    JSON.stringify({
      key: toHex(key),
      restrictions,
      ticket,
      ...(certificate === undefined
        ? {}
        : { certificate: { serial: certificate.serial, authority: toHex(certificate.authority) } }),
    }),
  );
}

export function readGrant(body: Uint8Array): KeyGrant | undefined {
  if (body.length === 0) return undefined;
  const said = JSON.parse(textOf(body)) as {
    key: string;
    restrictions: KeyGrant["restrictions"];
    ticket?: number;
    certificate?: { serial: string; authority: string };
  };
  const { certificate, ticket } = said;
  return {
    key: fromHex(said.key),
    restrictions: said.restrictions,
    ...(ticket === undefined ? {} : { ticket }),
    ...(certificate === undefined
      ? {}
      : { certificate: { serial: certificate.serial, authority: fromHex(certificate.authority) } }),
  };
}

/** Of a started program. */
export interface StartedAnswer {
  readonly program: number;
  /** Its output goes to `record`. */
  readonly recorded: boolean;
  /** What its user is told. */
  readonly notice: string | undefined;
}

export function startedBody({ program, recorded, notice = "" }: StartedAnswer): Uint8Array {
  return concat(u32(program), u8(recorded ? 1 : 0), lv16(utf8(notice)));
}

export function readStarted(body: Uint8Array): StartedAnswer {
  const reader: Reader = new Reader(body, "Started program");
  const program = reader.u32();
  const recorded = reader.u8() !== 0;
  const notice = reader.text16(256);
  reader.end();
  return { program, recorded, notice: notice === "" ? undefined : notice };
}

/** What becomes of a recording. */
export type RecordCall =
  | { readonly kind: "output"; readonly program: number; readonly bytes: Uint8Array }
  | { readonly kind: "resize"; readonly program: number; readonly columns: number; readonly rows: number }
  | { readonly kind: "end"; readonly program: number };

const RECORD_KINDS = ["output", "resize", "end"] as const;

export function recordBody(call: RecordCall): Uint8Array {
  const head = concat(u32(call.program), u8(RECORD_KINDS.indexOf(call.kind)));
  if (call.kind === "output") return concat(head, lv32(call.bytes));
  return call.kind === "end" ? head : concat(head, u32(call.columns), u32(call.rows));
}

export function readRecord(body: Uint8Array): RecordCall {
  const reader: Reader = new Reader(body, "Call to record");
  const program = reader.u32();
  const kind = RECORD_KINDS[reader.u8()];
  let call: RecordCall;
  switch (kind) {
    case "output":
      call = { kind, program, bytes: reader.lv32(MAX_RECORDED) };
      break;
    case "resize": {
      const [columns, rows] = [reader.u32(), reader.u32()];
      if (![columns, rows].every((side) => side >= 1 && side <= MAX_TERMINAL_SIDE))
        reader.fail("has an impossible size");
      call = { kind, program, columns, rows };
      break;
    }
    case "end":
      call = { kind, program };
      break;
    default:
      return reader.fail("is of an unknown kind");
  }
  reader.end();
  return call;
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

export function readNamedUser(body: Uint8Array): NamedUser {
  const reader: Reader = new Reader(body, "Question about a sign-in");
  const user = readUser(reader);
  reader.end();
  return user;
}

/** Where the keeper is, and what a connection to it begins with; empty where none runs. */
export function keeperBody(place: KeeperPlace | undefined): Uint8Array {
  return place === undefined ? new Uint8Array(0) : concat(lv16(place.pass), lv16(utf8(place.socket)));
}

export function readKeeper(body: Uint8Array): KeeperPlace | undefined {
  if (body.length === 0) return undefined;
  const reader: Reader = new Reader(body, "Answer where the keeper is");
  const pass = reader.lv16(PASS_LENGTH).slice();
  const socket = reader.text16(MAX_PATH);
  reader.end();
  return { socket, pass };
}

export function readFlag(body: Uint8Array): boolean {
  const reader: Reader = new Reader(body, "A yes or no");
  const flag = reader.u8();
  reader.end();
  if (flag > 1) reader.fail("is neither");
  return flag === 1;
}

/** Of a program, or a ticket. */
export function readNumber(body: Uint8Array): number {
  const reader: Reader = new Reader(body, "Number of a program or a sign-in");
  const number = reader.u32();
  reader.end();
  return number;
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

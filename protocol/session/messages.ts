// Session messages on the control stream (stream 0): u8 type, u24 length, body. docs/protocol.md §8

import { type Evidence, decodeEvidence, encodeEvidence } from "../attestation/evidence.ts";
import { Reader, concat, lv16, u16, u32, u8, utf8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { MAX_SSH_KEY, MAX_SSHSIG, MAX_USER_NAME } from "../limits.ts";
import {
  FORWARD_TYPES,
  type ForwardMessage,
  forwardBody,
  isForwardMessage,
  readForwardMessage,
} from "../forward/forward-messages.ts";
import { SHAPING_PROFILES, type ShapingProfile } from "../packets/shaping.ts";
import type { ChannelRequest, ExitStatus } from "./channel-api.ts";
import { openBody, readChannel, readOpen, readSide } from "./open-request.ts";
import {
  KEPT_TYPES,
  type KeptMessage,
  isKeptMessage,
  keptBody,
  readKeptMessage,
} from "./session-messages.ts";

export const CONTROL_STREAM = 0;
export const SERVICE = "sealtty-session";

/** Codes of an authenticated CLOSE: all that a peer ever learns of an error. */
export const CLOSE_CODES = {
  done: 0,
  protocol: 1,
  "not-authenticated": 2,
  busy: 3,
  "shutting-down": 4,
  internal: 5,
  superseded: 6, // the client attached to its session over another connection
  "state-rolled-back": 7, // said by RETIRED, not by CLOSE: a packet would need a number
  "handed-over": 8, // as 4, and another sealttyd of this guest takes over
} as const;
/** @returns the code's name, for people. */
export function closeReason(code: number): string {
  return Object.entries(CLOSE_CODES).find(([, value]) => value === code)?.[0] ?? "unknown";
}

export const AUTH_OK = 0;
export const AUTH_REFUSED = 1;
export const AUTH_METHOD_NOT_ALLOWED = 2;

export const OPEN_OK = 0;
export const OPEN_NOT_ALLOWED = 1;
export const OPEN_TOO_MANY = 2;
export const OPEN_FAILED = 3;
/** Of a stream: nobody listens there, or what came to a listener has gone. */
export const OPEN_REFUSED = 4;
/** Of a stream: no such name, no way there, or no answer. */
export const OPEN_UNREACHABLE = 5;

/** Signals a client may send by name. */
export const SIGNALS = [
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGKILL",
  "SIGUSR1",
  "SIGUSR2",
  "SIGALRM",
  "SIGTERM",
  "SIGCONT",
  "SIGSTOP",
  "SIGTSTP",
] as const;
export type SignalName = (typeof SIGNALS)[number];

export function isSignalOfClients(name: string): name is SignalName {
  return SIGNALS.some((each) => each === name);
}

export type SessionMessage =
  | { readonly type: "evidence"; readonly evidence: Evidence; readonly encoded: Uint8Array }
  | { readonly type: "no-evidence" } // the guest could not collect any; why stays in its log
  | {
      readonly type: "authenticate";
      readonly user: string;
      readonly service: string;
      /** Absent: method "none", the guest's login program asks. */
      readonly key?: { readonly publicKey: Uint8Array; readonly sshsig: Uint8Array };
    }
  | { readonly type: "authenticated"; readonly code: number }
  | { readonly type: "open"; readonly channel: number; readonly request: ChannelRequest }
  | { readonly type: "opened"; readonly channel: number; readonly code: number }
  | { readonly type: "resize"; readonly channel: number; readonly columns: number; readonly rows: number }
  | { readonly type: "signal"; readonly channel: number; readonly signal: SignalName }
  | { readonly type: "hang-up"; readonly channel: number }
  | { readonly type: "exit"; readonly channel: number; readonly status: ExitStatus }
  /** The client asks for evidence again: for this connection, this nonce (32 bytes), this count. */
  | { readonly type: "attest"; readonly counter: number; readonly nonce: Uint8Array }
  /** The answer; without evidence where none could be collected. */
  | { readonly type: "attested"; readonly counter: number; readonly evidence: Evidence | undefined }
  /** The client's packets are shaped from here on, and the guest's shall be. */
  | { readonly type: "shape"; readonly profile: ShapingProfile }
  /** The guest's are, too. */
  | { readonly type: "shaped"; readonly profile: ShapingProfile }
  | KeptMessage
  | ForwardMessage;

export const TYPES = {
  evidence: 1,
  "no-evidence": 2,
  authenticate: 3,
  authenticated: 4,
  open: 5,
  opened: 6,
  resize: 7,
  signal: 8,
  "hang-up": 9,
  exit: 10,
  attest: 11,
  attested: 12,
  ...KEPT_TYPES,
  shape: 23,
  shaped: 24,
  ...FORWARD_TYPES,
} as const satisfies Record<SessionMessage["type"], number>;

/** Streams of a channel: standard input and output share one, standard error has the next. Channels count from 1. */
export function channelStreams(channel: number): { inOut: number; error: number } {
  return { inOut: 2 * channel, error: 2 * channel + 1 };
}

export function encodeMessage(message: SessionMessage): Uint8Array {
  const body = bodyOf(message);
  if (body.length >= 2 ** 24) throw new SealttyError("api-misuse", "Session message too long");
  return concat(u8(TYPES[message.type]), u8(body.length >>> 16), u16(body.length & 0xffff), body);
}

function bodyOf(message: SessionMessage): Uint8Array {
  if (isKeptMessage(message)) return keptBody(message);
  if (isForwardMessage(message)) return forwardBody(message);
  switch (message.type) {
    case "evidence":
      return encodeEvidence(message.evidence);
    case "no-evidence":
      return new Uint8Array(0);
    case "authenticate":
      return concat(
        u8(message.key === undefined ? 0 : 1),
        lv16(utf8(message.user)),
        lv16(utf8(message.service)),
        message.key === undefined
          ? new Uint8Array(0)
          : concat(lv16(message.key.publicKey), lv16(message.key.sshsig)),
      );
    case "authenticated":
      return u8(message.code);
    case "open":
      return concat(u32(message.channel), openBody(message.request));
    case "opened":
      return concat(u32(message.channel), u8(message.code));
    case "resize":
      return concat(u32(message.channel), u16(message.columns), u16(message.rows));
    case "signal":
      return concat(u32(message.channel), lv16(utf8(message.signal)));
    case "hang-up":
      return u32(message.channel);
    case "attest":
      return concat(u32(message.counter), message.nonce);
    case "attested":
      return concat(
        u32(message.counter),
        message.evidence === undefined ? new Uint8Array(0) : encodeEvidence(message.evidence),
      );
    case "shape":
    case "shaped":
      return u8(SHAPING_PROFILES.indexOf(message.profile));
    case "exit":
      return concat(
        u32(message.channel),
        message.status.kind === "exited"
          ? Uint8Array.of(0, message.status.status)
          : concat(u8(1), lv16(utf8(message.status.signal))),
      );
  }
}

/** @throws SealttyError `peer-misbehaved` on any other shape. */
export function decodeMessage(type: number, body: Uint8Array): SessionMessage {
  const reader: Reader = new Reader(body, "Session message");
  const message = readMessage(type, body, reader);
  reader.end();
  return message;
}

function readMessage(type: number, body: Uint8Array, reader: Reader): SessionMessage {
  switch (type) {
    case TYPES.evidence: {
      const encoded = reader.rest().slice();
      return { type: "evidence", evidence: decodeEvidence(encoded), encoded };
    }
    case TYPES["no-evidence"]:
      return { type: "no-evidence" };
    case TYPES.authenticate: {
      const method = reader.u8();
      if (method > 1) reader.fail("names an unknown way to authenticate");
      const user = reader.text16(MAX_USER_NAME);
      const service = reader.text16(MAX_USER_NAME);
      if (method === 0) return { type: "authenticate", user, service };
      const key = { publicKey: reader.lv16(MAX_SSH_KEY), sshsig: reader.lv16(MAX_SSHSIG) };
      return { type: "authenticate", user, service, key };
    }
    case TYPES.authenticated:
      return { type: "authenticated", code: reader.u8() };
    case TYPES.open:
      return { type: "open", channel: readChannel(reader), request: readOpen(reader) };
    case TYPES.opened:
      return { type: "opened", channel: readChannel(reader), code: reader.u8() };
    case TYPES.resize:
      return {
        type: "resize",
        channel: readChannel(reader),
        columns: readSide(reader),
        rows: readSide(reader),
      };
    case TYPES.signal: {
      const channel = readChannel(reader);
      const name = reader.text16(16);
      const signal = SIGNALS.find((known) => known === name);
      if (signal === undefined) reader.fail("names an unknown signal");
      return { type: "signal", channel, signal };
    }
    case TYPES["hang-up"]:
      return { type: "hang-up", channel: readChannel(reader) };
    case TYPES.exit: {
      const channel = readChannel(reader);
      const kind = reader.u8();
      if (kind === 0) return { type: "exit", channel, status: { kind: "exited", status: reader.u8() } };
      if (kind !== 1) reader.fail("has an unknown kind of exit");
      const signal = reader.text16(16);
      if (!/^SIG[A-Z0-9]{1,12}$/.test(signal)) reader.fail("has a malformed signal name");
      return { type: "exit", channel, status: { kind: "signalled", signal } };
    }
    case TYPES.attest:
      return { type: "attest", counter: reader.u32(), nonce: reader.bytes(32).slice() };
    case TYPES.attested: {
      const counter = reader.u32();
      const encoded = reader.rest().slice();
      const evidence = encoded.length === 0 ? undefined : decodeEvidence(encoded);
      return { type: "attested", counter, evidence };
    }
    case TYPES.shape:
      return { type: "shape", profile: readProfile(reader) };
    case TYPES.shaped:
      return { type: "shaped", profile: readProfile(reader) };
    default: {
      const other = readKeptMessage(type, reader) ?? readForwardMessage(type, reader);
      if (other !== undefined) return other;
      throw new SealttyError("peer-misbehaved", `Session message of unknown type (${body.length} bytes)`);
    }
  }
}

function readProfile(reader: Reader): ShapingProfile {
  const profile = SHAPING_PROFILES[reader.u8()];
  if (profile === undefined) reader.fail("names an unknown way to shape traffic");
  return profile;
}

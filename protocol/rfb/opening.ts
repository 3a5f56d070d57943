// From a VNC server's first byte to its screen: version, security, size. RFC 6143 §7.1 to §7.3; VeNCrypt as in rfbproto.

import { Reader, u32, u8, utf8, wipe } from "../bytes.ts";
import { MAX_RFB_NAME, MAX_RFB_REASON } from "../limits.ts";
import { CHALLENGE_LENGTH, vncResponse } from "./des.ts";
import { hostWords, rfbFault } from "./fault.ts";
import type { Parser, TlsKind } from "./intake.ts";

const OUR_VERSION = utf8("RFB 003.008\n");
const NONE = 1;
const VNC_AUTH = 2;
const VENCRYPT = 19;
/** Of VeNCrypt's, those within TLS and without a user's name: how TLS begins, and what is inside of it. */
const INSIDE_TLS: readonly (readonly [number: number, tls: TlsKind, inside: number])[] = [
  [260, "certificate", NONE],
  [261, "certificate", VNC_AUTH],
  [257, "anonymous", NONE],
  [258, "anonymous", VNC_AUTH],
];

/** Of TLS on the pipe: it cannot be had, it is taken where it is offered, or nothing is but TLS with a checked certificate. */
export type TlsWish = "none" | "any" | "certificate";

export interface RfbOpening {
  /** For the host's own question; says nothing to the guest. Only its first 8 bytes count. */
  readonly password?: string;
  /** For people: how a password is given. */
  readonly passwordAdvice?: string;
  readonly tls: TlsWish;
}

/** What a server has when it opens. */
export interface RfbScreenSize {
  readonly width: number;
  readonly height: number;
}

/**
 * Takes None where a server offers it and no certificate is asked for: what is carried needs none of its secrecy. A password's
 * answer goes inside of TLS where there is TLS: in the clear it can be guessed at by whoever listens. Other viewers are left alone.
 * @throws SealttyError `transport-lost` with words, on a server that refuses, wants what we lack or makes no sense.
 */
export function* opening(wishes: RfbOpening): Parser<RfbScreenSize> {
  const version = yield { kind: "take", length: OUR_VERSION.length };
  const [, major, minor] = /^RFB ([0-9]{3})\.([0-9]{3})\n$/.exec(String.fromCharCode(...version)) ?? [];
  if (major === undefined) throw rfbFault("does not speak RFB");
  if (Number(major) * 1000 + Number(minor) < 3008)
    throw rfbFault(`speaks RFB ${Number(major)}.${Number(minor)}, and 3.8 is needed`);
  yield { kind: "say", bytes: OUR_VERSION };
  yield* security(wishes);
  yield { kind: "say", bytes: u8(1) }; // shared: without it QEMU would throw out who else is looking on
  const screen = new Reader(yield { kind: "take", length: 24 }, "A screen");
  const size = { width: screen.u16(), height: screen.u16() };
  screen.bytes(16); // its own pixel format: it is told ours
  const nameLength = screen.u32();
  if (nameLength > MAX_RFB_NAME) throw rfbFault("has a name that is too long");
  yield { kind: "pass", length: nameLength, to: () => {} };
  return size;
}

function* security(wishes: RfbOpening): Parser<void> {
  const count = yield* takeByte();
  if (count === 0) throw yield* refusal("refused the connection");
  const offered = Array.from(yield { kind: "take", length: count });
  const certificate = wishes.tls === "certificate";
  if (offered.includes(NONE) && !certificate) {
    yield { kind: "say", bytes: u8(NONE) };
    return yield* inside(NONE, wishes);
  }
  if (offered.includes(VENCRYPT) && wishes.tls !== "none") {
    yield { kind: "say", bytes: u8(VENCRYPT) };
    return yield* venCrypt(wishes);
  }
  if (certificate)
    throw rfbFault(`offers no TLS, and a certificate of its was asked for (types ${offered.join(", ")})`);
  if (offered.includes(VNC_AUTH) && wishes.password !== undefined) {
    yield { kind: "say", bytes: u8(VNC_AUTH) };
    return yield* inside(VNC_AUTH, wishes);
  }
  if (offered.includes(VNC_AUTH)) throw noPassword(wishes);
  if (offered.includes(VENCRYPT))
    throw rfbFault("wants TLS inside RFB (VeNCrypt), which cannot be had on this pipe");
  throw rfbFault(`offers only ways to sign in that are not known here (types ${offered.join(", ")})`);
}

function* venCrypt(wishes: RfbOpening): Parser<void> {
  const [major, minor] = yield { kind: "take", length: 2 };
  if (major !== 0 || minor === undefined || minor < 2)
    throw rfbFault("has a version of VeNCrypt that is not 0.2");
  yield { kind: "say", bytes: Uint8Array.of(0, 2) };
  if ((yield* takeByte()) !== 0) throw rfbFault("does not take version 0.2 of VeNCrypt");
  const count = yield* takeByte();
  const list = new Reader(yield { kind: "take", length: 4 * count }, "A list");
  const offered = Array.from({ length: count }, () => list.u32());
  const good = INSIDE_TLS.filter(([, tls]) => tls === "certificate" || wishes.tls === "any");
  const known = good.filter(([number]) => offered.includes(number));
  const chosen = known.find(([, , within]) => within === NONE || wishes.password !== undefined);
  if (chosen === undefined && known.length > 0) throw noPassword(wishes);
  if (chosen === undefined && INSIDE_TLS.some(([number]) => offered.includes(number)))
    throw rfbFault("offers TLS without a certificate alone, and one was asked for");
  if (chosen === undefined)
    throw rfbFault(
      `offers only ways to sign in by VeNCrypt that are not known here (types ${offered.join(", ")})`,
    );
  const [number, how, within] = chosen;
  yield { kind: "say", bytes: u32(number) };
  if ((yield* takeByte()) !== 1) throw rfbFault("does not begin TLS, which it offered");
  yield { kind: "tls", how };
  yield* inside(within, wishes);
}

/** The sign-in itself, and what came of it. */
function* inside(type: number, wishes: RfbOpening): Parser<void> {
  if (type === VNC_AUTH) {
    const password = utf8(wishes.password ?? "");
    const bytes = vncResponse(password, yield { kind: "take", length: CHALLENGE_LENGTH });
    wipe(password);
    yield { kind: "say", bytes };
  }
  const result = new Reader(yield { kind: "take", length: 4 }, "A result").u32();
  if (result === 0) return;
  throw yield* refusal(type === VNC_AUTH ? "did not take the password" : "let nobody in");
}

/** A reason follows, as a rule in words; where it is too long or never comes whole, the error has to do without. */
function* refusal(what: string): Parser<Error> {
  const length = new Reader(yield { kind: "take", length: 4 }, "A reason").u32();
  if (length === 0 || length > MAX_RFB_REASON) return rfbFault(what);
  return rfbFault(`${what}, and says ${hostWords(yield { kind: "take", length })}`);
}

/** Whether these are the first bytes of a VNC server: its version, whole (RFC 6143, 7.1.1). */
export function isRfbGreeting(bytes: Uint8Array): boolean {
  return /^RFB [0-9]{3}\.[0-9]{3}\n/.test(String.fromCharCode(...bytes.subarray(0, 12)));
}

function noPassword({ passwordAdvice }: RfbOpening): Error {
  const what = "wants a password, and none was given";
  return rfbFault(passwordAdvice === undefined ? what : `${what}: ${passwordAdvice}`);
}

function* takeByte(): Parser<number> {
  return (yield { kind: "take", length: 1 })[0] as number;
}

// The clear bytes of a frame: type, connection id, and what each type carries. docs/protocol.md §3
//
//   HELLO    11 id          client → guest, repeated until answered: the guest never speaks first
//   WELCOME  12 id version cookie            guest → client
//   INIT     13 id cookie index count bytes  client → guest: fragments of client hello ‖ Noise message 1
//   REPLY    14 id index count bytes         guest → client: fragments of Noise message 2
//   PACKET   15 id number sealed             both ways
//   PROBE    16 id number pattern            client → guest: what does the pipe carry?
//   PROBED   17 id number pattern            guest → client: the same bytes back
//   PACE     18 id mark                      client → guest: tell me for a while how many bytes arrive
//   RECEIPT  19 id mark count sum            guest → client: so many, and their sum
//   RETIRED  1a id token                     both ways: the sender threw this connection's keys away
//   RAW      1b id length                    both ways: so many bytes stand behind this frame, and are a PACKET's body

import { concat, equalBytes, Reader, u32, u8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import {
  MAX_FRAME_BODY,
  MAX_HANDSHAKE_FRAGMENTS,
  MAX_HANDSHAKE_MESSAGE,
  MAX_PROBE_PATTERN,
} from "../limits.ts";

export const PROTOCOL_VERSION = 1;
export const CONNECTION_ID_LENGTH = 4;
export const COOKIE_LENGTH = 16;
/** Type, connection id, low 32 bits of the packet number: authenticated with the packet. */
export const PACKET_HEADER_LENGTH = 1 + CONNECTION_ID_LENGTH + 4;

/** With a tag and nothing in it. */
const MIN_PACKET_BODY = PACKET_HEADER_LENGTH + 16;

const PROBE_HEADER_LENGTH = 1 + CONNECTION_ID_LENGTH + 1;
/** A RECEIPT counts up to here and begins anew. */
export const RECEIPT_MODULUS = 2 ** 32;

export const FRAME_HELLO = 0x11;
export const FRAME_WELCOME = 0x12;
export const FRAME_INIT = 0x13;
export const FRAME_REPLY = 0x14;
export const FRAME_PACKET = 0x15;
export const FRAME_PROBE = 0x16;
export const FRAME_PROBED = 0x17;
export const FRAME_PACE = 0x18;
export const FRAME_RECEIPT = 0x19;
export const FRAME_RETIRED = 0x1a;
export const FRAME_RAW = 0x1b;
/** Type, id, length. */
export const RAW_LENGTH = 1 + CONNECTION_ID_LENGTH + 4;

/** @returns undefined where the body is too short to name a connection. */
export function frameHead(body: Uint8Array): { readonly type: number; readonly id: number } | undefined {
  if (body.length < 1 + CONNECTION_ID_LENGTH) return undefined;
  const id =
    (((body[1] as number) << 24) |
      ((body[2] as number) << 16) |
      ((body[3] as number) << 8) |
      (body[4] as number)) >>>
    0;
  return { type: body[0] as number, id };
}

/** Announces a body of this many bytes, whose connection id it has. */
export function rawBody(body: Uint8Array): Uint8Array {
  return concat(u8(FRAME_RAW), connectionIdOf(body), u32(body.length));
}

/** @returns the length that a RAW frame announces; undefined where it is none, or no PACKET is so long. */
export function readRaw(body: Uint8Array): number | undefined {
  if (body[0] !== FRAME_RAW || body.length !== RAW_LENGTH) return undefined;
  const length = new DataView(body.buffer, body.byteOffset).getUint32(RAW_LENGTH - 4);
  return length >= MIN_PACKET_BODY && length <= MAX_FRAME_BODY ? length : undefined;
}

/** A view of the connection id of a body that has a head. */
export function connectionIdOf(body: Uint8Array): Uint8Array {
  return body.subarray(1, 1 + CONNECTION_ID_LENGTH);
}

export function helloBody(id: Uint8Array): Uint8Array {
  return concat(u8(FRAME_HELLO), id);
}

export function welcomeBody(id: Uint8Array, cookie: Uint8Array): Uint8Array {
  return concat(u8(FRAME_WELCOME), id, u8(PROTOCOL_VERSION), cookie);
}

/** @throws SealttyError `peer-misbehaved`. */
export function readWelcome(body: Uint8Array): { version: number; cookie: Uint8Array } {
  const reader: Reader = new Reader(body.subarray(1 + CONNECTION_ID_LENGTH), "WELCOME frame");
  const version = reader.u8();
  // Another version may carry other bytes behind its number; only ours is read further.
  if (version !== PROTOCOL_VERSION) return { version, cookie: new Uint8Array(0) };
  const cookie = reader.bytes(COOKIE_LENGTH).slice();
  reader.end();
  return { version, cookie };
}

/** @param token - 32 bytes that only the two ends can know (protocol/session/retirement.ts). */
export function retiredBody(id: Uint8Array, token: Uint8Array): Uint8Array {
  return concat(u8(FRAME_RETIRED), id, token);
}

/** Whether a RETIRED frame's body has exactly this token. Takes the same time wherever they differ. */
export function isRetirement(body: Uint8Array, token: Uint8Array): boolean {
  return equalBytes(body.subarray(1 + CONNECTION_ID_LENGTH), token);
}

export interface Fragment {
  readonly index: number;
  readonly count: number;
  readonly bytes: Uint8Array;
}

/** Splits a handshake message into frame bodies of at most `limit` bytes; `prefix` stands before each fragment's header. */
export function fragmentBodies(prefix: Uint8Array, message: Uint8Array, limit: number): Uint8Array[] {
  const room = limit - prefix.length - 2;
  const count = Math.ceil(message.length / room);
  if (count > MAX_HANDSHAKE_FRAGMENTS)
    throw new SealttyError("api-misuse", "Handshake message needs too many frames");
  return Array.from({ length: count }, (_, index) =>
    concat(prefix, u8(index), u8(count), message.subarray(index * room, (index + 1) * room)),
  );
}

function readFragment(reader: Reader): Fragment {
  const index = reader.u8();
  const count = reader.u8();
  if (count === 0 || count > MAX_HANDSHAKE_FRAGMENTS || index >= count)
    reader.fail("has an impossible fragment number");
  if (reader.remaining > MAX_HANDSHAKE_MESSAGE) reader.fail("has an oversized fragment");
  return { index, count, bytes: reader.rest() };
}

export function initBodies(
  id: Uint8Array,
  cookie: Uint8Array,
  message: Uint8Array,
  limit: number,
): Uint8Array[] {
  return fragmentBodies(concat(u8(FRAME_INIT), id, cookie), message, limit);
}

/** @throws SealttyError `peer-misbehaved`. */
export function readInit(body: Uint8Array): { cookie: Uint8Array; fragment: Fragment } {
  const reader: Reader = new Reader(body.subarray(1 + CONNECTION_ID_LENGTH), "INIT frame");
  const cookie = reader.bytes(COOKIE_LENGTH);
  return { cookie, fragment: readFragment(reader) };
}

export function replyBodies(id: Uint8Array, message: Uint8Array, limit: number): Uint8Array[] {
  return fragmentBodies(concat(u8(FRAME_REPLY), id), message, limit);
}

/** @throws SealttyError `peer-misbehaved`. */
export function readReply(body: Uint8Array): Fragment {
  return readFragment(new Reader(body.subarray(1 + CONNECTION_ID_LENGTH), "REPLY frame"));
}

/** @param pattern - at most MAX_PROBE_PATTERN bytes. */
export function probeBody(id: Uint8Array, number: number, pattern: Uint8Array): Uint8Array {
  return concat(u8(FRAME_PROBE), id, u8(number), pattern);
}

/** The answer to a PROBE, never longer than it. @returns undefined where the PROBE is longer than allowed. */
export function probedBody(probe: Uint8Array): Uint8Array | undefined {
  const pattern = probe.length - PROBE_HEADER_LENGTH;
  if (pattern < 0 || pattern > MAX_PROBE_PATTERN) return undefined;
  const body = probe.slice();
  body[0] = FRAME_PROBED;
  return body;
}

/** Small on purpose: its binary encoding (13 bytes) fits the FIFO of a 16550. */
export function paceBody(id: Uint8Array, mark: number): Uint8Array {
  return concat(u8(FRAME_PACE), id, u8(mark));
}

/** @throws SealttyError `peer-misbehaved`. */
export function readPace(body: Uint8Array): { mark: number } {
  const reader: Reader = new Reader(body.subarray(1 + CONNECTION_ID_LENGTH), "PACE frame");
  const mark = reader.u8();
  reader.end();
  return { mark };
}

export interface Receipt {
  readonly mark: number;
  /** Bytes received on this pipe so far, counted modulo RECEIPT_MODULUS. */
  readonly count: number;
  /** Of those that came while receipts were on: running-sum.ts. Only how it changes means something. */
  readonly sum: number;
}

export function receiptBody(id: Uint8Array, { mark, count, sum }: Receipt): Uint8Array {
  return concat(u8(FRAME_RECEIPT), id, u8(mark), u32(count), u32(sum));
}

/** @throws SealttyError `peer-misbehaved`. */
export function readReceipt(body: Uint8Array): Receipt {
  const reader: Reader = new Reader(body.subarray(1 + CONNECTION_ID_LENGTH), "RECEIPT frame");
  const mark = reader.u8();
  const count = reader.u32();
  const sum = reader.u32();
  reader.end();
  return { mark, count, sum };
}

/**
 * Puts fragments together. A fragment that contradicts one already held (other count, other bytes at its index)
 * starts over with the newcomer: whoever injects can delay, and the peer's repeats bring the true ones again.
 */
export class FragmentAssembly {
  #parts: (Uint8Array | undefined)[] = [];

  /** @returns the whole message once every fragment is there, then starts afresh. */
  add(fragment: Fragment): Uint8Array | undefined {
    const held = this.#parts[fragment.index];
    const conflict =
      this.#parts.length !== fragment.count || (held !== undefined && !equalBytes(held, fragment.bytes));
    if (conflict) this.#parts = Array.from({ length: fragment.count }, () => undefined);
    this.#parts[fragment.index] = fragment.bytes.slice();
    let length = 0;
    for (const part of this.#parts) {
      if (part === undefined) return undefined;
      length += part.length;
    }
    const message = concat(...(this.#parts as Uint8Array[]));
    this.#parts = [];
    return length <= MAX_HANDSHAKE_MESSAGE ? message : undefined;
  }
}

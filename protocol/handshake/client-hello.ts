// What the client states in the clear before the handshake, and the prologue that binds it. docs/protocol.md §4.1

import { EVIDENCE_TYPES, type EvidenceType, evidenceTypeOf } from "../attestation/evidence.ts";
import { Reader, concat, lv16, u16, u32, u8, utf8 } from "../bytes.ts";
import type { FrameEncoding } from "../frames/frame-encoder.ts";
import { MAX_ADDRESS, MAX_EVIDENCE_TYPES, MAX_IDENTITY } from "../limits.ts";

const PROLOGUE_LABEL = utf8("sealtty/1\0");

export interface ClientHello {
  /** 32 fresh random bytes; in the binder. */
  readonly nonce: Uint8Array;
  /** The address dialled, as the user wrote it. */
  readonly address: string;
  /** The guest the user means. */
  readonly identity: string;
  /** Evidence the client can appraise under its policy; a guest with one kind sends that, and leaves refusing to the client. */
  readonly evidenceTypes: readonly EvidenceType[];
  /** What the client found the pipe to carry. A host can make it look worse than it is, and both sides then know. */
  readonly pipe: PipeFindings;
}

export interface PipeFindings {
  readonly encoding: FrameEncoding;
  /** Bytes that may go towards the guest at once; 0: no bound was found. */
  readonly burst: number;
  /** Bytes a second towards the guest, as far as a few hundred bytes show; 0: unknown. At most 2^32 - 1. */
  readonly rate: number;
}

const ENCODINGS: readonly FrameEncoding[] = ["binary", "armour"]; // by their number

/** u16 version 1, 32 bytes nonce, lv16 address, lv16 identity, u8 count, u16 each evidence type, then the pipe. */
export function encodeClientHello(hello: ClientHello): Uint8Array {
  return concat(
    u16(1),
    hello.nonce,
    lv16(utf8(hello.address)),
    lv16(utf8(hello.identity)),
    u8(hello.evidenceTypes.length),
    ...hello.evidenceTypes.map((type) => u16(EVIDENCE_TYPES[type])),
    u8(ENCODINGS.indexOf(hello.pipe.encoding)),
    u16(hello.pipe.burst),
    u32(hello.pipe.rate),
  );
}

/** Evidence types that this version does not know are left out. @throws SealttyError `peer-misbehaved`. */
export function decodeClientHello(bytes: Uint8Array): ClientHello {
  const reader: Reader = new Reader(bytes, "Client hello");
  if (reader.u16() !== 1) reader.fail("is of an unknown version");
  const nonce = reader.bytes(32).slice();
  const address = reader.text16(MAX_ADDRESS);
  const identity = reader.text16(MAX_IDENTITY);
  const count = reader.u8();
  if (count > MAX_EVIDENCE_TYPES) reader.fail("names too many evidence types");
  const evidenceTypes: EvidenceType[] = [];
  for (let i = 0; i < count; i++) {
    const type = evidenceTypeOf(reader.u16());
    if (type !== undefined) evidenceTypes.push(type);
  }
  const encoding = ENCODINGS[reader.u8()] ?? reader.fail("names an unknown encoding");
  const pipe = { encoding, burst: reader.u16(), rate: reader.u32() };
  reader.end();
  return { nonce, address, identity, evidenceTypes, pipe };
}

/** "sealtty/1" 0x00 ‖ lv16(connection id) ‖ lv16(client hello): hashed before anything else. */
export function prologueOf(connectionId: Uint8Array, clientHello: Uint8Array): Uint8Array {
  return concat(PROLOGUE_LABEL, lv16(connectionId), lv16(clientHello));
}

/** The message that INIT frames carry: lv16(client hello) ‖ Noise message 1. */
export function encodeInitMessage(clientHello: Uint8Array, message1: Uint8Array): Uint8Array {
  return concat(lv16(clientHello), message1);
}

/** @throws SealttyError `peer-misbehaved`. */
export function decodeInitMessage(bytes: Uint8Array): { clientHello: Uint8Array; message1: Uint8Array } {
  const reader: Reader = new Reader(bytes, "INIT message");
  return { clientHello: reader.lv16(2048), message1: reader.rest() };
}

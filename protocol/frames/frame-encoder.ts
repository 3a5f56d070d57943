// A frame on its way out: body ‖ CRC-32, as COBS between zeros or as one armoured line. docs/protocol.md §2

import { copyInto } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { MAX_ARMOUR_BODY, MAX_FRAME_BODY } from "../limits.ts";
import { armourLine } from "./armour.ts";
import { cobsEncodeInto, maxCobsLength } from "./cobs.ts";
import { crc32 } from "./crc32.ts";
import { rawBody } from "./frame-body.ts";

/** A frame's bytes before they are encoded, of one call: as public as the frame. */
const SCRATCH = new Uint8Array(MAX_FRAME_BODY + 4);

export type FrameEncoding = "binary" | "armour";

export interface OutgoingFrame {
  readonly body: Uint8Array;
  readonly encoding: FrameEncoding;
  /** The frame's length follows from the body's alone. */
  readonly oneLength?: boolean;
}

/** Bytes that a binary frame has at most. */
export const MAX_BINARY_FRAME = maxCobsLength(MAX_FRAME_BODY + 4) + 2;

/**
 * @param body - 1 to MAX_FRAME_BODY bytes (armour: MAX_ARMOUR_BODY). @param oneLength - COBS is a few bytes longer or
 * shorter by where the zeros are: more delimiters, which a decoder takes for nothing, make up for it. @throws SealttyError
 * `api-misuse` on any other size.
 */
export function encodeFrame(
  body: Uint8Array,
  encoding: FrameEncoding,
  checksum: (bytes: Uint8Array) => number = crc32,
  oneLength = false,
): Uint8Array<ArrayBuffer> {
  const checked = checkedBytes(body, encoding, checksum);
  if (encoding === "armour") return armourLine(checked);
  const line = new Uint8Array(maxCobsLength(checked.length) + 2);
  const end = cobsEncodeInto(checked, line, 1);
  return oneLength ? line : line.subarray(0, end + 1); // both delimiters are the zeros that a new array holds
}

/**
 * The same frame in binary, into `target` from `at` on, where MAX_BINARY_FRAME bytes must have room.
 * @returns the index behind it. @throws SealttyError `api-misuse` on a body of another size.
 */
export function encodeBinaryFrameInto(
  target: Uint8Array,
  at: number,
  body: Uint8Array,
  checksum: (bytes: Uint8Array) => number,
): number {
  const checked = checkedBytes(body, "binary", checksum);
  target[at] = 0;
  const end = cobsEncodeInto(checked, target, at + 1);
  target[end] = 0;
  return end + 1;
}

/**
 * The same for a PACKET's body that goes as it is: a RAW frame, then `body`. What it costs to stuff bytes and to sum them up is
 * most of what a long packet costs. docs/protocol.md §2.5
 */
export function encodeRawFrameInto(
  target: Uint8Array,
  at: number,
  body: Uint8Array,
  checksum: (bytes: Uint8Array) => number,
): number {
  const end = encodeBinaryFrameInto(target, at, rawBody(body), checksum);
  copyInto(target, end, body);
  return end + body.length;
}

/** @returns body ‖ CRC, until the next call. */
function checkedBytes(
  body: Uint8Array,
  encoding: FrameEncoding,
  checksum: (bytes: Uint8Array) => number,
): Uint8Array {
  const limit = encoding === "binary" ? MAX_FRAME_BODY : MAX_ARMOUR_BODY;
  if (body.length === 0 || body.length > limit) {
    throw new SealttyError("api-misuse", `A ${encoding} frame holds 1 to ${limit} bytes, not ${body.length}`);
  }
  const checked = SCRATCH.subarray(0, body.length + 4);
  copyInto(checked, 0, body);
  const crc = checksum(body);
  checked[body.length] = crc >>> 24;
  checked[body.length + 1] = crc >>> 16;
  checked[body.length + 2] = crc >>> 8;
  checked[body.length + 3] = crc;
  return checked;
}

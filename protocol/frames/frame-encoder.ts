// A frame on its way out: body ‖ CRC-32, as COBS between zeros or as one armoured line. docs/protocol.md §2

import { SealttyError } from "../errors.ts";
import { MAX_ARMOUR_BODY, MAX_FRAME_BODY } from "../limits.ts";
import { armourLine } from "./armour.ts";
import { cobsEncodeInto, maxCobsLength } from "./cobs.ts";
import { crc32 } from "./crc32.ts";

/** A frame's bytes before they are encoded, of one call: as public as the frame. */
const SCRATCH = new Uint8Array(MAX_FRAME_BODY + 4);

export type FrameEncoding = "binary" | "armour";

export interface OutgoingFrame {
  readonly body: Uint8Array;
  readonly encoding: FrameEncoding;
  /** The frame's length follows from the body's alone. */
  readonly oneLength?: boolean;
}

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
  const limit = encoding === "binary" ? MAX_FRAME_BODY : MAX_ARMOUR_BODY;
  if (body.length === 0 || body.length > limit) {
    throw new SealttyError("api-misuse", `A ${encoding} frame holds 1 to ${limit} bytes, not ${body.length}`);
  }
  const checked = SCRATCH.subarray(0, body.length + 4);
  checked.set(body);
  const crc = checksum(body);
  checked[body.length] = crc >>> 24;
  checked[body.length + 1] = crc >>> 16;
  checked[body.length + 2] = crc >>> 8;
  checked[body.length + 3] = crc;
  if (encoding === "armour") return armourLine(checked);
  const line = new Uint8Array(maxCobsLength(checked.length) + 2);
  const end = cobsEncodeInto(checked, line, 1);
  return oneLength ? line : line.subarray(0, end + 1); // both delimiters are the zeros that a new array holds
}

// A host that knows RAW frames (docs/protocol.md §2.5): every packet that it carries goes as it is, and it forges, tears, nests,
// repeats, plays again and miscounts what announces them, with checksums that are right.

import { concat, u32 } from "../../protocol/bytes.ts";
import { crc32 } from "../../protocol/frames/crc32.ts";
import { FRAME_PACKET, FRAME_RAW } from "../../protocol/frames/frame-body.ts";
import { FrameDecoder } from "../../protocol/frames/frame-decoder.ts";
import { encodeFrame, encodeRawFrameInto, MAX_BINARY_FRAME } from "../../protocol/frames/frame-encoder.ts";
import { MAX_FRAME_BODY, RAW_ABOVE } from "../../protocol/limits.ts";
import type { Carry } from "./memory-pipe.ts";
import type { Seeded } from "./seeded.ts";

/** What a RAW frame may say, and what it must not. */
const LENGTHS = [
  0,
  24,
  25,
  26,
  1000,
  RAW_ABOVE,
  RAW_ABOVE + 1,
  MAX_FRAME_BODY,
  MAX_FRAME_BODY + 1,
  0xffff_ffff,
];
const SMALLEST = 25;

/** A RAW frame alone. @param id - 4 bytes. @param length - also one that no body has. */
export function rawHeader(id: Uint8Array, length: number): Uint8Array {
  return encodeFrame(concat(Uint8Array.of(FRAME_RAW), id, u32(length)), "binary");
}

/** A RAW frame and its body. */
export function rawFrame(body: Uint8Array): Uint8Array {
  const target = new Uint8Array(MAX_BINARY_FRAME + body.length);
  return target.slice(0, encodeRawFrameInto(target, 0, body, crc32));
}

/** Each a probability, for each packet. */
export interface RawHostility {
  /** A header of any length before it, of its id or of another. */
  readonly forge?: number;
  /** A header before it, with bytes behind that are fewer than it says. */
  readonly torn?: number;
  /** A body around it: header, PACKET's head, then the packet's own frame. */
  readonly nest?: number;
  /** Its header twice. */
  readonly repeat?: number;
  /** A body carried earlier, behind a header of its own. */
  readonly replay?: number;
  /** The packet comes behind later ones. */
  readonly reorder?: number;
  /** Another length: one bit of it, under a right checksum. */
  readonly miscount?: number;
  /** One bit of the body. */
  readonly flip?: number;
  /** The body's end is missing. */
  readonly truncate?: number;
  /** Not in a chunk of its own: behind the one before, or cut anywhere. */
  readonly cut?: number;
}

export interface RawHost {
  readonly carry: Carry;
  /** Bodies that it carried as they were. */
  readonly carried: number;
}

/** @param memory - bodies carried so far: share one array between sessions to splice them. */
export function rawHost(random: Seeded, hostility: RawHostility, memory: Uint8Array[] = []): RawHost {
  const lanes = { "to-guest": new Lane(), "to-client": new Lane() };
  let carried = 0;
  const chance = (act: keyof RawHostility): boolean => random.chance(hostility[act] ?? 0);
  const anyLength = (): number =>
    random.chance(0.7)
      ? (LENGTHS[random.below(LENGTHS.length)] as number)
      : SMALLEST + random.below(MAX_FRAME_BODY - SMALLEST);

  /** What becomes of one packet, as the chunks that are written. */
  const hostileFrame = (body: Uint8Array): Uint8Array[] => {
    const id = body.subarray(1, 5);
    const before: Uint8Array[] = [];
    if (chance("forge")) before.push(rawHeader(random.chance(0.7) ? id : random.bytes(4), anyLength()));
    if (chance("torn"))
      before.push(concat(rawHeader(id, 1000 + random.below(60_000)), random.bytes(random.below(999))));
    if (chance("replay") && memory.length > 0)
      before.push(rawFrame(memory[random.below(memory.length)] as Uint8Array));
    if (memory.length < 300) memory.push(body.slice());

    let frame = rawFrame(body);
    if (chance("nest")) {
      const inner = concat(Uint8Array.of(FRAME_PACKET), id, u32(random.below(1000)), frame);
      frame = inner.length <= MAX_FRAME_BODY ? rawFrame(inner) : frame;
    }
    const header = rawHeader(id, body.length);
    if (chance("repeat")) frame = concat(header, frame);
    if (chance("miscount"))
      frame = concat(rawHeader(id, (body.length ^ (1 << random.below(17))) >>> 0), body);
    if (chance("flip")) {
      const at = header.length + random.below(frame.length - header.length);
      frame[at] = (frame[at] as number) ^ (1 << random.below(8));
    }
    if (chance("truncate")) frame = frame.subarray(0, random.below(frame.length));
    return [...before, frame];
  };

  return {
    get carried() {
      return carried;
    },
    carry(chunk, deliver, direction) {
      const lane = lanes[direction];
      const out: Uint8Array[] = [];
      for (const { body, encoding } of lane.decoder.push(chunk).frames) {
        if (body[0] !== FRAME_PACKET || encoding !== "binary") {
          out.push(encodeFrame(body, encoding));
          continue;
        }
        carried++;
        const written = hostileFrame(body);
        if (chance("reorder")) lane.heldBack.push(...written);
        else out.push(...written);
        if (lane.heldBack.length > 0 && random.chance(0.5))
          out.push(...lane.heldBack.splice(random.below(lane.heldBack.length), 1));
      }
      if (!chance("cut")) return out.forEach(deliver);
      const joined = concat(...out);
      for (let at = 0; at < joined.length; ) {
        const next = at + 1 + random.below(joined.length);
        deliver(joined.slice(at, next));
        at = next;
      }
    },
  };
}

class Lane {
  readonly decoder = new FrameDecoder();
  readonly heldBack: Uint8Array[] = [];
}

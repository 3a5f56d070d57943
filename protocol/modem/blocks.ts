// What is drawn: beacon, status, and slots with their header. docs/vnc-modem.md §2.
// Every block ends in or holds a CRC-32; one that does not match is "not yet": half drawn, old, or somebody else's.

import { concat, Reader, u16, u32, u8 } from "../bytes.ts";
import { crc32 } from "../frames/crc32.ts";
import { type Device, DEVICES, deviceOfCode } from "./devices.ts";
import { FORMAT_CODES, isPossible, type ScreenFormat, type ScreenSize, type SlotLayout } from "./geometry.ts";

/** "sTtY" with the top bits set: no text, no plain area of a picture. */
const BEACON_MAGIC = 0xf3d4f4d9;
const STATUS_MAGIC = 0xf3a5;
const SLOT_MAGIC = 0xf35a;
const VERSION = 1;
export const NONCE_BYTES = 8;
export const BEACON_BYTES = 28;
export const STATUS_BYTES = 32;
export const SLOT_HEADER_BYTES = 16;

export interface Beacon {
  /** 8 bytes, new at each start of the guest's side: what an earlier one drew checks under no other. */
  readonly nonce: Uint8Array;
  readonly size: ScreenSize;
  readonly layout: SlotLayout;
  /** What the guest listens to. */
  readonly device: Device;
}

export interface Status {
  /** Of the last RESET. */
  readonly epoch: number;
  /** Number of the first slot of this epoch. */
  readonly base: number;
  /** Number of the first slot that the client has not acknowledged. */
  readonly released: number;
  /** Symbols since the RESET. */
  readonly heard: number;
  /** Number of the next frame, modulo 2^16. */
  readonly expected: number;
  /** Frames that were spoiled or came out of order, modulo 2^16. */
  readonly spoiled: number;
}

export interface Slot {
  readonly number: number;
  /** As in the status, modulo 2^16. */
  readonly expected: number;
  readonly payload: Uint8Array;
}

const formats = new Map(Object.entries(FORMAT_CODES).map(([name, code]) => [code, name as ScreenFormat]));

function withSum(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return concat(bytes, u32(crc32(bytes)));
}

/** @returns 28 bytes. */
export function encodeBeacon({ nonce, size, layout, device }: Beacon): Uint8Array<ArrayBuffer> {
  return withSum(
    concat(
      u32(BEACON_MAGIC),
      u8(VERSION),
      u8(FORMAT_CODES[size.format]),
      nonce,
      u16(size.width),
      u16(size.height),
      u16(layout.top),
      u8(layout.rowsPerSlot),
      u8(layout.slots),
      u8(DEVICES[device].code),
      u8(0),
    ),
  );
}

/** @returns undefined for anything but 28 bytes of a beacon that makes sense. */
export function decodeBeacon(bytes: Uint8Array): Beacon | undefined {
  if (bytes.length !== BEACON_BYTES || crc32(bytes, 0, 24) !== sumAt(bytes, 24)) return undefined;
  const reader = new Reader(bytes, "Beacon");
  if (reader.u32() !== BEACON_MAGIC || reader.u8() !== VERSION) return undefined;
  const format = formats.get(reader.u8());
  const nonce = reader.bytes(NONCE_BYTES).slice();
  const [width, height, top] = [reader.u16(), reader.u16(), reader.u16()];
  const [rowsPerSlot, slots] = [reader.u8(), reader.u8()];
  const device = deviceOfCode(reader.u8());
  if (format === undefined || device === undefined) return undefined;
  const size = { format, width, height };
  const layout = { top, rowsPerSlot, slots };
  return isPossible(size, layout) ? { nonce, size, layout, device } : undefined;
}

/** @returns 32 bytes. The sum also covers the nonce, which is not among them. */
export function encodeStatus(status: Status, nonce: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = concat(
    u16(STATUS_MAGIC),
    u8(VERSION),
    u8(0),
    u16(status.epoch),
    u16(status.expected),
    u32(status.base),
    u32(status.released),
    u32(status.heard),
    u16(status.spoiled),
    u16(0),
    u32(0),
  );
  return concat(bytes, u32(crc32(concat(nonce, bytes))));
}

/** @returns undefined for anything but 32 bytes of a status under this nonce. */
export function decodeStatus(bytes: Uint8Array, nonce: Uint8Array): Status | undefined {
  if (bytes.length !== STATUS_BYTES) return undefined;
  const reader = new Reader(bytes, "Status");
  if (reader.u16() !== STATUS_MAGIC || reader.u8() !== VERSION) return undefined;
  if (crc32(concat(nonce, bytes.subarray(0, 28))) !== sumAt(bytes, 28)) return undefined;
  reader.u8();
  const [epoch, expected] = [reader.u16(), reader.u16()];
  const [base, released, heard] = [reader.u32(), reader.u32(), reader.u32()];
  return { epoch, expected, base, released, heard, spoiled: reader.u16() };
}

/** @returns 16 bytes and the payload. The sum also covers the nonce, which is not among them. */
export function encodeSlot({ number, expected, payload }: Slot, nonce: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = concat(
    u16(SLOT_MAGIC),
    u8(VERSION),
    u8(0),
    u32(number),
    u16(payload.length),
    u16(expected & 0xffff),
  );
  return concat(head, u32(crc32(concat(nonce, head, payload))), payload);
}

/**
 * @param bytes - a whole slot as seen, its unused end included.
 * @returns undefined while it is half drawn, of another start, or not a slot at all. `payload` is a copy.
 */
export function decodeSlot(bytes: Uint8Array, nonce: Uint8Array): Slot | undefined {
  if (bytes.length < SLOT_HEADER_BYTES) return undefined;
  const reader = new Reader(bytes, "Slot");
  if (reader.u16() !== SLOT_MAGIC || reader.u8() !== VERSION) return undefined;
  reader.u8();
  const number = reader.u32();
  const length = reader.u16();
  const expected = reader.u16();
  if (length > bytes.length - SLOT_HEADER_BYTES) return undefined;
  const payload = bytes.slice(SLOT_HEADER_BYTES, SLOT_HEADER_BYTES + length);
  if (crc32(concat(nonce, bytes.subarray(0, 12), payload)) !== sumAt(bytes, 12)) return undefined;
  return { number, expected, payload };
}

function sumAt(bytes: Uint8Array, at: number): number {
  return new Reader(bytes.subarray(at, at + 4), "Sum").u32();
}

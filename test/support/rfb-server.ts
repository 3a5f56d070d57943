// A VNC server's words, made by hand: RFC 6143 from the other side. Nothing here is shared with the client.

import { concat, u16, u32, utf8 } from "../../protocol/bytes.ts";

export interface Rect {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** Signed. */
  readonly encoding: number;
  readonly body?: Uint8Array;
}

export const rect = ({ x, y, width, height, encoding, body }: Rect): Uint8Array =>
  concat(u16(x), u16(y), u16(width), u16(height), u32(encoding), body ?? new Uint8Array(0));

export const update = (...rects: readonly Rect[]): Uint8Array =>
  concat(Uint8Array.of(0, 0), u16(rects.length), ...rects.map(rect));

/** @param pixels - 3 bytes each; the fourth on the wire is 0xee. */
export function raw(x: number, y: number, width: number, height: number, pixels: Uint8Array): Rect {
  const body = new Uint8Array(width * height * 4).fill(0xee);
  for (let i = 0; i < width * height; i++) body.set(pixels.subarray(3 * i, 3 * i + 3), 4 * i);
  return { x, y, width, height, encoding: 0, body };
}

export const desktopSize = (width: number, height: number): Rect => ({
  x: 0,
  y: 0,
  width,
  height,
  encoding: -223,
});

export const cutText = (length: number, text = new Uint8Array(0)): Uint8Array =>
  concat(Uint8Array.of(3, 0, 0, 0), u32(length), text);

export const colourMap = (count: number, colours = new Uint8Array(0)): Uint8Array =>
  concat(Uint8Array.of(1, 0), u16(0), u16(count), colours);

export const VERSION = utf8("RFB 003.008\n");

export const words = (text: string): Uint8Array => concat(u32(utf8(text).length), utf8(text));

/** With QEMU's own pixel format. @param nameLength - what it says that it is. */
export function screen(
  width: number,
  height: number,
  name = "QEMU",
  nameLength = utf8(name).length,
): Uint8Array {
  const format = Uint8Array.of(32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0);
  return concat(u16(width), u16(height), format, u32(nameLength), utf8(name));
}

/** All that a server without a password says until its screen is open. */
export const opened = (width: number, height: number): Uint8Array =>
  concat(VERSION, Uint8Array.of(1, 1), u32(0), screen(width, height));

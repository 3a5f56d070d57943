// What a client says to a VNC server: RFC 6143 §7.5, and QEMU's key event with a scancode (rfbproto, "QEMU Client Message").

import { concat, u16, u32, u8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";

export const RAW = 0;
export const DESKTOP_SIZE = -223;
export const POINTER_TYPE = -257;
export const EXTENDED_KEYS = -258;

/** In this order. Raw alone carries pixels: every other encoding needs a decoder, and some lose bits. */
const ENCODINGS = [RAW, DESKTOP_SIZE, POINTER_TYPE, EXTENDED_KEYS];

export type RfbInput =
  /**
   * @property scancode - 1 to 255: of the XT set, 0x80 added to those behind an 0xe0. For servers with QEMU's key events, which
   * get no symbol: with one, QEMU presses lock keys to make it true, and translates by a keyboard's layout.
   * @property keysym - X11's, for all other servers.
   */
  | {
      readonly kind: "key";
      readonly down: boolean;
      readonly scancode: number;
      readonly keysym: number;
    }
  /** @property buttons - bit 0 is the left one. @property x - 0 to 65535, as `y`: pixels, or 0x7fff + a move (pointerIsAbsolute). */
  | { readonly kind: "pointer"; readonly buttons: number; readonly x: number; readonly y: number };

/** 32 bits a pixel, true colours of 8 bits: blue, green, red and an unused byte, which is what QEMU has itself. */
export function setPixelFormat(): Uint8Array {
  const padding = new Uint8Array(3);
  const colours = concat(u16(255), u16(255), u16(255), Uint8Array.of(16, 8, 0));
  return concat(u8(0), padding, Uint8Array.of(32, 24, 0, 1), colours, padding);
}

export function setEncodings(): Uint8Array {
  return concat(Uint8Array.of(2, 0), u16(ENCODINGS.length), ...ENCODINGS.map((encoding) => u32(encoding)));
}

/** For the whole screen. @param incremental - only what changed. */
export function updateRequest(incremental: boolean, width: number, height: number): Uint8Array {
  return concat(Uint8Array.of(3, incremental ? 1 : 0), u16(0), u16(0), u16(width), u16(height));
}

/** @param extended - the server knows QEMU's key events. @throws SealttyError `api-misuse` where a number does not fit its field. */
export function inputMessage(input: RfbInput, extended: boolean): Uint8Array {
  if (input.kind === "pointer") {
    const { buttons, x, y } = input;
    return concat(
      Uint8Array.of(5, fitting(buttons, 0, 0xff)),
      u16(fitting(x, 0, 0xffff)),
      u16(fitting(y, 0, 0xffff)),
    );
  }
  const scancode = fitting(input.scancode, 1, 0xff);
  const keysym = fitting(input.keysym, 1, 0xffff_ffff);
  const down = input.down ? 1 : 0;
  if (extended) return concat(Uint8Array.of(255, 0), u16(down), u32(0), u32(scancode));
  return concat(Uint8Array.of(4, down, 0, 0), u32(keysym));
}

/** F12 comes up, which nobody pressed: no data is ever carried by it, so no guest sees anything of it. */
export const POKE: RfbInput = { kind: "key", down: false, scancode: 0x58, keysym: 0xffc9 };

function fitting(value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most)
    throw new SealttyError("api-misuse", "A number of an input event does not fit");
  return value;
}

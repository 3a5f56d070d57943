// A frame as one printable line, for ttys and hosts that eat or rewrite bytes: ~sealtty1:<base64url(body ‖ crc)>

import { MAX_ARMOUR_LINE } from "../limits.ts";
import { utf8 } from "../bytes.ts";

export const ARMOUR_MARK = utf8("~sealtty1:");
const ALPHABET = utf8("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
const VALUES = new Int8Array(256).fill(-1);
for (let i = 0; i < 64; i++) VALUES[ALPHABET[i] as number] = i;

export function isArmourCharacter(byte: number): boolean {
  return (VALUES[byte] as number) >= 0;
}

/** LF, mark, base64url without padding, CR LF: whatever half line stands before it is closed off. */
export function armourLine(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const characters = Math.ceil((bytes.length * 4) / 3);
  const line = new Uint8Array(1 + ARMOUR_MARK.length + characters + 2);
  let at = 0;
  line[at++] = 0x0a;
  line.set(ARMOUR_MARK, at);
  at += ARMOUR_MARK.length;
  for (let i = 0; i < bytes.length; i += 3) {
    const group = ((bytes[i] as number) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    const count = Math.min(3, bytes.length - i) + 1;
    for (let c = 0; c < count; c++) line[at++] = ALPHABET[(group >> (18 - 6 * c)) & 63] as number;
  }
  line[at++] = 0x0d;
  line[at] = 0x0a;
  return line;
}

/**
 * @param line - without its line ends.
 * @returns the bytes, or undefined where it is no armoured line: wrong mark, foreign characters, too long, an
 * impossible length, or spare bits that are not zero (one body has one encoding).
 */
export function readArmourLine(line: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
  if (line.length > MAX_ARMOUR_LINE || line.length <= ARMOUR_MARK.length) return undefined;
  for (let i = 0; i < ARMOUR_MARK.length; i++) if (line[i] !== ARMOUR_MARK[i]) return undefined;
  const characters = line.length - ARMOUR_MARK.length;
  if (characters % 4 === 1) return undefined;
  const bytes = new Uint8Array(Math.floor((characters * 3) / 4));
  let length = 0;
  let bits = 0;
  let held = 0;
  for (let i = ARMOUR_MARK.length; i < line.length; i++) {
    const value = VALUES[line[i] as number] as number;
    if (value < 0) return undefined;
    held = ((held << 6) | value) & 0xfff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes[length++] = (held >> bits) & 0xff;
    }
  }
  return (held & ((1 << bits) - 1)) === 0 ? bytes : undefined;
}

// Little-endian numbers out of untrusted bytes: what x86 firmware, AMD's and Intel's hardware lay out.

import { Reader } from "../bytes.ts";

/** The same exact lengths and errors; numbers have their least significant byte first. */
export class LittleEndianReader extends Reader {
  override u16(): number {
    return this.#number(2);
  }
  override u32(): number {
    return this.#number(4);
  }
  override u48(): number {
    return this.#number(6);
  }
  override u64(): number {
    const value = this.#number(8); // exact below 2^53, and far above it where it is not
    if (value > Number.MAX_SAFE_INTEGER) this.fail("holds a number that is too large");
    return value;
  }

  #number(size: number): number {
    return this.bytes(size).reduceRight((value, byte) => value * 256 + byte, 0);
  }
}

/** Whether `bytes` begin with ASCII text. */
export function startsWith(bytes: Uint8Array, ascii: string): boolean {
  if (bytes.length < ascii.length) return false;
  for (let i = 0; i < ascii.length; i++) if (bytes[i] !== ascii.charCodeAt(i)) return false;
  return true;
}

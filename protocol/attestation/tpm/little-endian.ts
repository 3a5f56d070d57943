// Little-endian numbers out of untrusted bytes: event logs, and what x86 firmware lays out.

import { SealttyError } from "../../errors.ts";

/** Reads exact lengths. Every method throws SealttyError `peer-misbehaved` when the bytes run out. */
export class LittleEndian {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  /** @param what - names the structure in errors; never taken from the peer. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }
  get remaining(): number {
    return this.#bytes.length - this.#at;
  }
  get offset(): number {
    return this.#at;
  }
  u8(): number {
    return this.#number(1);
  }
  u16(): number {
    return this.#number(2);
  }
  u32(): number {
    return this.#number(4);
  }
  /** A view, not a copy. */
  take(length: number): Uint8Array {
    if (length > this.remaining) this.fail("ends too early");
    const view = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return view;
  }
  rest(): Uint8Array {
    return this.take(this.remaining);
  }
  fail(problem: string): never {
    throw new SealttyError("peer-misbehaved", `${this.#what} ${problem}`);
  }
  #number(size: number): number {
    const bytes = this.take(size);
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + (bytes[i] as number);
    return value;
  }
}

/** Whether `bytes` begin with ASCII text. */
export function startsWith(bytes: Uint8Array, ascii: string): boolean {
  if (bytes.length < ascii.length) return false;
  for (let i = 0; i < ascii.length; i++) if (bytes[i] !== ascii.charCodeAt(i)) return false;
  return true;
}

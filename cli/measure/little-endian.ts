// Little-endian bytes of boot images: a bounded reader over a whole file, a writer, GUIDs as firmware stores them.

import { SealttyError } from "../../protocol/errors.ts";

/** Reads at absolute offsets. Every method throws SealttyError `bad-config` where the file ends too early. */
export class ImageReader {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;

  /** @param what - names the file in errors, e.g. "the OVMF image". */
  constructor(bytes: Uint8Array, what: string) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }

  u16(at: number): number {
    return this.#view.getUint16(this.#within(at, 2), true);
  }
  u32(at: number): number {
    return this.#view.getUint32(this.#within(at, 4), true);
  }
  /** A view, not a copy. */
  slice(at: number, length: number): Uint8Array {
    this.#within(at, length);
    return this.bytes.subarray(at, at + length);
  }
  /** @throws SealttyError `bad-config`. */
  fail(problem: string): never {
    throw new SealttyError("bad-config", `${this.#what} ${problem}`);
  }

  #within(at: number, length: number): number {
    if (at < 0 || length < 0 || at + length > this.bytes.length) this.fail("ends too early");
    return at;
  }
}

/** Writes numbers into a page; offsets and widths are the caller's constants. */
export class PageWriter {
  readonly bytes = new Uint8Array(4096);
  readonly #view = new DataView(this.bytes.buffer);

  u16(at: number, value: number): this {
    this.#view.setUint16(at, value, true);
    return this;
  }
  u32(at: number, value: number): this {
    this.#view.setUint32(at, value, true);
    return this;
  }
  u64(at: number, value: bigint): this {
    this.#view.setBigUint64(at, value, true);
    return this;
  }
  set(at: number, bytes: Uint8Array): this {
    this.bytes.set(bytes, at);
    return this;
  }
}

/**
 * A GUID in its textual form, as UEFI stores it: the first three groups little-endian, the others as written.
 * @returns 16 bytes. UEFI 2.10, appendix A.
 */
export function guidBytes(text: string): Uint8Array {
  const hex = text.replaceAll("-", "");
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  return Uint8Array.from(order, (i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

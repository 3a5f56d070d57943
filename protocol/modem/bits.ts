// Bits in symbols: a frame is a run of bits, cut where a device's symbols end. docs/vnc-modem.md §4.

/** What one event carries. */
export interface Symbol {
  /** The first of a frame. */
  readonly start: boolean;
  readonly value: number;
}

/** Bits that a symbol holds: the first of a frame may hold fewer, where being the first has to be said in them. */
export interface SymbolWidth {
  readonly start: number;
  readonly bits: number;
}

/** Numbers of at most 32 bits, highest bit first. */
export class BitWriter {
  readonly #bits: number[] = [];

  put(value: number, bits: number): this {
    for (let bit = bits - 1; bit >= 0; bit--) this.#bits.push((value >>> bit) & 1);
    return this;
  }

  bytes(bytes: Uint8Array): this {
    for (const byte of bytes) this.put(byte, 8);
    return this;
  }

  /** The last symbol is filled up with zeros. */
  symbols(width: SymbolWidth): Symbol[] {
    const symbols = [{ start: true, value: this.#take(0, width.start) }];
    for (let at = width.start; at < this.#bits.length; at += width.bits)
      symbols.push({ start: false, value: this.#take(at, width.bits) });
    return symbols;
  }

  #take(from: number, bits: number): number {
    let value = 0;
    for (let i = from; i < from + bits; i++) value = value * 2 + (this.#bits[i] ?? 0);
    return value;
  }
}

/** The other way: bits come in as symbols do, and are read from the front. */
export class BitReader {
  readonly #bits: number[] = [];
  #at = 0;

  push(value: number, bits: number): void {
    for (let bit = bits - 1; bit >= 0; bit--) this.#bits.push(Math.floor(value / 2 ** bit) & 1);
  }

  /** Of all that came, read or not. */
  get length(): number {
    return this.#bits.length;
  }

  rewind(): void {
    this.#at = 0;
  }

  /** Missing bits read as zeros: ask `length` first. */
  take(bits: number): number {
    let value = 0;
    for (let i = 0; i < bits; i++) value = value * 2 + (this.#bits[this.#at++] ?? 0);
    return value;
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length }, () => this.take(8));
  }
}

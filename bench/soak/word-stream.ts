// Pseudo-random bytes in which every four say where they belong: what is lost, doubled or out of order is counted, not guessed.

const A = 0x9e3779b1;
const B = 0x85ebca6b;
/** Of an odd number, modulo 2^32 (Newton). */
function inverse(odd: number): number {
  let x = odd;
  for (let i = 0; i < 5; i++) x = Math.imul(x, 2 - Math.imul(odd, x));
  return x >>> 0;
}
const A_INVERSE = inverse(A);
const B_INVERSE = inverse(B);

function wordAt(index: number, seed: number): number {
  let x = Math.imul((index ^ seed) >>> 0, A);
  x ^= x >>> 16;
  return Math.imul(x, B) >>> 0;
}

function indexOf(word: number, seed: number): number {
  let x = Math.imul(word, B_INVERSE);
  x ^= x >>> 16;
  return (Math.imul(x, A_INVERSE) ^ seed) >>> 0;
}

/** The index of the word that ends a stream. */
const END = 0xffffffff;
/** A word this far ahead of its place is a stranger, not the next one after a loss. */
const FAR = 2 ** 18;
/** Streams with neighbouring seeds must not look like each other a few words on. */
const scrambled = (seed: number): number => wordAt(seed >>> 0, A);

export class WordSource {
  readonly #seed: number;
  #next = 0;

  constructor(seed: number) {
    this.#seed = scrambled(seed);
  }

  /** Bytes handed out. */
  get length(): number {
    return this.#next * 4;
  }

  take(words: number): Uint8Array {
    const bytes = new Uint8Array(words * 4);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < words; i++) view.setUint32(i * 4, wordAt(this.#next++, this.#seed));
    return bytes;
  }

  end(): Uint8Array {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, wordAt(END, this.#seed));
    return bytes;
  }
}

/** All in bytes. */
export interface Verdict {
  readonly whole: number;
  readonly lost: number;
  readonly doubled: number;
  readonly reordered: number;
  /** That belong nowhere in this stream. */
  readonly foreign: number;
}

export class WordChecker {
  readonly #seed: number;
  readonly #missing = new Set<number>();
  readonly #rest = new Uint8Array(4);
  #held = 0; // bytes of a word that is not whole yet
  #expected = 0;
  #whole = 0;
  #doubled = 0;
  #reordered = 0;
  #foreign = 0;
  #ended = false;

  constructor(seed: number) {
    this.#seed = scrambled(seed);
  }

  /** The word that ends the stream has come. */
  get ended(): boolean {
    return this.#ended;
  }

  get verdict(): Verdict {
    return {
      whole: this.#whole * 4,
      lost: this.#missing.size * 4,
      doubled: this.#doubled * 4,
      reordered: this.#reordered * 4,
      foreign: this.#foreign * 4 + this.#held,
    };
  }

  push(bytes: Uint8Array): void {
    for (const byte of bytes) {
      this.#rest[this.#held++] = byte;
      if (this.#held < 4) continue;
      this.#held = 0;
      const [a = 0, b = 0, c = 0, d = 0] = this.#rest;
      this.#word(((a << 24) | (b << 16) | (c << 8) | d) >>> 0);
    }
  }

  #word(word: number): void {
    const index = indexOf(word, this.#seed);
    if (index === END) this.#ended = true;
    else if (index === this.#expected) this.#inPlace();
    else if (index > this.#expected && index - this.#expected < FAR) {
      while (this.#expected < index) this.#missing.add(this.#expected++);
      this.#inPlace();
    } else if (index > this.#expected) this.#foreign++;
    else if (this.#missing.delete(index)) this.#reordered++;
    else this.#doubled++;
  }

  #inPlace(): void {
    this.#expected++;
    this.#whole++;
  }
}

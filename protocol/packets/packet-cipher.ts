// One packet = one AEAD box = one number = one nonce. docs/protocol.md §5

import { wipe } from "../bytes.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import { FRAME_PACKET, PACKET_HEADER_LENGTH } from "../frames/frame-body.ts";
import { MAX_BYTES_PER_GENERATION, MAX_PACKETS, PACKETS_PER_GENERATION } from "../limits.ts";
import { ReplayWindow } from "./replay-window.ts";

const NOTHING = new Uint8Array(0);
const REKEY_NONCE = Uint8Array.of(0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
const ZEROS_32 = new Uint8Array(32);

/** Noise rev 34 §5.1: 4 zero bytes, then the number as 64 bits little-endian. */
function nonceOf(number: number): Uint8Array {
  const nonce = new Uint8Array(12);
  let rest = number;
  for (let i = 4; rest > 0; i++) {
    nonce[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return nonce;
}

function u32At(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)) >>>
    0
  );
}

/** Noise rev 34 §4.2 REKEY(k): the first 32 bytes of ENCRYPT(k, 2^64 - 1, "", zeros). */
function rekeyed(suite: CryptoSuite, key: Uint8Array): Uint8Array {
  return suite.seal(key, REKEY_NONCE, NOTHING, ZEROS_32).slice(0, 32);
}

export function generationOf(number: number): number {
  return Math.floor(number / PACKETS_PER_GENERATION);
}

/**
 * Seals the packets of one direction. The key's generation follows from the packet number alone (number / 2^20), so
 * there is no phase bit to forge or mistake: rekeying early just skips to the next generation's first number.
 */
export class PacketSealer {
  readonly #suite: CryptoSuite;
  readonly #id: Uint8Array;
  #key: Uint8Array | undefined; // undefined once destroyed
  #next: number; // number of the next packet; never goes back, never repeats
  #generation = 0;
  #bytes = 0; // sealed in this generation
  #mayAdvance = true; // the peer has acknowledged something of this generation

  /**
   * @param key - 32 bytes, owned and wiped by this object from now on.
   * @param first - number of the first packet; only tests pass one, to stand near a limit.
   */
  constructor(suite: CryptoSuite, connectionId: Uint8Array, key: Uint8Array, first = 0) {
    this.#suite = suite;
    this.#id = connectionId;
    this.#key = key;
    this.#next = 0;
    this.#skipTo(first);
  }

  get next(): number {
    return this.#next;
  }

  /** Whether packet `number` was ever sealed: an acknowledgement of any other is the peer's fault. */
  wasSealed(number: number): boolean {
    return number < this.#next;
  }

  /**
   * Header and sealed packet, ready for a frame. Synchronous on purpose: an await between reading and bumping the
   * number would let two callers share a nonce.
   * @param into - where they go, if it is long enough.
   * @throws SealttyError `limit-exceeded` after 2^48 packets, `api-misuse` once destroyed.
   */
  seal(plaintext: Uint8Array, into?: Uint8Array): { number: number; body: Uint8Array } {
    if (this.#key === undefined) throw new SealttyError("api-misuse", "Packet sealer used after destroy");
    if (this.#bytes >= MAX_BYTES_PER_GENERATION) this.advanceGeneration();
    if (this.#next >= MAX_PACKETS)
      throw new SealttyError("limit-exceeded", "Packet limit reached: connect again");
    const number = this.#next;
    this.#skipTo(number + 1, number); // before sealing: a throw below must not leave the number free for re-use
    const header = new Uint8Array(PACKET_HEADER_LENGTH);
    header[0] = FRAME_PACKET;
    header.set(this.#id, 1);
    header[5] = (number / 2 ** 24) % 256;
    header[6] = (number / 2 ** 16) % 256;
    header[7] = (number / 2 ** 8) % 256;
    header[8] = number % 256;
    const body = this.#suite.seal(this.#key, nonceOf(number), header, plaintext, header.length, into);
    this.#bytes += body.length - header.length;
    body.set(header);
    return { number, body };
  }

  /** The peer acknowledged `number`: the next generation may begin. */
  acknowledged(number: number): void {
    if (generationOf(number) === this.#generation) this.#mayAdvance = true;
  }

  /** Rekeys before the count demands it, unless the peer has not been seen in this generation yet. */
  advanceGeneration(): void {
    if (this.#mayAdvance) this.#next = Math.max(this.#next, (this.#generation + 1) * PACKETS_PER_GENERATION);
  }

  /** Best effort: docs/limits.md. */
  destroy(): void {
    wipe(this.#key);
    this.#key = undefined;
  }

  #skipTo(next: number, sealing = next): void {
    while (this.#generation < generationOf(sealing)) {
      const key = this.#key as Uint8Array;
      this.#key = rekeyed(this.#suite, key);
      wipe(key);
      this.#generation++;
      this.#bytes = 0;
      this.#mayAdvance = false;
    }
    this.#next = next;
  }
}

/** Opens the packets of one direction, each once, in any order, whatever else arrives. */
export class PacketOpener {
  readonly #suite: CryptoSuite;
  readonly #window = new ReplayWindow();
  #generation: number;
  #previous: Uint8Array | undefined;
  #current: Uint8Array | undefined;
  #following: Uint8Array | undefined; // made when first asked for, kept: a forger must not buy a rekey per packet
  #refused = 0;
  #recycled = false;

  /** @param key - 32 bytes, owned and wiped by this object from now on. @param generation - only tests pass one. */
  constructor(suite: CryptoSuite, key: Uint8Array, generation = 0) {
    this.#suite = suite;
    this.#current = key;
    this.#generation = 0;
    while (this.#generation < generation) this.#advance();
    this.#window.startAt(generation * PACKETS_PER_GENERATION);
  }

  /** Packets that did not open: forged, damaged, replayed or too old. */
  get refused(): number {
    return this.#refused;
  }

  /** Two different packets opened under one number: the sender is an earlier state of itself. */
  get recycled(): boolean {
    return this.#recycled;
  }

  /**
   * @param body - a PACKET frame's body, header included; at least the header's 9 bytes and a tag.
   * @returns undefined for a packet that does not open: the host can inject at will, so it must cost nothing but itself.
   */
  open(body: Uint8Array): { number: number; plaintext: Uint8Array } | undefined {
    if (this.#current === undefined) throw new SealttyError("api-misuse", "Packet opener used after destroy");
    if (body.length < PACKET_HEADER_LENGTH + 16) return this.#refuse();
    const number = this.#window.nearest(u32At(body, 5));
    const tag = u32At(body, body.length - 4);
    const isNew = this.#window.isNew(number);
    // The same packet again costs a look into a table; another one under its number is opened, as any forgery is.
    if (!isNew && !this.#window.sawAnother(number, tag)) return this.#refuse();
    const key = this.#keyFor(generationOf(number));
    if (key === undefined) return this.#refuse();
    const header = body.subarray(0, PACKET_HEADER_LENGTH);
    const plaintext = this.#suite.open(key, nonceOf(number), header, body.subarray(PACKET_HEADER_LENGTH));
    if (plaintext === undefined) return this.#refuse();
    if (!isNew) {
      this.#recycled = true;
      return this.#refuse();
    }
    this.#window.mark(number, tag); // only now: a forged number must not move the window
    if (generationOf(number) > this.#generation) this.#advance();
    return { number, plaintext };
  }

  /** About 3 RTO after a new generation began: what is still on its way under the old key comes again under the new. */
  forgetPrevious(): void {
    wipe(this.#previous);
    this.#previous = undefined;
  }

  get hasPrevious(): boolean {
    return this.#previous !== undefined;
  }

  destroy(): void {
    wipe(this.#previous, this.#current, this.#following);
    this.#previous = this.#current = this.#following = undefined;
  }

  #refuse(): undefined {
    this.#refused++;
    return undefined;
  }

  #keyFor(generation: number): Uint8Array | undefined {
    if (generation === this.#generation) return this.#current;
    if (generation === this.#generation - 1) return this.#previous;
    if (generation !== this.#generation + 1) return undefined;
    this.#following ??= rekeyed(this.#suite, this.#current as Uint8Array);
    return this.#following;
  }

  #advance(): void {
    wipe(this.#previous);
    this.#previous = this.#current;
    this.#current = this.#following ?? rekeyed(this.#suite, this.#previous as Uint8Array);
    this.#following = undefined;
    this.#generation++;
  }
}

// Feeds a parser of RFB with bytes in pieces of any length. A parser is a generator that says what it needs next, so each
// reads from top to bottom, and what is held is bounded here, whatever a server announces.

import { concat } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { MAX_RFB_REASON } from "../limits.ts";
import { rfbFault } from "./fault.ts";

/** Above every field that is taken whole: a reason is the longest, 255 VeNCrypt types have 1020 bytes. */
const MAX_TAKEN = MAX_RFB_REASON;
const NOTHING = new Uint8Array(0);

/** Whose certificate is checked: nobody's, or the server's. */
export type TlsKind = "anonymous" | "certificate";

/** What a parser wants; it goes on once it got that. */
export type Step =
  /** Exactly so many bytes in one piece, at most 1024: a view that is good until the next step. */
  | { readonly kind: "take"; readonly length: number }
  /** So many bytes, handed on as they come: views. Nothing is held. */
  | { readonly kind: "pass"; readonly length: number; readonly to: (piece: Uint8Array) => void }
  /** Bytes for the server. */
  | { readonly kind: "say"; readonly bytes: Uint8Array }
  /** TLS begins here. */
  | { readonly kind: "tls"; readonly how: TlsKind };

/** `yield` gives the bytes of a "take", else nothing. */
export type Parser<T> = Generator<Step, T, Uint8Array>;

export interface Fed<T> {
  /** To be sent, maybe empty. */
  readonly say: Uint8Array;
  /** TLS has to be made on the pipe, after `say` was sent; then `afterTls`, and no byte before it. */
  readonly tls?: TlsKind;
  /** @property rest - a copy of what came behind its last byte. */
  readonly end?: { readonly value: T; readonly rest: Uint8Array };
}

export class Intake<T> {
  readonly #parser: Parser<T>;
  readonly #held = new Uint8Array(MAX_TAKEN);
  #filled = 0; // of #held
  #passed = 0; // of the step at hand
  #next: IteratorResult<Step, T>;

  constructor(parser: Parser<T>) {
    this.#parser = parser;
    this.#next = parser.next(NOTHING);
  }

  /** @throws what the parser throws; `api-misuse` once it has ended, or where TLS was to begin. */
  feed(bytes: Uint8Array): Fed<T> {
    if (this.#next.done === true || this.#next.value.kind === "tls")
      throw new SealttyError("api-misuse", "An RFB parser was fed where it takes nothing");
    return this.#run(bytes);
  }

  /** TLS was made: what is fed from now on came through it. */
  afterTls(): Fed<T> {
    if (this.#next.done === true || this.#next.value.kind !== "tls")
      throw new SealttyError("api-misuse", "TLS was not asked for");
    this.#next = this.#parser.next(NOTHING);
    return this.#run(NOTHING);
  }

  #run(bytes: Uint8Array): Fed<T> {
    let say: Uint8Array = NOTHING;
    let at = 0;
    while (this.#next.done !== true) {
      const step = this.#next.value;
      if (step.kind === "say") {
        say = concat(say, step.bytes);
        this.#next = this.#parser.next(NOTHING);
      } else if (step.kind === "tls") {
        // Whoever is between could have put these there, to be taken for the server's own.
        if (at < bytes.length) throw rfbFault("sent bytes where TLS has to begin");
        return { say, tls: step.how };
      } else if (step.kind === "take") {
        const piece = this.#taken(bytes.subarray(at), step.length);
        if (piece === undefined) return { say };
        at += piece.used;
        this.#next = this.#parser.next(piece.whole);
      } else {
        const piece = bytes.subarray(at, at + step.length - this.#passed);
        if (piece.length > 0) step.to(piece);
        at += piece.length;
        this.#passed += piece.length;
        if (this.#passed < step.length) return { say };
        this.#passed = 0;
        this.#next = this.#parser.next(NOTHING);
      }
    }
    return { say, end: { value: this.#next.value, rest: bytes.slice(at) } };
  }

  /** @returns undefined where they are not all there; then all of `bytes` are held. */
  #taken(
    bytes: Uint8Array,
    length: number,
  ): { readonly whole: Uint8Array; readonly used: number } | undefined {
    if (length > MAX_TAKEN) throw new SealttyError("api-misuse", "An RFB field is too long to be held");
    if (this.#filled === 0 && bytes.length >= length)
      return { whole: bytes.subarray(0, length), used: length };
    const piece = bytes.subarray(0, length - this.#filled);
    this.#held.set(piece, this.#filled);
    this.#filled += piece.length;
    if (this.#filled < length) return undefined;
    this.#filled = 0;
    return { whole: this.#held.subarray(0, length), used: piece.length };
  }
}

// The two halves of sealttyd talk over a socket pair: calls with answers, and notices. Each half takes exact lengths and a
// bounded number of calls at a time; anything else ends the link. docs/decisions/0019 says why there are two halves.

import type { Duplex } from "node:stream";
import { Reader, concat, lv16, u32, u8, utf8 } from "../../protocol/bytes.ts";
import { SealttyError, type SealttyErrorCode } from "../../protocol/errors.ts";
import { MAX_CONTROL_MESSAGE } from "../../protocol/limits.ts";

/** Evidence with all that is beside it is the largest there is. */
const MAX_FRAME = MAX_CONTROL_MESSAGE + 4096;
/** Calls of the peer that are being answered: what starts programs is bounded by sessions and channels anyway. */
const MAX_CALLS = 1024;
const MAX_REASON = 4096;
/** Of answers that the peer does not take: then it is no peer. Bytes; several of the largest evidence. */
const MAX_WAITING = 16 * 1024 * 1024;

const LENGTH = 4;
/** Kind, operation, number. */
const HEAD = 6;
const CALL = 0;
const ANSWER = 1;
const FAILURE = 2;
const NOTICE = 3;

export interface LinkHandlers {
  /** What it throws goes back as a failure: code and message of a SealttyError, of anything else only that it was. */
  readonly onCall?: (operation: number, body: Uint8Array) => Promise<Uint8Array>;
  readonly onNotice?: (operation: number, body: Uint8Array) => void;
  /** Once: the peer is gone, or broke the rules (`peer-misbehaved`). */
  onEnd(reason: SealttyError): void;
}

/** u32 length of the rest, u8 kind, u8 operation (0 in answers), u32 number (0 in notices), body. */
export class Link {
  readonly #stream: Duplex;
  readonly #handlers: LinkHandlers;
  readonly #calls = new Map<number, { resolve(body: Uint8Array): void; reject(error: unknown): void }>();
  #next = 0;
  #answering = 0;
  #piece: Uint8Array = new Uint8Array(LENGTH); // a frame's length, or the frame
  #isFrame = false;
  #filled = 0; // bytes of the piece that are here
  #ended = false;

  constructor(stream: Duplex, handlers: LinkHandlers) {
    this.#stream = stream;
    this.#handlers = handlers;
    stream.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    stream.on("error", () => this.#end(gone()));
    stream.once("close", () => this.#end(gone()));
    stream.once("end", () => this.#end(gone()));
  }

  /** @throws SealttyError as the peer's handler threw it, or `transport-lost`. */
  call(operation: number, ...body: readonly Uint8Array[]): Promise<Uint8Array> {
    if (this.#ended) return Promise.reject(gone());
    const number = this.#next;
    this.#next = (this.#next + 1) % 2 ** 32;
    return new Promise((resolve, reject) => {
      this.#calls.set(number, { resolve, reject });
      this.#send(CALL, operation, number, body);
    });
  }

  notify(operation: number, ...body: readonly Uint8Array[]): void {
    if (!this.#ended) this.#send(NOTICE, operation, 0, body);
  }

  close(): void {
    this.#end(gone());
  }

  #send(kind: number, operation: number, number: number, body: readonly Uint8Array[]): void {
    const rest = concat(u8(kind), u8(operation), u32(number), ...body);
    this.#stream.write(concat(u32(rest.length), rest));
    if (this.#stream.writableLength > MAX_WAITING) this.#misbehaved();
  }

  /** Each byte is copied once, however small the chunks and the frames are: whoever sends them means it badly. */
  #receive(chunk: Uint8Array): void {
    try {
      for (let at = 0; at < chunk.length && !this.#ended; ) {
        const next = chunk.subarray(at, at + this.#piece.length - this.#filled);
        this.#piece.set(next, this.#filled);
        this.#filled += next.length;
        at += next.length;
        if (this.#filled === this.#piece.length) this.#takePiece();
      }
    } catch {
      this.#misbehaved();
    }
  }

  #takePiece(): void {
    const piece = this.#piece;
    const isFrame = this.#isFrame;
    this.#expect(isFrame ? LENGTH : lengthIn(piece), !isFrame);
    if (isFrame) this.#take(piece);
  }

  #expect(length: number, isFrame: boolean): void {
    this.#piece = new Uint8Array(length);
    this.#isFrame = isFrame;
    this.#filled = 0;
  }

  #take(frame: Uint8Array): void {
    const reader: Reader = new Reader(frame, "Frame between sealttyd's halves");
    const kind = reader.u8();
    const operation = reader.u8();
    const number = reader.u32();
    if (kind === CALL) return this.#answer(operation, number, reader.rest());
    if (kind === NOTICE) {
      if (this.#handlers.onNotice === undefined) reader.fail("is a notice that nobody takes");
      return this.#handlers.onNotice(operation, reader.rest());
    }
    if (kind !== ANSWER && kind !== FAILURE) reader.fail("is of an unknown kind");
    const call = this.#calls.get(number);
    if (call === undefined) reader.fail("answers nothing that was asked");
    this.#calls.delete(number);
    if (kind === ANSWER) return call.resolve(reader.rest());
    const code = reader.text16(64);
    const message = reader.text16(MAX_REASON);
    reader.end();
    call.reject(new SealttyError(code as SealttyErrorCode, message));
  }

  #answer(operation: number, number: number, body: Uint8Array): void {
    const { onCall } = this.#handlers;
    if (onCall === undefined || this.#answering >= MAX_CALLS) return this.#misbehaved();
    this.#answering++;
    void onCall(operation, body)
      .then(
        (answer) => {
          if (!this.#ended) this.#send(ANSWER, 0, number, [answer]);
        },
        (error: unknown) => {
          if (this.#ended) return;
          const [code, message] = failureOf(error);
          this.#send(FAILURE, 0, number, [lv16(utf8(code)), lv16(utf8(message))]);
        },
      )
      .finally(() => {
        this.#answering--;
      });
  }

  #misbehaved(): void {
    this.#end(new SealttyError("peer-misbehaved", "The other half of sealttyd broke the rules between them"));
  }

  #end(reason: SealttyError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#piece = new Uint8Array(0);
    this.#stream.destroy();
    for (const call of this.#calls.values()) call.reject(reason);
    this.#calls.clear();
    this.#handlers.onEnd(reason);
  }
}

const gone = (): SealttyError => new SealttyError("transport-lost", "The other half of sealttyd is gone");

/** @throws RangeError */
function lengthIn(bytes: Uint8Array): number {
  const length = new DataView(bytes.buffer).getUint32(0);
  if (length < HEAD || length > MAX_FRAME) throw new RangeError("No frame is of that length");
  return length;
}

/** Messages of our own errors are fixed words and the system's codes. */
function failureOf(error: unknown): readonly [string, string] {
  if (!(error instanceof SealttyError)) return ["program-failed", "Unexpected error"];
  return [error.code, error.message.slice(0, MAX_REASON / 4)];
}

// What `sealtty exec --master`, or sealtty-exec, and the process that keeps the connection say to each other, over a unix socket
// of the user's own: u32 length, u8 type, body. Both are this version of sealtty (the socket's name says so, or `launch` does), and
// still each checks.

import { Buffer } from "node:buffer";
import type { Writable } from "node:stream";
import { type Reader, concat, u16, u32, u8 } from "../../protocol/bytes.ts";
import { SealttyError, type SealttyErrorCode } from "../../protocol/errors.ts";

export const TYPES = {
  // from the one who runs a program
  open: 1, // a request, as in OPEN (docs/protocol.md §8.3)
  input: 2, // bytes
  end: 3, // of input
  signal: 4, // its name
  resize: 5, // u16 columns, u16 rows
  "hang-up": 6,
  taken: 7, // u8 stream (1 output, 2 errors), u32 bytes that need not wait any more
  attest: 8, // ask for evidence now
  check: 9, // how are you?
  stop: 10,
  launch: 11, // from sealtty-exec: a command line (launch.ts), to be done here; behind it "input", "end", "signal" and "taken"
  broken: 12, // from sealtty-exec: u8 stream (0 input, 1 output, 2 errors), u32 errno; nothing comes of it, or goes to it, any more
  go: 13, // from sealtty-exec, once it heard "here": nobody else is asked any more
  // from the one who keeps the connection
  hello: 32, // a request will be looked at: until now it could be made to another one
  opened: 33, // JSON: Opened
  output: 34, // bytes
  errors: 35, // bytes
  exit: 36, // JSON: how it ended
  failed: 37, // JSON: Failure; nothing comes behind it
  room: 38, // u32: bytes of input that were taken
  said: 39, // JSON: Said
  status: 40, // JSON: Status
  anew: 41, // the connection is lost and nothing runs over it: whoever has something to do opens another
  // to sealtty-exec, beside "output", "errors" and "room"
  "not-here": 46, // it has to be done by `sealtty` itself
  elsewhere: 42, // the path of the socket of the one that keeps the right connection
  begun: 43, // signals are passed on from now on
  ended: 44, // u8: the exit status; nothing comes behind it
  here: 45, // it is done here, once "go" came
} as const;
export type FrameType = keyof typeof TYPES;
const NAMES: ReadonlyMap<number, FrameType> = new Map(
  Object.entries(TYPES).map(([name, number]) => [number as number, name as FrameType]),
);

/** Bytes of input under way; the master gives room back as the connection takes them. */
export const INPUT_WINDOW = 256 * 1024;
/** Bytes of one stream of output that are sent on and were not taken, beside one more chunk. */
export const OUTPUT_WINDOW = 256 * 1024;
/** Of one frame: an OPEN whole, or claims with their policy. */
export const MAX_FRAME = 4 * 1024 * 1024;
/** Data is cut into frames of this at most, so that a signal has its turn. */
export const MAX_DATA = 64 * 1024;

export interface Frame {
  readonly type: FrameType;
  readonly body: Uint8Array;
}

export function encodeFrame(type: FrameType, ...body: readonly Uint8Array[]): Uint8Array {
  return concat(frameHead(type, body), ...body);
}

/** As `encodeFrame`, in parts: of a flood nothing is copied. The bytes have to stay as they are until they are written. */
export function writeFrame(
  to: Pick<Writable, "cork" | "uncork" | "write">,
  type: FrameType,
  ...body: readonly Uint8Array[]
): void {
  to.cork();
  to.write(frameHead(type, body));
  for (const part of body) to.write(part);
  to.uncork();
}

function frameHead(type: FrameType, body: readonly Uint8Array[]): Uint8Array {
  const length = body.reduce((sum, part) => sum + part.length, 1);
  return concat(u32(length), u8(TYPES[type]));
}

export function encodeJson(type: FrameType, value: unknown): Uint8Array {
  return encodeFrame(type, Buffer.from(JSON.stringify(value)));
}

export const resizeBody = (columns: number, rows: number): Uint8Array => concat(u16(columns), u16(rows));

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  readonly #limit: number;
  #parts: Uint8Array[] = [];
  #held = 0;

  /** @param limit - bytes of a frame that the other side may send. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** @throws SealttyError `peer-misbehaved`. @returns the frames that are whole now; their bodies are the caller's. */
  push(chunk: Uint8Array): Frame[] {
    this.#parts.push(chunk);
    this.#held += chunk.length;
    const frames: Frame[] = [];
    for (;;) {
      if (this.#held < 4) return frames;
      const length = new DataView(this.#peek(4).buffer).getUint32(0);
      if (length < 1 || length > this.#limit) throw misbehaved("a frame of an impossible length");
      if (this.#held < 4 + length) return frames;
      const whole = this.#peek(4 + length);
      this.#drop(4 + length);
      const type = NAMES.get(whole[4] ?? 0);
      if (type === undefined) throw misbehaved("a frame of an unknown type");
      frames.push({ type, body: whole.subarray(5) });
    }
  }

  /** A copy of the first bytes. */
  #peek(length: number): Uint8Array<ArrayBuffer> {
    const first = new Uint8Array(length);
    let at = 0;
    for (const part of this.#parts) {
      const piece = part.subarray(0, length - at);
      first.set(piece, at);
      at += piece.length;
      if (at === length) break;
    }
    return first;
  }

  #drop(length: number): void {
    this.#held -= length;
    let left = length;
    while (left > 0) {
      const part = this.#parts[0] as Uint8Array;
      if (part.length <= left) this.#parts.shift();
      else this.#parts[0] = part.subarray(left);
      left -= Math.min(left, part.length);
    }
  }
}

export function misbehaved(what: string): SealttyError {
  return new SealttyError(
    "peer-misbehaved",
    `The process that keeps the connection, or who uses it, sent ${what}`,
  );
}

/** @throws SealttyError `peer-misbehaved` on anything but a JSON object. */
export function jsonOf(body: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(Buffer.from(body).toString());
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return value as Readonly<Record<string, unknown>>;
    }
  } catch {
    // said below
  }
  throw misbehaved("something that is no JSON object");
}

/** For `failed`: an error as it was, for whoever runs the program. */
export function failureOf(error: unknown): Readonly<Record<string, unknown>> {
  if (!(error instanceof SealttyError)) return { code: "transport-lost", message: String(error) };
  const { code, message, refusal } = error;
  return { code, message, refusal };
}

/** @throws SealttyError `peer-misbehaved`. */
export function errorOf(body: Uint8Array): SealttyError {
  const { code, message, refusal } = jsonOf(body);
  if (typeof code !== "string" || typeof message !== "string") throw misbehaved("an error without words");
  // Both are one version of one program: the code is one of the list.
  return new SealttyError(code as SealttyErrorCode, message, isRefusal(refusal) ? { refusal } : {});
}

function isRefusal(value: unknown): value is NonNullable<SealttyError["refusal"]> {
  if (typeof value !== "object" || value === null) return false;
  const { check, expected, found, next } = value as Readonly<Record<string, unknown>>;
  return [check, expected, found, next].every((part) => typeof part === "string");
}

/** u8, u32 of `taken`. */
export function readTaken(reader: Reader): { stream: 1 | 2; bytes: number } {
  const stream = reader.u8();
  const bytes = reader.u32();
  reader.end();
  if (stream !== 1 && stream !== 2) throw misbehaved("room for a stream that there is not");
  return { stream, bytes };
}

// What a session's output stream carries: records, so that a gap or a screen stands exactly where it is. docs/protocol.md §8.7

import { concat, u16, u32, u64, u8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { MAX_SCREEN_BYTES, MAX_SCREEN_LINES, MAX_TERMINAL_SIDE } from "../limits.ts";
import type { ScreenInfo } from "./session-api.ts";

const DATA = 0;
const GAP = 1;
const SCREEN = 2;
const TEXT = 3;
/** Bytes of output in one record. */
export const MAX_RECORD = 0xffff;
const HEAD_LENGTHS: Readonly<Record<number, number>> = { [DATA]: 3, [GAP]: 9, [SCREEN]: 33, [TEXT]: 3 };

export function dataRecord(bytes: Uint8Array): Uint8Array {
  return concat(u8(DATA), u16(bytes.length), bytes);
}

/** @param lost - bytes of output that left the ring unsent. */
export function gapRecord(lost: number): Uint8Array {
  return concat(u8(GAP), u64(lost));
}

/** Its text follows, in records of its own, so that a stream can end between them. @param length - of all its text. */
export function screenHead(
  { begin, end, columns, rows, lines, cut }: ScreenInfo,
  length: number,
): Uint8Array {
  return concat(u8(SCREEN), u64(begin), u64(end), u16(columns), u16(rows), u32(lines), u32(cut), u32(length));
}

export function textRecord(bytes: Uint8Array): Uint8Array {
  return concat(u8(TEXT), u16(bytes.length), bytes);
}

export type RecordPart =
  | { readonly kind: "data"; readonly bytes: Uint8Array }
  | { readonly kind: "gap"; readonly lost: number }
  /** `length` bytes of text follow, and nothing in between. */
  | { readonly kind: "screen"; readonly screen: ScreenInfo; readonly length: number }
  /** @param left - bytes of the text that are still to come. */
  | { readonly kind: "text"; readonly bytes: Uint8Array; readonly left: number };

/** Takes a stream apart as it comes: nothing is held but a record's head. */
export class RecordReader {
  readonly #head = new Uint8Array(33);
  #headLength = 0;
  #left = 0; // of a record's bytes
  #textLeft = 0; // of a screen's text: until it is 0 nothing else may come

  /** Whether the stream stands between two records. */
  get whole(): boolean {
    return this.#headLength === 0 && this.#left === 0;
  }

  /**
   * @returns what `chunk` holds, and how many of its bytes were heads: these are used at once.
   * @throws SealttyError `peer-misbehaved`.
   */
  push(chunk: Uint8Array): { parts: RecordPart[]; heads: number } {
    const parts: RecordPart[] = [];
    let heads = 0;
    let at = 0;
    while (at < chunk.length) {
      if (this.#left > 0) {
        const bytes = chunk.subarray(at, at + this.#left);
        at += bytes.length;
        this.#left -= bytes.length;
        const isText = this.#head[0] === TEXT;
        if (isText) this.#textLeft -= bytes.length;
        parts.push(isText ? { kind: "text", bytes, left: this.#textLeft } : { kind: "data", bytes });
        continue;
      }
      this.#head[this.#headLength++] = chunk[at++] as number;
      heads++;
      const length = HEAD_LENGTHS[this.#head[0] as number];
      if (length === undefined)
        throw new SealttyError("peer-misbehaved", "A session's output has an unknown record");
      if (this.#headLength < length) continue;
      this.#headLength = 0;
      const part = this.#begin(new DataView(this.#head.buffer));
      if (part !== undefined) parts.push(part);
    }
    return { parts, heads };
  }

  /** The head is whole. */
  #begin(view: DataView): RecordPart | undefined {
    const type = view.getUint8(0);
    if (type === TEXT) {
      this.#left = view.getUint16(1);
      if (this.#left === 0 || this.#left > this.#textLeft)
        throw new SealttyError("peer-misbehaved", "A session's output has text that is no screen's");
      return undefined;
    }
    if (this.#textLeft > 0)
      throw new SealttyError("peer-misbehaved", "A session's output goes on before a screen is whole");
    if (type === GAP) return { kind: "gap", lost: gapOf(view) };
    if (type === SCREEN) {
      const { screen, length } = screenOf(view);
      this.#textLeft = length;
      return { kind: "screen", screen, length };
    }
    this.#left = view.getUint16(1);
    return undefined;
  }
}

function gapOf(view: DataView): number {
  const lost = Number(view.getBigUint64(1));
  if (lost === 0 || lost > Number.MAX_SAFE_INTEGER)
    throw new SealttyError("peer-misbehaved", "A session's output has an impossible gap");
  return lost;
}

/** Its place in the output is the caller's to check. */
function screenOf(view: DataView): { screen: ScreenInfo; length: number } {
  const screen: ScreenInfo = {
    begin: Number(view.getBigUint64(1)),
    end: Number(view.getBigUint64(9)),
    columns: view.getUint16(17),
    rows: view.getUint16(19),
    lines: view.getUint32(21),
    cut: view.getUint32(25),
  };
  const length = view.getUint32(29);
  const { begin, end, columns, rows, lines, cut } = screen;
  const possible =
    begin <= end &&
    end <= Number.MAX_SAFE_INTEGER &&
    Math.min(columns, rows) >= 1 &&
    Math.max(columns, rows) <= MAX_TERMINAL_SIDE &&
    lines <= MAX_SCREEN_LINES &&
    cut <= MAX_SCREEN_LINES + MAX_TERMINAL_SIDE &&
    length >= 1 &&
    length <= MAX_SCREEN_BYTES;
  if (!possible) throw new SealttyError("peer-misbehaved", "A session's output has an impossible screen");
  return { screen, length };
}

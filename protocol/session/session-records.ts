// What a session's output stream carries: records, so that a gap stands exactly where it is. docs/protocol.md §8.7

import { concat, u16, u64, u8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";

const DATA = 0;
const GAP = 1;
/** Bytes of output in one record. */
export const MAX_RECORD = 0xffff;
const HEAD_LENGTHS: Readonly<Record<number, number>> = { [DATA]: 3, [GAP]: 9 };

export function dataRecord(bytes: Uint8Array): Uint8Array {
  return concat(u8(DATA), u16(bytes.length), bytes);
}

/** @param lost - bytes of output that left the ring unsent. */
export function gapRecord(lost: number): Uint8Array {
  return concat(u8(GAP), u64(lost));
}

export type RecordPart =
  | { readonly kind: "data"; readonly bytes: Uint8Array }
  | { readonly kind: "gap"; readonly lost: number };

/** Takes a stream apart as it comes: nothing is held but a record's head. */
export class RecordReader {
  readonly #head = new Uint8Array(9);
  #headLength = 0;
  #left = 0; // of a DATA record's bytes

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
        parts.push({ kind: "data", bytes });
        continue;
      }
      this.#head[this.#headLength++] = chunk[at++] as number;
      heads++;
      const length = HEAD_LENGTHS[this.#head[0] as number];
      if (length === undefined)
        throw new SealttyError("peer-misbehaved", "A session's output has an unknown record");
      if (this.#headLength < length) continue;
      this.#headLength = 0;
      const view = new DataView(this.#head.buffer);
      if (this.#head[0] === DATA) this.#left = view.getUint16(1);
      else parts.push({ kind: "gap", lost: gapOf(view) });
    }
    return { parts, heads };
  }
}

function gapOf(view: DataView): number {
  const lost = Number(view.getBigUint64(1));
  if (lost === 0 || lost > Number.MAX_SAFE_INTEGER)
    throw new SealttyError("peer-misbehaved", "A session's output has an impossible gap");
  return lost;
}

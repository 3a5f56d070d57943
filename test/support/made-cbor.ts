// CBOR and COSE_Sign1 made at test time: the least encoder that makes what the parsers read, and what they must refuse.

import { concat, u16, u32, u64, u8, utf8 } from "../../protocol/bytes.ts";
import type { MadeKey } from "./made-pki.ts";

export class Tagged {
  readonly tag: number;
  readonly value: unknown;
  constructor(tag: number, value: unknown) {
    this.tag = tag;
    this.value = value;
  }
}

/** Numbers, text, bytes, null, booleans, lists, maps and tags, in their shortest form. */
export function cbor(value: unknown): Uint8Array {
  if (value === null) return u8(0xf6);
  if (typeof value === "boolean") return u8(value ? 0xf5 : 0xf4);
  if (typeof value === "number") return value >= 0 ? head(0, value) : head(1, -1 - value);
  if (typeof value === "string") return concat(head(3, utf8(value).length), utf8(value));
  if (value instanceof Uint8Array) return concat(head(2, value.length), value);
  if (Array.isArray(value)) return concat(head(4, value.length), ...value.map(cbor));
  if (value instanceof Map)
    return concat(head(5, value.size), ...[...value].flatMap(([key, each]) => [cbor(key), cbor(each)]));
  if (value instanceof Tagged) return concat(head(6, value.tag), cbor(value.value));
  throw new Error("nothing that CBOR has here");
}

function head(major: number, argument: number): Uint8Array {
  const first = major << 5;
  if (argument < 24) return u8(first | argument);
  if (argument < 2 ** 8) return concat(u8(first | 24), u8(argument));
  if (argument < 2 ** 16) return concat(u8(first | 25), u16(argument));
  if (argument < 2 ** 32) return concat(u8(first | 26), u32(argument));
  return concat(u8(first | 27), u64(argument));
}

/** @param algorithm - COSE's number: -7 or -35. */
export function sign1(payload: Uint8Array, key: MadeKey, algorithm: number): Uint8Array {
  return cbor(sign1Value(payload, key, algorithm));
}

export function sign1Value(payload: Uint8Array, key: MadeKey, algorithm: number): unknown[] {
  const header = cbor(new Map([[1, algorithm]]));
  const signed = cbor(["Signature1", header, new Uint8Array(), payload]);
  return [header, new Map(), payload, key.signRaw(signed)];
}

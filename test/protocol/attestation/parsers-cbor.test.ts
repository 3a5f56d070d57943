// CBOR and COSE_Sign1: one spelling for each value, and a bound on everything.

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { CborTag, type CborValue, decodeCbor } from "../../../protocol/attestation/cbor.ts";
import { readSign1 } from "../../../protocol/attestation/cose.ts";
import { concat, fromHex, toHex } from "../../../protocol/bytes.ts";
import { Tagged, cbor } from "../../support/made-cbor.ts";
import { onlySealttyErrors } from "./support.ts";

const decode = (hex: string, indefiniteMaps = false) => decodeCbor(fromHex(hex), "Test", { indefiniteMaps });

// RFC 8949 appendix A.
test.each([
  ["00", 0],
  ["17", 23],
  ["1818", 24],
  ["1903e8", 1000],
  ["1a000f4240", 1000000],
  ["1b000000e8d4a51000", 1000000000000],
  ["20", -1],
  ["3903e7", -1000],
  ["f4", false],
  ["f5", true],
  ["f6", null],
  ["40", new Uint8Array()],
  ["4401020304", Uint8Array.of(1, 2, 3, 4)],
  ["6161", "a"],
  ["62c3bc", "ü"],
  ["83010203", [1, 2, 3]],
  [
    "a26161016162820203",
    new Map<string, CborValue>([
      ["a", 1],
      ["b", [2, 3]],
    ]),
  ],
  ["c11a514b67b0", new CborTag(1, 1363896240)],
] as const)("%s is read", (hex, value) => {
  expect(decode(hex)).toEqual(value);
});

test.each([
  ["nothing", "", "ends too early"],
  ["two values", "0000", "left over"],
  ["a number in a longer form", "1817", "shortest form"],
  ["a number in a longer form", "190017", "shortest form"],
  ["a number in a longer form", "1a0000ffff", "shortest form"],
  ["a number in a longer form", "1b00000000ffffffff", "shortest form"],
  ["a length in a longer form", "580161", "shortest form"],
  ["a number above 2^53", "1b0020000000000000", "too large"],
  ["bytes longer than the document", "5affffffff00", "ends too early"],
  ["a list longer than the document", "9affffffff00", "ends too early"],
  ["a map longer than the document", "baffffffff00", "ends too early"],
  ["text that is no UTF-8", "61ff", "UTF-8"],
  ["bytes of unknown length", "5f4100ff", "does not read"],
  ["text of unknown length", "7f6161ff", "does not read"],
  ["a list of unknown length", "9f01ff", "does not read"],
  ["a map of unknown length", "bf6161 01ff".replace(" ", ""), "unknown length"],
  ["a key twice", "a2010201 03".replace(" ", ""), "twice"],
  ["a key that is a list", "a18000", "neither a number nor text"],
  ["undefined", "f7", "no attestation token"],
  ["floating point", "f90000", "no attestation token"],
  ["a break alone", "ff", "no attestation token"],
  ["a reserved form", "1c", "does not read"],
  ["nine levels", `${"81".repeat(9)}00`, "too deeply"],
] as const)("%s is refused", (_what, hex, problem) => {
  expect(onlySealttyErrors(() => decode(hex))).toBe(false);
  expect(() => decode(hex)).toThrow(problem);
});

test("maps of unknown length are read only where they are allowed, and still have no key twice", () => {
  expect(decode("bf616101616202ff", true)).toEqual(
    new Map([
      ["a", 1],
      ["b", 2],
    ]),
  );
  expect(decode("bfff", true)).toEqual(new Map());
  expect(() => decode("bf61610161 6102ff".replace(" ", ""), true)).toThrow("twice");
  expect(() => decode("bf616101", true)).toThrow("ends too early");
  expect(() => decode("bf6161ff", true)).toThrow("no attestation token");
  expect(() => decode("9f01ff", true)).toThrow("does not read");
});

test("a document is bounded in values and bytes, whatever it announces", () => {
  const many = concat(fromHex("990401"), new Uint8Array(1025));
  expect(() => decodeCbor(many, "Test")).toThrow("too many values");
  expect(() => decodeCbor(new Uint8Array(64 * 1024 + 1), "Test")).toThrow("longer than");
});

test("what is read is what was written, and writing it again gives the same bytes", () => {
  const value = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.maxSafeInteger(),
      fc.string({ unit: "grapheme", maxLength: 20 }),
      fc.uint8Array({ maxLength: 300 }),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie("value"), { maxLength: 3 }),
      fc
        .uniqueArray(fc.tuple(fc.oneof(fc.integer(), fc.string({ maxLength: 5 })), tie("value")), {
          maxLength: 3,
          selector: ([key]) => key,
        })
        .map((entries) => new Map(entries)),
      fc.tuple(fc.nat(), tie("value")).map(([tag, inner]) => new Tagged(tag, inner)),
    ),
  })).value;
  fc.assert(
    fc.property(value, (made) => {
      const bytes = cbor(made);
      expect(toHex(cbor(asMade(decodeCbor(bytes, "Test"))))).toBe(toHex(bytes));
    }),
  );
});

function asMade(value: CborValue): unknown {
  if (value instanceof CborTag) return new Tagged(value.tag, asMade(value.value));
  if (value instanceof Map) return new Map([...value].map(([key, each]) => [key, asMade(each)]));
  return Array.isArray(value) ? value.map(asMade) : value;
}

test("noise is a value or a SealttyError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (bytes, indefiniteMaps) => {
      onlySealttyErrors(() => decodeCbor(bytes, "Test", { indefiniteMaps }));
    }),
    { numRuns: 2000 },
  );
});

const HEADER = fromHex("a10126");
const EMPTY = new Uint8Array();

test.each([
  ["a list of three", [HEADER, new Map(), EMPTY], "not a COSE_Sign1"],
  ["another tag", new CborTag(98, [HEADER, new Map(), EMPTY, EMPTY]), "not a COSE_Sign1"],
  ["a payload elsewhere", [HEADER, new Map(), null, EMPTY], "not a COSE_Sign1"],
  ["an unprotected header", [HEADER, new Map([[4, EMPTY]]), EMPTY, EMPTY], "no signature covers"],
  ["an empty protected header", [EMPTY, new Map(), EMPTY, EMPTY], "ends too early"],
  ["no algorithm", [fromHex("a0"), new Map(), EMPTY, EMPTY], "algorithm"],
  ["an algorithm that is unknown", [fromHex("a10101"), new Map(), EMPTY, EMPTY], "algorithm"],
  [
    "a critical header",
    [fromHex("a201260281 01".replace(" ", "")), new Map(), EMPTY, EMPTY],
    "does not know",
  ],
] as const)("COSE_Sign1 with %s is refused", (_what, value, problem) => {
  expect(() => readSign1(value as CborValue, "Test")).toThrow(problem);
});

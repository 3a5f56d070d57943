// The DES of VNC's passwords against OpenSSL's: three times the same key makes one DES of three.

import { createCipheriv } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { concat, fromHex, toHex, utf8 } from "../../../protocol/bytes.ts";
import { desEncrypt, vncResponse } from "../../../protocol/rfb/des.ts";
import { testSeed } from "../../support/seeded.ts";

const seed = testSeed();
const eight = fc.uint8Array({ minLength: 8, maxLength: 8 });

function openSsl(key: Uint8Array, text: Uint8Array): string {
  const cipher = createCipheriv("des-ede3-ecb", concat(key, key, key), null).setAutoPadding(false);
  return Buffer.concat([cipher.update(text), cipher.final()]).toString("hex");
}

test(`desEncrypt() is OpenSSL's, seed ${seed}`, () => {
  fc.assert(
    fc.property(eight, eight, (key, block) => {
      expect(toHex(desEncrypt(key, block))).toBe(openSsl(key, block));
    }),
    { seed, numRuns: 300 },
  );
});

test("each bit of key and text counts, parity bits aside", () => {
  const zero = new Uint8Array(8);
  const seen = new Set([toHex(desEncrypt(zero, zero))]);
  for (let bit = 0; bit < 64; bit++) {
    const one = new Uint8Array(8);
    one[bit >> 3] = 0x80 >> (bit & 7);
    expect(toHex(desEncrypt(one, zero))).toBe(openSsl(one, zero));
    expect(toHex(desEncrypt(zero, one))).toBe(openSsl(zero, one));
    seen.add(toHex(desEncrypt(one, zero))).add(toHex(desEncrypt(zero, one)));
  }
  expect(seen.size).toBe(1 + 56 + 64);
});

test(`vncResponse() encrypts both halves under the password's bytes turned round, seed ${seed}`, () => {
  const turn = (byte: number): number =>
    Number.parseInt(Array.from(byte.toString(2).padStart(8, "0")).reverse().join(""), 2);
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 12 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      (password, challenge) => {
        const key = new Uint8Array(8);
        key.set(password.slice(0, 8).map(turn));
        expect(toHex(vncResponse(password, challenge))).toBe(openSsl(key, challenge));
      },
    ),
    { seed, numRuns: 50 },
  );
});

test("only a password's first 8 bytes count, and nothing but 16 bytes is a challenge", () => {
  const challenge = fromHex("000102030405060708090a0b0c0d0e0f");
  expect(vncResponse(utf8("12345678"), challenge)).toEqual(
    vncResponse(utf8("12345678, and more"), challenge),
  );
  expect(vncResponse(utf8("12345678"), challenge)).not.toEqual(vncResponse(utf8("1234567"), challenge));
  for (const length of [0, 8, 15, 17])
    expect(() => vncResponse(utf8("x"), new Uint8Array(length))).toThrow("16 bytes");
  expect(() => desEncrypt(new Uint8Array(7), new Uint8Array(8))).toThrow("8 bytes");
});

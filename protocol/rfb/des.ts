// DES (FIPS 46-3), encryption of single blocks only, for the one thing that RFB has it for: the answer to a password's
// challenge. WebCrypto has no DES and OpenSSL 3 hides it in its legacy provider, so it is here. It protects nothing of ours.

import { SealttyError } from "../errors.ts";

/** Bits are counted from 1, the first byte's highest, as in the standard. */
const IP = [58, 60, 62, 64, 57, 59, 61, 63].flatMap((first) => eight((i) => first - 8 * i));
const FP = IP.map((_, i) => IP.indexOf(i + 1) + 1);
const E = Array.from({ length: 48 }, (_, i) => ((Math.floor(i / 6) * 4 + (i % 6) + 31) % 32) + 1);
const P = [
  ...[16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10],
  ...[2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25],
];
const PC1 = [
  ...[
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44,
    36,
  ],
  ...[
    63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12,
    4,
  ],
];
const PC2 = [
  ...[14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2],
  ...[41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32],
];
const SHIFTS = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1];
/** Four rows of sixteen in each, a hex digit an entry. */
const S = [
  "e4d12fb83a6c59070f74e2d1a6cb953841e8d62bfc973a50fc8249175b3ea06d",
  "f18e6b34972dc05a3d47f28ec01a69b50e7ba4d158c6932fd8a13f42b67c05e9",
  "a09e63f51dc7b428d709346a285ecbf1d6498f30b12c5ae71ad069874fe3b52c",
  "7de3069a1285bc4fd8b56f03472c1ae9a690cb7df13e52843f06a1d8945bc72e",
  "2c417ab6853fd0e9eb2c47d150fa3986421bad78f9c5630eb8c71e2d6f09a453",
  "c1af92680d34e75baf427c9561de0b389ef528c3704a1db6432c95fabe17608d",
  "4b2ef08d3c975a61d0b7491ae35c2f8614bdc37eaf6805926bd814a7950fe23c",
  "d2846fb1a93e50c71fd8a374c56b0e927b419ce206adf35821e74a8dfc90356b",
].map((digits) => Array.from(digits, (digit) => Number.parseInt(digit, 16)));

const BLOCK = 8;
export const CHALLENGE_LENGTH = 16;

/**
 * What VNC authentication (RFC 6143 §7.2.2) answers to a challenge.
 * @param password - only its first 8 bytes count. @param challenge - 16 bytes.
 * @returns 16 bytes: both halves, each encrypted for itself.
 */
export function vncResponse(password: Uint8Array, challenge: Uint8Array): Uint8Array {
  if (challenge.length !== CHALLENGE_LENGTH)
    throw new SealttyError("api-misuse", "A VNC challenge has 16 bytes");
  const key = new Uint8Array(BLOCK);
  key.set(password.subarray(0, BLOCK));
  // Not in the RFC's text, but in all programs: each byte of the key the other way round.
  const turned = key.map((byte) => eight((i) => (byte >> i) & 1).reduce((sum, bit) => 2 * sum + bit, 0));
  const response = new Uint8Array(CHALLENGE_LENGTH);
  response.set(desEncrypt(turned, challenge.subarray(0, BLOCK)));
  response.set(desEncrypt(turned, challenge.subarray(BLOCK)), BLOCK);
  key.fill(0);
  turned.fill(0);
  return response;
}

/** @param key - 8 bytes, parity bits ignored. @param block - 8 bytes. Neither quick nor of constant time: it need not be. */
export function desEncrypt(key: Uint8Array, block: Uint8Array): Uint8Array {
  if (key.length !== BLOCK || block.length !== BLOCK)
    throw new SealttyError("api-misuse", "DES takes 8 bytes of key and of text");
  const input = picked(bitsOf(block), IP);
  let left = input.slice(0, 32);
  let right = input.slice(32);
  for (const roundKey of roundKeys(key)) {
    const next = exclusiveOr(left, scrambled(right, roundKey));
    left = right;
    right = next;
  }
  return bytesOf(picked([...right, ...left], FP)); // the last round does not swap
}

/** The standard's f(R, K): 32 bits of 32 and 48. */
function scrambled(right: number[], roundKey: number[]): number[] {
  const mixed = exclusiveOr(picked(right, E), roundKey);
  const substituted = S.flatMap((box, i) => {
    const six = mixed.slice(6 * i, 6 * i + 6).reduce((sum, bit) => 2 * sum + bit, 0);
    const row = ((six >> 5) << 1) | (six & 1);
    const value = box[16 * row + ((six >> 1) & 15)] as number;
    return [8, 4, 2, 1].map((bit) => (value & bit ? 1 : 0));
  });
  return picked(substituted, P);
}

function roundKeys(key: Uint8Array): number[][] {
  const chosen = picked(bitsOf(key), PC1);
  let turned = 0;
  return SHIFTS.map((shift) => {
    turned += shift;
    // Both halves of 28 bits, each turned to the left.
    const halves = chosen.map(
      (_, i) => chosen[i < 28 ? (i + turned) % 28 : 28 + ((i + turned) % 28)] as number,
    );
    return picked(halves, PC2);
  });
}

function eight<T>(each: (i: number) => T): T[] {
  return Array.from({ length: 8 }, (_, i) => each(i));
}

function picked(bits: readonly number[], table: readonly number[]): number[] {
  return table.map((position) => bits[position - 1] as number);
}

function exclusiveOr(a: readonly number[], b: readonly number[]): number[] {
  return a.map((bit, i) => bit ^ (b[i] as number));
}

function bitsOf(bytes: Uint8Array): number[] {
  return Array.from(bytes).flatMap((byte) => eight((i) => (byte >> (7 - i)) & 1));
}

function bytesOf(bits: readonly number[]): Uint8Array {
  return Uint8Array.from({ length: bits.length / 8 }, (_, i) =>
    bits.slice(8 * i, 8 * i + 8).reduce((sum, bit) => 2 * sum + bit, 0),
  );
}

// bcrypt_pbkdf: OpenSSH's way from a passphrase to a key. The library's own runs all rounds in one go, minutes where a file asks
// for many, and nobody is heard meanwhile: so the rounds are here, and whatever waits has its turn between them.

import { createHash } from "node:crypto";
import bcrypt from "bcrypt-pbkdf";
import { concat, u32, wipe } from "../protocol/bytes.ts";

const BLOCK = 32; // bytes of bcrypt's output

/** @param length - bytes wanted, at most 1024. @param rounds - at least 1. */
export async function bcryptPbkdf(
  passphrase: Uint8Array,
  salt: Uint8Array,
  length: number,
  rounds: number,
): Promise<Uint8Array> {
  const secret = sha512(passphrase);
  const key = new Uint8Array(length);
  const stride = Math.ceil(length / BLOCK);
  const block = new Uint8Array(BLOCK);
  for (let count = 1; count <= stride; count++) {
    const sum = new Uint8Array(BLOCK);
    for (let round = 0; round < rounds; round++) {
      bcrypt.hash(secret, sha512(round === 0 ? concat(salt, u32(count)) : block), block);
      for (const [i, byte] of block.entries()) sum[i] = (sum[i] ?? 0) ^ byte;
      await new Promise((resolve) => setImmediate(resolve));
    }
    // The blocks are woven into each other: each byte of the key needs all the work of one.
    for (let i = 0; i * stride + count - 1 < length && i < BLOCK; i++)
      key[i * stride + count - 1] = sum[i] ?? 0;
    wipe(sum);
  }
  wipe(block);
  wipe(secret);
  return key;
}

function sha512(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha512").update(bytes).digest());
}

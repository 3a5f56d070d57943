// What protects the private part of an OpenSSH key file: a cipher under a key that bcrypt_pbkdf derives from the passphrase.

import { createDecipheriv } from "node:crypto";
import { poly1305 } from "@noble/ciphers/_poly1305.js";
import { chacha20orig } from "@noble/ciphers/chacha.js";
import { concat, equalBytes, Reader, utf8, wipe } from "../protocol/bytes.ts";
import { bcryptPbkdf } from "./bcrypt-derivation.ts";
import { type KeyFile, readPrivatePart, refused } from "./openssh-key-file.ts";
import type { PrivateKey } from "./private-key.ts";

interface Cipher {
  /** Bytes of key, initialisation vector, block and tag. */
  readonly key: number;
  readonly iv: number;
  readonly block: number;
  readonly tag: number;
  readonly name: string;
}

const aes = (bits: number, mode: string): Cipher => ({
  key: bits / 8,
  iv: mode === "gcm" ? 12 : 16,
  block: 16,
  tag: mode === "gcm" ? 16 : 0,
  name: `aes-${bits}-${mode}`,
});

const CHACHA: Cipher = { key: 64, iv: 0, block: 8, tag: 16, name: "chacha20-poly1305" };

const CIPHERS: ReadonlyMap<string, Cipher> = new Map([
  ["aes256-ctr", aes(256, "ctr")], // ssh-keygen's own choice
  ["aes192-ctr", aes(192, "ctr")],
  ["aes128-ctr", aes(128, "ctr")],
  ["aes256-cbc", aes(256, "cbc")],
  ["aes192-cbc", aes(192, "cbc")],
  ["aes128-cbc", aes(128, "cbc")],
  ["aes256-gcm@openssh.com", aes(256, "gcm")],
  ["aes128-gcm@openssh.com", aes(128, "gcm")],
  ["3des-cbc", { key: 24, iv: 8, block: 8, tag: 0, name: "des-ede3-cbc" }],
  ["chacha20-poly1305@openssh.com", CHACHA],
]);

/** Half a minute or so of one processor; ssh-keygen takes 16 unless told otherwise. */
const MAX_ROUNDS = 512;

/**
 * @param file - encrypted. @param name - how the user named it.
 * @returns undefined where the passphrase is a wrong one. @throws SealttyError `bad-config` where no passphrase could help.
 */
export async function unlockKeyFile(
  file: KeyFile,
  passphrase: string,
  name: string,
): Promise<PrivateKey | undefined> {
  const { encryption } = file;
  if (encryption === undefined) return readPrivatePart(file.privatePart, 8, file.publicKeyBlob, name);
  const cipher = CIPHERS.get(encryption.cipher);
  if (cipher === undefined || encryption.derivation !== "bcrypt")
    throw refused(name, "it is encrypted in a way that is not known; load it into ssh-agent (ssh-add FILE)");
  if (encryption.tag.length !== cipher.tag || file.privatePart.length % cipher.block !== 0)
    throw refused(name, "the key file is damaged");
  if (passphrase === "") return undefined;
  const material = await derive(encryption.parameters, utf8(passphrase), cipher.key + cipher.iv, name);
  try {
    const part = decrypt(cipher, material, file.privatePart, encryption.tag);
    if (part === undefined) return undefined;
    // Without a tag the two equal numbers in front say whether it was the right key.
    if (!equalBytes(part.subarray(0, 4), part.subarray(4, 8))) {
      wipe(part);
      return undefined;
    }
    return readPrivatePart(part, cipher.block, file.publicKeyBlob, name);
  } finally {
    wipe(material);
  }
}

async function derive(
  parameters: Uint8Array,
  passphrase: Uint8Array,
  length: number,
  name: string,
): Promise<Uint8Array> {
  let salt: Uint8Array;
  let rounds: number;
  try {
    const reader = new Reader(parameters, "key derivation");
    salt = reader.lv32(64);
    rounds = reader.u32();
    reader.end();
    if (salt.length === 0 || rounds === 0) reader.fail("has no salt, or no rounds");
  } catch (cause) {
    throw refused(name, "the key file is damaged", cause);
  }
  if (rounds > MAX_ROUNDS)
    throw refused(name, `it takes ${rounds} rounds to unlock; load it into ssh-agent (ssh-add FILE)`);
  const material = await bcryptPbkdf(passphrase, salt, length, rounds);
  wipe(passphrase);
  return material;
}

/** @param material - key, then initialisation vector. @returns undefined where a tag does not hold. */
function decrypt(
  cipher: Cipher,
  material: Uint8Array,
  sealed: Uint8Array,
  tag: Uint8Array,
): Uint8Array | undefined {
  const key = material.subarray(0, cipher.key);
  const iv = material.subarray(cipher.key);
  if (cipher === CHACHA) return decryptChacha(key, sealed, tag);
  if (cipher.tag > 0) {
    const gcm = createDecipheriv(cipher.name as "aes-256-gcm", key, iv, { authTagLength: 16 });
    gcm.setAuthTag(tag);
    const part = gcm.update(sealed);
    try {
      gcm.final();
    } catch {
      wipe(part);
      return undefined;
    }
    return new Uint8Array(part.buffer, part.byteOffset, part.length);
  }
  const plain = createDecipheriv(cipher.name, key, iv).setAutoPadding(false);
  const part = concat(plain.update(sealed), plain.final());
  return part;
}

/** OpenSSH's PROTOCOL.chacha20poly1305 for packet 0 without a length: only the first half of the key is used. */
function decryptChacha(key: Uint8Array, sealed: Uint8Array, tag: Uint8Array): Uint8Array | undefined {
  const main = key.subarray(0, 32);
  const nonce = new Uint8Array(8);
  const macKey = chacha20orig(main, nonce, new Uint8Array(32));
  if (!equalBytes(poly1305(sealed, macKey), tag)) return undefined;
  return chacha20orig(main, nonce, sealed, undefined, 1);
}

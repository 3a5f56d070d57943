// The back end on node:crypto: OpenSSL for all but ML-KEM, which Node 20 lacks and noble does.

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  randomBytes as nodeRandomBytes,
  sign,
  verify,
} from "node:crypto";
import { crc32 } from "node:zlib";
import { copyInto } from "../protocol/bytes.ts";
import { isSoundEd25519Key, requireOwn, requirePeers } from "../protocol/crypto/input-checks.ts";
import { nobleSuite } from "../protocol/crypto/noble.ts";
import { type CryptoSuite, type KeyPair, roomFor } from "../protocol/crypto/suite.ts";
import { SealttyError } from "../protocol/errors.ts";

const TAG = 16;
const AEAD = { authTagLength: TAG } as const;
// RFC 8410: everything in front of the 32 key bytes, for OIDs 1.3.101.110 (X25519) and 1.3.101.112 (Ed25519).
// Secret keys go in as DER although JWK is ten times faster (0.04 ms): a JWK holds them in strings, which stay in
// memory and cannot be wiped.
const X25519_PKCS8 = Buffer.from("302e020100300506032b656e04220420", "hex");
const ED25519_PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");

const noble = nobleSuite(randomBytes);

export const nodeSuite: CryptoSuite = {
  name: "node:crypto",
  crc32: (bytes) => crc32(bytes),
  sha256: (message) => plain(createHash("sha256").update(message).digest()),
  sha512: (message) => plain(createHash("sha512").update(message).digest()),
  hmacSha256: (key, message) => plain(createHmac("sha256", key).update(message).digest()),

  x25519KeyPair(seed): KeyPair {
    if (seed === undefined) return freshX25519();
    requireOwn(seed, 32, "X25519 secret key");
    const secretKey = new Uint8Array(seed);
    return { secretKey, publicKey: publicHalf(privateKey(X25519_PKCS8, secretKey)) };
  },
  x25519(secretKey, publicKey) {
    requireOwn(secretKey, 32, "X25519 secret key");
    requirePeers(publicKey, 32, "X25519 public key");
    const own = privateKey(X25519_PKCS8, secretKey);
    const theirs = publicKeyObject("X25519", publicKey);
    let shared: Buffer;
    try {
      shared = diffieHellman({ privateKey: own, publicKey: theirs });
    } catch (cause) {
      throw new SealttyError("peer-misbehaved", "X25519 public key of low order", { cause });
    }
    // OpenSSL refuses an all-zero result itself; a runtime with another library behind node:crypto may not.
    if (shared.every((byte) => byte === 0)) {
      throw new SealttyError("peer-misbehaved", "X25519 public key of low order");
    }
    return plain(shared);
  },

  mlKemKeyPair: (seed) => noble.mlKemKeyPair(seed),
  mlKemEncapsulate: (publicKey, seed) => noble.mlKemEncapsulate(publicKey, seed),
  mlKemDecapsulate: (secretKey, ciphertext) => noble.mlKemDecapsulate(secretKey, ciphertext),

  seal(key, nonce, header, plaintext, front = 0, into) {
    requireOwn(key, 32, "Packet key");
    requireOwn(nonce, 12, "Packet nonce");
    const cipher = createCipheriv("chacha20-poly1305", key, nonce, AEAD);
    cipher.setAAD(header, { plaintextLength: plaintext.length });
    const ciphertext = cipher.update(plaintext);
    cipher.final(); // empty: a stream cipher holds nothing back
    const sealed = roomFor(front + plaintext.length + TAG, into);
    copyInto(sealed, front, ciphertext);
    sealed.set(cipher.getAuthTag(), front + plaintext.length);
    return sealed;
  },
  open(key, nonce, header, sealed) {
    requireOwn(key, 32, "Packet key");
    requireOwn(nonce, 12, "Packet nonce");
    const length = sealed.length - TAG;
    if (length < 0) return undefined;
    const decipher = createDecipheriv("chacha20-poly1305", key, nonce, AEAD);
    decipher.setAAD(header, { plaintextLength: length });
    decipher.setAuthTag(sealed.subarray(length));
    const plaintext = decipher.update(sealed.subarray(0, length));
    try {
      decipher.final(); // the tag is checked here; nothing leaves this function before it
    } catch {
      return undefined;
    }
    return plain(plaintext);
  },

  ed25519Verify(publicKey, message, signature) {
    if (publicKey.length !== 32 || signature.length !== 64) return false;
    if (!isSoundEd25519Key(publicKey)) return false;
    // OpenSSL compares R byte for byte with the point it computes, so only the canonical R can pass.
    return verify(null, message, publicKeyObject("Ed25519", publicKey), signature);
  },
  ed25519Sign(secretKey, message) {
    requireOwn(secretKey, 32, "Ed25519 secret key");
    return plain(sign(null, message, privateKey(ED25519_PKCS8, secretKey)));
  },
  ed25519PublicKey(secretKey) {
    requireOwn(secretKey, 32, "Ed25519 secret key");
    return publicHalf(privateKey(ED25519_PKCS8, secretKey));
  },
  randomBytes,
};

function randomBytes(length: number): Uint8Array {
  return plain(nodeRandomBytes(length));
}

/** The same memory without Buffer's habits: `Buffer.slice` is a view where `Uint8Array.slice` is a copy. */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}

function privateKey(prefix: Buffer, secretKey: Uint8Array): KeyObject {
  const der = Buffer.concat([prefix, secretKey]);
  try {
    return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  } finally {
    der.fill(0);
  }
}

function publicKeyObject(crv: "X25519" | "Ed25519", publicKey: Uint8Array): KeyObject {
  const x = Buffer.from(publicKey.buffer, publicKey.byteOffset, publicKey.length).toString("base64url");
  return createPublicKey({ key: { kty: "OKP", crv, x }, format: "jwk" });
}

function publicHalf(key: KeyObject): Uint8Array {
  return new Uint8Array(createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32));
}

function freshX25519(): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync("x25519", {
    privateKeyEncoding: { format: "der", type: "pkcs8" },
    publicKeyEncoding: { format: "der", type: "spki" },
  });
  const pair = {
    secretKey: new Uint8Array(privateKey.subarray(-32)),
    publicKey: new Uint8Array(publicKey.subarray(-32)),
  };
  privateKey.fill(0);
  return pair;
}

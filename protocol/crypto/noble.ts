// The back end that runs everywhere: noble, with every random byte passed in.

import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { ed25519, x25519 } from "@noble/curves/ed25519.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256, sha512 } from "@noble/hashes/sha2.js";
import { ml_kem768 } from "@noble/post-quantum/ml-kem.js";
import { SealttyError } from "../errors.ts";
import { crc32 } from "../frames/crc32.ts";
import { isPrimeOrderEd25519Point, isSoundEd25519Key, requireOwn, requirePeers } from "./input-checks.ts";
import { type CryptoSuite, type KeyPair, roomFor } from "./suite.ts";

/**
 * @param randomBytes - the only source of randomness: noble is never left to find one of its own.
 * @returns a suite whose results are the caller's to keep or wipe; none shares memory with an argument.
 */
export function nobleSuite(randomBytes: (length: number) => Uint8Array): CryptoSuite {
  return {
    name: "noble",
    crc32: (bytes) => crc32(bytes),
    sha256: (message) => sha256(message),
    sha512: (message) => sha512(message),
    hmacSha256: (key, message) => hmac(sha256, key, message),

    x25519KeyPair(seed): KeyPair {
      const secretKey = copyOf(seed) ?? randomBytes(32);
      requireOwn(secretKey, 32, "X25519 secret key");
      return { secretKey, publicKey: x25519.getPublicKey(secretKey) };
    },
    x25519(secretKey, publicKey) {
      requireOwn(secretKey, 32, "X25519 secret key");
      requirePeers(publicKey, 32, "X25519 public key");
      try {
        return x25519.getSharedSecret(secretKey, publicKey);
      } catch (cause) {
        throw new SealttyError("peer-misbehaved", "X25519 public key of low order", { cause });
      }
    },

    mlKemKeyPair(seed): KeyPair {
      const coins = copyOf(seed) ?? randomBytes(64);
      requireOwn(coins, 64, "ML-KEM seed");
      const { secretKey, publicKey } = ml_kem768.keygen(coins);
      coins.fill(0);
      return { secretKey, publicKey };
    },
    mlKemEncapsulate(publicKey, seed) {
      requirePeers(publicKey, 1184, "ML-KEM public key");
      const coins = copyOf(seed) ?? randomBytes(32);
      requireOwn(coins, 32, "ML-KEM encapsulation seed");
      try {
        const { cipherText, sharedSecret } = ml_kem768.encapsulate(publicKey, coins);
        return { ciphertext: cipherText, secret: sharedSecret.slice() }; // a view on a 64-byte buffer otherwise
      } catch (cause) {
        throw new SealttyError("peer-misbehaved", "ML-KEM public key fails the modulus check", { cause });
      } finally {
        coins.fill(0);
      }
    },
    mlKemDecapsulate(secretKey, ciphertext) {
      requireOwn(secretKey, 2400, "ML-KEM secret key");
      requirePeers(ciphertext, 1088, "ML-KEM ciphertext");
      try {
        return ml_kem768.decapsulate(ciphertext, secretKey).slice();
      } catch (cause) {
        throw new SealttyError("api-misuse", "ML-KEM secret key fails its hash check", { cause });
      }
    },

    seal(key, nonce, header, plaintext, front = 0, into) {
      requireOwn(key, 32, "Packet key");
      requireOwn(nonce, 12, "Packet nonce");
      const sealed = roomFor(front + plaintext.length + 16, into);
      chacha20poly1305(key, nonce, header).encrypt(plaintext, sealed.subarray(front));
      return sealed;
    },
    open(key, nonce, header, sealed) {
      requireOwn(key, 32, "Packet key");
      requireOwn(nonce, 12, "Packet nonce");
      if (sealed.length < 16) return undefined;
      const cipher = chacha20poly1305(key, nonce, header);
      try {
        return cipher.decrypt(sealed);
      } catch {
        return undefined; // with lengths and types checked above, a bad tag is all that is left
      }
    },

    ed25519Verify(publicKey, message, signature) {
      if (publicKey.length !== 32 || signature.length !== 64) return false;
      return (
        isSoundEd25519Key(publicKey) &&
        isPrimeOrderEd25519Point(signature.subarray(0, 32)) && // noble's equation is cofactored; this makes it exact
        ed25519.verify(signature, message, publicKey, { zip215: false })
      );
    },
    ed25519Sign(secretKey, message) {
      requireOwn(secretKey, 32, "Ed25519 secret key");
      return ed25519.sign(message, secretKey);
    },
    ed25519PublicKey(secretKey) {
      requireOwn(secretKey, 32, "Ed25519 secret key");
      return ed25519.getPublicKey(secretKey);
    },
    randomBytes,
  };
}

/** A copy even of a Buffer, whose own `slice` is a view. */
function copyOf(seed: Uint8Array | undefined): Uint8Array | undefined {
  return seed === undefined ? undefined : new Uint8Array(seed);
}

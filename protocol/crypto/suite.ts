// The primitives of the one cipher suite, as one interface with two back ends: noble (everywhere) and node:crypto.

/** `length` bytes: the beginning of `into` where that is long enough, else new ones. */
export function roomFor(length: number, into: Uint8Array | undefined): Uint8Array {
  return into !== undefined && into.length >= length ? into.subarray(0, length) : new Uint8Array(length);
}

export interface KeyPair {
  readonly secretKey: Uint8Array;
  readonly publicKey: Uint8Array;
}

/** All synchronous: an await between choosing and using a packet number could let two callers share a nonce. */
export interface CryptoSuite {
  readonly name: string;
  sha256(message: Uint8Array): Uint8Array;
  sha512(message: Uint8Array): Uint8Array;
  hmacSha256(key: Uint8Array, message: Uint8Array): Uint8Array;
  /** @returns a 32-byte key pair. `seed` is the secret key (for vectors); random from the runtime where absent. */
  x25519KeyPair(seed?: Uint8Array): KeyPair;
  /** @returns 32 bytes. @throws SealttyError `peer-misbehaved` where the result is all zero (RFC 7748 §6.1). */
  x25519(secretKey: Uint8Array, publicKey: Uint8Array): Uint8Array;
  /** ML-KEM-768 (FIPS 203): public key 1184, secret key 2400 bytes. `seed` is d‖z, 64 bytes. */
  mlKemKeyPair(seed?: Uint8Array): KeyPair;
  /** @returns ciphertext 1088, secret 32 bytes. @throws SealttyError `peer-misbehaved` on a key that fails the modulus check. */
  mlKemEncapsulate(publicKey: Uint8Array, seed?: Uint8Array): { ciphertext: Uint8Array; secret: Uint8Array };
  /** Never fails on 1088 bytes: a changed ciphertext gives another secret (implicit rejection). */
  mlKemDecapsulate(secretKey: Uint8Array, ciphertext: Uint8Array): Uint8Array;
  /**
   * ChaCha20-Poly1305 (RFC 8439), 12-byte nonce.
   * @param front - zero bytes before the result, for what is put in front of it: a packet is not copied for that.
   * @param into - where the result goes, if it is long enough for it; the front keeps what it holds then.
   * @returns front + plaintext.length + 16 bytes.
   */
  seal(
    key: Uint8Array,
    nonce: Uint8Array,
    header: Uint8Array,
    plaintext: Uint8Array,
    front?: number,
    into?: Uint8Array,
  ): Uint8Array;
  /** @returns undefined where the tag does not hold. */
  open(key: Uint8Array, nonce: Uint8Array, header: Uint8Array, sealed: Uint8Array): Uint8Array | undefined;
  /** RFC 8032, strict: no ZIP-215 points, canonical encodings only. */
  ed25519Verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
  /** @param secretKey - the 32-byte seed. @returns 64 bytes. */
  ed25519Sign(secretKey: Uint8Array, message: Uint8Array): Uint8Array;
  ed25519PublicKey(secretKey: Uint8Array): Uint8Array;
  randomBytes(length: number): Uint8Array;
  /** CRC-32 (IEEE 802.3), unsigned: no cryptography, but on every byte's way, and native where the rest is. */
  readonly crc32: (bytes: Uint8Array) => number;
}

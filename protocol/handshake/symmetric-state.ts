// Noise CipherState and SymmetricState for ChaChaPoly and SHA256: the running hash h, the chaining key ck, one key k.
// The Noise Protocol Framework, revision 34, §4.3 (HKDF), §5.1, §5.2, §12.3 (ChaChaPoly nonce); docs/protocol.md §4.3

import { concat, utf8, wipe } from "../bytes.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";

const HASH_LENGTH = 32;
const EMPTY = new Uint8Array(0);

/** Three secrets of 32 bytes; whoever holds the object owns and wipes them. */
export interface SplitKeys {
  readonly initiatorToResponder: Uint8Array;
  readonly responderToInitiator: Uint8Array;
  /** Never used as a transport key: it only ties evidence to this session. */
  readonly exporter: Uint8Array;
}

/** Noise §12.3: four zero bytes, then n as 64 bits, little-endian. @param n - below 2^53. */
function nonceOf(n: number): Uint8Array {
  const nonce = new Uint8Array(12);
  const view = new DataView(nonce.buffer);
  view.setUint32(4, n % 2 ** 32, true);
  view.setUint32(8, Math.floor(n / 2 ** 32), true);
  return nonce;
}

/** Noise §4.3. @returns three blocks; HKDF with two outputs is the first two of them. */
function hkdf(
  suite: CryptoSuite,
  chainingKey: Uint8Array,
  input: Uint8Array,
): [Uint8Array, Uint8Array, Uint8Array] {
  const key = suite.hmacSha256(chainingKey, input);
  const first = suite.hmacSha256(key, Uint8Array.of(1));
  const second = suite.hmacSha256(key, concat(first, Uint8Array.of(2)));
  const third = suite.hmacSha256(key, concat(second, Uint8Array.of(3)));
  wipe(key);
  return [first, second, third];
}

/** One key with the implicit nonce 0, 1, 2, …: for the handshake, where messages come in order or not at all. */
export class CipherState {
  readonly #suite: CryptoSuite;
  readonly #key: Uint8Array;
  #next: number;

  /** @param key - 32 bytes, owned and wiped by this object from now on. */
  constructor(suite: CryptoSuite, key: Uint8Array, next = 0) {
    this.#suite = suite;
    this.#key = key;
    this.#next = next;
  }

  /** @returns plaintext.length + 16 bytes. */
  encrypt(header: Uint8Array, plaintext: Uint8Array): Uint8Array {
    const n = this.#next++; // before sealing: a throw below must not leave the number free for re-use
    return this.#suite.seal(this.#key, nonceOf(n), header, plaintext);
  }

  /** @returns undefined where the tag does not hold; the nonce then stays (§5.1). */
  decrypt(header: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    const plaintext =
      sealed.length < 16 ? undefined : this.#suite.open(this.#key, nonceOf(this.#next), header, sealed);
    if (plaintext !== undefined) this.#next++;
    return plaintext;
  }

  clone(): CipherState {
    return new CipherState(this.#suite, this.#key.slice(), this.#next);
  }

  destroy(): void {
    wipe(this.#key); // best effort: docs/limits.md
  }
}

/** Noise §5.2. Owns its secrets; every method but `destroy` throws `api-misuse` after `destroy`. */
export class SymmetricState {
  readonly #suite: CryptoSuite;
  #hash: Uint8Array;
  #chainingKey: Uint8Array;
  #cipher: CipherState | undefined; // undefined: no key yet, and §5.2 sends in the clear
  #destroyed = false;

  private constructor(suite: CryptoSuite, hash: Uint8Array, chainingKey: Uint8Array, cipher?: CipherState) {
    this.#suite = suite;
    this.#hash = hash;
    this.#chainingKey = chainingKey;
    this.#cipher = cipher;
  }

  /** InitializeSymmetric: a name of at most 32 bytes is padded with zeros, a longer one is hashed. */
  static initialize(suite: CryptoSuite, protocolName: string): SymmetricState {
    const name = utf8(protocolName);
    const hash =
      name.length <= HASH_LENGTH
        ? concat(name, new Uint8Array(HASH_LENGTH - name.length))
        : suite.sha256(name);
    return new SymmetricState(suite, hash, hash.slice());
  }

  get hasKey(): boolean {
    return this.#cipher !== undefined;
  }

  mixHash(data: Uint8Array): void {
    this.#check();
    this.#hash = this.#suite.sha256(concat(this.#hash, data));
  }

  /** @param input - a DH or KEM result; stays the caller's to wipe. */
  mixKey(input: Uint8Array): void {
    this.#check();
    const [chainingKey, key, unused] = hkdf(this.#suite, this.#chainingKey, input);
    wipe(unused);
    this.#replace(chainingKey, key);
  }

  /** The `psk` modifiers (§9.2). Protocol version 1 has none; the published vectors do. */
  mixKeyAndHash(input: Uint8Array): void {
    this.#check();
    const [chainingKey, hash, key] = hkdf(this.#suite, this.#chainingKey, input);
    this.mixHash(hash);
    this.#replace(chainingKey, key);
  }

  /** @returns `plaintext` itself (copied) without a key, else plaintext.length + 16 bytes. */
  encryptAndHash(plaintext: Uint8Array): Uint8Array {
    this.#check();
    const sealed = this.#cipher?.encrypt(this.#hash, plaintext) ?? plaintext.slice();
    this.mixHash(sealed);
    return sealed;
  }

  /** @returns undefined where the tag does not hold; the state is then as it was before. */
  decryptAndHash(sealed: Uint8Array): Uint8Array | undefined {
    this.#check();
    const plaintext = this.#cipher === undefined ? sealed.slice() : this.#cipher.decrypt(this.#hash, sealed);
    if (plaintext !== undefined) this.mixHash(sealed);
    return plaintext;
  }

  /** A copy of h (GetHandshakeHash): final once the last message was processed. */
  handshakeHash(): Uint8Array {
    this.#check();
    return this.#hash.slice();
  }

  /** Split, and one more output: HKDF(ck, "", 3). Does not end this state. */
  split3(): SplitKeys {
    this.#check();
    const [initiatorToResponder, responderToInitiator, exporter] = hkdf(
      this.#suite,
      this.#chainingKey,
      EMPTY,
    );
    return { initiatorToResponder, responderToInitiator, exporter };
  }

  /** An independent copy, so that a message which turns out to be forged costs nothing. */
  clone(): SymmetricState {
    this.#check();
    return new SymmetricState(this.#suite, this.#hash, this.#chainingKey.slice(), this.#cipher?.clone());
  }

  /** Wipes ck and k, best effort (docs/limits.md). h is public. Idempotent. */
  destroy(): void {
    this.#destroyed = true;
    wipe(this.#chainingKey);
    this.#cipher?.destroy();
  }

  #replace(chainingKey: Uint8Array, key: Uint8Array): void {
    wipe(this.#chainingKey);
    this.#cipher?.destroy();
    this.#chainingKey = chainingKey;
    this.#cipher = new CipherState(this.#suite, key);
  }

  #check(): void {
    if (this.#destroyed) throw new SealttyError("api-misuse", "Handshake state used after destroy");
  }
}

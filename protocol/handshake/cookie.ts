// Cookies: a guest does no public-key work, and keeps no state, for a peer that does not read what it is sent.
// docs/protocol.md §4.5; the idea of RFC 6347 §4.2.1 (DTLS).

import { equalBytes, wipe } from "../bytes.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { COOKIE_LENGTH } from "../frames/frame-body.ts";

/** A cookie lives between one and two of these. */
export const COOKIE_EPOCH_MS = 120_000;

/** Stateless: a cookie is a MAC over the connection id. It proves the pipe carries both ways, and nothing else. */
export class CookieJar {
  readonly #suite: CryptoSuite;
  #key: Uint8Array;
  #previous: Uint8Array;
  #started: number | undefined; // start of the epoch of #key; the first call sets it

  constructor(suite: CryptoSuite) {
    this.#suite = suite;
    this.#key = suite.randomBytes(32);
    this.#previous = suite.randomBytes(32); // nobody has cookies of it
  }

  /** @param now - monotonic milliseconds. @returns 16 bytes. */
  issue(connectionId: Uint8Array, now: number): Uint8Array {
    this.#rotate(now);
    return this.#cookie(this.#key, connectionId);
  }

  /** @returns true where this jar issued `cookie` for `connectionId` in this epoch or the one before. */
  accepts(connectionId: Uint8Array, cookie: Uint8Array, now: number): boolean {
    this.#rotate(now);
    const current = equalBytes(cookie, this.#cookie(this.#key, connectionId));
    const previous = equalBytes(cookie, this.#cookie(this.#previous, connectionId));
    return current || previous;
  }

  #cookie(key: Uint8Array, connectionId: Uint8Array): Uint8Array {
    return this.#suite.hmacSha256(key, connectionId).slice(0, COOKIE_LENGTH);
  }

  #rotate(now: number): void {
    this.#started ??= now;
    const elapsed = Math.floor((now - this.#started) / COOKIE_EPOCH_MS);
    if (elapsed < 1) return; // also where the clock went back
    wipe(this.#previous);
    if (elapsed > 1) wipe(this.#key);
    this.#previous = elapsed === 1 ? this.#key : this.#suite.randomBytes(32);
    this.#key = this.#suite.randomBytes(32);
    this.#started += elapsed * COOKIE_EPOCH_MS;
  }
}

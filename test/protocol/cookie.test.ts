// The cookie jar: who gets in, and for how long.

import { describe, expect, test } from "vitest";
import { concat, fromHex, utf8 } from "../../protocol/bytes.ts";
import { COOKIE_LENGTH } from "../../protocol/frames/frame-body.ts";
import { COOKIE_EPOCH_MS, CookieJar } from "../../protocol/handshake/cookie.ts";
import { bothSuites } from "../support/both-suites.ts";

const ID = fromHex("0102030405060708");

describe.each(bothSuites)("%s", (_, suite) => {
  test("the cookie is the first 16 bytes of HMAC-SHA256(epoch key, connection id)", () => {
    const key = suite.sha256(utf8("epoch key"));
    const jar = new CookieJar({ ...suite, randomBytes: () => key.slice() });
    expect(jar.issue(ID, 0)).toEqual(suite.hmacSha256(key, ID).slice(0, 16));
    expect(COOKIE_LENGTH).toBe(16);
  });

  test("a cookie holds for its connection id only, and every bit of it counts", () => {
    const jar = new CookieJar(suite);
    const cookie = jar.issue(ID, 5);
    expect(jar.accepts(ID, cookie, 5)).toBe(true);
    expect(jar.accepts(fromHex("0102030405060709"), cookie, 5)).toBe(false);
    expect(new CookieJar(suite).accepts(ID, cookie, 5)).toBe(false);
    for (let bit = 0; bit < 128; bit++) {
      const forged = cookie.slice();
      forged[bit >> 3] = (forged[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(jar.accepts(ID, forged, 5)).toBe(false);
    }
    for (const wrong of [new Uint8Array(0), cookie.subarray(0, 15), concat(cookie, Uint8Array.of(0))])
      expect(jar.accepts(ID, wrong, 5)).toBe(false);
  });

  test("a cookie lives through the epoch after its own, and no longer", () => {
    const start = 1_000_000;
    const jar = new CookieJar(suite);
    const early = jar.issue(ID, start);
    const late = jar.issue(ID, start + COOKIE_EPOCH_MS - 1);
    expect(late).toEqual(early);
    expect(jar.accepts(ID, early, start + COOKIE_EPOCH_MS)).toBe(true);
    const next = jar.issue(ID, start + COOKIE_EPOCH_MS);
    expect(next).not.toEqual(early);
    expect(jar.accepts(ID, early, start + 2 * COOKIE_EPOCH_MS - 1)).toBe(true);
    expect(jar.accepts(ID, early, start + 2 * COOKIE_EPOCH_MS)).toBe(false);
    expect(jar.accepts(ID, next, start + 2 * COOKIE_EPOCH_MS)).toBe(true);
  });

  test("after a long silence, or with a clock that goes back, old cookies do not come back to life", () => {
    const jar = new CookieJar(suite);
    const cookie = jar.issue(ID, 0);
    expect(jar.accepts(ID, cookie, 50 * COOKIE_EPOCH_MS)).toBe(false);
    expect(jar.accepts(ID, cookie, 0)).toBe(false);
    const now = jar.issue(ID, 0);
    expect(jar.accepts(ID, now, 50 * COOKIE_EPOCH_MS)).toBe(true);
  });
});

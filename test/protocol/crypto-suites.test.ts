// One contract for both crypto back ends: the same vectors, the same refusals, and each opens what the other sealed.

import { ed25519 } from "@noble/curves/ed25519.js";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { concat, equalBytes, fromHex, toHex, u8, utf8 } from "../../protocol/bytes.ts";
import { nobleSuite } from "../../protocol/crypto/noble.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { hasShared, readWycheproof, tellIfSharedIsAbsent } from "../support/shared-vectors.ts";

const noble = nobleSuite((length) => nodeSuite.randomBytes(length));
const suites = [noble, nodeSuite] as const;
const NONE = new Uint8Array(0);

/** The result, or the code of the SealttyError: what a caller can tell apart. */
function outcome(run: () => Uint8Array | undefined): string {
  try {
    const bytes = run();
    return bytes === undefined ? "undefined" : toHex(bytes);
  } catch (error) {
    if (error instanceof SealttyError) return error.code;
    throw error;
  }
}

function hkdf(
  suite: CryptoSuite,
  ikm: Uint8Array,
  salt: Uint8Array,
  info: Uint8Array,
  size: number,
): Uint8Array {
  const key = suite.hmacSha256(salt, ikm);
  let block: Uint8Array = NONE;
  let okm: Uint8Array = NONE;
  for (let i = 1; okm.length < size; i++) {
    block = suite.hmacSha256(key, concat(block, info, u8(i)));
    okm = concat(okm, block);
  }
  return okm.subarray(0, size);
}

const flipped = (bytes: Uint8Array, bit: number): Uint8Array => {
  const copy = bytes.slice();
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
  return copy;
};

const bytes = (length: number): Uint8Array => new Uint8Array(length).fill(9);
/** 32 bytes, little-endian. */
const little = (n: bigint): Uint8Array => fromHex(n.toString(16).padStart(64, "0")).reverse();

tellIfSharedIsAbsent();

describe.each(suites)("$name", (suite) => {
  test.runIf(hasShared)(
    "seal() and open() match Wycheproof chacha20_poly1305; other nonce lengths are misuse",
    () => {
      type Case = { key: string; iv: string; aad: string; msg: string; ct: string; tag: string };
      const wrong = readWycheproof<Case>("chacha20_poly1305").filter((t) => {
        const sealingInputs = [fromHex(t.key), fromHex(t.iv), fromHex(t.aad)] as const;
        const sealed = outcome(() => suite.seal(...sealingInputs, fromHex(t.msg)));
        const opened = outcome(() => suite.open(...sealingInputs, fromHex(t.ct + t.tag)));
        if (t.iv.length !== 24) return sealed !== "api-misuse" || opened !== "api-misuse";
        if (t.result === "valid") return sealed !== t.ct + t.tag || opened !== t.msg;
        return opened !== "undefined";
      });
      expect(wrong).toEqual([]);
    },
  );

  test.runIf(hasShared)("x25519() matches Wycheproof; an all-zero result is refused", () => {
    type Case = { public: string; private: string; shared: string };
    const cases = readWycheproof<Case>("x25519");
    const wrong = cases.filter((t) => {
      const expected = t.shared === "00".repeat(32) ? "peer-misbehaved" : t.shared;
      return outcome(() => suite.x25519(fromHex(t.private), fromHex(t.public))) !== expected;
    });
    expect(wrong).toEqual([]);
    expect(cases.some((t) => t.shared === "00".repeat(32))).toBe(true);
  });

  test.runIf(hasShared)("ed25519Verify() matches Wycheproof, the canonical encoding included", () => {
    type Case = { msg: string; sig: string };
    const wrong = readWycheproof<Case, { publicKey: { pk: string } }>("ed25519").filter(
      (t) =>
        suite.ed25519Verify(fromHex(t.publicKey.pk), fromHex(t.msg), fromHex(t.sig)) !==
        (t.result === "valid"),
    );
    expect(wrong).toEqual([]);
  });

  test.runIf(hasShared)("mlKemKeyPair() matches Wycheproof mlkem_768_keygen_seed", () => {
    const wrong = readWycheproof<{ seed: string; ek: string; dk: string }>("mlkem_768_keygen_seed").filter(
      (t) => {
        const pair = suite.mlKemKeyPair(fromHex(t.seed));
        return toHex(pair.publicKey) !== t.ek || toHex(pair.secretKey) !== t.dk;
      },
    );
    expect(wrong).toEqual([]);
  });

  test.runIf(hasShared)(
    "mlKemEncapsulate() matches Wycheproof mlkem_768_encaps; a bad key is the peer's fault",
    () => {
      const wrong = readWycheproof<{ m: string; ek: string; c: string; K: string }>(
        "mlkem_768_encaps",
      ).filter((t) => {
        const found = outcome(() => {
          const { ciphertext, secret } = suite.mlKemEncapsulate(fromHex(t.ek), fromHex(t.m));
          return concat(ciphertext, secret);
        });
        return found !== (t.result === "valid" ? t.c + t.K : "peer-misbehaved");
      });
      expect(wrong).toEqual([]);
    },
  );

  test.runIf(hasShared)("mlKemDecapsulate() matches Wycheproof mlkem_768; wrong lengths are refused", () => {
    const wrong = readWycheproof<{ seed: string; ek?: string; c: string; K: string }>("mlkem_768").filter(
      (t) => {
        const found = outcome(() => {
          const pair = suite.mlKemKeyPair(fromHex(t.seed));
          if (t.ek !== undefined && toHex(pair.publicKey) !== t.ek) return undefined;
          return suite.mlKemDecapsulate(pair.secretKey, fromHex(t.c));
        });
        if (t.result === "valid") return found !== t.K;
        return found !== "peer-misbehaved" && found !== "api-misuse";
      },
    );
    expect(wrong).toEqual([]);
  });

  test.runIf(hasShared)("mlKemDecapsulate() matches Wycheproof mlkem_768_semi_expanded_decaps", () => {
    const wrong = readWycheproof<{ dk: string; c: string; K?: string }>(
      "mlkem_768_semi_expanded_decaps",
    ).filter((t) => {
      const found = outcome(() => suite.mlKemDecapsulate(fromHex(t.dk), fromHex(t.c)));
      return t.result === "valid" ? found !== t.K : found !== "peer-misbehaved" && found !== "api-misuse";
    });
    expect(wrong).toEqual([]);
  });

  test.runIf(hasShared)("hmacSha256() matches Wycheproof", () => {
    type Case = { key: string; msg: string; tag: string };
    const wrong = readWycheproof<Case, { tagSize: number }>("hmac_sha256").filter((t) => {
      const tag = toHex(suite.hmacSha256(fromHex(t.key), fromHex(t.msg))).slice(0, t.tagSize / 4);
      return (tag === t.tag) !== (t.result === "valid");
    });
    expect(wrong).toEqual([]);
  });

  test.runIf(hasShared)("HKDF over hmacSha256() matches Wycheproof", () => {
    type Case = { ikm: string; salt: string; info: string; size: number; okm: string };
    const wrong = readWycheproof<Case>("hkdf_sha256")
      .filter((t) => t.result === "valid") // the rest ask for more than 255 blocks
      .filter((t) => toHex(hkdf(suite, fromHex(t.ikm), fromHex(t.salt), fromHex(t.info), t.size)) !== t.okm);
    expect(wrong).toEqual([]);
  });

  test("sha256() and sha512() match FIPS 180-4 for 'abc'", () => {
    expect(toHex(suite.sha256(utf8("abc")))).toBe(
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
    expect(toHex(suite.sha512(utf8("abc")))).toBe(
      "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a" +
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    );
  });

  test("wrong lengths: ours are misuse, the peer's are misbehaviour, a signature's are a refusal", () => {
    const found = [
      () => suite.x25519KeyPair(bytes(31)).publicKey,
      () => suite.x25519(bytes(31), bytes(32)),
      () => suite.mlKemKeyPair(bytes(32)).publicKey,
      () => suite.mlKemEncapsulate(suite.mlKemKeyPair(bytes(64)).publicKey, bytes(31)).secret,
      () => suite.mlKemDecapsulate(bytes(2399), bytes(1088)),
      () => suite.mlKemDecapsulate(bytes(2400), bytes(1088)), // its inner hash does not hold
      () => suite.seal(bytes(31), bytes(12), NONE, NONE),
      () => suite.seal(bytes(32), bytes(8), NONE, NONE), // OpenSSL alone would take it
      () => suite.open(bytes(32), bytes(11), NONE, bytes(16)),
      () => suite.open(bytes(33), bytes(12), NONE, bytes(16)),
      () => suite.ed25519Sign(bytes(64), NONE),
      () => suite.ed25519PublicKey(bytes(31)),
    ].map(outcome);
    expect(found).toEqual(found.map(() => "api-misuse"));
    const peers = [
      () => suite.x25519(bytes(32), bytes(31)),
      () => suite.x25519(bytes(32), bytes(33)),
      () => suite.mlKemEncapsulate(bytes(1183)).secret,
      () => suite.mlKemDecapsulate(suite.mlKemKeyPair(bytes(64)).secretKey, bytes(1087)),
    ].map(outcome);
    expect(peers).toEqual(peers.map(() => "peer-misbehaved"));
    for (const length of [0, 1, 15])
      expect(suite.open(bytes(32), bytes(12), NONE, bytes(length))).toBeUndefined();
    expect(suite.ed25519Verify(bytes(31), NONE, bytes(64))).toBe(false);
    expect(suite.ed25519Verify(bytes(32), NONE, bytes(63))).toBe(false);
  });

  test("open() refuses every flipped bit of key, nonce, header and packet", () => {
    const [key, nonce, header] = [suite.randomBytes(32), suite.randomBytes(12), utf8("header")];
    const sealed = suite.seal(key, nonce, header, utf8("text"));
    expect(suite.open(key, nonce, header, sealed)).toEqual(utf8("text"));
    const inputs = [key, nonce, header, sealed] as const;
    for (const [at, input] of inputs.entries()) {
      for (let bit = 0; bit < input.length * 8; bit++) {
        const changed = inputs.map((bytes, i) =>
          i === at ? flipped(bytes, bit) : bytes,
        ) as unknown as typeof inputs;
        expect(suite.open(...changed)).toBeUndefined();
      }
    }
    expect(suite.open(key, nonce, header, sealed.subarray(0, -1))).toBeUndefined();
  });

  test("ed25519Verify() refuses keys outside the prime-order subgroup, with signatures that fit the equation", () => {
    const L = ed25519.Point.Fn.ORDER;
    const torsion = ed25519.Point.fromBytes(
      fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
      true,
    );
    expect(torsion.isSmallOrder()).toBe(true);
    const challenge = (r: Uint8Array, a: Uint8Array, message: Uint8Array) =>
      BigInt(
        `0x${toHex(
          nodeSuite
            .sha512(concat(r, a, message))
            .slice()
            .reverse(),
        )}`,
      ) % L;
    const a = 12345678901234567890n;
    const base = ed25519.Point.BASE;
    const mixed = base.multiply(a).add(torsion).toBytes();
    let exact = 0;
    for (let i = 0; i < 64; i++) {
      const message = utf8(`message ${i}`);
      const r = BigInt(1000 + i);
      const R = base.multiply(r).toBytes();
      const k = challenge(R, mixed, message);
      const signature = concat(R, little((r + k * a) % L));
      expect(ed25519.verify(signature, message, mixed, { zip215: false })).toBe(true); // the cofactored equation holds
      if (k % 8n === 0n) exact++; // and here even the exact one
      expect(suite.ed25519Verify(mixed, message, signature)).toBe(false);
    }
    expect(exact).toBeGreaterThan(0);
    // Keys of small order, each in its canonical encoding, the neutral element among them: R = sB fits any message.
    const small = concat(base.multiply(5n).toBytes(), little(5n));
    let order = torsion;
    for (let i = 0; i < 8; i++) {
      order = order.add(torsion);
      expect(suite.ed25519Verify(order.toBytes(), utf8("anything"), small)).toBe(false);
    }
    // Sound key, R with a torsion part: fits the cofactored equation only.
    const sound = base.multiply(a).toBytes();
    const R = base.multiply(7n).add(torsion).toBytes();
    const signature = concat(R, little((7n + challenge(R, sound, NONE) * a) % L));
    expect(ed25519.verify(signature, NONE, sound, { zip215: false })).toBe(true);
    expect(suite.ed25519Verify(sound, NONE, signature)).toBe(false);
  });

  test("every result is a plain Uint8Array in memory of its own, and no seed is kept or changed", () => {
    const seed = new Uint8Array(32).fill(3);
    const dz = new Uint8Array(64).fill(4);
    const pair = suite.x25519KeyPair(seed);
    const kem = suite.mlKemKeyPair(dz);
    const { ciphertext, secret } = suite.mlKemEncapsulate(kem.publicKey, seed);
    const sealed = suite.seal(seed, dz.subarray(0, 12), seed, dz);
    const results = [
      pair.secretKey,
      pair.publicKey,
      kem.secretKey,
      kem.publicKey,
      ciphertext,
      secret,
      sealed,
      suite.mlKemDecapsulate(kem.secretKey, ciphertext),
      suite.x25519(seed, pair.publicKey),
      suite.open(seed, dz.subarray(0, 12), seed, sealed) ?? NONE,
      suite.sha256(seed),
      suite.sha512(seed),
      suite.hmacSha256(seed, dz),
      suite.randomBytes(7),
      suite.ed25519Sign(seed, dz),
      suite.ed25519PublicKey(seed),
    ];
    for (const bytes of results) {
      expect(Object.getPrototypeOf(bytes)).toBe(Uint8Array.prototype);
      bytes.fill(0);
    }
    expect(new Set(results.map((bytes) => bytes.buffer)).size).toBe(results.length);
    expect(equalBytes(seed, new Uint8Array(32).fill(3)) && equalBytes(dz, new Uint8Array(64).fill(4))).toBe(
      true,
    );
  });

  test("pairs without a seed are fresh, and agree", () => {
    const [a, b] = [suite.x25519KeyPair(), suite.x25519KeyPair()];
    expect(suite.x25519(a.secretKey, b.publicKey)).toEqual(suite.x25519(b.secretKey, a.publicKey));
    expect(a.secretKey).not.toEqual(b.secretKey);
    const kem = suite.mlKemKeyPair();
    const { ciphertext, secret } = suite.mlKemEncapsulate(kem.publicKey);
    expect(suite.mlKemDecapsulate(kem.secretKey, ciphertext)).toEqual(secret);
    expect(suite.mlKemDecapsulate(kem.secretKey, flipped(ciphertext, 5))).not.toEqual(secret);
  });
});

describe("both back ends", () => {
  const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
  const bytes12 = fc.uint8Array({ minLength: 12, maxLength: 12 });
  const text = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.uint8Array({ minLength: 16_384, maxLength: 16_384 }),
  );
  const order = fc.constantFrom<readonly [CryptoSuite, CryptoSuite]>([noble, nodeSuite], [nodeSuite, noble]);

  test("each opens what the other sealed, byte for byte the same", () =>
    fc.assert(
      fc.property(order, bytes32, bytes12, text, text, ([one, other], key, nonce, header, plaintext) => {
        const sealed = one.seal(key, nonce, header, plaintext);
        expect(equalBytes(sealed, other.seal(key, nonce, header, plaintext))).toBe(true);
        const behind = concat(new Uint8Array(9), sealed);
        expect(equalBytes(one.seal(key, nonce, header, plaintext, 9), behind)).toBe(true);
        expect(equalBytes(other.open(key, nonce, header, sealed) ?? NONE, plaintext)).toBe(true);
        expect(other.open(key, nonce, concat(header, u8(0)), sealed)).toBeUndefined();
      }),
    ));

  test("hashes, HMAC, key pairs, shared secrets and signatures are equal", () =>
    fc.assert(
      fc.property(bytes32, bytes32, text, (a, b, message) => {
        const all = (suite: CryptoSuite): string[] => [
          toHex(suite.sha256(message)),
          toHex(suite.sha512(message)),
          toHex(suite.hmacSha256(a, message)),
          toHex(suite.hmacSha256(message, a)),
          toHex(suite.x25519KeyPair(a).publicKey),
          outcome(() => suite.x25519(a, b)), // b is any 32 bytes: on the curve or its twist, canonical or not
          toHex(suite.ed25519PublicKey(a)),
          toHex(suite.ed25519Sign(a, message)),
        ];
        expect(all(noble)).toEqual(all(nodeSuite));
      }),
      { numRuns: 40 },
    ));

  test("each verifies what the other signed, and both give one answer for damaged keys and signatures", () =>
    fc.assert(
      fc.property(
        order,
        bytes32,
        fc.uint8Array({ maxLength: 60 }),
        fc.nat(255),
        fc.nat(511),
        ([one, other], seed, message, k, s) => {
          const key = one.ed25519PublicKey(seed);
          const signature = one.ed25519Sign(seed, message);
          expect(other.ed25519Verify(key, message, signature)).toBe(true);
          for (const suite of [one, other]) {
            expect(suite.ed25519Verify(flipped(key, k), message, signature)).toBe(false);
            expect(suite.ed25519Verify(key, message, flipped(signature, s))).toBe(false);
          }
        },
      ),
      { numRuns: 40 },
    ));

  test("ML-KEM works across", () =>
    fc.assert(
      fc.property(
        order,
        fc.uint8Array({ minLength: 64, maxLength: 64 }),
        bytes32,
        ([one, other], seed, coins) => {
          const pair = one.mlKemKeyPair(seed);
          expect(toHex(pair.publicKey)).toBe(toHex(other.mlKemKeyPair(seed).publicKey));
          const { ciphertext, secret } = other.mlKemEncapsulate(pair.publicKey, coins);
          expect(equalBytes(one.mlKemDecapsulate(pair.secretKey, ciphertext), secret)).toBe(true);
        },
      ),
      { numRuns: 20 },
    ));
});

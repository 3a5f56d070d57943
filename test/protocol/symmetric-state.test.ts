// SymmetricState and CipherState: what the published vectors do not reach.

import { describe, expect, test } from "vitest";
import { fromHex, toHex, utf8 } from "../../protocol/bytes.ts";
import { CipherState, SymmetricState } from "../../protocol/handshake/symmetric-state.ts";
import { bothSuites } from "../support/both-suites.ts";

const EMPTY = new Uint8Array(0);

describe.each(bothSuites)("%s", (_, suite) => {
  const keyed = (): SymmetricState => {
    const state = SymmetricState.initialize(suite, "Noise_NN_25519_ChaChaPoly_SHA256");
    state.mixKey(suite.sha256(utf8("input")));
    return state;
  };

  test("initialize: a name of up to 32 bytes is padded, a longer one hashed", () => {
    const name32 = "Noise_NN_25519_ChaChaPoly_SHA256";
    expect(name32.length).toBe(32);
    expect(SymmetricState.initialize(suite, name32).handshakeHash()).toEqual(utf8(name32));
    expect(toHex(SymmetricState.initialize(suite, "abc").handshakeHash())).toBe(`616263${"00".repeat(29)}`);
    expect(SymmetricState.initialize(suite, `${name32}x`).handshakeHash()).toEqual(
      suite.sha256(utf8(`${name32}x`)),
    );
  });

  test("without a key, bytes pass in the clear and are hashed", () => {
    const state = SymmetricState.initialize(suite, "abc");
    const twin = state.clone();
    expect(state.hasKey).toBe(false);
    expect(state.encryptAndHash(utf8("clear"))).toEqual(utf8("clear"));
    expect(twin.decryptAndHash(utf8("clear"))).toEqual(utf8("clear"));
    expect(state.handshakeHash()).toEqual(twin.handshakeHash());
    expect(state.handshakeHash()).toEqual(
      suite.sha256(new Uint8Array([...utf8("abc"), ...new Uint8Array(29), ...utf8("clear")])),
    );
  });

  test("a tag that does not hold leaves the state as it was", () => {
    const sender = keyed();
    const receiver = sender.clone();
    const [first, second] = [sender.encryptAndHash(utf8("one")), sender.encryptAndHash(utf8("two"))];
    const before = receiver.handshakeHash();
    for (const forged of [EMPTY, first.subarray(1), second, new Uint8Array(19)])
      expect(receiver.decryptAndHash(forged)).toBeUndefined();
    expect(receiver.handshakeHash()).toEqual(before);
    expect(receiver.decryptAndHash(first)).toEqual(utf8("one"));
    expect(receiver.decryptAndHash(second)).toEqual(utf8("two"));
    expect(receiver.handshakeHash()).toEqual(sender.handshakeHash());
  });

  test("a clone is independent, in what it does and in what it wipes", () => {
    const state = keyed();
    const twin = state.clone();
    twin.mixHash(utf8("x"));
    twin.mixKey(utf8("y"));
    twin.destroy();
    const other = keyed();
    expect(state.encryptAndHash(utf8("z"))).toEqual(other.encryptAndHash(utf8("z")));
    expect(state.split3()).toEqual(other.split3());
  });

  test("split3: HKDF(ck, '', 3), without ending the state", () => {
    const state = keyed();
    const keys = state.split3();
    expect(new Set(Object.values(keys).map(toHex)).size).toBe(3);
    expect(state.split3()).toEqual(keys);
    // ck is the first HKDF output of mixKey; from there on by RFC 5869, written out.
    const temp = suite.hmacSha256(utf8("Noise_NN_25519_ChaChaPoly_SHA256"), suite.sha256(utf8("input")));
    const chainingKey = suite.hmacSha256(temp, Uint8Array.of(1));
    const key = suite.hmacSha256(chainingKey, EMPTY);
    const one = suite.hmacSha256(key, Uint8Array.of(1));
    const two = suite.hmacSha256(key, new Uint8Array([...one, 2]));
    const three = suite.hmacSha256(key, new Uint8Array([...two, 3]));
    expect(keys).toEqual({ initiatorToResponder: one, responderToInitiator: two, exporter: three });
  });

  test("after destroy every method throws", () => {
    const state = keyed();
    state.destroy();
    state.destroy();
    const uses = [
      () => state.mixHash(EMPTY),
      () => state.mixKey(EMPTY),
      () => state.mixKeyAndHash(EMPTY),
      () => state.encryptAndHash(EMPTY),
      () => state.decryptAndHash(EMPTY),
      () => state.handshakeHash(),
      () => state.split3(),
      () => state.clone(),
    ];
    for (const use of uses) expect(use).toThrow(expect.objectContaining({ code: "api-misuse" }));
  });

  test("the nonce is four zero bytes, then 64 bits little-endian", () => {
    const key = suite.sha256(utf8("key"));
    const nonces = new Map<number, string>([
      [0, "000000000000000000000000"],
      [1, "000000000100000000000000"],
      [258, "000000000201000000000000"],
      [2 ** 32, "000000000000000001000000"],
      [2 ** 48 + 7, "000000000700000000000100"],
    ]);
    for (const [n, nonce] of nonces) {
      const sealed = new CipherState(suite, key.slice(), n).encrypt(utf8("header"), utf8("text"));
      expect(sealed).toEqual(suite.seal(key, fromHex(nonce), utf8("header"), utf8("text")));
    }
  });
});

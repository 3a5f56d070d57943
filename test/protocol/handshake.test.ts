// The NXhfs handshake: vectors, both back ends against each other, and an attacker at every byte.

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { concat, fromHex, toHex, utf8 } from "../../protocol/bytes.ts";
import type { CryptoSuite, KeyPair } from "../../protocol/crypto/suite.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { startInitiator } from "../../protocol/handshake/initiator.ts";
import {
  type Handshaken,
  MESSAGE1_LENGTH,
  MESSAGE2_LENGTH,
  PROTOCOL_NAME,
  parseMessage2,
} from "../../protocol/handshake/messages.ts";
import { respond } from "../../protocol/handshake/responder.ts";
import { SymmetricState } from "../../protocol/handshake/symmetric-state.ts";
import { bothSuites, noble, node } from "../support/both-suites.ts";
import { NoiseParty } from "../support/noise-engine.ts";
import { sharedPath, tellIfSharedIsAbsent } from "../support/shared-vectors.ts";
import type { NxhfsVectors } from "../vectors/generate.ts";

tellIfSharedIsAbsent();

const PROLOGUE = utf8("sealtty/1\0prologue of a test");
const EMPTY = new Uint8Array(0);

const flipped = (bytes: Uint8Array, index: number, mask: number): Uint8Array => {
  const copy = bytes.slice();
  copy[index] = (copy[index] as number) ^ mask;
  return copy;
};

const codeOf = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    if (error instanceof SealttyError) return error.code;
    throw error;
  }
  return "no error";
};

/** Same hash, identity and exporter, and each sends with what the other receives with. */
function expectAgreement(client: Handshaken | undefined, guest: Handshaken): void {
  if (client === undefined) throw new Error("The initiator dropped the true message 2");
  expect(client.handshakeHash).toEqual(guest.handshakeHash);
  expect(client.guestStatic).toEqual(guest.guestStatic);
  expect(client.exporter).toEqual(guest.exporter);
  expect(client.sendKey).toEqual(guest.receiveKey);
  expect(client.receiveKey).toEqual(guest.sendKey);
  const secrets = [client.exporter, client.sendKey, client.receiveKey].map(toHex);
  expect(new Set(secrets).size).toBe(3);
  for (const secret of secrets) expect(secret).toMatch(/^(?!0{64})[0-9a-f]{64}$/);
}

function session(suite: CryptoSuite, prologue = PROLOGUE, guestKeys: KeyPair = suite.x25519KeyPair()) {
  const { message1, awaiting } = startInitiator(suite, prologue);
  const { message2, handshaken } = respond(suite, prologue, guestKeys, message1);
  return { message1, awaiting, message2, guest: handshaken, guestKeys };
}

/** RFC 7748 curve: every u of order 1, 2, 4 or 8, canonical or not, with the unused top bit clear and set. */
const LOW_ORDER = [
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
].flatMap((hex) => [fromHex(hex), flipped(fromHex(hex), 31, 0x80)]);

describe.each(bothSuites)("%s", (name, suite) => {
  const own = JSON.parse(
    readFileSync(new URL("../vectors/nxhfs.json", import.meta.url), "utf8"),
  ) as NxhfsVectors;
  test.each(own.cases.map((v) => [v.name, v] as const))("own vector: %s", (_, v) => {
    expect(own.protocol).toBe(PROTOCOL_NAME);
    const prologue = fromHex(v.prologue);
    const { message1, awaiting } = startInitiator(suite, prologue, {
      x25519Seed: fromHex(v.initiatorX25519Seed),
      kemSeed: fromHex(v.initiatorKemSeed),
    });
    const guestKeys = suite.x25519KeyPair(fromHex(v.responderStaticSecret));
    const { message2, handshaken } = respond(suite, prologue, guestKeys, message1, {
      x25519Seed: fromHex(v.responderX25519Seed),
      encapsulationSeed: fromHex(v.responderEncapsulationSeed),
    });
    expect(toHex(message1)).toBe(v.message1);
    expect(toHex(message2)).toBe(v.message2);
    expect(toHex(handshaken.handshakeHash)).toBe(v.handshakeHash);
    expect(toHex(handshaken.guestStatic)).toBe(v.guestStatic);
    expect(toHex(handshaken.receiveKey)).toBe(v.initiatorToResponder);
    expect(toHex(handshaken.sendKey)).toBe(v.responderToInitiator);
    expect(toHex(handshaken.exporter)).toBe(v.exporter);
    expectAgreement(awaiting.receive(message2), handshaken);
  });

  const path = sharedPath("vectors", "noise-hfs", "nxhfs-25519-mlkem768-derived.json");
  const shared =
    path === undefined
      ? []
      : (JSON.parse(readFileSync(path, "utf8")) as { vectors: Record<string, string & string[]>[] }).vectors;
  const sha256Vectors = shared.filter((v) => (v["protocol"] ?? PROTOCOL_NAME) === PROTOCOL_NAME);
  test.runIf(path !== undefined)("the shared NXhfs file holds 4 SHA256 vectors", () => {
    expect(sha256Vectors.length).toBe(4);
  });
  test.each(sha256Vectors.map((v) => [v["vector_index"], v] as const))("shared NXhfs vector %s", (_, v) => {
    const get = (key: string): Uint8Array => fromHex(v[key] ?? "");
    const prologue = get("prologue");
    const { message1, awaiting } = startInitiator(suite, prologue, {
      x25519Seed: get("ephemeral_dh_i_private"),
      kemSeed: get("ephemeral_kem_i_seed"),
    });
    const guestKeys = suite.x25519KeyPair(get("static_r_private"));
    const { message2, handshaken } = respond(suite, prologue, guestKeys, message1, {
      x25519Seed: get("ephemeral_dh_r_private"),
      encapsulationSeed: get("encap_seed_hex"),
    });
    // The vectors carry payloads, our messages none. So h and the tags (which cover h) differ from there on; whatever
    // does not depend on h is compared with the vector, the rest with the engine that reproduces the vector as it is.
    const messages = (v["msgs"] ?? []) as string[];
    expect(messages[0]?.startsWith(toHex(message1))).toBe(true);
    const theirs = fromHex(messages[1] ?? "");
    const reply = parseMessage2(message2);
    const expected = parseMessage2(theirs.subarray(0, MESSAGE2_LENGTH));
    expect(reply.ephemeral).toEqual(expected.ephemeral);
    expect(reply.sealedKem.subarray(0, 1088)).toEqual(expected.sealedKem.subarray(0, 1088));
    expect(reply.sealedStatic.subarray(0, 32)).toEqual(expected.sealedStatic.subarray(0, 32));
    expect(toHex(handshaken.receiveKey)).toBe(v["cs1_k"]);
    expect(toHex(handshaken.sendKey)).toBe(v["cs2_k"]);
    expectAgreement(awaiting.receive(message2), handshaken);

    const engine = new NoiseParty(suite, {
      protocolName: PROTOCOL_NAME,
      initiator: false,
      prologue,
      staticSecret: get("static_r_private"),
      ephemeralSecret: get("ephemeral_dh_r_private"),
      encapsulationSeed: get("encap_seed_hex"),
    });
    expect(engine.read(message1)).toEqual(EMPTY);
    expect(engine.write(EMPTY)).toEqual(message2);
    expect(engine.handshakeHash()).toEqual(handshaken.handshakeHash);
    expect(engine.split().keys.exporter).toEqual(handshaken.exporter);
  });

  test("the messages have the documented lengths, and each session its own values", () => {
    const guestKeys = suite.x25519KeyPair();
    const sessions = Array.from({ length: 4 }, () => session(suite, PROLOGUE, guestKeys));
    for (const { message1, awaiting, message2, guest } of sessions) {
      expect(message1.length).toBe(1216);
      expect(message2.length).toBe(1200);
      expect([MESSAGE1_LENGTH, MESSAGE2_LENGTH]).toEqual([1216, 1200]);
      expectAgreement(awaiting.receive(message2), guest);
    }
    const values = sessions.flatMap(({ message1, message2, guest }) =>
      [message1, message2, guest.handshakeHash, guest.exporter, guest.sendKey, guest.receiveKey].map(toHex),
    );
    expect(new Set(values).size).toBe(values.length);
  });

  test("the static key pair stays usable, and keys do not share memory with messages", () => {
    const { message1, awaiting, message2, guest, guestKeys } = session(suite);
    message1.fill(0);
    const client = awaiting.receive(message2);
    message2.fill(0);
    expectAgreement(client, guest);
    expect(guest.guestStatic).not.toBe(guestKeys.publicKey);
    expect(suite.x25519KeyPair(guestKeys.secretKey).publicKey).toEqual(guest.guestStatic);
  });

  // Every byte where it is cheap; noble's curve code is slow, so there every byte that differs in kind.
  const stride = name === "noble" ? 37 : 1;

  test("a changed message 1 never gives two sides with equal keys, and the true exchange still completes", () => {
    const { message1, awaiting, message2, guest, guestKeys } = session(suite);
    for (let i = 0; i < message1.length; i += stride) {
      const code = codeOf(() => {
        const forged = respond(suite, PROLOGUE, guestKeys, flipped(message1, i, 1 << (i % 8)));
        expect(awaiting.receive(forged.message2)).toBeUndefined();
        expect(forged.handshaken.handshakeHash).not.toEqual(guest.handshakeHash);
        expect(forged.handshaken.sendKey).not.toEqual(guest.sendKey);
      });
      expect(["no error", "peer-misbehaved"]).toContain(code); // refused only by the modulus check
    }
    expectAgreement(awaiting.receive(message2), guest);
  }, 60_000);

  test("a changed message 2 is dropped, and the true one still completes", () => {
    const { awaiting, message2, guest } = session(suite);
    for (let i = 0; i < message2.length; i += stride)
      expect(awaiting.receive(flipped(message2, i, 1 << (i % 8)))).toBeUndefined();
    expectAgreement(awaiting.receive(message2), guest);
  }, 60_000);

  // First and last byte of each field: e | e1   and   e | ct, tag | s, tag | tag
  test.each([0, 31, 32, 1215])("each bit of byte %i of message 1", (index) => {
    const { message1, awaiting, message2, guest, guestKeys } = session(suite);
    for (let bit = 0; bit < 8; bit++) {
      const forged = flipped(message1, index, 1 << bit);
      const code = codeOf(() => {
        const answer = respond(suite, PROLOGUE, guestKeys, forged);
        expect(awaiting.receive(answer.message2)).toBeUndefined();
      });
      expect(["no error", "peer-misbehaved"]).toContain(code);
    }
    expectAgreement(awaiting.receive(message2), guest);
  });
  test.each([0, 31, 32, 1119, 1120, 1135, 1136, 1167, 1168, 1183, 1184, 1199])(
    "each bit of byte %i of message 2",
    (index) => {
      const { awaiting, message2, guest } = session(suite);
      for (let bit = 0; bit < 8; bit++)
        expect(awaiting.receive(flipped(message2, index, 1 << bit))).toBeUndefined();
      expectAgreement(awaiting.receive(message2), guest);
    },
  );

  test("reflection: the initiator's own bytes, at either length, are dropped", () => {
    const { message1, awaiting, message2, guest, guestKeys } = session(suite);
    expect(awaiting.receive(message1)).toBeUndefined();
    expect(awaiting.receive(message1.subarray(0, MESSAGE2_LENGTH))).toBeUndefined();
    expect(codeOf(() => respond(suite, PROLOGUE, guestKeys, message2))).toBe("peer-misbehaved");
    expectAgreement(awaiting.receive(message2), guest);
  });

  test("an answer to another prologue, another message 1 or an earlier session is dropped", () => {
    const guestKeys = suite.x25519KeyPair();
    const earlier = session(suite, PROLOGUE, guestKeys);
    const { message1, awaiting, message2, guest } = session(suite, PROLOGUE, guestKeys);
    expect(awaiting.receive(earlier.message2)).toBeUndefined();
    for (const prologue of [EMPTY, PROLOGUE.subarray(1), concat(PROLOGUE, EMPTY, Uint8Array.of(0))]) {
      expect(awaiting.receive(respond(suite, prologue, guestKeys, message1).message2)).toBeUndefined();
    }
    expectAgreement(awaiting.receive(message2), guest);
  });

  test("fields of two true answers do not mix", () => {
    const guestKeys = suite.x25519KeyPair();
    const { message1, awaiting, message2, guest } = session(suite, PROLOGUE, guestKeys);
    const other = respond(suite, PROLOGUE, guestKeys, message1).message2; // also true, with its own ephemerals
    for (const cut of [32, 1136, 1184]) {
      expect(awaiting.receive(concat(message2.subarray(0, cut), other.subarray(cut)))).toBeUndefined();
      expect(awaiting.receive(concat(other.subarray(0, cut), message2.subarray(cut)))).toBeUndefined();
    }
    expectAgreement(awaiting.receive(message2), guest);
  });

  test("any other length: message 2 is dropped, message 1 refused", () => {
    const { message1, awaiting, message2, guest, guestKeys } = session(suite);
    for (const length of [0, 1, 31, 32, 1104, 1136, 1184, 1199])
      expect(awaiting.receive(message2.subarray(0, length))).toBeUndefined();
    for (const extra of [1, 16, 4000])
      expect(awaiting.receive(concat(message2, new Uint8Array(extra)))).toBeUndefined();
    for (const length of [0, 1, 32, 1184, 1215])
      expect(codeOf(() => respond(suite, PROLOGUE, guestKeys, message1.subarray(0, length)))).toBe(
        "peer-misbehaved",
      );
    expect(codeOf(() => respond(suite, PROLOGUE, guestKeys, concat(message1, Uint8Array.of(0))))).toBe(
      "peer-misbehaved",
    );
    expectAgreement(awaiting.receive(message2), guest);
  });

  test("X25519 points of low order are refused: as either ephemeral and as the guest's static key", () => {
    const { message1, awaiting, message2, guest, guestKeys } = session(suite);
    for (const point of LOW_ORDER) {
      const first = concat(point, message1.subarray(32));
      expect(codeOf(() => respond(suite, PROLOGUE, guestKeys, first))).toBe("peer-misbehaved");
      expect(awaiting.receive(concat(point, message2.subarray(32)))).toBeUndefined();
      // A guest that does hold the ee and ekem1 keys, but announces a static key for which es would be zero.
      expect(awaiting.receive(replyWithStatic(suite, message1, point))).toBeUndefined();
    }
    expect(awaiting.receive(replyWithStatic(suite, message1, guestKeys.publicKey, guestKeys))).toBeDefined();
    expect(codeOf(() => awaiting.receive(message2))).toBe("api-misuse");
    expect(guest.guestStatic).toEqual(guestKeys.publicKey);
  });

  test("an ML-KEM key that fails the modulus check is refused", () => {
    const { message1, guestKeys } = session(suite);
    const q = 3329; // little-endian pairs of 12 bits: the first coefficient becomes q, not below q
    const forged = message1.slice();
    forged[32] = q & 0xff;
    forged[33] = ((forged[33] as number) & 0xf0) | (q >> 8);
    expect(codeOf(() => respond(suite, PROLOGUE, guestKeys, forged))).toBe("peer-misbehaved");
    const ones = concat(message1.subarray(0, 32), new Uint8Array(1184).fill(0xff));
    expect(codeOf(() => respond(suite, PROLOGUE, guestKeys, ones))).toBe("peer-misbehaved");
  });

  test("a state is used once: by a message that verifies, or by destroy", () => {
    const { awaiting, message2 } = session(suite);
    expect(awaiting.receive(message2)).toBeDefined();
    expect(codeOf(() => awaiting.receive(message2))).toBe("api-misuse");
    awaiting.destroy();
    const abandoned = session(suite);
    abandoned.awaiting.destroy();
    expect(codeOf(() => abandoned.awaiting.receive(abandoned.message2))).toBe("api-misuse");
  });
});

/** What a guest that does not follow the protocol could send: `announced` as its static key. */
function replyWithStatic(
  suite: CryptoSuite,
  message1: Uint8Array,
  announced: Uint8Array,
  keys = suite.x25519KeyPair(),
): Uint8Array {
  const state = SymmetricState.initialize(suite, PROTOCOL_NAME);
  for (const part of [PROLOGUE, message1.subarray(0, 32), message1.subarray(32), EMPTY]) state.mixHash(part);
  const ephemeral = suite.x25519KeyPair();
  state.mixHash(ephemeral.publicKey);
  state.mixKey(suite.x25519(ephemeral.secretKey, message1.subarray(0, 32)));
  const { ciphertext, secret } = suite.mlKemEncapsulate(message1.subarray(32));
  const sealedKem = state.encryptAndHash(ciphertext);
  state.mixKey(secret);
  const sealedStatic = state.encryptAndHash(announced);
  const isTrue = toHex(announced) === toHex(keys.publicKey);
  state.mixKey(isTrue ? suite.x25519(keys.secretKey, message1.subarray(0, 32)) : new Uint8Array(32)); // es = 0
  return concat(ephemeral.publicKey, sealedKem, sealedStatic, state.encryptAndHash(EMPTY));
}

test.each([
  ["noble", "node:crypto", noble, node],
  ["node:crypto", "noble", node, noble],
] as const)("client on %s, guest on %s", (_client, _guest, clientSuite, guestSuite) => {
  const { message1, awaiting } = startInitiator(clientSuite, PROLOGUE);
  const { message2, handshaken } = respond(guestSuite, PROLOGUE, guestSuite.x25519KeyPair(), message1);
  expect(message2.length).toBe(MESSAGE2_LENGTH);
  expectAgreement(awaiting.receive(message2), handshaken);
});

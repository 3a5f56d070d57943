// Published Noise vectors through the product's SymmetricState. Sources and licences: ../shared/vectors/SOURCES.md

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";
import { bothSuites } from "../support/both-suites.ts";
import { NoiseParty } from "../support/noise-engine.ts";
import { sharedPath, tellIfSharedIsAbsent } from "../support/shared-vectors.ts";

tellIfSharedIsAbsent();

interface ClassicVector {
  readonly protocol_name?: string; // cacophony
  readonly name?: string; // noise-c
  readonly init_prologue: string;
  readonly init_static?: string;
  readonly init_ephemeral?: string;
  readonly init_remote_static?: string;
  readonly init_psks?: readonly string[];
  readonly resp_prologue: string;
  readonly resp_static?: string;
  readonly resp_ephemeral?: string;
  readonly resp_remote_static?: string;
  readonly resp_psks?: readonly string[];
  readonly handshake_hash: string;
  readonly messages: readonly { readonly payload: string; readonly ciphertext: string }[];
}

interface HfsVector {
  readonly vector_index: number;
  readonly protocol?: string;
  readonly prologue: string;
  readonly static_i_private: string;
  readonly static_r_private: string;
  readonly ephemeral_dh_i_private: string;
  readonly ephemeral_dh_r_private: string;
  readonly ephemeral_kem_i_seed: string;
  readonly encap_seed_hex: string;
  readonly payloads: readonly string[];
  readonly msgs: readonly string[];
  readonly handshake_hash: string;
  readonly cs1_k: string;
  readonly cs2_k: string;
}

const optional = (hex: string | undefined): Uint8Array | undefined =>
  hex === undefined ? undefined : fromHex(hex);

/** @returns how many messages were sent and received. */
function runClassic(suite: CryptoSuite, protocolName: string, v: ClassicVector): number {
  const initiator = new NoiseParty(suite, {
    protocolName,
    initiator: true,
    prologue: fromHex(v.init_prologue),
    staticSecret: optional(v.init_static),
    ephemeralSecret: optional(v.init_ephemeral),
    remoteStatic: optional(v.init_remote_static),
    psks: (v.init_psks ?? []).map(fromHex),
  });
  const responder = new NoiseParty(suite, {
    protocolName,
    initiator: false,
    prologue: fromHex(v.resp_prologue),
    staticSecret: optional(v.resp_static),
    ephemeralSecret: optional(v.resp_ephemeral),
    remoteStatic: optional(v.resp_remote_static),
    psks: (v.resp_psks ?? []).map(fromHex),
  });
  const count = initiator.handshakeMessages;
  for (const [i, { payload, ciphertext }] of v.messages.slice(0, count).entries()) {
    const [from, to] = i % 2 === 0 ? [initiator, responder] : [responder, initiator];
    const message = from.write(fromHex(payload));
    expect(toHex(message)).toBe(ciphertext);
    expect(toHex(to.read(message))).toBe(payload);
  }
  expect(toHex(initiator.handshakeHash())).toBe(v.handshake_hash);
  expect(toHex(responder.handshakeHash())).toBe(v.handshake_hash);
  const i = initiator.split();
  const r = responder.split();
  const none = new Uint8Array(0);
  for (const [k, { payload, ciphertext }] of v.messages.slice(count).entries()) {
    const fromInitiator = initiator.oneWay || (count + k) % 2 === 0;
    const [from, to] = fromInitiator ? [i, r] : [r, i];
    const sealed = from.send.encrypt(none, fromHex(payload));
    expect(toHex(sealed)).toBe(ciphertext);
    const damaged = sealed.slice();
    damaged[k % damaged.length] = (damaged[k % damaged.length] as number) ^ 1;
    expect(to.receive.decrypt(none, damaged)).toBeUndefined(); // and the nonce stays
    expect(toHex(to.receive.decrypt(none, sealed) ?? none)).toBe(payload);
  }
  return v.messages.length;
}

/** @returns how many handshake messages were sent and received. */
function runHfs(suite: CryptoSuite, protocolName: string, v: HfsVector): number {
  const initiator = new NoiseParty(suite, {
    protocolName,
    initiator: true,
    prologue: fromHex(v.prologue),
    staticSecret: fromHex(v.static_i_private),
    ephemeralSecret: fromHex(v.ephemeral_dh_i_private),
    kemSeed: fromHex(v.ephemeral_kem_i_seed),
  });
  const responder = new NoiseParty(suite, {
    protocolName,
    initiator: false,
    prologue: fromHex(v.prologue),
    staticSecret: fromHex(v.static_r_private),
    ephemeralSecret: fromHex(v.ephemeral_dh_r_private),
    encapsulationSeed: fromHex(v.encap_seed_hex),
  });
  expect(v.msgs.length).toBe(initiator.handshakeMessages);
  for (const [i, expected] of v.msgs.entries()) {
    const [from, to] = i % 2 === 0 ? [initiator, responder] : [responder, initiator];
    const message = from.write(fromHex(v.payloads[i] ?? ""));
    expect(toHex(message)).toBe(expected);
    expect(toHex(to.read(message))).toBe(v.payloads[i]);
  }
  for (const party of [initiator, responder]) {
    expect(toHex(party.handshakeHash())).toBe(v.handshake_hash);
    const { keys } = party.split();
    expect(toHex(keys.initiatorToResponder)).toBe(v.cs1_k);
    expect(toHex(keys.responderToInitiator)).toBe(v.cs2_k);
  }
  return v.msgs.length;
}

/** @returns the SHA256 vectors of a file, and how many of another hash were left out. */
function load<V>(
  nameOf: (vector: V, protocol: string) => string,
  ...parts: string[]
): { cases: [string, V][]; skipped: number } | undefined {
  const path = sharedPath("vectors", ...parts);
  if (path === undefined) return undefined;
  const file = JSON.parse(readFileSync(path, "utf8")) as { protocol?: string; vectors: V[] };
  const all = file.vectors.map((v): [string, V] => [nameOf(v, file.protocol ?? ""), v]);
  const cases = all.filter(
    ([name]) =>
      name.endsWith("_25519_ChaChaPoly_SHA256") || name.endsWith("_25519+MLKEM768_ChaChaPoly_SHA256"),
  );
  return { cases, skipped: all.length - cases.length };
}

const CLASSIC = { "cacophony-25519-chachapoly.json": 59, "noise-c-25519-chachapoly.json": 15 };
const HFS = {
  "nxhfs-25519-mlkem768-derived.json": 4,
  "xxhfs-25519-mlkem768-derived.json": 2,
  "xxhfs-25519-mlkem768-published.json": 3,
};

describe.each(bothSuites)("%s", (_, suite) => {
  for (const [file, expected] of Object.entries(CLASSIC)) {
    const loaded = load<ClassicVector>((v) => v.protocol_name ?? v.name ?? "", "noise", file);
    describe.skipIf(loaded === undefined)(`noise/${file}`, () => {
      test(`holds ${expected} SHA256 vectors (${loaded?.skipped ?? 0} of other hashes skipped)`, () => {
        expect(loaded?.cases.length).toBe(expected);
      });
      for (const [name, vector] of loaded?.cases ?? [])
        test(`vector ${name}`, () => {
          expect(runClassic(suite, name, vector)).toBe(6); // handshake and transport
        });
    });
  }
  for (const [file, expected] of Object.entries(HFS)) {
    const loaded = load<HfsVector>((v, protocol) => v.protocol ?? protocol, "noise-hfs", file);
    describe.skipIf(loaded === undefined)(`noise-hfs/${file}`, () => {
      test(`holds ${expected} SHA256 vectors (${loaded?.skipped ?? 0} of other hashes skipped)`, () => {
        expect(loaded?.cases.length).toBe(expected);
      });
      for (const [name, v] of loaded?.cases ?? [])
        test(`vector ${name} #${v.vector_index}`, () => {
          expect(runHfs(suite, name, v)).toBe(v.payloads.length);
        });
    });
  }
});

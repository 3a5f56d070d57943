// The two handshake messages: their bytes, and what both sides have once they are through. docs/protocol.md §4

import { Reader } from "../bytes.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SymmetricState } from "./symmetric-state.ts";

/** Noise rev 34 §8 and noise_hfs_spec rev 1. One suite per protocol version: nothing is negotiated. */
export const PROTOCOL_NAME = "Noise_NXhfs_25519+MLKEM768_ChaChaPoly_SHA256";

const TAG = 16;
const DH_PUBLIC = 32; // X25519
const KEM_PUBLIC = 1184; // ML-KEM-768
const KEM_SEALED = 1088 + TAG;
const STATIC_SEALED = DH_PUBLIC + TAG;

/** -> e, e1 */
export const MESSAGE1_LENGTH = DH_PUBLIC + KEM_PUBLIC;
/** <- e, ee, ekem1, s, es */
export const MESSAGE2_LENGTH = DH_PUBLIC + KEM_SEALED + STATIC_SEALED + TAG;

/** -> e, e1, with an empty payload. All of it travels in the clear. */
export interface Message1 {
  readonly ephemeral: Uint8Array; // 32 bytes
  readonly kemPublic: Uint8Array; // 1184 bytes
}

/** <- e, ee, ekem1, s, es, with an empty payload. */
export interface Message2 {
  readonly ephemeral: Uint8Array; // 32 bytes
  readonly sealedKem: Uint8Array; // 1104 bytes
  readonly sealedStatic: Uint8Array; // 48 bytes
  readonly sealedPayload: Uint8Array; // 16 bytes: the tag of nothing
}

/**
 * Both messages are through. The guest proves nothing by it: any host can get here with a key of its own, so the
 * client sends nothing but acknowledgements before it has appraised evidence bound to these values.
 */
export interface Handshaken {
  /** Final h, 32 bytes, public: both ephemerals, the KEM key and ciphertext, the static key and the prologue are in it. */
  readonly handshakeHash: Uint8Array;
  /** The guest's static X25519 public key, 32 bytes. */
  readonly guestStatic: Uint8Array;
  /** Secret, 32 bytes, for the evidence binder. */
  readonly exporter: Uint8Array;
  /** Secret, 32 bytes each, owned by whoever receives this object. */
  readonly sendKey: Uint8Array;
  readonly receiveKey: Uint8Array;
}

/** What both sides start from: the name, then the prologue. */
export function beginTranscript(suite: CryptoSuite, prologue: Uint8Array): SymmetricState {
  const state = SymmetricState.initialize(suite, PROTOCOL_NAME);
  state.mixHash(prologue);
  return state;
}

/** @returns views. @throws SealttyError `peer-misbehaved` on any length but MESSAGE1_LENGTH. */
export function parseMessage1(message: Uint8Array): Message1 {
  const reader = new Reader(message, "Handshake message 1");
  const parsed = { ephemeral: reader.bytes(DH_PUBLIC), kemPublic: reader.bytes(KEM_PUBLIC) };
  reader.end();
  return parsed;
}

/** @returns views. @throws SealttyError `peer-misbehaved` on any length but MESSAGE2_LENGTH. */
export function parseMessage2(message: Uint8Array): Message2 {
  const reader = new Reader(message, "Handshake message 2");
  const parsed = {
    ephemeral: reader.bytes(DH_PUBLIC),
    sealedKem: reader.bytes(KEM_SEALED),
    sealedStatic: reader.bytes(STATIC_SEALED),
    sealedPayload: reader.bytes(TAG),
  };
  reader.end();
  return parsed;
}

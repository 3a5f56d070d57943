// The binder: what ties evidence to this very connection. docs/protocol.md §6.2

import { concat, lv16, u16, u32, u8, utf8 } from "../bytes.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { EVIDENCE_TYPES, type EvidenceType } from "./evidence.ts";

const LABEL = utf8("sealtty-evidence/1\0");
const TPM_LABEL = utf8("sealtty-tpm/1\0");
const ROLE_GUEST = 2;

/** The values that both ends of one handshake share; each side uses its own, never the peer's word for them. */
export interface BindingContext {
  /** Final Noise handshake hash, 32 bytes. */
  readonly handshakeHash: Uint8Array;
  /** The guest's static X25519 public key, 32 bytes. */
  readonly guestStatic: Uint8Array;
  /** Third HKDF output of the final chaining key, 32 bytes. */
  readonly exporter: Uint8Array;
  /** Fresh from the client, 32 bytes. */
  readonly clientNonce: Uint8Array;
}

/** @returns 64 bytes: REPORT_DATA of SEV-SNP and TDX. */
export function binderOf(
  suite: CryptoSuite,
  context: BindingContext,
  type: EvidenceType,
  aux: Uint8Array,
): Uint8Array {
  return suite.sha512(
    concat(
      LABEL,
      u8(ROLE_GUEST),
      u16(EVIDENCE_TYPES[type]),
      lv16(context.handshakeHash),
      lv16(context.guestStatic),
      lv16(context.exporter),
      lv16(context.clientNonce),
      lv16(suite.sha256(aux)),
    ),
  );
}

/** @returns 32 bytes: qualifyingData of a TPM quote, which fits every TPM. */
export function tpmQualifyingData(suite: CryptoSuite, binder: Uint8Array): Uint8Array {
  return suite.sha256(concat(TPM_LABEL, binder));
}

const REATTEST_LABEL = utf8("sealtty-reattest/1\0");

/** What re-attestation inside a connection adds to the values of its handshake. */
export interface RenewalContext extends BindingContext {
  /** Counts the requests of this connection, from 1; never repeats. */
  readonly counter: number;
  /** Fresh from the client for this request, 32 bytes. */
  readonly renewalNonce: Uint8Array;
}

/** Binder of evidence that is asked for again during a connection: own label, a counter, a fresh nonce. @returns 64 bytes. */
export function renewalBinderOf(
  suite: CryptoSuite,
  context: RenewalContext,
  type: EvidenceType,
  aux: Uint8Array,
): Uint8Array {
  return suite.sha512(
    concat(
      REATTEST_LABEL,
      u8(ROLE_GUEST),
      u16(EVIDENCE_TYPES[type]),
      lv16(context.handshakeHash),
      lv16(context.guestStatic),
      lv16(context.exporter),
      u32(context.counter),
      lv16(context.renewalNonce),
      lv16(suite.sha256(aux)),
    ),
  );
}

/** What an instance key signs (instance/key-proof.ts): the connection, and for a renewal its count and nonce. */
export function keyProofContext(context: BindingContext | RenewalContext): Uint8Array {
  const renewal =
    "counter" in context ? concat(u32(context.counter), lv16(context.renewalNonce)) : new Uint8Array();
  return concat(
    lv16(context.handshakeHash),
    lv16(context.guestStatic),
    lv16(context.clientNonce),
    lv16(renewal),
  );
}

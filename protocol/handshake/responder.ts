// The guest's side of the handshake: one message in, one out. docs/protocol.md §4

import { concat, wipe } from "../bytes.ts";
import type { CryptoSuite, KeyPair } from "../crypto/suite.ts";
import { beginTranscript, type Handshaken, parseMessage1 } from "./messages.ts";
import type { SymmetricState } from "./symmetric-state.ts";

/** Fixed ephemeral randomness, for vectors only. */
export interface ResponderSeeds {
  readonly x25519Seed: Uint8Array; // 32 bytes
  readonly encapsulationSeed: Uint8Array; // 32 bytes, FIPS 203 m
}

/**
 * -> e, e1   then   <- e, ee, ekem1, s, es
 *
 * Costs about 3 ms of CPU and anyone can ask: check a cookie first. Whoever sent message 1 has proved nothing.
 * A repeated message 1 wants the message 2 that was made for it, so callers keep that and do not call again.
 * @param staticKeyPair - the guest's; stays the caller's.
 * @returns message 2 (1200 bytes) and this side's keys.
 * @throws SealttyError `peer-misbehaved` on a message of another length, a point of low order, or an encapsulation
 *   key that fails the modulus check of FIPS 203 §7.2.
 */
export function respond(
  suite: CryptoSuite,
  prologue: Uint8Array,
  staticKeyPair: KeyPair,
  message1: Uint8Array,
  seeds?: ResponderSeeds,
): { message2: Uint8Array; handshaken: Handshaken } {
  const { ephemeral: theirs, kemPublic } = parseMessage1(message1);
  const state = beginTranscript(suite, prologue);
  const ephemeral = suite.x25519KeyPair(seeds?.x25519Seed);
  const empty = new Uint8Array(0);
  try {
    state.mixHash(theirs); // e
    state.mixHash(kemPublic); // e1
    state.mixHash(empty); // the payload

    state.mixHash(ephemeral.publicKey); // e
    mixAndWipe(state, suite.x25519(ephemeral.secretKey, theirs)); // ee
    const { ciphertext, secret } = suite.mlKemEncapsulate(kemPublic, seeds?.encapsulationSeed);
    const sealedKem = state.encryptAndHash(ciphertext); // ekem1: first the ciphertext, …
    mixAndWipe(state, secret); // … then the secret (noise_hfs_spec rev 1)
    const sealedStatic = state.encryptAndHash(staticKeyPair.publicKey); // s
    mixAndWipe(state, suite.x25519(staticKeyPair.secretKey, theirs)); // es
    const sealedPayload = state.encryptAndHash(empty);

    const { initiatorToResponder, responderToInitiator, exporter } = state.split3();
    return {
      message2: concat(ephemeral.publicKey, sealedKem, sealedStatic, sealedPayload),
      handshaken: {
        handshakeHash: state.handshakeHash(),
        guestStatic: staticKeyPair.publicKey.slice(),
        exporter,
        sendKey: responderToInitiator,
        receiveKey: initiatorToResponder,
      },
    };
  } finally {
    state.destroy();
    wipe(ephemeral.secretKey);
  }
}

function mixAndWipe(state: SymmetricState, secret: Uint8Array): void {
  state.mixKey(secret);
  wipe(secret);
}

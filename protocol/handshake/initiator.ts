// The client's side of the handshake. docs/protocol.md §4

import { concat, wipe } from "../bytes.ts";
import type { CryptoSuite, KeyPair } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import { beginTranscript, type Handshaken, type Message2, parseMessage2 } from "./messages.ts";
import type { SymmetricState } from "./symmetric-state.ts";

/** Fixed ephemeral keys, for vectors only: a key used for two handshakes breaks both. */
export interface InitiatorSeeds {
  readonly x25519Seed: Uint8Array; // 32 bytes
  readonly kemSeed: Uint8Array; // 64 bytes, FIPS 203 d‖z
}

/**
 * -> e, e1
 * @param prologue - all that both sides must agree on and the host may have touched (docs/protocol.md §4.2).
 * @returns message 1 (1216 bytes; repeat it byte by byte until an answer verifies) and the state that takes the answer.
 */
export function startInitiator(
  suite: CryptoSuite,
  prologue: Uint8Array,
  seeds?: InitiatorSeeds,
): { message1: Uint8Array; awaiting: InitiatorAwaitingReply } {
  const ephemeral = suite.x25519KeyPair(seeds?.x25519Seed);
  const kem = suite.mlKemKeyPair(seeds?.kemSeed);
  const state = beginTranscript(suite, prologue);
  state.mixHash(ephemeral.publicKey); // e
  const kemPublic = state.encryptAndHash(kem.publicKey); // e1; in the clear, there is no key yet
  const payload = state.encryptAndHash(new Uint8Array(0)); // empty, and hashed all the same (Noise §5.3)
  return {
    message1: concat(ephemeral.publicKey, kemPublic, payload),
    awaiting: new InitiatorAwaitingReply(suite, state, ephemeral, kem),
  };
}

/** Message 1 is out. Only a message 2 that verifies ends this state; anyone can inject one that does not. */
export class InitiatorAwaitingReply {
  readonly #suite: CryptoSuite;
  readonly #ephemeral: KeyPair;
  readonly #kem: KeyPair;
  #state: SymmetricState | undefined; // undefined once a reply verified, or after destroy

  /** Made by `startInitiator`. Owns and wipes the state and both secret keys. */
  constructor(suite: CryptoSuite, state: SymmetricState, ephemeral: KeyPair, kem: KeyPair) {
    this.#suite = suite;
    this.#state = state;
    this.#ephemeral = ephemeral;
    this.#kem = kem;
  }

  /**
   * <- e, ee, ekem1, s, es
   * @returns undefined for a message that does not verify, of whatever length: the true one may still come.
   * @throws SealttyError `api-misuse` after a message that verified, or after `destroy`.
   */
  receive(message2: Uint8Array): Handshaken | undefined {
    if (this.#state === undefined) throw new SealttyError("api-misuse", "Handshake state used twice");
    const trial = this.#state.clone(); // a forged reply must not damage the real state
    try {
      const handshaken = this.#process(trial, parseMessage2(message2));
      if (handshaken !== undefined) this.destroy();
      return handshaken;
    } catch (error) {
      // A wrong length, or a point of low order: as forged as a wrong tag.
      if (error instanceof SealttyError && error.code === "peer-misbehaved") return undefined;
      throw error;
    } finally {
      trial.destroy();
    }
  }

  /** Gives up: wipes what is left, best effort (docs/limits.md). Idempotent. */
  destroy(): void {
    this.#state?.destroy();
    this.#state = undefined;
    wipe(this.#ephemeral.secretKey, this.#kem.secretKey);
  }

  #process(trial: SymmetricState, message: Message2): Handshaken | undefined {
    trial.mixHash(message.ephemeral); // e
    this.#mixDh(trial, message.ephemeral); // ee
    const ciphertext = trial.decryptAndHash(message.sealedKem); // ekem1: first the ciphertext, …
    if (ciphertext === undefined) return undefined;
    const secret = this.#suite.mlKemDecapsulate(this.#kem.secretKey, ciphertext);
    trial.mixKey(secret); // … then the secret (noise_hfs_spec rev 1)
    wipe(secret);
    const guestStatic = trial.decryptAndHash(message.sealedStatic); // s
    if (guestStatic === undefined) return undefined;
    this.#mixDh(trial, guestStatic); // es
    if (trial.decryptAndHash(message.sealedPayload) === undefined) return undefined;
    const { initiatorToResponder, responderToInitiator, exporter } = trial.split3();
    return {
      handshakeHash: trial.handshakeHash(),
      guestStatic,
      exporter,
      sendKey: initiatorToResponder,
      receiveKey: responderToInitiator,
    };
  }

  /** @throws SealttyError `peer-misbehaved` where the result is all zero. */
  #mixDh(trial: SymmetricState, publicKey: Uint8Array): void {
    const shared = this.#suite.x25519(this.#ephemeral.secretKey, publicKey);
    trial.mixKey(shared);
    wipe(shared);
  }
}

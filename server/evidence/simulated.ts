// Simulated evidence, for tests and demonstrations: signed by a key that this process makes up. It proves nothing.

import type { AuxParts } from "../../protocol/attestation/aux.ts";
import type { EvidenceProvider } from "./provider.ts";
import { signSimulatedQuote, simulatedParts } from "../../protocol/attestation/simulated.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";
import { SealttyError } from "../../protocol/errors.ts";

export const SIMULATED_OPT_IN = "simulated-for-testing";

export class SimulatedEvidenceProvider implements EvidenceProvider {
  readonly type = "simulated";
  readonly #suite: CryptoSuite;
  readonly #secretKey: Uint8Array;
  readonly #parts: AuxParts;

  /**
   * @param optIn - the literal "simulated-for-testing": nobody gets here by a default or a typing error.
   * @param instance - 1 to 64 printable ASCII characters. @throws SealttyError `bad-config`.
   */
  constructor(optIn: typeof SIMULATED_OPT_IN, suite: CryptoSuite, instance: string) {
    if ((optIn as string) !== SIMULATED_OPT_IN) {
      throw new SealttyError(
        "bad-config",
        `Simulated evidence proves nothing: to have it, write "${SIMULATED_OPT_IN}"`,
      );
    }
    this.#suite = suite;
    this.#secretKey = suite.randomBytes(32);
    try {
      this.#parts = simulatedParts({ publicKey: suite.ed25519PublicKey(this.#secretKey), instance });
    } catch (cause) {
      throw new SealttyError(
        "bad-config",
        "A simulated instance's name is 1 to 64 printable ASCII characters",
        { cause },
      );
    }
  }

  async prepareAux(): Promise<AuxParts> {
    return this.#parts;
  }

  async quote(binder: Uint8Array): Promise<Uint8Array> {
    return signSimulatedQuote(this.#suite, this.#secretKey, binder);
  }

  async probe(): Promise<void> {} // there is no hardware

  async close(): Promise<void> {}
}

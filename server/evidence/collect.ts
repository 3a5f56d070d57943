// Collecting evidence for one connection after another: one at a time, not too often, and again where it went stale.

import type { Clock } from "../../protocol/clock.ts";
import type { Evidence, EvidenceProvider } from "../../protocol/attestation/evidence.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { Mutex } from "./mutex.ts";

/** Thrown by `quote` where what aux says changed before the quote was made: prepare aux again. */
export class StaleAuxError extends SealttyError {}

const ATTEMPTS = 3;

/**
 * One piece of evidence. @param makeBinder - aux to binder: protocol/attestation/binder.ts with this connection's values.
 * @throws SealttyError `evidence-unavailable`, also where aux was stale three times in a row.
 */
export async function collectEvidence(
  provider: EvidenceProvider,
  makeBinder: (aux: Uint8Array) => Uint8Array,
): Promise<Evidence> {
  for (let attempt = 1; ; attempt++) {
    const aux = await provider.prepareAux();
    try {
      const quote = await provider.quote(makeBinder(aux), aux);
      return { type: provider.type, quote, aux };
    } catch (error) {
      if (!(error instanceof StaleAuxError) || attempt >= ATTEMPTS) throw error;
    }
  }
}

export interface CollectorOptions {
  readonly provider: EvidenceProvider;
  readonly clock: Clock;
  /** Collections started in a second, at most. A host can ask for evidence at will; the TPM serves the guest, too. */
  readonly perSecond: number;
  /** Callers that may wait; the next one is turned away. */
  readonly maxWaiting?: number;
}

/** Shares one provider among all connections. */
export class EvidenceCollector {
  readonly #options: Required<CollectorOptions>;
  readonly #mutex = new Mutex();
  #waiting = 0;
  #nextStart = Number.NEGATIVE_INFINITY;

  constructor(options: CollectorOptions) {
    if (!(options.perSecond > 0)) throw new SealttyError("api-misuse", "Evidence rate must be above zero");
    this.#options = { maxWaiting: 16, ...options };
  }

  get type() {
    return this.#options.provider.type;
  }

  /** @throws SealttyError `evidence-unavailable`, or `limit-exceeded` where too many wait already. */
  async collect(makeBinder: (aux: Uint8Array) => Uint8Array): Promise<Evidence> {
    const { provider, clock, perSecond, maxWaiting } = this.#options;
    if (this.#waiting >= maxWaiting) {
      throw new SealttyError(
        "limit-exceeded",
        "Too many connections wait for evidence: try again in some seconds",
      );
    }
    this.#waiting++;
    try {
      return await this.#mutex.run(async () => {
        const wait = this.#nextStart - clock.now();
        if (wait > 0) await new Promise<void>((resolve) => void clock.after(wait, resolve));
        this.#nextStart = clock.now() + 1000 / perSecond;
        return await collectEvidence(provider, makeBinder);
      });
    } finally {
      this.#waiting--;
    }
  }
}

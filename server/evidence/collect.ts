// Collecting evidence for one connection after another: one at a time, not too often, and again where it went stale.

import type { Clock } from "../../protocol/clock.ts";
import { type AuxParts, encodeAux } from "../../protocol/attestation/aux.ts";
import type { Evidence, EvidenceProvider, EvidenceType } from "../../protocol/attestation/evidence.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { Mutex } from "./mutex.ts";

/** Thrown by `quote` where what aux says changed before the quote was made: prepare aux again. */
export class StaleAuxError extends SealttyError {}

const ATTEMPTS = 3;

export interface EvidenceRequest {
  /** Aux to binder, 64 bytes: protocol/attestation/binder.ts with this connection's values. */
  makeBinder(aux: Uint8Array): Uint8Array;
  /** Parts that any kind of evidence may have. */
  readonly commonParts?: Pick<AuxParts, "instanceDocument" | "instanceKey" | "sshHostKeys">;
  /** For a connection that has evidence already: counted apart, so that newcomers never take its place. */
  readonly renewal?: boolean;
  /** Whether anybody still waits for it: asked when its turn comes. */
  readonly wanted?: () => boolean;
}

/** One piece of evidence. @throws SealttyError `evidence-unavailable`, also where aux was stale three times in a row. */
export async function collectEvidence(
  provider: EvidenceProvider,
  request: EvidenceRequest,
): Promise<Evidence> {
  for (let attempt = 1; ; attempt++) {
    const parts = await provider.prepareAux();
    const aux = encodeAux({ ...request.commonParts, ...parts });
    try {
      const quote = await provider.quote(request.makeBinder(aux), parts);
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
  readonly #waiting = { first: 0, renewal: 0 };
  #nextStart = Number.NEGATIVE_INFINITY;

  constructor(options: CollectorOptions) {
    if (!(options.perSecond > 0)) throw new SealttyError("api-misuse", "Evidence rate must be above zero");
    this.#options = { maxWaiting: 16, ...options };
  }

  get type(): EvidenceType {
    return this.#options.provider.type;
  }

  /** @throws SealttyError `evidence-unavailable`, or `limit-exceeded` where too many wait already. */
  async collect(request: EvidenceRequest): Promise<Evidence> {
    const kind = request.renewal === true ? "renewal" : "first";
    if (this.#waiting[kind] >= this.#options.maxWaiting) {
      throw new SealttyError(
        "limit-exceeded",
        "Too many connections wait for evidence: try again in some seconds",
      );
    }
    this.#waiting[kind]++;
    try {
      return await this.#inTurn((provider) => collectEvidence(provider, request), request.wanted);
    } finally {
      this.#waiting[kind]--;
    }
  }

  /** The provider's own probe, in turn with the connections. @throws SealttyError `evidence-unavailable`. */
  async probe(): Promise<void> {
    await this.#inTurn((provider) => provider.probe());
  }

  #inTurn<T>(task: (provider: EvidenceProvider) => Promise<T>, wanted?: () => boolean): Promise<T> {
    const { provider, clock, perSecond } = this.#options;
    return this.#mutex.run(async () => {
      if (wanted?.() === false)
        throw new SealttyError("evidence-unavailable", "Nobody waits for this evidence any more");
      const wait = this.#nextStart - clock.now();
      if (wait > 0) await new Promise<void>((resolve) => void clock.after(wait, resolve));
      this.#nextStart = clock.now() + 1000 / perSecond;
      return await task(provider);
    });
  }
}

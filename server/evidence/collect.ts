// Collecting evidence for one connection after another: one at a time, not too often, and again where it went stale.

import type { Clock } from "../../protocol/clock.ts";
import { type AuxParts, encodeAux } from "../../protocol/attestation/aux.ts";
import type { Evidence, EvidenceType } from "../../protocol/attestation/evidence.ts";
import type { EvidenceProvider } from "./provider.ts";
import { SealttyError } from "../../protocol/errors.ts";

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
  /** Callers of each kind that may wait for their turn. */
  readonly maxWaiting?: number;
}

interface Waiting {
  readonly start: () => Promise<void>;
  readonly turnAway: () => void;
  readonly wanted: () => boolean;
}

/**
 * Shares one provider among all connections. Of those that have no evidence yet the *newest* goes first, and where too many
 * wait, the oldest is turned away: a host that begins handshakes and leaves them must not have put its own before those of a
 * client that comes after. Connections that ask again take every other turn, in order.
 */
export class EvidenceCollector {
  readonly #options: Required<CollectorOptions>;
  readonly #first: Waiting[] = [];
  readonly #others: Waiting[] = []; // renewals and probes
  #othersTurn = false;
  #working = false;
  #nextStart = Number.NEGATIVE_INFINITY;

  constructor(options: CollectorOptions) {
    if (!(options.perSecond > 0)) throw new SealttyError("api-misuse", "Evidence rate must be above zero");
    this.#options = { maxWaiting: 16, ...options };
  }

  get type(): EvidenceType {
    return this.#options.provider.type;
  }

  /** @throws SealttyError `evidence-unavailable`, or `limit-exceeded` where too many wait. */
  collect(request: EvidenceRequest): Promise<Evidence> {
    const collected = (provider: EvidenceProvider) => collectEvidence(provider, request);
    if (request.renewal === true) {
      if (this.#others.length >= this.#options.maxWaiting) return Promise.reject(tooMany());
      return this.#inTurn(this.#others, collected, request.wanted);
    }
    const result = this.#inTurn(this.#first, collected, request.wanted);
    if (this.#first.length > this.#options.maxWaiting) this.#first.shift()?.turnAway();
    return result;
  }

  /** The provider's own probe, in turn with the connections. @throws SealttyError `evidence-unavailable`. */
  async probe(): Promise<void> {
    await this.#inTurn(this.#others, (provider) => provider.probe());
  }

  #inTurn<T>(
    queue: Waiting[],
    task: (provider: EvidenceProvider) => Promise<T>,
    wanted: () => boolean = () => true,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      queue.push({
        start: () => task(this.#options.provider).then(resolve, reject),
        turnAway: () => reject(wanted() ? tooMany() : notWanted()),
        wanted,
      });
      if (!this.#working) void this.#work();
    });
  }

  async #work(): Promise<void> {
    const { clock, perSecond } = this.#options;
    this.#working = true;
    while (this.#anyWanted()) {
      const wait = this.#nextStart - clock.now();
      if (wait > 0) await new Promise<void>((resolve) => void clock.after(wait, resolve));
      const next = this.#next(); // chosen now, not before the wait: a newer one may have come
      if (next === undefined) continue;
      this.#nextStart = clock.now() + 1000 / perSecond;
      await next.start();
    }
    this.#working = false;
  }

  /** Those that left go at once: they cost the hardware nothing, and no time. */
  #anyWanted(): boolean {
    for (const queue of [this.#first, this.#others]) {
      for (const gone of queue.filter(({ wanted }) => !wanted())) {
        queue.splice(queue.indexOf(gone), 1);
        gone.turnAway();
      }
    }
    return this.#first.length + this.#others.length > 0;
  }

  #next(): Waiting | undefined {
    if (!this.#anyWanted()) return undefined;
    this.#othersTurn = !this.#othersTurn;
    return this.#othersTurn
      ? (this.#others.shift() ?? this.#first.pop())
      : (this.#first.pop() ?? this.#others.shift());
  }
}

const tooMany = (): SealttyError =>
  new SealttyError("limit-exceeded", "Too many connections wait for evidence: try again in some seconds");
const notWanted = (): SealttyError =>
  new SealttyError("evidence-unavailable", "Nobody waits for this evidence any more");

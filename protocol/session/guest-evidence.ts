// The guest's evidence for one connection: when it has keys, and again whenever its client asks. docs/protocol.md §6

import {
  type BindingContext,
  type RenewalContext,
  binderOf,
  keyProofContext,
  renewalBinderOf,
} from "../attestation/binder.ts";
import { type Evidence, type EvidenceType, encodeEvidence } from "../attestation/evidence.ts";
import type { Clock } from "../clock.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import type { CLOSE_CODES, SessionMessage } from "./messages.ts";

/** Evidence again for one connection, at the most: hardware is slow, and others wait for it, too. */
const RENEW_EVERY = 5000;

/** What evidence has to commit to, for whoever collects it. */
export interface EvidenceRequest {
  /** @param aux - encoded: the binder covers it. @returns 64 bytes. */
  readonly makeBinder: (type: EvidenceType, aux: Uint8Array) => Uint8Array;
  /** What an instance key signs. */
  readonly proofContext: Uint8Array;
  /** Asked for again by a connection that has evidence: those that have none yet go first. */
  readonly renewal: boolean;
  /** Whether the connection still waits for it. */
  readonly wanted: () => boolean;
}

export interface GuestEvidenceParts {
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  /** Of the connection's handshake; the exporter in it is secret. */
  readonly context: BindingContext;
  /** @throws SealttyError `evidence-unavailable`, `limit-exceeded`. */
  readonly collect: (request: EvidenceRequest) => Promise<Evidence>;
  readonly log: (event: string) => void;
  readonly send: (message: SessionMessage) => void;
  readonly close: (code: keyof typeof CLOSE_CODES) => void;
  /** Nothing can be sent any more. */
  readonly gone: () => boolean;
  /** Nothing counts any more: a CLOSE was sent or came. */
  readonly ending: () => boolean;
}

export class GuestEvidence {
  readonly #parts: GuestEvidenceParts;
  #digest: Uint8Array | undefined;
  #renewing = false;
  #lastRenewal = 0;
  #renewedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: GuestEvidenceParts) {
    this.#parts = parts;
  }

  /** SHA-256 of the first evidence as it was sent; undefined before. */
  get digest(): Uint8Array | undefined {
    return this.#digest;
  }

  /** Sends EVIDENCE or NO_EVIDENCE, or closes as busy. Never rejects. */
  async first(): Promise<void> {
    const { suite, context, send, close, gone } = this.#parts;
    try {
      const evidence = await this.#parts.collect({
        makeBinder: (type, aux) => binderOf(suite, context, type, aux),
        proofContext: keyProofContext(context),
        renewal: false,
        wanted: () => !gone(),
      });
      if (gone()) return;
      const encoded = encodeEvidence(evidence);
      this.#digest = suite.sha256(encoded);
      send({ type: "evidence", evidence, encoded });
    } catch (error) {
      if (gone()) return;
      // Whoever can reach the pipe can be turned away as often as they like: no line of the log for that.
      if (error instanceof SealttyError && error.code === "limit-exceeded") return close("busy");
      this.#logNone(error);
      send({ type: "no-evidence" });
    }
  }

  /** Answers ATTEST. @throws SealttyError `peer-misbehaved` on a count that does not grow. */
  async again(counter: number, renewalNonce: Uint8Array): Promise<void> {
    const { suite, clock, send, ending } = this.#parts;
    if (counter <= this.#lastRenewal)
      throw new SealttyError("peer-misbehaved", "Evidence asked for out of turn");
    this.#lastRenewal = counter;
    // The client gave the last one up: it gets no evidence for this one either, and asks again at its next turn.
    if (this.#renewing) return send({ type: "attested", counter, evidence: undefined });
    this.#renewing = true;
    try {
      const early = this.#renewedAt + RENEW_EVERY - clock.now();
      if (early > 0) await new Promise<void>((resolve) => void clock.after(early, resolve));
      if (ending()) return;
      this.#renewedAt = clock.now();
      const context: RenewalContext = { ...this.#parts.context, counter, renewalNonce };
      const evidence = await this.#parts
        .collect({
          makeBinder: (type, aux) => renewalBinderOf(suite, context, type, aux),
          proofContext: keyProofContext(context),
          renewal: true,
          wanted: () => !ending(),
        })
        .catch((error: unknown) => this.#logNone(error));
      if (!ending()) send({ type: "attested", counter, evidence: evidence ?? undefined });
    } finally {
      this.#renewing = false;
    }
  }

  #logNone(error: unknown): undefined {
    this.#parts.log(`no evidence: ${error instanceof SealttyError ? error.message : "internal error"}`);
    return undefined;
  }
}

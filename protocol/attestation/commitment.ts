// What evidence is held against: the values of a connection, what a file says of one, or report data that somebody named.

import type { CryptoSuite } from "../crypto/suite.ts";
import {
  type BindingContext,
  type RenewalContext,
  binderOf,
  keyProofContext,
  renewalBinderOf,
} from "./binder.ts";
import type { EvidenceType } from "./evidence.ts";
import type { BoundTo } from "./verdict.ts";

/** What evidence must commit to: the verifier's own values of its own connection, never the peer's word for them. */
export interface Commitment {
  /** @param aux - encoded. @returns 64 bytes. */
  readonly binderFor: (type: EvidenceType, aux: Uint8Array) => Uint8Array;
  /** What an instance key must have signed. */
  readonly keyProof: Uint8Array;
  /** How fresh evidence that fits this is, in words. */
  readonly fresh: string;
  readonly boundTo: BoundTo;
}

export function commitmentOf(suite: CryptoSuite, context: BindingContext | RenewalContext): Commitment {
  const keyProof = keyProofContext(context);
  if ("counter" in context) {
    return {
      binderFor: (type, aux) => renewalBinderOf(suite, context, type, aux),
      keyProof,
      boundTo: "connection",
      fresh: `Made for this connection, when it was asked for again (${context.counter})`,
    };
  }
  return {
    binderFor: (type, aux) => binderOf(suite, context, type, aux),
    keyProof,
    boundTo: "connection",
    fresh: "Made for this very connection, when it began: for its keys and its nonce",
  };
}

/** What a file says that evidence was made for. @param context - as the file has it. @param fetched - when, in words, as it says. */
export function commitmentOfFile(suite: CryptoSuite, context: BindingContext, fetched: string): Commitment {
  return {
    ...commitmentOf(suite, context),
    boundTo: "file",
    fresh: `Made for the connection that the file describes${fetched}`,
  };
}

/** Of a bare report. @param reportData - 64 bytes that REPORT_DATA has to be; undefined where nothing is known. */
export function bareCommitment(reportData: Uint8Array | undefined): Commitment {
  return {
    binderFor: () => reportData ?? new Uint8Array(64),
    keyProof: new Uint8Array(),
    boundTo: reportData === undefined ? "nothing" : "report-data",
    fresh:
      reportData === undefined
        ? "Unknown: it may be any age, and made for anyone"
        : "Unknown: it carries the report data that you named",
  };
}

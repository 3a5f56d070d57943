// What evidence is (RFC 9334), and the two small interfaces around it: the guest collects, the client verifies.

import { Reader, concat, lv32, u16 } from "../bytes.ts";
import type { AuxParts } from "./aux.ts";
import { MAX_EVIDENCE_AUX, MAX_EVIDENCE_QUOTE } from "../limits.ts";

/** Numbers are on the wire and in the binder; never re-used. Unknown ones are refused. */
export const EVIDENCE_TYPES = {
  "sev-snp": 1,
  tdx: 2,
  tpm: 3,
  "azure-snp": 4,
  "azure-tdx": 5,
  nitro: 6,
  cca: 7,
  simulated: 0xff01,
} as const;
export type EvidenceType = keyof typeof EVIDENCE_TYPES;

/** @param quote - what the hardware signed, with its signature. @param aux - all that travels beside it; its SHA-256 is in the binder. */
export interface Evidence {
  readonly type: EvidenceType;
  readonly quote: Uint8Array;
  readonly aux: Uint8Array;
}

/**
 * Guest side. What goes beside the quote must be known before the quote is made, because the binder commits to it; so a
 * provider first prepares its parts, then has the hardware sign `binder` (64 bytes, protocol/attestation/binder.ts).
 */
export interface EvidenceProvider {
  readonly type: EvidenceType;
  /** The parts that this hardware needs; the collector adds those that every kind may have. @throws SealttyError `evidence-unavailable`. */
  prepareAux(): Promise<AuxParts>;
  /** @returns the quote bytes. @throws SealttyError `evidence-unavailable`; StaleAuxError where parts must be prepared again. */
  quote(binder: Uint8Array, aux: AuxParts): Promise<Uint8Array>;
  /** Really has the hardware answer, once; called at start and by health probes. @throws SealttyError `evidence-unavailable`. */
  probe(): Promise<void>;
  close(): Promise<void>;
}

export function evidenceTypeOf(number: number): EvidenceType | undefined {
  for (const [name, value] of Object.entries(EVIDENCE_TYPES)) {
    if (value === number) return name as EvidenceType;
  }
  return undefined;
}

/** u16 type, u32 length and quote, u32 length and aux. docs/protocol.md §6.1 */
export function encodeEvidence(evidence: Evidence): Uint8Array {
  return concat(u16(EVIDENCE_TYPES[evidence.type]), lv32(evidence.quote), lv32(evidence.aux));
}

/** @throws SealttyError `peer-misbehaved` on any other shape, or an unknown type. */
export function decodeEvidence(bytes: Uint8Array): Evidence {
  const reader: Reader = new Reader(bytes, "Evidence message");
  const type = evidenceTypeOf(reader.u16());
  if (type === undefined) reader.fail("names an evidence type that this version does not know");
  const quote = reader.lv32(MAX_EVIDENCE_QUOTE);
  const aux = reader.lv32(MAX_EVIDENCE_AUX);
  reader.end();
  return { type, quote, aux };
}

// What evidence is (RFC 9334), and how it travels.

import { Reader, concat, lv32, u16 } from "../bytes.ts";
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

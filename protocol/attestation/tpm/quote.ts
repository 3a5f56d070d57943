// Our container for TPM evidence: `quote` and `aux` of an Evidence of type "tpm". docs/protocol.md §6.3

import { Reader, concat, lv16, lv32, u8 } from "../../bytes.ts";
import { MAX_EVENT_LOG } from "../../limits.ts";
import { MAX_PCR_VALUES, type PcrValue, encodePcrValues, parsePcrValues } from "./pcr.ts";

const VERSION = 1;
const MAX_ATTEST = 1024;
const MAX_SIGNATURE = 1024;
const MAX_PUBLIC = 1024;

/** What the TPM signed, and its signature, as the TPM gave them. */
export interface TpmQuote {
  /** TPMS_ATTEST. */
  readonly attest: Uint8Array;
  /** TPMT_SIGNATURE. */
  readonly signature: Uint8Array;
}

export interface TpmAux {
  /** TPMT_PUBLIC of the attestation key. */
  readonly akPublic: Uint8Array;
  /** In the order of the quote's selection. */
  readonly pcrs: readonly PcrValue[];
  /** The firmware's log as the kernel shows it; may be empty. */
  readonly eventLog: Uint8Array;
}

/** u8 version, lv16 TPMS_ATTEST, lv16 TPMT_SIGNATURE. */
export function encodeTpmQuote(quote: TpmQuote): Uint8Array {
  return concat(u8(VERSION), lv16(quote.attest), lv16(quote.signature));
}

/** @throws SealttyError `peer-misbehaved`. */
export function decodeTpmQuote(bytes: Uint8Array): TpmQuote {
  const reader = new Reader(bytes, "TPM quote");
  if (reader.u8() !== VERSION) reader.fail("has a version that this version does not know");
  const attest = reader.lv16(MAX_ATTEST);
  const signature = reader.lv16(MAX_SIGNATURE);
  reader.end();
  return { attest, signature };
}

/** u8 version, lv16 TPMT_PUBLIC, lv16 PCR values, lv32 event log. */
export function encodeTpmAux(aux: TpmAux): Uint8Array {
  return concat(u8(VERSION), lv16(aux.akPublic), lv16(encodePcrValues(aux.pcrs)), lv32(aux.eventLog));
}

/** @throws SealttyError `peer-misbehaved`. */
export function decodeTpmAux(bytes: Uint8Array): TpmAux {
  const reader = new Reader(bytes, "Data beside the TPM quote");
  if (reader.u8() !== VERSION) reader.fail("has a version that this version does not know");
  const akPublic = reader.lv16(MAX_PUBLIC);
  const pcrs = parsePcrValues(reader.lv16(MAX_PCR_VALUES * 67));
  const eventLog = reader.lv32(MAX_EVENT_LOG);
  reader.end();
  return { akPublic, pcrs, eventLog };
}

// Our container for TPM evidence: `quote` of an Evidence, and the parts beside it. docs/protocol.md §6.3

import { Reader, concat, lv16, u8 } from "../../bytes.ts";
import { SealttyError } from "../../errors.ts";
import type { AuxParts } from "../aux.ts";
import { type PcrValue, encodePcrValues, parsePcrValues } from "./pcr.ts";

const VERSION = 1;
const MAX_ATTEST = 1024;
const MAX_SIGNATURE = 1024;

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

/** The parts that TPM evidence carries; an empty event log is left out. */
export function tpmParts(aux: TpmAux): AuxParts {
  const parts = { akPublic: aux.akPublic, pcrs: encodePcrValues(aux.pcrs) };
  return aux.eventLog.length === 0 ? parts : { ...parts, eventLog: aux.eventLog };
}

/** @throws SealttyError `peer-misbehaved` where the key or the values are missing, or the values malformed. */
export function readTpmParts(parts: AuxParts): TpmAux {
  const { akPublic, pcrs, eventLog } = parts;
  if (akPublic === undefined || pcrs === undefined) {
    throw new SealttyError(
      "peer-misbehaved",
      `Data beside the TPM quote lacks ${akPublic === undefined ? "the attestation key" : "the PCR values"}`,
    );
  }
  return { akPublic, pcrs: parsePcrValues(pcrs), eventLog: eventLog ?? new Uint8Array() };
}

// TPMS_ATTEST of a quote: what the TPM signed. TPM 2.0 Library Part 2 §10.12.12

import { Reader, toHex } from "../../bytes.ts";
import { type PcrSelection, readPcrSelections } from "./pcr.ts";

/** TPM_GENERATED_VALUE: a restricted key never signs outside data that begins with it. */
export const TPM_GENERATED = 0xff544347;
export const TPM_ST_ATTEST_QUOTE = 0x8018;

export interface TpmAttest {
  readonly magic: number;
  readonly type: number;
  /** Qualified name of the signer, at most 68 bytes. */
  readonly qualifiedSigner: Uint8Array;
  readonly extraData: Uint8Array;
  readonly resetCount: number;
  readonly restartCount: number;
  /** False: the TPM's clock may have gone back since a power loss. */
  readonly clockSafe: boolean;
  /** 8 bytes as hex. */
  readonly firmwareVersion: string;
  /** Undefined unless `type` is a quote. */
  readonly quote:
    | { readonly selections: readonly PcrSelection[]; readonly pcrDigest: Uint8Array }
    | undefined;
}

/**
 * Parses the part that every TPMS_ATTEST has, and the rest where it is a quote: the caller says what a wrong magic or
 * type means. @throws SealttyError `peer-misbehaved` on other shapes and on trailing bytes of a quote.
 */
export function parseAttest(bytes: Uint8Array): TpmAttest {
  const reader = new Reader(bytes, "TPM attestation structure");
  const magic = reader.u32();
  const type = reader.u16();
  const qualifiedSigner = reader.lv16(68);
  const extraData = reader.lv16(66);
  reader.bytes(8); // clock: milliseconds of power, of no use here
  const resetCount = reader.u32();
  const restartCount = reader.u32();
  const safe = reader.u8();
  if (safe > 1) reader.fail("has a truth value that is neither 0 nor 1");
  const common = {
    magic,
    type,
    qualifiedSigner,
    extraData,
    resetCount,
    restartCount,
    clockSafe: safe === 1,
    firmwareVersion: toHex(reader.bytes(8)),
  };
  if (magic !== TPM_GENERATED || type !== TPM_ST_ATTEST_QUOTE) return { ...common, quote: undefined };
  const selections = readPcrSelections(reader);
  const pcrDigest = reader.lv16(64);
  reader.end();
  return { ...common, quote: { selections, pcrDigest } };
}

// TPMT_SIGNATURE: RSASSA, RSAPSS and ECDSA P-256. TPM 2.0 Library Part 2 §11.3.4

import { Reader, concat } from "../../bytes.ts";
import { TPM_ALG, padded } from "./public.ts";

export interface TpmSignature {
  /** TPM_ALG_ID: rsassa, rsapss or ecdsa. */
  readonly scheme: number;
  /** TPM_ALG_ID. */
  readonly hash: number;
  /** ECDSA: r‖s, 64 bytes. RSA: as it came. */
  readonly bytes: Uint8Array;
}

/** @throws SealttyError `peer-misbehaved` on other schemes and trailing bytes. */
export function parseSignature(bytes: Uint8Array): TpmSignature {
  const reader: Reader = new Reader(bytes, "TPM signature");
  const scheme = reader.u16();
  let signature: TpmSignature;
  if (scheme === TPM_ALG.ecdsa) {
    const hash = reader.u16();
    const r = reader.lv16(32);
    const s = reader.lv16(32);
    signature = { scheme, hash, bytes: concat(padded(r), padded(s)) };
  } else if (scheme === TPM_ALG.rsassa || scheme === TPM_ALG.rsapss) {
    signature = { scheme, hash: reader.u16(), bytes: reader.lv16(512) };
  } else {
    reader.fail("is of a scheme that this version does not know");
  }
  reader.end();
  return signature;
}

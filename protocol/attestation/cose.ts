// COSE_Sign1 (RFC 9052 §4.2): one signer, nothing outside the protected header. Used by AWS Nitro and Arm CCA.

import { concat, u16, u8, utf8 } from "../bytes.ts";
import type { HardwareKey, HardwareSignatureAlgorithm, SignatureVerifier } from "../crypto/signatures.ts";
import { SealttyError } from "../errors.ts";
import { CborMembers, CborTag, type CborValue, decodeCbor } from "./cbor.ts";

const COSE_SIGN1_TAG = 18;
const HEADER_ALGORITHM = 1;
const ALGORITHMS: ReadonlyMap<CborValue | undefined, HardwareSignatureAlgorithm> = new Map([
  [-7, "ecdsa-p256-sha256"],
  [-35, "ecdsa-p384-sha384"],
]);
const MAX_PAYLOAD = 0xffff;

export interface Sign1 {
  readonly algorithm: HardwareSignatureAlgorithm;
  /** CBOR of the protected header: the exact bytes. */
  readonly protectedHeader: Uint8Array;
  /** The exact bytes. */
  readonly payload: Uint8Array;
  /** r‖s. */
  readonly signature: Uint8Array;
}

/**
 * @param value - `[protected, {}, payload, signature]`, with or without tag 18. @param what - names it in errors.
 * @throws SealttyError `peer-misbehaved` on another shape, other algorithms than ES256 and ES384, any other header.
 */
export function readSign1(value: CborValue, what: string): Sign1 {
  const fail = (problem: string): never => {
    throw new SealttyError("peer-misbehaved", `${what} ${problem}`);
  };
  const list = value instanceof CborTag && value.tag === COSE_SIGN1_TAG ? value.value : value;
  if (!Array.isArray(list) || list.length !== 4) return fail("is not a COSE_Sign1");
  const [protectedHeader, unprotected, payload, signature] = list as readonly CborValue[];
  if (
    !(protectedHeader instanceof Uint8Array) ||
    !(payload instanceof Uint8Array) ||
    !(signature instanceof Uint8Array)
  )
    return fail("is not a COSE_Sign1");
  if (!(unprotected instanceof Map) || unprotected.size > 0)
    return fail("has a header that no signature covers");
  if (payload.length > MAX_PAYLOAD) return fail("has a payload that is too long");
  const header = new CborMembers(decodeCbor(protectedHeader, what), what).only(HEADER_ALGORITHM);
  const algorithm = ALGORITHMS.get(header.get(HEADER_ALGORITHM));
  if (algorithm === undefined) return fail("names an algorithm that this version does not know");
  return { algorithm, protectedHeader, payload, signature };
}

/** @returns whether `key` made the signature over protected header and payload, with no external data. */
export async function isSign1By(
  sign1: Sign1,
  key: HardwareKey,
  signatures: SignatureVerifier,
): Promise<boolean> {
  const structure = concat(
    u8(0x84), // a list of four
    u8(0x6a), // text of ten characters
    utf8("Signature1"),
    byteString(sign1.protectedHeader),
    byteString(new Uint8Array()),
    byteString(sign1.payload),
  );
  return await signatures.verify(sign1.algorithm, key, structure, sign1.signature);
}

/** At most 65535 bytes, in the shortest form. */
function byteString(bytes: Uint8Array): Uint8Array {
  const { length } = bytes;
  if (length < 24) return concat(u8(0x40 + length), bytes);
  return length < 256 ? concat(u8(0x58), u8(length), bytes) : concat(u8(0x59), u16(length), bytes);
}

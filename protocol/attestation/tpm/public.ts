// TPMT_PUBLIC of a signing key, ECC P-256 or RSA-2048. TPM 2.0 Library Part 2 §12.2.4

import { Reader, concat, toHex, u16 } from "../../bytes.ts";
import type { HardwareKey } from "../../crypto/signatures.ts";

export const TPM_ALG = {
  rsa: 0x0001,
  sha256: 0x000b,
  null: 0x0010,
  rsassa: 0x0014,
  rsapss: 0x0016,
  ecdsa: 0x0018,
  ecc: 0x0023,
} as const;
export const TPM_ECC_NIST_P256 = 0x0003;

/** Bits of TPMA_OBJECT that decide whether a key may be believed. Part 2 §8.3 */
export const ATTRIBUTES = {
  fixedTPM: 1 << 1,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  userWithAuth: 1 << 6,
  noDA: 1 << 10,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
} as const;

const REQUIRED = ["fixedTPM", "fixedParent", "sensitiveDataOrigin", "restricted", "sign"] as const;

export interface TpmPublic {
  readonly kind: "ecc-p256" | "rsa-2048";
  readonly nameAlgorithm: number;
  readonly attributes: number;
  /** TPM_ALG_ID of the key's own signing scheme; `null` where a caller may choose. */
  readonly scheme: number;
  /** TPM_ALG_ID of the scheme's hash, 0 where there is no scheme. */
  readonly schemeHash: number;
  readonly key: HardwareKey;
}

/** @throws SealttyError `peer-misbehaved` on every other kind of key, and on trailing bytes. */
export function parsePublic(bytes: Uint8Array): TpmPublic {
  const reader: Reader = new Reader(bytes, "Public area of the TPM key");
  const type = reader.u16();
  const nameAlgorithm = reader.u16();
  const attributes = reader.u32();
  reader.lv16(64); // authPolicy: who may use the key, not what it may sign
  if (reader.u16() !== TPM_ALG.null) reader.fail("belongs to a storage or decryption key");
  const scheme = reader.u16();
  const hasHash = scheme === TPM_ALG.ecdsa || scheme === TPM_ALG.rsassa || scheme === TPM_ALG.rsapss;
  if (!hasHash && scheme !== TPM_ALG.null)
    reader.fail("names a signing scheme that this version does not know");
  const schemeHash = hasHash ? reader.u16() : 0;

  let key: HardwareKey;
  if (type === TPM_ALG.ecc) {
    if (reader.u16() !== TPM_ECC_NIST_P256) reader.fail("is on another curve than NIST P-256");
    if (reader.u16() !== TPM_ALG.null) reader.fail("names a key derivation scheme");
    key = { kind: "ec", x: coordinate(reader), y: coordinate(reader) };
  } else if (type === TPM_ALG.rsa) {
    if (reader.u16() !== 2048) reader.fail("is RSA of another size than 2048 bits");
    const exponent = reader.u32();
    if (exponent !== 0 && exponent !== 65537) reader.fail("has an unusual RSA exponent");
    const modulus = reader.lv16(256);
    if (modulus.length !== 256 || (modulus[0] as number) < 0x80)
      reader.fail("has an RSA modulus of another size");
    key = { kind: "rsa", modulus, exponent: Uint8Array.of(1, 0, 1) };
  } else {
    reader.fail("is neither an ECC nor an RSA key");
  }
  reader.end();
  const kind = type === TPM_ALG.ecc ? "ecc-p256" : "rsa-2048";
  return { kind, nameAlgorithm, attributes, scheme, schemeHash, key };
}

/** TPM2B_PUBLIC: u16 size, then exactly that. @returns the TPMT_PUBLIC inside. */
export function unwrapPublic(bytes: Uint8Array): Uint8Array {
  const reader: Reader = new Reader(bytes, "Sized public area");
  const inner = reader.lv16(1024);
  reader.end();
  return inner;
}

/** Name of a key whose nameAlg is SHA-256: `000b` and the digest of its TPMT_PUBLIC. @returns 34 bytes. Part 1 §16 */
export function sha256Name(publicArea: Uint8Array, sha256: (message: Uint8Array) => Uint8Array): Uint8Array {
  return concat(u16(TPM_ALG.sha256), sha256(publicArea));
}

/** @returns what is wrong with the attributes of a would-be attestation key, as fixed words; empty where nothing is. */
export function attributeFaults(attributes: number): string[] {
  const faults: string[] = [];
  for (const name of REQUIRED) if ((attributes & ATTRIBUTES[name]) === 0) faults.push(`not ${name}`);
  if ((attributes & ATTRIBUTES.decrypt) !== 0) faults.push("decrypt");
  return faults;
}

/** TPM2B_ECC_PARAMETER, which may come without its leading zeros. */
function coordinate(reader: Reader): Uint8Array {
  return padded(reader.lv16(32));
}

/** Left-padded with zeros to 32 bytes. @throws RangeError never: callers bound the length. */
export function padded(number: Uint8Array): Uint8Array {
  const full = new Uint8Array(32);
  full.set(number, 32 - number.length);
  return full;
}

/** An algorithm in words, hex where this version has no name for it. */
export function algorithmWords(alg: number): string {
  for (const [name, value] of Object.entries(TPM_ALG)) if (value === alg) return name;
  return `algorithm ${toHex(u16(alg))}`;
}

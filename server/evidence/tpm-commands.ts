// TPM 2.0 commands as bytes, and their responses: only those that evidence needs. TPM 2.0 Library Part 3.

import {
  type BankName,
  type PcrSelection,
  type PcrValue,
  encodePcrSelections,
  readPcrSelections,
  BANKS,
} from "../../protocol/attestation/tpm/pcr.ts";
import { ATTRIBUTES, TPM_ALG, TPM_ECC_NIST_P256 } from "../../protocol/attestation/tpm/public.ts";
import { Reader, concat, lv16, u16, u32, u8, utf8 } from "../../protocol/bytes.ts";

/** Larger than any response to these commands. */
export const MAX_RESPONSE = 4096;
/** TPM2_PCR_Read answers with at most as many values. */
export const PCRS_PER_READ = 8;

const TPM_ST_NO_SESSIONS = 0x8001;
const TPM_ST_SESSIONS = 0x8002;
const TPM_RH_OWNER = 0x40000001;
const TPM_RH_ENDORSEMENT = 0x4000000b;
const TPM_RS_PW = 0x40000009;
const CC = {
  createPrimary: 0x131,
  nvRead: 0x14e,
  quote: 0x158,
  flushContext: 0x165,
  nvReadPublic: 0x169,
  readPublic: 0x173,
  pcrRead: 0x17e,
  pcrExtend: 0x182,
} as const;
/** Bytes asked for in one TPM2_NV_Read; every TPM's TPM_PT_NV_BUFFER_MAX is at least that. */
export const NV_CHUNK = 512;

/** A password session with an empty password. */
const EMPTY_PASSWORD = concat(u32(9), u32(TPM_RS_PW), lv16(new Uint8Array()), u8(0), lv16(new Uint8Array()));

/**
 * Template of the attestation key: a restricted ECDSA P-256 key in the endorsement hierarchy. A TPM derives a primary key
 * from its endorsement seed and these bytes alone, so the key and its Name stay the same across reboots, reinstalls and
 * TPM2_Clear, until the seed itself is changed (TPM2_ChangeEPS, or a new software TPM state). Changing one byte here
 * changes the Name that owners have pinned: never do it without a new version of the policy.
 */
const AK_TEMPLATE: Uint8Array = concat(
  u16(TPM_ALG.ecc),
  u16(TPM_ALG.sha256), // nameAlg
  u32(
    ATTRIBUTES.fixedTPM |
      ATTRIBUTES.fixedParent |
      ATTRIBUTES.sensitiveDataOrigin |
      ATTRIBUTES.userWithAuth |
      ATTRIBUTES.noDA | // a locked-out TPM must not take the console away
      ATTRIBUTES.restricted |
      ATTRIBUTES.sign,
  ),
  lv16(new Uint8Array()), // authPolicy
  u16(TPM_ALG.null), // symmetric
  u16(TPM_ALG.ecdsa),
  u16(TPM_ALG.sha256),
  u16(TPM_ECC_NIST_P256),
  u16(TPM_ALG.null), // key derivation
  lv16(utf8("sealtty attestation key 1")), // unique.x: another key than other programs' templates give
  lv16(new Uint8Array()), // unique.y
);

export function createPrimaryCommand(): Uint8Array {
  const sensitive = lv16(concat(lv16(new Uint8Array()), lv16(new Uint8Array())));
  const outsideInfo = lv16(new Uint8Array());
  const creationPcrs = u32(0);
  return command(
    TPM_ST_SESSIONS,
    CC.createPrimary,
    u32(TPM_RH_ENDORSEMENT),
    EMPTY_PASSWORD,
    sensitive,
    lv16(AK_TEMPLATE),
    outsideInfo,
    creationPcrs,
  );
}

export function pcrReadCommand(selections: readonly PcrSelection[]): Uint8Array {
  return command(TPM_ST_NO_SESSIONS, CC.pcrRead, encodePcrSelections(selections));
}

/** The key's own scheme signs. @param qualifyingData - 32 bytes, which every TPM takes. */
export function quoteCommand(
  handle: number,
  qualifyingData: Uint8Array,
  selections: readonly PcrSelection[],
): Uint8Array {
  return command(
    TPM_ST_SESSIONS,
    CC.quote,
    u32(handle),
    EMPTY_PASSWORD,
    lv16(qualifyingData),
    u16(TPM_ALG.null),
    encodePcrSelections(selections),
  );
}

export function flushContextCommand(handle: number): Uint8Array {
  return command(TPM_ST_NO_SESSIONS, CC.flushContext, u32(handle));
}

export function readPublicCommand(handle: number): Uint8Array {
  return command(TPM_ST_NO_SESSIONS, CC.readPublic, u32(handle));
}

export function nvReadPublicCommand(index: number): Uint8Array {
  return command(TPM_ST_NO_SESSIONS, CC.nvReadPublic, u32(index));
}

/** @param attributes - of `parseNvPublic`: they say whose empty password opens the index. */
export function nvReadCommand(index: number, attributes: number, offset: number, length: number): Uint8Array {
  const authority = (attributes & NV_OWNER_READ) !== 0 ? TPM_RH_OWNER : index;
  return command(
    TPM_ST_SESSIONS,
    CC.nvRead,
    u32(authority),
    u32(index),
    EMPTY_PASSWORD,
    u16(length),
    u16(offset),
  );
}

/** Banks that the TPM does not have are ignored by it. @param digests - of the banks' lengths. */
export function pcrExtendCommand(
  index: number,
  digests: readonly { readonly bank: BankName; readonly digest: Uint8Array }[],
): Uint8Array {
  return command(
    TPM_ST_SESSIONS,
    CC.pcrExtend,
    u32(index), // a PCR's handle is its number
    EMPTY_PASSWORD,
    u32(digests.length),
    ...digests.flatMap(({ bank, digest }) => [u16(BANKS[bank].alg), digest]),
  );
}

function command(tag: number, code: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const body = concat(u32(code), ...parts);
  return concat(u16(tag), u32(6 + body.length), body);
}

export interface TpmResponse {
  /** 0 is success. */
  readonly code: number;
  /** Handle, then parameters; sessions are cut off. Empty unless `code` is 0. */
  readonly body: Uint8Array;
}

/** @throws SealttyError `peer-misbehaved` on a response that is not one. */
export function parseResponse(bytes: Uint8Array): TpmResponse {
  const reader: Reader = new Reader(bytes, "TPM response");
  const tag = reader.u16();
  if (reader.u32() !== bytes.length) reader.fail("has another length than it says");
  const code = reader.u32();
  if (tag !== TPM_ST_NO_SESSIONS && tag !== TPM_ST_SESSIONS) {
    if (code !== 0) return { code, body: new Uint8Array() }; // TPM 1.2's tag: "bad tag"
    reader.fail("has an unknown tag");
  }
  return { code, body: reader.rest() };
}

/** @returns the handle and the TPMT_PUBLIC of the new key. @throws SealttyError `peer-misbehaved`. */
export function parseCreatePrimary(body: Uint8Array): { handle: number; publicArea: Uint8Array } {
  const reader: Reader = new Reader(body, "Answer to TPM2_CreatePrimary");
  const handle = reader.u32();
  const parameters: Reader = new Reader(reader.bytes(reader.u32()), "Answer to TPM2_CreatePrimary");
  const publicArea = parameters.lv16(1024).slice();
  return { handle, publicArea }; // creation data, ticket and name are of no use here
}

/** @returns the TPMT_PUBLIC of a key that is there already. @throws SealttyError `peer-misbehaved`. */
export function parseReadPublic(body: Uint8Array): Uint8Array {
  const reader: Reader = new Reader(body, "Answer to TPM2_ReadPublic");
  return reader.lv16(1024).slice(); // its name and qualified name follow: computed where they are needed
}

/** Bits of TPMA_NV. Part 2 §13.4 */
const NV_OWNER_READ = 1 << 17;
const NV_AUTH_READ = 1 << 18;
const NV_READ_LOCKED = 1 << 28;
const NV_WRITTEN = 1 << 29;

/** TPMS_NV_PUBLIC. @throws SealttyError `peer-misbehaved`. */
export function parseNvPublic(body: Uint8Array): { index: number; attributes: number; size: number } {
  const outer: Reader = new Reader(body, "Answer to TPM2_NV_ReadPublic");
  const reader: Reader = new Reader(outer.lv16(256), "Public area of the NV index");
  const index = reader.u32();
  reader.u16(); // nameAlg
  const attributes = reader.u32();
  reader.lv16(64); // authPolicy
  const size = reader.u16();
  reader.end();
  return { index, attributes, size };
}

/** @returns why an index cannot be read with an empty password, as fixed words. */
export function nvReadFault(attributes: number): string | undefined {
  if ((attributes & NV_WRITTEN) === 0) return "was never written";
  if ((attributes & NV_READ_LOCKED) !== 0) return "is locked against reading";
  if ((attributes & (NV_OWNER_READ | NV_AUTH_READ)) === 0) return "may not be read by its owner";
  return undefined;
}

/** @throws SealttyError `peer-misbehaved` where another number of bytes came than `length`. */
export function parseNvRead(body: Uint8Array, length: number): Uint8Array {
  const reader: Reader = new Reader(body, "Answer to TPM2_NV_Read");
  const parameters: Reader = new Reader(reader.bytes(reader.u32()), "Answer to TPM2_NV_Read");
  const data = parameters.lv16(length);
  if (data.length !== length) parameters.fail("has another length than was asked for");
  parameters.end();
  return data.slice();
}

/** @throws SealttyError `peer-misbehaved` where values and selection do not fit together. */
export function parsePcrRead(body: Uint8Array): { updateCounter: number; values: PcrValue[] } {
  const reader: Reader = new Reader(body, "Answer to TPM2_PCR_Read");
  const updateCounter = reader.u32();
  const selected = readPcrSelections(reader).flatMap(({ bank, indexes }) =>
    indexes.map((index): { bank: BankName; index: number } => ({ bank, index })),
  );
  if (reader.u32() !== selected.length || selected.length > PCRS_PER_READ)
    reader.fail("has another number of values");
  const values = selected.map(({ bank, index }) => {
    const value = reader.lv16(64).slice();
    if (value.length !== BANKS[bank].size) reader.fail("has a value of another length");
    return { bank, index, value };
  });
  reader.end();
  return { updateCounter, values };
}

/** @returns TPMS_ATTEST and TPMT_SIGNATURE. @throws SealttyError `peer-misbehaved`. */
export function parseQuote(body: Uint8Array): { attest: Uint8Array; signature: Uint8Array } {
  const reader: Reader = new Reader(body, "Answer to TPM2_Quote");
  const parameters: Reader = new Reader(reader.bytes(reader.u32()), "Answer to TPM2_Quote");
  const attest = parameters.lv16(1024).slice();
  return { attest, signature: parameters.rest().slice() };
}

const WHOLE_CODES: ReadonlyMap<number, string> = new Map([
  [0x01e, "TPM_RC_BAD_TAG"],
  [0x100, "TPM_RC_INITIALIZE"],
  [0x101, "TPM_RC_FAILURE"],
  [0x120, "TPM_RC_DISABLED"],
  [0x12d, "TPM_RC_UPGRADE"],
  [0x130, "TPM_RC_REBOOT"],
  [0x142, "TPM_RC_COMMAND_SIZE"],
  [0x143, "TPM_RC_COMMAND_CODE"],
  [0x144, "TPM_RC_AUTHSIZE"],
  [0x145, "TPM_RC_AUTH_CONTEXT"],
  [0x902, "TPM_RC_OBJECT_MEMORY"],
  [0x903, "TPM_RC_SESSION_MEMORY"],
  [0x904, "TPM_RC_MEMORY"],
  [0x908, "TPM_RC_YIELDED"],
  [0x909, "TPM_RC_CANCELED"],
  [0x90a, "TPM_RC_TESTING"],
  [0x910, "TPM_RC_REFERENCE_H0"],
  [0x920, "TPM_RC_NV_RATE"],
  [0x921, "TPM_RC_LOCKOUT"],
  [0x922, "TPM_RC_RETRY"],
  [0x923, "TPM_RC_NV_UNAVAILABLE"],
]);
/** Codes about one handle, session or parameter: the low six bits. */
const FORMAT_ONE: ReadonlyMap<number, string> = new Map([
  [0x01, "TPM_RC_ASYMMETRIC"],
  [0x02, "TPM_RC_ATTRIBUTES"],
  [0x03, "TPM_RC_HASH"],
  [0x04, "TPM_RC_VALUE"],
  [0x05, "TPM_RC_HIERARCHY"],
  [0x07, "TPM_RC_KEY_SIZE"],
  [0x0a, "TPM_RC_TYPE"],
  [0x0b, "TPM_RC_HANDLE"],
  [0x0c, "TPM_RC_KDF"],
  [0x0d, "TPM_RC_RANGE"],
  [0x0e, "TPM_RC_AUTH_FAIL"],
  [0x12, "TPM_RC_SCHEME"],
  [0x15, "TPM_RC_SIZE"],
  [0x16, "TPM_RC_SYMMETRIC"],
  [0x17, "TPM_RC_TAG"],
  [0x18, "TPM_RC_SELECTOR"],
  [0x1a, "TPM_RC_INSUFFICIENT"],
  [0x1c, "TPM_RC_KEY"],
  [0x21, "TPM_RC_RESERVED_BITS"],
  [0x22, "TPM_RC_BAD_AUTH"],
  [0x26, "TPM_RC_CURVE"],
]);

/** @returns the name that the specification gives a response code, without its handle or parameter number. */
export function responseName(code: number): string {
  const plain = code & 0xffff; // the kernel's resource manager puts its layer above
  const name = (plain & 0x80) !== 0 ? FORMAT_ONE.get(plain & 0x3f) : WHOLE_CODES.get(plain);
  return name ?? "unknown response code";
}

/** Ask again soon: the TPM is busy with itself. */
export function isTransient(code: number): boolean {
  const name = responseName(code);
  return name === "TPM_RC_RETRY" || name === "TPM_RC_YIELDED" || name === "TPM_RC_TESTING";
}

/** The loaded key is gone (the TPM was reset, or another program flushed it). */
export function isHandleLost(code: number): boolean {
  const name = responseName(code);
  return name === "TPM_RC_REFERENCE_H0" || name === "TPM_RC_HANDLE";
}

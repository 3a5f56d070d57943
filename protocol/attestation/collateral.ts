// Collateral: what vendors sign about their keys and platforms. It travels with the evidence, or comes from the owner's
// own files; either way every byte is untrusted until a chain to a pinned root covers it.

import { Reader, concat, lv32, u8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { MAX_COLLATERAL_PIECE, MAX_COLLATERAL_PIECES } from "../limits.ts";

/** A bag: verifiers pick what names the right issuer, platform or product, and refuse what does not hold. */
export interface Collateral {
  /** DER. */
  readonly certificates: readonly Uint8Array[];
  /** DER. */
  readonly crls: readonly Uint8Array[];
  /** Intel PCS bodies: JSON `{"tcbInfo":{…},"signature":"…"}`, the exact bytes. */
  readonly tcbInfos: readonly Uint8Array[];
  /** Intel PCS bodies: JSON `{"enclaveIdentity":{…},"signature":"…"}`, the exact bytes. */
  readonly qeIdentities: readonly Uint8Array[];
}

/** Of the owner's own, which may be that of many machines: pieces and bytes together. What travels has tighter limits. */
export const MAX_OWNER_PIECES = 512;
export const MAX_OWNER_BYTES = 8 * 1024 * 1024;

export const NO_COLLATERAL: Collateral = { certificates: [], crls: [], tcbInfos: [], qeIdentities: [] };

/** In the order of their numbers. */
export const COLLATERAL_KINDS = [
  "certificates",
  "crls",
  "tcbInfos",
  "qeIdentities",
] as const satisfies readonly (keyof Collateral)[];

/** @returns what an owner may have at most, in words, where this is more. */
export function aboveOwnersMost(bag: Collateral): string | undefined {
  const pieces = COLLATERAL_KINDS.flatMap((kind) => bag[kind]);
  if (pieces.length > MAX_OWNER_PIECES) return `${MAX_OWNER_PIECES} pieces`;
  const size = pieces.reduce((sum, { length }) => sum + length, 0);
  return size > MAX_OWNER_BYTES ? `${MAX_OWNER_BYTES / 1024 / 1024} MiB` : undefined;
}

/** (u8 kind, u32 length, bytes)*: kind 1 certificate, 2 CRL, 3 TCB info, 4 QE identity. @throws SealttyError `api-misuse`. */
export function encodeCollateral(collateral: Collateral): Uint8Array {
  const pieces = COLLATERAL_KINDS.flatMap((kind, i) =>
    collateral[kind].map((bytes) => ({ number: i + 1, bytes })),
  );
  if (
    pieces.length > MAX_COLLATERAL_PIECES ||
    pieces.some(({ bytes }) => bytes.length > MAX_COLLATERAL_PIECE)
  )
    throw new SealttyError("api-misuse", "Too much collateral");
  return concat(...pieces.flatMap(({ number, bytes }) => [u8(number), lv32(bytes)]));
}

/** @throws SealttyError `peer-misbehaved`. */
export function decodeCollateral(bytes: Uint8Array): Collateral {
  const reader: Reader = new Reader(bytes, "Collateral");
  const found: Record<keyof Collateral, Uint8Array[]> = {
    certificates: [],
    crls: [],
    tcbInfos: [],
    qeIdentities: [],
  };
  for (let count = 0; reader.remaining > 0; count++) {
    if (count >= MAX_COLLATERAL_PIECES) reader.fail("has too many pieces");
    const kind = COLLATERAL_KINDS[reader.u8() - 1];
    if (kind === undefined) reader.fail("has a piece of an unknown kind");
    found[kind].push(reader.lv32(MAX_COLLATERAL_PIECE));
  }
  return found;
}

/** All of both; nothing is chosen here. */
export function joinCollateral(...bags: readonly Collateral[]): Collateral {
  return {
    certificates: bags.flatMap((bag) => bag.certificates),
    crls: bags.flatMap((bag) => bag.crls),
    tcbInfos: bags.flatMap((bag) => bag.tcbInfos),
    qeIdentities: bags.flatMap((bag) => bag.qeIdentities),
  };
}

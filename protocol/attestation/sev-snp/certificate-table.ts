// The table of certificates that the host hands to the guest beside a report. GHCB specification (AMD 56421) §4.1.8.1
// Wholly the host's: nothing in it is believed, and no length, offset or count in it is taken for granted.

import { isZero, toHex } from "../../bytes.ts";
import { LittleEndianReader } from "../little-endian.ts";

const ENTRY_SIZE = 24;
export const MAX_ENTRIES = 16;

/** GUIDs are written in the order of their text. */
const CERTIFICATES: ReadonlySet<string> = new Set([
  "63da758de6644564adc5f4b93be8accd", // VCEK
  "a8074bc2a25a483eaae639c045a0b8a1", // VLEK
  "4ab7b379bbac4fe4a02f05aef327c782", // ASK or ASVK
  "c0b406a4a803495297433fb6014cd0ae", // ARK
]);
const CRL = "92f81bc358114d3d97ffd19f88dc67ea";

/** DER, not parsed; views into the table. */
export interface CertificateTable {
  readonly certificates: readonly Uint8Array[];
  readonly crls: readonly Uint8Array[];
}

/**
 * Entries are GUID (16 bytes), offset from the table's start (u32) and length (u32); one that is all zero ends the list.
 * Entries with an unknown GUID (a cloud's own) are left out. @param table - empty where the host provisioned nothing.
 * @throws SealttyError `peer-misbehaved`.
 */
export function parseCertificateTable(table: Uint8Array): CertificateTable {
  if (table.length === 0) return { certificates: [], crls: [] };
  const reader = new LittleEndianReader(table, "Certificate table");
  const entries: { guid: string; start: number; end: number }[] = [];
  for (;;) {
    const entry = new LittleEndianReader(reader.bytes(ENTRY_SIZE), "Certificate table");
    const guid = entry.bytes(16);
    const start = entry.u32();
    const length = entry.u32();
    if (isZero(guid)) {
      if (start !== 0 || length !== 0) reader.fail("ends with an entry that is not empty");
      break;
    }
    if (entries.length >= MAX_ENTRIES) reader.fail("has too many entries");
    if (length === 0 || length > table.length || start > table.length - length) {
      reader.fail("names bytes outside of itself");
    }
    entries.push({ guid: toHex(guid), start, end: start + length });
  }
  let last = reader.offset; // nothing may lie over the list itself
  for (const { start, end } of entries.toSorted((a, b) => a.start - b.start)) {
    if (start < last) reader.fail("has entries that overlap");
    last = end;
  }
  if (new Set(entries.map(({ guid }) => guid)).size !== entries.length)
    reader.fail("has one kind of entry twice");
  const pick = (wanted: (guid: string) => boolean) =>
    entries.filter(({ guid }) => wanted(guid)).map(({ start, end }) => table.subarray(start, end));
  return { certificates: pick((guid) => CERTIFICATES.has(guid)), crls: pick((guid) => guid === CRL) };
}

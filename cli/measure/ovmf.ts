// OVMF images: the GUIDed table at their end, and what it says about an SEV-SNP launch. edk2 OvmfPkg/ResetVector

import { equalBytes } from "../../protocol/bytes.ts";
import { guidBytes, ImageReader } from "./little-endian.ts";

export const PAGE = 4096;
const FOUR_GIB = 2 ** 32;
const MAX_IMAGE = 64 * 1024 * 1024;
const MAX_SECTIONS = 64;
/** A section larger than this is no firmware's: it bounds what a broken image makes us hash. */
const MAX_SECTION = 64 * 1024 * 1024;
/** Behind the table stands the reset vector itself. */
const RESET_VECTOR = 32;
/** u16 length of the entry, then its GUID; the data stands before them. */
const ENTRY_TAIL = 18;

const TABLE_FOOTER = guidBytes("96b582de-1fb2-45f7-baea-a366c55a082d");
const SEV_ES_RESET_BLOCK = guidBytes("00f771de-1a7e-4fcb-890e-68c77e2fb44e");
const SEV_HASH_TABLE = guidBytes("7255371f-3a3b-4b04-927b-1da6efa8d454");
const SEV_METADATA = guidBytes("dc886566-984a-4798-a75e-5585a7bf67cc");

/** OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm */
const SECTION_KINDS = {
  1: "sec-mem",
  2: "secrets",
  3: "cpuid",
  4: "svsm-caa",
  16: "kernel-hashes",
} as const;
export type SectionKind = (typeof SECTION_KINDS)[keyof typeof SECTION_KINDS];

export interface SnpSection {
  readonly kind: SectionKind;
  /** Guest physical address; a multiple of 4096, as is `size`. */
  readonly address: number;
  readonly size: number;
}

/** What a launch measures of a firmware image, beside its bytes. */
export interface SnpFirmware {
  /** Whole pages. */
  readonly image: Uint8Array;
  /** Where the image lies: it ends at 4 GiB. */
  readonly address: number;
  /** In the image's order, which is the order of measurement. */
  readonly sections: readonly SnpSection[];
  /** Where vCPUs other than the first begin; undefined in firmware without an SEV-ES reset block. */
  readonly resetEip: number | undefined;
  /** Address of the table of kernel hashes; undefined in firmware that checks no kernel. */
  readonly hashTableAddress: number | undefined;
}

/** @throws SealttyError `bad-config` on anything that is not a firmware image with a whole SEV metadata table. */
export function parseOvmf(image: Uint8Array): SnpFirmware {
  const reader = new ImageReader(image, "The OVMF image");
  if (image.length === 0 || image.length % PAGE !== 0 || image.length > MAX_IMAGE)
    reader.fail("is not whole pages of firmware (4 KiB to 64 MiB); give the file that QEMU's -bios gets");
  const table = readTable(reader);
  if (table === undefined) return reader.fail("has no GUIDed table at its end: it is no OVMF, or an old one");
  const sections = readSections(reader, table);
  const hashTable = table.find(([guid]) => equalBytes(guid, SEV_HASH_TABLE))?.[1];
  return {
    image,
    address: FOUR_GIB - image.length,
    sections,
    resetEip: nonZero(u32Of(reader, table, SEV_ES_RESET_BLOCK, 4, "SEV-ES reset block")),
    // base and size; firmware that has the entry but no table (OvmfPkgX64) fills it with zeros
    hashTableAddress:
      hashTable && nonZero(u32Of(reader, table, SEV_HASH_TABLE, 8, "SEV hash table descriptor")),
  };
}

type Table = readonly (readonly [guid: Uint8Array, data: Uint8Array])[];

/** The entries, last one first. @returns undefined where the image does not end with the table's footer. */
function readTable(reader: ImageReader): Table | undefined {
  const end = reader.bytes.length - RESET_VECTOR;
  if (!equalBytes(reader.slice(end - 16, 16), TABLE_FOOTER)) return undefined;
  const length = reader.u16(end - ENTRY_TAIL); // of all entries, the footer's own included
  const start = end - length;
  if (length < ENTRY_TAIL || start < 0) reader.fail("has a GUIDed table of an impossible length");
  const entries: [Uint8Array, Uint8Array][] = [];
  let at = end - ENTRY_TAIL;
  while (at > start) {
    if (at - start < ENTRY_TAIL) reader.fail("has bytes left over in its GUIDed table");
    const guid = reader.slice(at - 16, 16);
    const size = reader.u16(at - ENTRY_TAIL);
    if (size < ENTRY_TAIL || at - size < start)
      reader.fail("has an entry of an impossible length in its GUIDed table");
    if (entries.some(([other]) => equalBytes(other, guid))) reader.fail("has one GUID twice in its table");
    entries.push([guid, reader.slice(at - size, size - ENTRY_TAIL)]);
    at -= size;
  }
  return entries;
}

function u32Of(
  reader: ImageReader,
  table: Table,
  guid: Uint8Array,
  length: number,
  what: string,
): number | undefined {
  const data = table.find(([each]) => equalBytes(each, guid))?.[1];
  if (data === undefined) return undefined;
  if (data.length !== length) reader.fail(`has an ${what} of another length`);
  return new ImageReader(data, `The ${what}`).u32(0);
}

const nonZero = (value: number | undefined): number | undefined => (value === 0 ? undefined : value);

/** "ASEV", length, version, count, then (address, size, kind) of 12 bytes each. */
function readSections(reader: ImageReader, table: Table): SnpSection[] {
  const distance = u32Of(reader, table, SEV_METADATA, 4, "SEV metadata offset");
  if (distance === undefined)
    return reader.fail(
      "has no SEV metadata: it was built without SEV-SNP (of Debian's, OVMF.fd has them, OVMF_CODE_4M.fd has not)",
    );
  const at = reader.bytes.length - distance;
  if (new TextDecoder("latin1").decode(reader.slice(at, 4)) !== "ASEV")
    reader.fail("has no ASEV signature where its table says");
  const length = reader.u32(at + 4);
  const version = reader.u32(at + 8);
  const count = reader.u32(at + 12);
  if (version !== 1) reader.fail(`has SEV metadata of version ${version}; this sealtty knows version 1`);
  if (count > MAX_SECTIONS || length !== 16 + 12 * count)
    reader.fail("has SEV metadata of an impossible length");
  const sections: SnpSection[] = [];
  for (let i = 0; i < count; i++) {
    const entry = at + 16 + 12 * i;
    const [address, size, code] = [reader.u32(entry), reader.u32(entry + 4), reader.u32(entry + 8)];
    const kind = SECTION_KINDS[code as keyof typeof SECTION_KINDS] as SectionKind | undefined;
    if (kind === undefined)
      return reader.fail(
        `has a section of the unknown kind ${code}: what a launch does with it is not known here`,
      );
    if (
      size === 0 ||
      size > MAX_SECTION ||
      size % PAGE !== 0 ||
      address % PAGE !== 0 ||
      address + size > FOUR_GIB
    )
      reader.fail("has a section that is not whole pages");
    if ((kind === "secrets" || kind === "cpuid" || kind === "kernel-hashes") && size !== PAGE)
      reader.fail(`has a ${kind} section that is not one page`);
    if (sections.some((other) => address < other.address + other.size && other.address < address + size))
      reader.fail("has sections that overlap");
    if ((kind === "secrets" || kind === "cpuid") && sections.some((other) => other.kind === kind))
      reader.fail(`has two ${kind} sections`);
    sections.push({ kind, address, size });
  }
  for (const needed of ["secrets", "cpuid"] as const)
    if (!sections.some(({ kind }) => kind === needed)) reader.fail(`has no ${needed} section`);
  return sections;
}

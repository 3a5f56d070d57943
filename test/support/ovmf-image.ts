// Made OVMF images: the GUIDed table and SEV metadata of edk2's layout around any content.

import { guidBytes } from "../../cli/measure/little-endian.ts";

export interface MadeSection {
  readonly address: number;
  readonly size: number;
  /** 1 memory, 2 secrets, 3 CPUID, 4 SVSM calling area, 16 kernel hashes. */
  readonly code: number;
}

export interface MadeOvmf {
  /** Default 8192. */
  readonly size?: number;
  readonly sections: readonly MadeSection[];
  /** Default 0x80b004, as OVMF has it; undefined: no reset block. */
  readonly resetEip?: number | undefined;
  /** Of the table of kernel hashes; 0 is what OvmfPkgX64 writes; absent: no such entry. */
  readonly hashTable?: number;
  /** Bytes in front of the image's end; default: directly in front of the table. */
  readonly metadataDistance?: number;
  /** Bytes of the image before table and metadata are written over them. */
  readonly fill?: (at: number) => number;
  /** Last word on the finished bytes. */
  readonly damage?: (image: Uint8Array, view: DataView) => void;
}

/** OvmfPkg/AmdSev of today: an SVSM calling area, then the page of kernel hashes. */
export const AMD_SEV_SECTIONS: readonly MadeSection[] = [
  { address: 0x800000, size: 0x9000, code: 1 },
  { address: 0x80a000, size: 0x3000, code: 1 },
  { address: 0x80d000, size: 0x1000, code: 2 },
  { address: 0x80e000, size: 0x1000, code: 3 },
  { address: 0x80f000, size: 0x1000, code: 4 },
  { address: 0x810000, size: 0x1000, code: 16 },
  { address: 0x811000, size: 0xf000, code: 1 },
];
export const AMD_SEV_HASH_TABLE = 0x810c00;

/** The fork with SNP kernel hashes before they were upstream (edk2 snp-kernel-hashes-v3). */
export const AMD_SEV_V3_SECTIONS: readonly MadeSection[] = [
  { address: 0x800000, size: 0x9000, code: 1 },
  { address: 0x80a000, size: 0x3000, code: 1 },
  { address: 0x80d000, size: 0x1000, code: 2 },
  { address: 0x80e000, size: 0x1000, code: 3 },
  { address: 0x80f000, size: 0x1000, code: 16 },
  { address: 0x810000, size: 0x10000, code: 1 },
];
export const AMD_SEV_V3_HASH_TABLE = 0x80fc00;

/** OvmfPkgX64 of 2022, Debian 12's and AWS's: no kernel hashes. */
export const PLAIN_SECTIONS: readonly MadeSection[] = [
  { address: 0x800000, size: 0x9000, code: 1 },
  { address: 0x80a000, size: 0x3000, code: 1 },
  { address: 0x80d000, size: 0x1000, code: 2 },
  { address: 0x80e000, size: 0x1000, code: 3 },
  { address: 0x80f000, size: 0x11000, code: 1 },
];

export function makeOvmf(made: MadeOvmf): Uint8Array {
  const image = Uint8Array.from({ length: made.size ?? 8192 }, (_, at) => made.fill?.(at) ?? 0);
  const view = new DataView(image.buffer);
  const metadata = new Uint8Array(16 + 12 * made.sections.length);
  const words = new DataView(metadata.buffer);
  metadata.set(new TextEncoder().encode("ASEV"));
  words.setUint32(4, metadata.length, true);
  words.setUint32(8, 1, true);
  words.setUint32(12, made.sections.length, true);
  made.sections.forEach(({ address, size, code }, i) => {
    words.setUint32(16 + 12 * i, address, true);
    words.setUint32(20 + 12 * i, size, true);
    words.setUint32(24 + 12 * i, code, true);
  });

  // From the end backwards: footer, then the entries.
  const end = image.length - 32;
  let at = end;
  const put = (guid: string, data: Uint8Array, length = data.length + 18) => {
    at -= data.length + 18;
    image.set(data, at);
    view.setUint16(at + data.length, length, true);
    image.set(guidBytes(guid), at + data.length + 2);
  };
  const le = (...values: readonly number[]) => {
    const bytes = new Uint8Array(4 * values.length);
    values.forEach((value, i) => new DataView(bytes.buffer).setUint32(4 * i, value, true));
    return bytes;
  };
  put("96b582de-1fb2-45f7-baea-a366c55a082d", new Uint8Array(0));
  const resetEip = "resetEip" in made ? made.resetEip : 0x80b004;
  if (resetEip !== undefined) put("00f771de-1a7e-4fcb-890e-68c77e2fb44e", le(resetEip));
  if (made.hashTable !== undefined) put("7255371f-3a3b-4b04-927b-1da6efa8d454", le(made.hashTable, 0x400));
  const offsetAt = at - 22;
  const distance = made.metadataDistance ?? image.length - (offsetAt - metadata.length);
  put("dc886566-984a-4798-a75e-5585a7bf67cc", le(distance));
  view.setUint16(end - 18, end - at, true); // the footer counts the whole table
  image.set(metadata, image.length - distance);
  made.damage?.(image, view);
  return image;
}

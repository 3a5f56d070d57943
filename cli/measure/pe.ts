// PE images (kernels, boot loaders, UKIs): their sections, and the Authenticode digest that firmware measures.
// Microsoft PE format; "Windows Authenticode Portable Executable Signature Format" (2008), calculating the PE image hash.

import { digest, type HashName } from "./hashes.ts";
import { ImageReader } from "./little-endian.ts";

const MAX_SECTIONS = 96;
const PE32 = 0x10b;
const PE32_PLUS = 0x20b;
/** Index of the certificate table among the data directories. */
const CERTIFICATES = 4;

export interface PeSection {
  /** Up to 8 characters. */
  readonly name: string;
  /** Size in memory, where what the file does not hold is zero. */
  readonly virtualSize: number;
  /** What the file holds of it. */
  readonly rawOffset: number;
  readonly rawSize: number;
}

export interface PeImage {
  readonly bytes: Uint8Array;
  readonly sections: readonly PeSection[];
  readonly headersSize: number;
  readonly checksumAt: number;
  /** Where the certificate table's directory entry stands, and what it says; size 0: the image is not signed. */
  readonly certificatesAt: number;
  readonly certificatesSize: number;
}

/** @throws SealttyError `bad-config` on what is not a PE image with sane bounds. @param what - names the file. */
export function parsePe(bytes: Uint8Array, what: string): PeImage {
  const reader = new ImageReader(bytes, what);
  if (bytes.length < 64 || reader.u16(0) !== 0x5a4d) reader.fail("is no PE image (no MZ at its start)");
  const pe = reader.u32(0x3c);
  if (reader.u32(pe) !== 0x4550) reader.fail("is no PE image (no PE signature)");
  const count = reader.u16(pe + 6);
  const optionalSize = reader.u16(pe + 20);
  const optional = pe + 24;
  const magic = reader.u16(optional);
  if (magic !== PE32 && magic !== PE32_PLUS) reader.fail("is no PE image (unknown optional header)");
  const directories = optional + (magic === PE32 ? 96 : 112);
  const directoryCount = reader.u32(directories - 4);
  if (directoryCount <= CERTIFICATES || directories + 8 * directoryCount > optional + optionalSize)
    reader.fail("has no room for a certificate table in its header: firmware would not measure it");
  if (count > MAX_SECTIONS) reader.fail("has too many sections");
  const certificatesAt = directories + 8 * CERTIFICATES;
  const [certificatesOffset, certificatesSize] = [reader.u32(certificatesAt), reader.u32(certificatesAt + 4)];
  if (certificatesSize !== 0 && certificatesOffset + certificatesSize !== bytes.length)
    reader.fail("has a certificate table that is not at its end");
  const headersSize = reader.u32(optional + 60);
  const table = optional + optionalSize;
  if (headersSize < table + 40 * count || headersSize > bytes.length)
    reader.fail("has headers of an impossible length");
  const sections: PeSection[] = [];
  for (let i = 0; i < count; i++) {
    const at = table + 40 * i;
    const name = new TextDecoder("latin1").decode(reader.slice(at, 8)).replace(/\0.*$/s, "");
    const [virtualSize, rawSize, rawOffset] = [reader.u32(at + 8), reader.u32(at + 16), reader.u32(at + 20)];
    if (rawSize > 0) reader.slice(rawOffset, rawSize);
    sections.push({ name, virtualSize, rawOffset, rawSize });
  }
  return { bytes, sections, headersSize, checksumAt: optional + 64, certificatesAt, certificatesSize };
}

/** What firmware measures into PCR 4 when it starts the image: all of it but checksum and signatures. */
export function authenticodeDigest(name: HashName, pe: PeImage): Uint8Array {
  const { bytes, headersSize, checksumAt, certificatesAt, certificatesSize } = pe;
  const parts = [
    bytes.subarray(0, checksumAt),
    bytes.subarray(checksumAt + 4, certificatesAt),
    bytes.subarray(certificatesAt + 8, headersSize),
  ];
  let hashed = headersSize;
  for (const { rawOffset, rawSize } of [...pe.sections].sort((a, b) => a.rawOffset - b.rawOffset)) {
    if (rawSize === 0) continue;
    parts.push(bytes.subarray(rawOffset, rawOffset + rawSize));
    hashed += rawSize;
  }
  // Bytes behind the last section belong to the image; the format counts instead of looking where they are.
  const end = bytes.length - certificatesSize;
  if (hashed < end) parts.push(bytes.subarray(hashed, end));
  return digest(name, ...parts);
}

/** A section as it is in memory: cut, or filled up with zeros, to its virtual size. */
export function sectionContent(pe: PeImage, { virtualSize, rawOffset, rawSize }: PeSection): Uint8Array {
  const held = pe.bytes.subarray(rawOffset, rawOffset + Math.min(rawSize, virtualSize));
  if (held.length === virtualSize) return held;
  const content = new Uint8Array(virtualSize);
  content.set(held);
  return content;
}

// Made PE images: a PE32+ header, sections of any content, and a UKI's shape on top.

export interface MadePeSection {
  readonly name: string;
  readonly content: Uint8Array;
  /** Default: the content's length. */
  readonly virtualSize?: number;
}

export interface MadePe {
  readonly sections: readonly MadePeSection[];
  /** Behind the last section. */
  readonly trailing?: Uint8Array;
  /** A certificate table at the end. */
  readonly certificates?: Uint8Array;
  readonly checksum?: number;
  /** Sections' content in the file in the opposite order of the table. */
  readonly reversed?: boolean;
}

const ALIGNMENT = 512;
const PE = 0x80;
const OPTIONAL = PE + 24;
/** PE32+ with 16 data directories. */
const OPTIONAL_SIZE = 112 + 8 * 16;
const align = (size: number) => Math.ceil(size / ALIGNMENT) * ALIGNMENT;

export function makePe({
  sections,
  trailing,
  certificates,
  checksum = 0,
  reversed = false,
}: MadePe): Uint8Array {
  const table = OPTIONAL + OPTIONAL_SIZE;
  const headers = align(table + 40 * sections.length);
  const places = new Map<MadePeSection, number>();
  let end = headers;
  for (const section of reversed ? [...sections].reverse() : sections) {
    places.set(section, end);
    end += align(section.content.length);
  }
  const signedAt = end + (trailing?.length ?? 0);
  const bytes = new Uint8Array(signedAt + (certificates?.length ?? 0));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0x5a4d, true);
  view.setUint32(0x3c, PE, true);
  view.setUint32(PE, 0x4550, true);
  view.setUint16(PE + 4, 0x8664, true);
  view.setUint16(PE + 6, sections.length, true);
  view.setUint16(PE + 20, OPTIONAL_SIZE, true);
  view.setUint16(OPTIONAL, 0x20b, true);
  view.setUint32(OPTIONAL + 60, headers, true);
  view.setUint32(OPTIONAL + 64, checksum, true);
  view.setUint32(OPTIONAL + 108, 16, true);
  if (certificates !== undefined) {
    view.setUint32(OPTIONAL + 112 + 32, signedAt, true);
    view.setUint32(OPTIONAL + 112 + 36, certificates.length, true);
    bytes.set(certificates, signedAt);
  }
  if (trailing !== undefined) bytes.set(trailing, end);
  sections.forEach((section, i) => {
    const at = table + 40 * i;
    const place = places.get(section) as number;
    bytes.set(new TextEncoder().encode(section.name).subarray(0, 8), at);
    view.setUint32(at + 8, section.virtualSize ?? section.content.length, true);
    view.setUint32(at + 12, 0x1000 * (i + 1), true);
    view.setUint32(at + 16, align(section.content.length), true);
    view.setUint32(at + 20, place, true);
    bytes.set(section.content, place);
  });
  return bytes;
}

/** Offsets for tests that damage an image. */
export const PE_OFFSETS = { pe: PE, optional: OPTIONAL, sections: OPTIONAL + OPTIONAL_SIZE } as const;

/** systemd-stub's own sections around those of a UKI. */
export function makeUki(
  parts: Readonly<Record<string, string | Uint8Array>>,
  stub = "252.39-1~deb12u2",
  more: readonly MadePeSection[] = [],
): Uint8Array {
  const bytesOf = (part: string | Uint8Array) =>
    typeof part === "string" ? new TextEncoder().encode(part) : part;
  return makePe({
    sections: [
      { name: ".text", content: bytesOf("code of the stub") },
      { name: ".sdmagic", content: bytesOf(`#### LoaderInfo: systemd-stub ${stub} ####\0`) },
      ...Object.entries(parts).map(([name, part]) => ({ name, content: bytesOf(part) })),
      ...more,
    ],
  });
}

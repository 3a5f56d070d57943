// A disk that shows 80 × 25 text cells and then stands still: for the eye of a client, without a guest's system.

const SECTOR = 512;
export const SCREEN_BYTES = 80 * 25 * 2;
const SECTORS = Math.ceil(SCREEN_BYTES / SECTOR);

/** x86, 16 bits, at 0x7c00: text mode 3 without a cursor; the sectors behind this one to 0x8000, and from there to the screen. */
const BOOT = [
  ...[0xfc, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0], //            cld; ds = es = 0
  ...[0xb8, 0x03, 0x00, 0xcd, 0x10], //                        mode 3
  ...[0xb4, 0x01, 0xb9, 0x00, 0x20, 0xcd, 0x10], //            no cursor
  ...[0xbb, 0x00, 0x80, 0xb8, SECTORS, 0x02], //               bx = 0x8000; read so many sectors
  ...[0xb9, 0x02, 0x00, 0xb6, 0x00, 0xb2, 0x80, 0xcd, 0x13], // from cylinder 0, sector 2, head 0, first disk
  ...[0xb8, 0x00, 0xb8, 0x8e, 0xc0], //                        es = 0xb800
  ...[0xbe, 0x00, 0x80, 0x31, 0xff], //                        si = 0x8000; di = 0
  ...[0xb9, (SCREEN_BYTES / 2) & 0xff, (SCREEN_BYTES / 2) >>> 8, 0xf3, 0xa5], // that many words
  ...[0xfa, 0xf4, 0xeb, 0xfd], //                              stand still
];

/** @param cells - a character and an attribute for each, row after row. */
export function stillPicture(cells: Uint8Array): Uint8Array {
  const disk = new Uint8Array(1024 * 1024); // so that a firmware finds a geometry
  disk.set(BOOT);
  disk.set([0x55, 0xaa], SECTOR - 2);
  disk.set(cells.subarray(0, SCREEN_BYTES), SECTOR);
  return disk;
}

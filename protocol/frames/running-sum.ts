// Adler-32 (RFC 1950 §8.2) that goes on from where it was: whether what arrived is what was sent. docs/protocol.md §3.2
// Like the CRC of a frame it tells of accidents, and authenticates nothing.

const MODULUS = 65_521;
const CR = 0x0d;
const LF = 0x0a;

/** The sum of no bytes. */
export const EMPTY_SUM = 1;

/** @param sum - of the bytes before; those of CR and LF count for nothing, since some hosts make one of the other. */
export function continueSum(sum: number, bytes: Uint8Array): number {
  let a = sum & 0xffff;
  let b = sum >>> 16;
  for (const byte of bytes) {
    if (byte === CR || byte === LF) continue;
    a = (a + byte) % MODULUS;
    b = (b + a) % MODULUS;
  }
  return ((b << 16) | a) >>> 0;
}

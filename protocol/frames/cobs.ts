// Consistent Overhead Byte Stuffing (Cheshire and Baker 1997): a body without 0x00, so that 0x00 can end a frame.

/** Encoded length at most `length + ceil(length / 254) + 1`. */
export function maxCobsLength(length: number): number {
  return length + Math.ceil(length / 254) + 1;
}

/** Writes the encoding of `source` into `target` at `at`. @returns the index behind it. */
export function cobsEncodeInto(source: Uint8Array, target: Uint8Array, at: number): number {
  // Ciphertext has a zero every 256 bytes: runs are long, and copying a run beats a loop over its bytes.
  let from = 0;
  let zero = source.indexOf(0);
  for (;;) {
    const end = zero < 0 ? source.length : zero;
    const length = Math.min(end - from, 254);
    target[at++] = length + 1;
    copyRun(source, from, target, at, length);
    at += length;
    from += length;
    if (length === 254) continue; // a full run stands for no zero
    if (zero < 0) return at;
    from = zero + 1;
    zero = source.indexOf(0, from);
  }
}

/** Below this a call costs more than it saves. */
const SHORT_RUN = 24;

function copyRun(source: Uint8Array, from: number, target: Uint8Array, at: number, length: number): void {
  if (length > SHORT_RUN) target.set(source.subarray(from, from + length), at);
  else for (let i = 0; i < length; i++) target[at + i] = source[from + i] as number;
}

/** @param encoded - what stood between two delimiters, so it holds no 0x00. @returns undefined where it is not an encoding. */
export function cobsDecode(encoded: Uint8Array): Uint8Array | undefined {
  return cobsDecodeInto(encoded, new Uint8Array(encoded.length));
}

/** @param into - at least as long as `encoded`. @returns the beginning of it that was written. */
export function cobsDecodeInto(encoded: Uint8Array, into: Uint8Array): Uint8Array | undefined {
  let length = 0;
  let at = 0;
  while (at < encoded.length) {
    const code = encoded[at++] as number;
    const end = at + code - 1;
    if (code === 0 || end > encoded.length) return undefined;
    copyRun(encoded, at, into, length, code - 1);
    length += code - 1;
    at = end;
    if (code !== 0xff && at < encoded.length) into[length++] = 0;
  }
  return into.subarray(0, length);
}

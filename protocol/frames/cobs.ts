// Consistent Overhead Byte Stuffing (Cheshire and Baker 1997): a body without 0x00, so that 0x00 can end a frame.

/** Encoded length at most `length + ceil(length / 254) + 1`. */
export function maxCobsLength(length: number): number {
  return length + Math.ceil(length / 254) + 1;
}

/** Writes the encoding of `source` into `target` at `at`. @returns the index behind it. */
export function cobsEncodeInto(source: Uint8Array, target: Uint8Array, at: number): number {
  let codeAt = at++;
  let code = 1;
  for (let i = 0; i < source.length; i++) {
    const byte = source[i] as number;
    if (byte !== 0) {
      target[at++] = byte;
      code++;
    }
    if (byte === 0 || code === 0xff) {
      target[codeAt] = code;
      code = 1;
      codeAt = at++;
    }
  }
  target[codeAt] = code;
  return at;
}

/** @param encoded - holds no 0x00. @returns undefined where it is not an encoding. */
export function cobsDecode(encoded: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
  const decoded = new Uint8Array(encoded.length);
  let length = 0;
  let at = 0;
  while (at < encoded.length) {
    const code = encoded[at++] as number;
    const end = at + code - 1;
    if (code === 0 || end > encoded.length) return undefined;
    while (at < end) {
      const byte = encoded[at++] as number;
      if (byte === 0) return undefined;
      decoded[length++] = byte;
    }
    if (code !== 0xff && at < encoded.length) decoded[length++] = 0;
  }
  return decoded.subarray(0, length);
}

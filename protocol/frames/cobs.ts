// Consistent Overhead Byte Stuffing (Cheshire and Baker 1997): a body without 0x00, so that 0x00 can end a frame.

/** Encoded length at most `length + ceil(length / 254) + 1`. */
export function maxCobsLength(length: number): number {
  return length + Math.ceil(length / 254) + 1;
}

/**
 * Writes the encoding of `source` into `target` at `at`. @param source - its zeros are lost: they become what stands for them.
 * @returns the index behind it.
 */
export function cobsEncodeInto(source: Uint8Array, target: Uint8Array, at: number): number {
  // Ciphertext has a zero every 256 bytes, and a run of 254 without one somewhat less often: only the second moves the rest,
  // so whole stretches between those are copied at once, and their zeros hold the codes by then.
  let copied = 0; // of the source
  let moved = at + 1; // source[i] goes to target[i + moved]
  let group = 0; // where the group under way begins
  let code = at; // where its code goes: in the target, or where the zero before it is
  let codes = target;
  for (;;) {
    const zero = source.indexOf(0, group);
    const end = zero < 0 ? source.length : zero;
    while (end - group >= 254) {
      codes[code] = 0xff; // a full run stands for no zero
      group += 254;
      copyRun(source, copied, target, copied + moved, group - copied);
      copied = group;
      code = group + moved++;
      codes = target;
    }
    codes[code] = end - group + 1;
    if (zero < 0) {
      copyRun(source, copied, target, copied + moved, end - copied);
      return end + moved;
    }
    code = zero;
    codes = source;
    group = zero + 1;
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
    // A stretch of groups up to the first full one, which no zero stands behind: all of it moves by as much.
    const start = at;
    let code: number;
    do {
      code = encoded[at] as number;
      at += code;
    } while (code !== 0xff && code !== 0 && at < encoded.length);
    if (code === 0 || at > encoded.length) return undefined;
    const begin = start + 1;
    copyRun(encoded, begin, into, length, at - begin);
    for (let zero = start + (encoded[start] as number); zero < at; zero += encoded[zero] as number)
      into[length + zero - begin] = 0;
    length += at - begin;
  }
  return into.subarray(0, length);
}

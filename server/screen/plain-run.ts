// A flood of plain text scrolls past faster than a terminal parses it, and leaves only its last lines: the rest need not be
// parsed at all.

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
/** Anything that could do more than print or end a line. 0xc2 begins a control character of the second kind, or a harmless one. */
// oxlint-disable-next-line no-control-regex
const NOT_PLAIN = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\xc2]/;

/**
 * @param lines - so many line ends overwrite everything that the terminal holds.
 * @returns where to go on: the beginning of a line, so that what is left has `lines` line ends or more before its first
 *   byte that is not plain. 0 where nothing can be left out.
 */
export function afterPlainRun(output: Buffer, lines: number): number {
  const end = plainLength(output);
  let at = end;
  for (let left = lines; left >= 0; left--) {
    at = at <= 0 ? -1 : output.lastIndexOf(LINE_FEED, at - 1);
    if (at < 0) return 0;
  }
  // Only behind both the cursor is known to stand in the first column.
  return output[at - 1] === CARRIAGE_RETURN ? at + 1 : 0;
}

function plainLength(output: Buffer): number {
  const found = NOT_PLAIN.exec(output.toString("latin1"));
  return found === null ? output.length : found.index;
}

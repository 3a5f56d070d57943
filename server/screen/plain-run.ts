// A flood of lines scrolls past faster than a terminal parses it, and leaves only its last lines: the rest need not be
// parsed at all. Colours may be in it; whatever else a program says to its terminal ends the run.

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
/** Does more than print or end a line, or may. 0xc2 begins control characters, as well as harmless ones. */
// oxlint-disable-next-line no-control-regex
const NOT_PLAIN = /[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f\xc2]|\x1b(?!\[[0-9;:]{0,64}m)/;
// oxlint-disable-next-line no-control-regex
const LOOKS = /\x1b\[[0-9;:]{0,64}m/g;
/** Nothing of what was set before is left behind these. */
const RESETS = ["\x1b[m", "\x1b[0m", "\x1b[;", "\x1b[0;"] as const;
/** Settings since the last reset that are remembered: a program that never resets gets no shortcut. */
const MAX_LOOKS = 1000;

export interface PlainRun {
  /** Bytes that can be left out: up to the beginning of a line. 0 where nothing can. */
  readonly length: number;
  /** What stands in their place: the looks that they leave. */
  readonly instead: string;
}

const NOTHING: PlainRun = { length: 0, instead: "" };

/**
 * @param output - begins in no sequence or character. @param lines - so many line ends overwrite everything that the terminal
 *   holds: what is left has that many or more before its first byte that is not of the run.
 */
export function plainRun(output: Buffer, lines: number): PlainRun {
  const text = output.toString("latin1"); // a character for each byte
  const end = NOT_PLAIN.exec(text)?.index ?? text.length;
  const start = lineStart(output, end, lines);
  if (start === 0) return NOTHING;
  const reset = Math.max(0, ...RESETS.map((each) => text.lastIndexOf(each, start - 1)));
  const kept = text.slice(reset, start).match(LOOKS) ?? [];
  if (kept.length > MAX_LOOKS) return NOTHING;
  return { length: start, instead: `${kept.join("")}\r` };
}

/** Behind it `end` is `lines` line ends away. 0 where there is none, or the cursor is not known to be in the first column there. */
function lineStart(output: Buffer, end: number, lines: number): number {
  let at = end;
  for (let left = lines; left >= 0; left--) {
    at = at <= 0 ? -1 : output.lastIndexOf(LINE_FEED, at - 1);
    if (at < 0) return 0;
  }
  return output[at - 1] === CARRIAGE_RETURN ? at + 1 : 0;
}

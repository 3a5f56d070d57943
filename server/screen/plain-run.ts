// A flood of lines scrolls past faster than a terminal parses it, and leaves only its last lines: the rest need not be
// parsed at all. Colours may be in it; whatever else a program says to its terminal ends the run.

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
/** Prints, or ends a line. 0xc2 is left out: it begins control characters, as well as harmless ones. */
const PLAIN = /[\t\n\r\x20-\x7e\x80-\xc1\xc3-\xff]+/y;
// oxlint-disable-next-line no-control-regex
const LOOKS = /\x1b\[[0-9;:]{0,64}m/y;
/** Nothing of what was set before is left behind it. */
// oxlint-disable-next-line no-control-regex
const RESET = /^\x1b\[0*[m;]/;
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
  const settings: { readonly at: number; readonly text: string }[] = [];
  let end = 0;
  for (;;) {
    const plain = matchAt(PLAIN, text, end);
    end += plain.length;
    const looks = matchAt(LOOKS, text, end);
    if (looks !== "") settings.push({ at: end, text: looks });
    end += looks.length;
    if (looks === "") break;
  }
  const start = lineStart(output, end, lines);
  if (start === 0) return NOTHING;
  const before = settings.filter(({ at }) => at < start);
  const reset = before.findLastIndex((setting) => RESET.test(setting.text));
  const kept = before.slice(Math.max(0, reset));
  if (kept.length > MAX_LOOKS) return NOTHING;
  return { length: start, instead: `${kept.map((setting) => setting.text).join("")}\r` };
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

function matchAt(pattern: RegExp, text: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? "";
}

// Text that somebody else wrote, made fit to stand in our own chrome: one line, no controls, no reordering, short.

/** Controls, format characters (bidi, zero-width, tags), lone surrogates, private use, line and paragraph separators. */
const UNFIT = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]+/gu;
/** More than three marks on one letter only serve to paint over the neighbours. */
const STACKED_MARKS = /(\p{M}{3})\p{M}+/gu;

/** @param limit - code points kept; an ellipsis takes the last place where more were there. */
export function plainText(text: string, limit: number): string {
  // Cut before the expressions run: they must not be asked to walk megabytes.
  const bounded = text.slice(0, limit * 4 + 64);
  const clean = bounded.replace(UNFIT, " ").replace(STACKED_MARKS, "$1").replace(/\s+/gu, " ").trim();
  const points = Array.from(clean);
  if (points.length <= limit && bounded.length === text.length) return clean;
  return `${points.slice(0, Math.max(0, limit - 1)).join("")}…`;
}

/** Bytes of an adversary for reading: printable ASCII as it is, line ends kept, everything else escaped. */
export function escapedBytes(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    if (byte === 0x0a) text += "\n";
    else if (byte === 0x0d) continue;
    else if (byte === 0x5c) text += "\\\\";
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return text;
}

/** Tabs and line ends aside, what is unfit is shown as its code point, so that a reader sees that it is there. */
const UNFIT_IN_LINES = /[^\P{C}\t\n]|[\p{Zl}\p{Zp}]/gu;

/** A text of several lines, whole: nothing in it can hide, reorder or overprint. @param limit - UTF-16 units kept. */
export function plainLines(text: string, limit: number): string {
  const lines = text.slice(0, limit).replace(/\r\n/g, "\n");
  const clean = lines
    .replace(UNFIT_IN_LINES, (char) => `\\u{${char.codePointAt(0)?.toString(16) ?? ""}}`)
    .replace(STACKED_MARKS, "$1");
  return text.length > limit ? `${clean}…` : clean;
}

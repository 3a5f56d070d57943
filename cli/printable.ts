// Text that came from a guest, a host or a file, made safe to print on somebody's terminal.

// C0, DEL, C1; soft hyphen; Arabic letter mark; zero width and direction marks; line and paragraph separators;
// embeddings, overrides and isolates; invisible operators; interlinear marks; tags; byte order mark; lone surrogates.
const UNPRINTABLE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it is for
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}\ud800-\udfff]/gu;

/**
 * One line that moves no cursor and reverses no text: what could is shown as U+FFFD, so that nobody hides anything.
 * @param limit - characters kept; the rest becomes an ellipsis.
 */
export function printable(text: string, limit = 1000): string {
  const cut = text.length > limit ? `${text.slice(0, limit)}…` : text;
  return cut.replace(UNPRINTABLE, "\ufffd");
}

/**
 * JSON for somebody's terminal, whatever the strings in it are: what printable() replaces is written as \uXXXX, so that
 * nothing is lost. @param indent - blanks a level; none: one line. @returns without the last line's end.
 */
export function jsonLine(value: unknown, indent?: number): string {
  const json = JSON.stringify(value, undefined, indent);
  // Inside of strings JSON has escaped line ends already; those that are left are the layout's.
  return json.replace(UNPRINTABLE, (text) => (text === "\n" ? text : escaped(text)));
}

function escaped(text: string): string {
  let units = "";
  for (let i = 0; i < text.length; i++) units += `\\u${text.charCodeAt(i).toString(16).padStart(4, "0")}`;
  return units;
}

/** Bytes of a hostile host, as text: printable ASCII as it is, the rest as \xNN. */
export function escapeBytes(bytes: Uint8Array, limit = 400): string {
  let text = "";
  for (const byte of bytes.subarray(0, limit)) {
    if (byte === 0x5c) text += "\\\\";
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return bytes.length > limit ? `${text}… (${bytes.length} bytes)` : text;
}

// Is this clipboard text safe to type for the user? Cleaned always; shown first where it could do more than insert text.

import { utf8 } from "../protocol/bytes.ts";

export const LONG_PASTE = 5 * 1024; // bytes; above it the user is asked
export const MAX_PASTE = 1024 * 1024; // bytes; above it nothing is pasted

export type PasteReason = "several-lines" | "long" | "control-characters" | "hidden-characters";

export interface PasteReview {
  /** Line ends are CR, as a keyboard types them. No control characters but TAB and CR. */
  readonly text: string;
  readonly lines: number;
  readonly bytes: number;
  /** Controls taken out or replaced. */
  readonly neutralised: number;
  /** Empty: may be pasted without asking. */
  readonly reasons: readonly PasteReason[];
}

/** The start and end marks of bracketed paste, with a 7-bit or an 8-bit introducer: taken out whole. */
const PASTE_MARKS = /(?:\x1b\[|\x9b)20[01]~/g;
const CONTROLS = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/g;
/** Direction changes, zero-width and tag characters: what is seen is not what is typed. */
const HIDDEN =
  /[\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udc7f]/;

/** @returns undefined where the text is empty or above MAX_PASTE. */
export function reviewPaste(clipboard: string): PasteReview | undefined {
  if (clipboard === "" || clipboard.length > MAX_PASTE) return undefined;
  let neutralised = 0;
  const count = (replacement: string) => () => {
    neutralised++;
    return replacement;
  };
  const text = clipboard
    .replace(PASTE_MARKS, count(""))
    .replace(/\x1b/g, count("␛"))
    .replace(CONTROLS, count(""))
    .replace(/\r\n|\n/g, "\r");
  const bytes = utf8(text).length;
  if (bytes > MAX_PASTE) return undefined;
  const reasons: PasteReason[] = [];
  if (text.includes("\r")) reasons.push("several-lines");
  if (bytes > LONG_PASTE) reasons.push("long");
  if (neutralised > 0) reasons.push("control-characters");
  if (HIDDEN.test(text)) reasons.push("hidden-characters");
  const lines = text.split("\r").length - (text.endsWith("\r") ? 1 : 0);
  return { text, lines: Math.max(1, lines), bytes, neutralised, reasons };
}

/** What goes to the guest. The text holds no ESC, so nothing in it can end the bracket early. */
export function pasteInput(review: PasteReview, bracketed: boolean): string {
  return bracketed ? `\x1b[200~${review.text}\x1b[201~` : review.text;
}

export function joinedInOneLine(review: PasteReview): PasteReview {
  const text = review.text.replace(/[ \t]*\r+[ \t]*/g, " ").trim();
  return { ...review, text, lines: 1, bytes: utf8(text).length };
}

/** For the dialog: hidden characters spelled out, at most `limit` characters. */
export function pastePreview(review: PasteReview, limit: number): string {
  const shown = review.text
    .slice(0, limit)
    .replace(/\r/g, "⏎\n")
    .replace(
      new RegExp(HIDDEN.source, "g"),
      (hidden) => `⟨U+${hidden.codePointAt(0)?.toString(16).toUpperCase()}⟩`,
    );
  return review.text.length > limit ? `${shown}\n… ${review.text.length - limit} more characters` : shown;
}

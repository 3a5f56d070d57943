// Paths, which are bytes, as text for people and for JSON.

import { escapeBytes, printable } from "../printable.ts";

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const LONGEST = 4096;

function textOf(path: Uint8Array): string | undefined {
  try {
    return strict.decode(path);
  } catch {
    return undefined;
  }
}

/** One line, whatever the name is made of; bytes that are no UTF-8 as \xNN. */
export function shownPath(path: Uint8Array): string {
  const text = textOf(path);
  return text === undefined ? escapeBytes(path, LONGEST) : printable(text, LONGEST);
}

/** Fields of a JSON line: the exact bytes are there where no text could hold them. */
export function jsonPath(path: Uint8Array): { readonly path: string; readonly pathBase64?: string } {
  const text = textOf(path);
  if (text !== undefined) return { path: text };
  return { path: escapeBytes(path, LONGEST), pathBase64: Buffer.from(path).toString("base64") };
}

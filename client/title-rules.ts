// What may a guest's window title do? Stand at the end of the tab's title, cleaned, shortened and marked as the guest's.

import { plainText } from "./plain-text.ts";

export const MAX_TITLE = 256; // code points

export function safeTitle(title: string): string {
  return plainText(title, MAX_TITLE);
}

/** Our own words come first: a narrow tab cuts the guest's part away, never ours. */
export function documentTitle(identity: string, guestTitle: string): string {
  const ours = `${plainText(identity, 64) || "guest"} · sealtty`;
  const theirs = safeTitle(guestTitle);
  return theirs === "" ? ours : `${ours} · guest title: ${theirs}`;
}

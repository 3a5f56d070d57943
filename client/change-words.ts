// What is said of a guest that changed, was refused, or no longer proves itself while it is open: frozen, closed, gone on.

import type { ChangeKind } from "./page-state.ts";

interface ChangeWords {
  /** The frozen dialog, and what it asks. */
  readonly title: string;
  readonly meaning: string;
  readonly confirm: string;
  readonly goOn: string;
  /** The tab's title meanwhile. */
  readonly tab: string;
  /** The trust panel's verdict meanwhile. */
  readonly frozen: string;
  /** The trust panel's verdict after going on; absent where what is there now is verified itself. */
  readonly wentOn?: string;
  /** The user closed instead. */
  readonly closed: string;
}

const CHANGED: ChangeWords = {
  title: "This is no longer the guest that you connected to",
  meaning: "What is there now meets your policy, but it is not what you connected to.",
  confirm: "I know why this guest changed, and I trust what is there now.",
  goOn: "Go on: I know why it changed",
  tab: "Frozen: the guest changed",
  frozen: "This guest changed after it was verified",
  closed: "You closed it: the guest was no longer the one that you connected to.",
};

export const CHANGE_WORDS: Readonly<Record<ChangeKind, ChangeWords>> = {
  changed: CHANGED,
  refused: {
    ...CHANGED,
    meaning: "What is there now does not meet your policy:",
    wentOn: "Its last evidence did not meet your policy, and you went on",
  },
  unproven: {
    title: "This guest no longer proves itself",
    meaning:
      "Nothing shows that it changed, and nothing shows that it did not: whatever took its place would have nothing to show either.",
    confirm: "I know why it has no evidence to show, and I trust it without.",
    goOn: "Go on without fresh evidence",
    tab: "Frozen: no fresh evidence",
    frozen: "This guest no longer proves itself",
    wentOn: "It had no fresh evidence to show, and you went on",
    closed: "You closed it: the guest no longer proved itself.",
  },
};

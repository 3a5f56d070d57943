// What sealttyd and the thread of a screen say to each other. Each order is answered once, in order, with "done" or a snapshot.

import type { Snapshot } from "./screen-state.ts";

export interface ScreenStart {
  readonly columns: number;
  readonly rows: number;
}

export type ScreenOrder =
  | { readonly type: "feed"; readonly output: Uint8Array }
  | { readonly type: "size"; readonly columns: number; readonly rows: number }
  /** @param lines - above the screen. */
  | { readonly type: "snapshot"; readonly lines: number };

export type ScreenAnswer =
  | { readonly type: "done" }
  /** At work, and has come further: it answers nothing. */
  | { readonly type: "alive" }
  | { readonly type: "snapshot"; readonly snapshot: Snapshot };

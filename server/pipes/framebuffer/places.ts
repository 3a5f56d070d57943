// Where Linux keeps what a console on a screen is made of, and small reads and writes there.

import fs from "node:fs";
import path from "node:path";

/** Other directories for tests. */
export interface Places {
  readonly sys: string;
  readonly dev: string;
  readonly proc: string;
  /** For a note of what is to be given back; only root writes there. */
  readonly run: string;
}

export const PLACES: Places = { sys: "/sys", dev: "/dev", proc: "/proc", run: "/run/sealtty" };

/** @returns without the line's end; undefined where it cannot be read. */
export function textIn(...parts: readonly string[]): string | undefined {
  try {
    return fs.readFileSync(path.join(...parts), "latin1").trimEnd();
  } catch {
    return undefined;
  }
}

/** @returns names in order, none where there is no such directory. */
export function namesIn(...parts: readonly string[]): string[] {
  try {
    return fs.readdirSync(path.join(...parts)).sort(byNumber);
  } catch {
    return [];
  }
}

/** event2 before event10. */
function byNumber(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

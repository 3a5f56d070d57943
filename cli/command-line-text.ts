// Words of the command line, and variables, as they were given. Where one is no UTF-8 Node puts U+FFFD into it, and says nothing: a
// program would get the name of another file than the one that was meant.

import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { SealttyError } from "../protocol/errors.ts";
import { printable } from "./printable.ts";

/**
 * @param next - what to do instead. @param from - "environ" for variables.
 * @throws SealttyError `bad-config` where one of the words may be another than was given.
 */
export function requireAsGiven(
  words: readonly string[],
  next: string,
  from: "cmdline" | "environ" = "cmdline",
): void {
  const changed = words.find((word) => word.includes("\ufffd"));
  if (changed === undefined || isText(`/proc/self/${from}`)) return;
  throw new SealttyError(
    "bad-config",
    `"${printable(changed, 80)}" is not what was given: words and variables have to be UTF-8; ${next}`,
  );
}

/** @returns true where nobody can tell, as without /proc. */
function isText(file: string): boolean {
  try {
    return isUtf8(readFileSync(file));
  } catch {
    return true;
  }
}

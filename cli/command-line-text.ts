// The command line as it was typed. Where a word of it is no UTF-8 Node puts U+FFFD into it, and says nothing: a program would get
// the name of another file than the one that was meant.

import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { SealttyError } from "../protocol/errors.ts";
import { printable } from "./printable.ts";

/** @param next - what to do instead. @throws SealttyError `bad-config` where one of the words may be another than was typed. */
export function requireAsTyped(words: readonly string[], next: string): void {
  const changed = words.find((word) => word.includes("\ufffd"));
  if (changed === undefined || isText("/proc/self/cmdline")) return;
  throw new SealttyError(
    "bad-config",
    `"${printable(changed, 80)}" is not what you typed: words have to be UTF-8; ${next}`,
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

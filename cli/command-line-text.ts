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
  const suspects = words.filter((word) => word.includes("\ufffd"));
  if (suspects.length === 0) return;
  const given = notText(`/proc/self/${from}`);
  const changed = suspects.find((word) => given.some((each) => each.endsWith(word)));
  if (changed === undefined) return;
  throw new SealttyError(
    "bad-config",
    `"${printable(changed, 80)}" is not what was given: words and variables have to be UTF-8; ${next}`,
  );
}

/** @returns what stands there and is no UTF-8, as Node has it; nothing where nobody can tell, as without /proc. */
function notText(file: string): string[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch {
    return [];
  }
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const zero = bytes.indexOf(0, at);
    const end = zero < 0 ? bytes.length : zero;
    const part = bytes.subarray(at, end);
    if (!isUtf8(part)) parts.push(part.toString());
    at = end + 1;
  }
  return parts;
}

// Files of the owner that a command looks at: bounded, and every failure says which file and what to do.

import { open } from "node:fs/promises";
import { readAtMost } from "../node/bounded-file.ts";
import { SealttyError } from "../protocol/errors.ts";

/** @param what - for people: "policy". @param limit - in bytes. @throws SealttyError `bad-config`. */
export async function readOwnerFile(path: string, what: string, limit: number): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    const file = await open(path, "r");
    try {
      bytes = await readAtMost(file, limit + 1);
    } finally {
      await file.close();
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new SealttyError("bad-config", `cannot read the ${what} ${path}: ${whyUnreadable(code)}`, {
      cause,
    });
  }
  if (bytes.length > limit) {
    throw new SealttyError("bad-config", `${path} is larger than ${limit / 1024} KiB; name the ${what}`);
  }
  return bytes;
}

/** Behind the file and a colon. @param code - the system's, or other words. */
export function whyUnreadable(code: string | undefined): string {
  if (code === "ENOENT") return "there is no such file; check the path";
  if (code === "EACCES") return "this user may not read it; change its permissions";
  if (code === "EISDIR") return "it is a directory; name the file in it";
  return `${code ?? "unknown error"}; check the path`;
}

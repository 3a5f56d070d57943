// Our small native programs: for what Node has no call for.

import { lstatSync } from "node:fs";
import path from "node:path";
import { errorCode } from "../node/socket-pipe.ts";

export type NativeProgram =
  | "sev-guest-report"
  | "tdx-report"
  | "sealtty-session"
  | "sealtty-confine"
  | "sealtty-display";

/** Looks at SEALTTY_NATIVE (a directory), beside the program, then in the build. @returns undefined where it is nowhere. */
export function findNativeProgram(name: NativeProgram): string | undefined {
  const named = process.env["SEALTTY_NATIVE"];
  const directories =
    named !== undefined && named !== ""
      ? [path.resolve(named)] // whoever names one means that one
      : [import.meta.dirname, path.join(import.meta.dirname, "../dist/bin")];
  return directories.map((directory) => path.join(directory, name)).find((file) => !isMissing(file));
}

/** Only what is certainly not there: whoever goes without a program because of it must not do so because of a broken disk. */
function isMissing(file: string): boolean {
  try {
    lstatSync(file);
    return false;
  } catch (error) {
    return errorCode(error) === "ENOENT"; // of another one, starting it tells
  }
}

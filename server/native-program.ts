// Our small native programs: for what Node has no call for.

import { existsSync } from "node:fs";
import path from "node:path";

export type NativeProgram = "sev-guest-report" | "tdx-report" | "sealtty-session" | "sealtty-display";

/** Looks at SEALTTY_NATIVE (a directory), beside the program, then in the build. @returns undefined where it is nowhere. */
export function findNativeProgram(name: NativeProgram): string | undefined {
  const named = process.env["SEALTTY_NATIVE"];
  const directories =
    named !== undefined && named !== ""
      ? [path.resolve(named)] // whoever names one means that one
      : [import.meta.dirname, path.join(import.meta.dirname, "../dist/bin")];
  return directories.map((directory) => path.join(directory, name)).find((file) => existsSync(file));
}

// What is put around the front besides taking all rights from it: sealtty-confine (server/native), where it is there.

import fs from "node:fs";
import path from "node:path";
import type { PipeConfig } from "../config.ts";
import { findNativeProgram } from "../native-program.ts";

export interface SandboxNeeds {
  /** As the front has it: of a socket, its own. */
  readonly pipe: PipeConfig;
  /** Forwarding: it connects to addresses and asks resolvers. */
  readonly inet: boolean;
  /** Node, and the program that it runs. */
  readonly programs: readonly string[];
}

/** @returns a program and arguments to put in front of the front's own; or what is missing. */
export function sandboxFor(needs: SandboxNeeds): readonly string[] | string {
  const confine = findNativeProgram("sealtty-confine");
  if (confine === undefined) return "the program sealtty-confine is missing beside sealttyd.js";
  const { pipe, inet, programs } = needs;
  const addon = process.env["SEALTTY_PTY_ADDON"];
  const files = [...programs, ...(addon === undefined || addon === "" ? [] : [addon])];
  const directories = new Set(files.map((file) => path.dirname(realPath(file))));
  return [
    confine,
    ...(inet ? ["--inet"] : []),
    ...[...directories].filter((each) => each !== "/").flatMap((each) => ["--read", each]),
    ...(pipe.type === "unix" ? ["--own", path.dirname(pipe.path)] : []),
    "--",
  ];
}

/** What is not there says so when it is used. */
function realPath(file: string): string {
  try {
    return fs.realpathSync(file);
  } catch {
    return path.resolve(file);
  }
}

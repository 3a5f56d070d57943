// Standard input and output of this process. For a block device or a directory in their place Node has an input that is empty,
// and an output that swallows all that is written: a disk would be copied as nothing, with status 0.

import { createReadStream, createWriteStream, fstatSync } from "node:fs";
import type { TerminalInput, TerminalOutput } from "./services.ts";

export function standardInput(): TerminalInput {
  return isUnknownToNode(0) ? createReadStream("", { fd: 0, autoClose: false }) : process.stdin;
}

export function standardOutput(): TerminalOutput {
  return isUnknownToNode(1) ? createWriteStream("", { fd: 1, autoClose: false }) : process.stdout;
}

function isUnknownToNode(fd: number): boolean {
  const status = fstatSync(fd);
  return status.isBlockDevice() || status.isDirectory();
}

// Puts a checked piece into the owner's directory: whole or not at all, and never over something better.

import path from "node:path";
import { readBoundedFile } from "../../node/bounded-file.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_COLLATERAL_PIECE } from "../../protocol/limits.ts";
import { makeDirectories, writeWholeFile } from "../whole-file.ts";
import { isBetter, type Piece } from "./piece.ts";

export type Kept = "new" | "renewed" | "unchanged" | "yours-is-newer";

/** @throws SealttyError `bad-config` where the directory cannot be made. */
export async function makeDirectory(directory: string): Promise<void> {
  try {
    await makeDirectories(directory, 0o755);
  } catch (cause) {
    throw cannot("make", directory, cause);
  }
}

/** @throws SealttyError `bad-config` where the file cannot be written; one that is there already stays as it is then. */
export async function keep(directory: string, piece: Piece): Promise<Kept> {
  const file = path.join(directory, piece.name);
  const old = await existing(file);
  if (old !== undefined) {
    if (equalBytes(old, piece.bytes)) return "unchanged";
    const rank = piece.rankOf(old);
    if (rank !== undefined && isBetter(rank, piece.rank)) return "yours-is-newer";
  }
  try {
    await writeWholeFile(file, piece.bytes, true);
  } catch (cause) {
    throw cannot("write", file, cause);
  }
  return old === undefined ? "new" : "renewed";
}

/** @returns undefined where there is none, or nothing that a reader of collateral would take. */
async function existing(file: string): Promise<Uint8Array | undefined> {
  try {
    return await readBoundedFile(file, 2 * MAX_COLLATERAL_PIECE);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? undefined : new Uint8Array(0);
  }
}

function cannot(verb: string, file: string, cause: unknown): SealttyError {
  const { code } = cause as NodeJS.ErrnoException;
  return new SealttyError(
    "bad-config",
    `cannot ${verb} ${file} (${code}); name a directory where you may write`,
    { cause },
  );
}

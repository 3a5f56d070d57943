// What a guest said the last time, to be held beside what it says now. It decides nothing: the policy does.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { type ClaimedChange, changesBetween } from "../protocol/attestation/changes.ts";
import type { AppraisedClaims, ClaimedValue } from "../protocol/attestation/verified-guest.ts";
import { seenDirectory } from "./directories.ts";
import type { Services } from "./services.ts";
import { keepOwnFile } from "./whole-file.ts";

const VERSION = 1;
const MAX_FILE = 256 * 1024;
const MAX_VALUES = 256;

export interface SeenBefore {
  /** ISO 8601, UTC. */
  readonly at: string;
  readonly changes: readonly ClaimedChange[];
}

/**
 * Compares with the last look at this guest that was kept, and keeps nothing: whoever does not log in must be told again.
 * @param name - the policy's. @returns undefined where none was kept.
 */
export async function lookBack(
  name: string,
  address: string,
  claims: Pick<AppraisedClaims, "values">,
  services: Pick<Services, "environment">,
): Promise<SeenBefore | undefined> {
  const directory = seenDirectory(services.environment);
  if (directory === undefined) return undefined;
  const before = await readSeen(fileOf(directory, name, address));
  if (before === undefined) return undefined;
  return { at: before.at, changes: changesBetween(before.values, lastingOf(claims)) };
}

/** In place of the look before. Trouble with the file is no trouble for the connection. */
export async function keepLook(
  name: string,
  address: string,
  claims: Pick<AppraisedClaims, "values">,
  services: Pick<Services, "environment" | "wallTime">,
): Promise<void> {
  const directory = seenDirectory(services.environment);
  if (directory === undefined) return;
  const at = new Date(services.wallTime()).toISOString();
  const seen = { version: VERSION, name, address, at, values: lastingOf(claims) };
  const text = `${JSON.stringify(seen, undefined, 1)}\n`;
  await keepOwnFile(fileOf(directory, name, address), text).catch(() => undefined);
}

function lastingOf(claims: Pick<AppraisedClaims, "values">): ClaimedValue[] {
  return claims.values.filter((value) => value.scope === "lasting");
}

function fileOf(directory: string, name: string, address: string): string {
  return path.join(directory, `${createHash("sha256").update(`${name}\0${address}`).digest("hex")}.json`);
}

interface SeenFile {
  readonly version: number;
  readonly name: string;
  readonly address: string;
  readonly at: string;
  readonly values: readonly ClaimedValue[];
}

async function readSeen(file: string): Promise<Pick<SeenFile, "at" | "values"> | undefined> {
  try {
    const text = await readFile(file, "utf8");
    if (text.length > MAX_FILE) return undefined;
    const { version, at, values } = JSON.parse(text) as Partial<SeenFile>;
    if (version !== VERSION || typeof at !== "string" || !/^[0-9TZ:.-]{20,30}$/.test(at)) return undefined;
    if (!Array.isArray(values) || values.length > MAX_VALUES) return undefined;
    const good = values.every(
      (each: Partial<ClaimedValue> | null) =>
        typeof each?.name === "string" &&
        typeof each.words === "string" &&
        typeof each.value === "string" &&
        each.scope === "lasting",
    );
    return good ? { at, values } : undefined;
  } catch {
    return undefined;
  }
}

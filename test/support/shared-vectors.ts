// Finds the shared test vectors and reads them in place: ../shared beside the repository, or $SEALTTY_SHARED.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const place = process.env.SEALTTY_SHARED ?? fileURLToPath(new URL("../../../shared", import.meta.url));

export const hasShared = existsSync(`${place}/vectors/SOURCES.md`);

/** @returns undefined where the file or folder is absent. */
export function sharedPath(...parts: readonly string[]): string | undefined {
  const path = join(place, ...parts);
  return existsSync(path) ? path : undefined;
}

/** @param path - below shared/, such as `vectors/wycheproof/x25519_test.json`. The caller vouches for the shape. */
export function readSharedJson<T>(path: string): T {
  return JSON.parse(readFileSync(`${place}/${path}`, "utf8")) as T;
}

export function readShared(path: string): Uint8Array {
  return new Uint8Array(readFileSync(`${place}/${path}`));
}

/** For each test file that has `test.runIf(hasShared)`: without the vectors, one test whose name says so. */
export function tellIfSharedIsAbsent(): void {
  if (!hasShared)
    test(`NOT RUN: no shared vectors at ${place} (set SEALTTY_SHARED)`, () => {
      expect(hasShared).toBe(false);
    });
}

/** A Wycheproof file, by the fields that the tests of one schema have. */
export interface Wycheproof<Test, Group = object> {
  readonly numberOfTests: number;
  readonly testGroups: readonly (Group & { readonly tests: readonly (WycheproofTest & Test)[] })[];
}

export interface WycheproofTest {
  readonly tcId: number;
  readonly comment?: string;
  readonly flags: readonly string[];
  readonly result: "valid" | "invalid" | "acceptable";
}

/** All tests of a file in one list, each with its group's own fields. */
export function readWycheproof<Test, Group = object>(
  name: string,
): readonly (WycheproofTest & Test & Group)[] {
  const file = readSharedJson<Wycheproof<Test, Group>>(`vectors/wycheproof/${name}_test.json`);
  const tests = file.testGroups.flatMap((group) => group.tests.map((test) => ({ ...group, ...test })));
  if (tests.length !== file.numberOfTests) throw new Error(`${name}: expected ${file.numberOfTests} tests`);
  return tests;
}

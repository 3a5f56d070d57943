// The owner's collateral: a named directory and the cache as one bag, each piece once, and bounded together.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { collateralCache } from "../../cli/directories.ts";
import { ownerCollateral } from "../../cli/owner-collateral.ts";

let home: string;
beforeEach(() => {
  home = mkdtempSync(path.join(tmpdir(), "sealtty-owner-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

/** TCB info in form; nothing believes it here. */
const piece = (i: number) => `{"tcbInfo":{"n":${i}},"signature":"00"}`;

function directory(place: string, numbers: readonly number[]): string {
  mkdirSync(place, { recursive: true });
  for (const i of numbers) writeFileSync(path.join(place, `${i}.json`), piece(i));
  return place;
}

const range = (from: number, until: number) => Array.from({ length: until - from }, (_, i) => from + i);
const read = (named: string | undefined) =>
  ownerCollateral({ text: () => named }, { environment: { HOME: home } });

test("what both have counts once; together they have one bound", async () => {
  const cache = collateralCache({ HOME: home }) as string;
  directory(cache, range(0, 300));
  const same = directory(path.join(home, "same"), range(100, 512));
  const { tcbInfos } = await read(same);
  expect(tcbInfos).toHaveLength(512);
  expect(new Set(tcbInfos.map((bytes) => Buffer.from(bytes).toString()))).toEqual(
    new Set(range(0, 512).map(piece)),
  );
  const more = directory(path.join(home, "more"), range(300, 513));
  await expect(read(more)).rejects.toThrow(
    `${more} with that of the cache ${cache} holds more than 512 pieces`,
  );
  expect((await read(undefined)).tcbInfos).toHaveLength(300);
});

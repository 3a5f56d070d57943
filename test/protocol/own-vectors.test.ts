// The committed vectors are what the code gives: a change of protocol cannot slip in unseen.

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { vectorFiles } from "../vectors/generate.ts";

test.each(Object.keys(vectorFiles))("test/vectors/%s is what test/vectors/generate.ts makes", (file) => {
  const committed: unknown = JSON.parse(readFileSync(new URL(`../vectors/${file}`, import.meta.url), "utf8"));
  expect(vectorFiles[file]?.()).toEqual(committed);
});

// The search that other tests rest on: it finds a secret in whatever form it stands there, and nothing by chance.

import { expect, test } from "vitest";
import { findSecret, needlesOf } from "../support/host-eyes.ts";

const SECRETS = ["exec-42", "early-42", "canaryPw1", "canary-of-the-seed"];

test.each(SECRETS)("%s is found in each form, whatever stands around it", (secret) => {
  for (let before = 0; before < 4; before++)
    for (let after = 0; after < 4; after++) {
      const text = `${"<".repeat(before)}${secret}${">".repeat(after)}`;
      const bytes = Buffer.from(text);
      const forms = [
        bytes,
        Buffer.from(text, "utf16le"),
        Buffer.from(bytes).reverse(),
        Buffer.from(bytes.toString("hex")),
        Buffer.from(bytes.toString("base64")),
      ];
      for (const form of forms)
        expect(findSecret([form], secret), `${form.toString("latin1")} has it`).not.toEqual([]);
      expect(findSecret([Buffer.from(text.replace(secret, "nothing"))], secret)).toEqual([]);
    }
});

test("what it looks for is too long to be in ciphertext by chance", () => {
  // 2^-48 a byte: a search of 100 MB finds one falsely in some two million.
  for (const { name, bytes } of SECRETS.flatMap(needlesOf))
    expect(bytes.length, name).toBeGreaterThanOrEqual(6);
  expect(() => needlesOf("six-42")).toThrow(/too short/);
});

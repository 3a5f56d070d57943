// Both crypto back ends, for tests that must hold for each.

import { randomBytes } from "node:crypto";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { nobleSuite } from "../../protocol/crypto/noble.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";

export const noble: CryptoSuite = nobleSuite((length) => new Uint8Array(randomBytes(length)));
export const node: CryptoSuite = nodeSuite;
/** For `describe.each`: name, suite. */
export const bothSuites: readonly (readonly [string, CryptoSuite])[] = [
  ["noble", noble],
  ["node:crypto", node],
];

// NO ENCRYPTION AT ALL, for one test: the positive control of the canary search. Nothing outside test/ imports it.

import { randomBytes } from "node:crypto";
import { concat } from "../../protocol/bytes.ts";
import { nobleSuite } from "../../protocol/crypto/noble.ts";
import type { CryptoSuite } from "../../protocol/crypto/suite.ts";

const TAG = new Uint8Array(16);

/** Under the product's name, so that a bundler can put this file in its place. */
export const nodeSuite: CryptoSuite = {
  ...nobleSuite((length) => new Uint8Array(randomBytes(length))),
  name: "null channel: no encryption",
  seal: (_key, _nonce, _header, plaintext, front = 0) => concat(new Uint8Array(front), plaintext, TAG),
  open: (_key, _nonce, _header, sealed) =>
    sealed.length < TAG.length ? undefined : sealed.slice(0, sealed.length - TAG.length),
};

// The protocol's cryptography in a browser: in a page, and in a worker.

import { nobleSuite } from "../protocol/crypto/noble.ts";
import type { CryptoSuite } from "../protocol/crypto/suite.ts";

const MAX_RANDOM = 65_536; // what getRandomValues gives at once

export function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += MAX_RANDOM) crypto.getRandomValues(bytes.subarray(at, at + MAX_RANDOM));
  return bytes;
}

export function browserSuite(): CryptoSuite {
  return nobleSuite(randomBytes);
}

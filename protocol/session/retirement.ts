// How an end says that it threw a connection's keys away because its own packet numbers can no longer be trusted.
// docs/protocol.md §8.9

import { concat, utf8 } from "../bytes.ts";
import type { CryptoSuite } from "../crypto/suite.ts";

const LABEL = utf8("sealtty-retired/1\0");

/**
 * What RETIRED carries: a constant of the connection, so that saying it needs no packet number, and saying it twice
 * tells nothing. It is worth nothing but this connection's end.
 * @param exporter - of the handshake, 32 bytes, secret. @param who - says it. @returns 32 bytes.
 */
export function retirementToken(
  suite: CryptoSuite,
  exporter: Uint8Array,
  who: "guest" | "client",
): Uint8Array {
  return suite.hmacSha256(exporter, concat(LABEL, utf8(who)));
}

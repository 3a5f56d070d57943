// What every hardware verifier is given: no verifier reads a clock, a network or a file by itself.

import type { SignatureVerifier } from "../crypto/signatures.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import type { Collateral } from "./collateral.ts";
import type { TrustRoots } from "./roots.ts";

export interface VerifyContext {
  /** When certificates and collateral must be valid: milliseconds since 1970, UTC. */
  readonly now: number;
  /** Tolerated around the validity of certificates and collateral, in milliseconds. */
  readonly clockSkew: number;
  readonly roots: TrustRoots;
  readonly signatures: SignatureVerifier;
  readonly suite: Pick<CryptoSuite, "sha256" | "sha512">;
  /** The owner's own collateral; what travels with the evidence is joined to it. */
  readonly collateral: Collateral;
}

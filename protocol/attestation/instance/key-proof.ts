// The guest proves on a connection that it holds its instance key: Ed25519 over the connection's own values. docs/protocol.md

import { concat, utf8 } from "../../bytes.ts";
import type { CryptoSuite } from "../../crypto/suite.ts";
import { SealttyError } from "../../errors.ts";

const LABEL = utf8("sealtty-instance-key/1\0");
const PUBLIC_KEY = 32;
const SIGNATURE = 64;
/** Public key, then signature. */
export const KEY_PROOF_LENGTH = PUBLIC_KEY + SIGNATURE;

/**
 * @param secretKey - 32-byte seed. @param context - `keyProofContext()` of this connection (../binder.ts).
 * @returns 96 bytes: public key and signature over label ‖ context.
 */
export function signInstanceKey(
  suite: Pick<CryptoSuite, "ed25519Sign" | "ed25519PublicKey">,
  secretKey: Uint8Array,
  context: Uint8Array,
): Uint8Array {
  requireContext(context);
  return concat(suite.ed25519PublicKey(secretKey), suite.ed25519Sign(secretKey, concat(LABEL, context)));
}

/** @returns the 32-byte public key that is proven; undefined where the proof does not hold, or has not 96 bytes. */
export function verifyInstanceKey(
  suite: Pick<CryptoSuite, "ed25519Verify">,
  proof: Uint8Array,
  context: Uint8Array,
): Uint8Array | undefined {
  // Evidence that no connection stands behind proves no key, whatever it brings along.
  if (proof.length !== KEY_PROOF_LENGTH || context.length === 0) return undefined;
  const publicKey = proof.slice(0, PUBLIC_KEY);
  const signature = proof.slice(PUBLIC_KEY);
  return suite.ed25519Verify(publicKey, concat(LABEL, context), signature) ? publicKey : undefined;
}

function requireContext(context: Uint8Array): void {
  if (context.length === 0)
    throw new SealttyError("api-misuse", "An instance key signs for a connection only");
}

// What both back ends ask of their inputs, so that they refuse the same things with the same codes.

import { ed25519 } from "@noble/curves/ed25519.js";
import { SealttyError } from "../errors.ts";

/** For bytes of our own side. @throws SealttyError `api-misuse`. */
export function requireOwn(bytes: Uint8Array, length: number, what: string): void {
  if (bytes.length !== length) throw new SealttyError("api-misuse", `${what} must be ${length} bytes`);
}

/** For bytes the peer sent. @throws SealttyError `peer-misbehaved`. */
export function requirePeers(bytes: Uint8Array, length: number, what: string): void {
  if (bytes.length !== length)
    throw new SealttyError("peer-misbehaved", `${what} is not ${length} bytes long`);
}

/**
 * Canonically encoded (RFC 8032 §5.1.3), on the curve, in the subgroup of prime order and not its neutral element.
 * OpenSSL checks none but the second; RFC 8032 leaves the rest open, and verifiers differ on keys outside it
 * (cofactored or not). With such keys refused, there is one answer for every signature.
 */
export function isSoundEd25519Key(publicKey: Uint8Array): boolean {
  const point = ed25519PointOf(publicKey);
  return point !== undefined && !point.isSmallOrder() && point.isTorsionFree();
}

/** A point of the prime-order subgroup in its canonical encoding: what the R of a true signature always is. */
export function isPrimeOrderEd25519Point(encoded: Uint8Array): boolean {
  return ed25519PointOf(encoded)?.isTorsionFree() ?? false;
}

function ed25519PointOf(encoded: Uint8Array): InstanceType<typeof ed25519.Point> | undefined {
  try {
    return ed25519.Point.fromBytes(encoded, false);
  } catch {
    return undefined;
  }
}

// Verifying signatures of hardware and of users' keys: asynchronous, because WebCrypto is the one implementation that every
// client has.

export type HardwareSignatureAlgorithm =
  | "ecdsa-p256-sha256"
  | "ecdsa-p384-sha384"
  | "rsassa-sha256"
  | "rsapss-sha384";

/** With those that only users' SSH keys have. */
export type SignatureAlgorithm = HardwareSignatureAlgorithm | "ecdsa-p521-sha512" | "rsassa-sha512";

/** ECDSA: x‖y of equal length. RSA: big-endian modulus and exponent. */
export type HardwareKey =
  | { readonly kind: "ec"; readonly x: Uint8Array; readonly y: Uint8Array }
  | { readonly kind: "rsa"; readonly modulus: Uint8Array; readonly exponent: Uint8Array };

export interface SignatureVerifier {
  /**
   * @param signature - ECDSA: r‖s, each as long as the curve's order; RSA: as long as the modulus.
   * @returns false for every signature that does not hold, malformed keys included; never throws on peer bytes.
   */
  verify(
    algorithm: SignatureAlgorithm,
    key: HardwareKey,
    message: Uint8Array,
    signature: Uint8Array,
  ): Promise<boolean>;
}

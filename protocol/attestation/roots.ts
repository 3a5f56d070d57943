// The vendors' root keys, pinned: SHA-256 of the root certificate's SubjectPublicKeyInfo (DER), lower-case hex.

export const SNP_PRODUCTS = ["Milan", "Genoa", "Turin"] as const;
export type SnpProduct = (typeof SNP_PRODUCTS)[number];

export interface TrustRoots {
  /** AMD Root Keys, one for each product line. */
  readonly amd: Readonly<Record<SnpProduct, readonly string[]>>;
  /** Intel SGX Root CA. */
  readonly intel: readonly string[];
  /** AWS Nitro Enclaves Root-G1. */
  readonly nitro: readonly string[];
}

export const VENDOR_ROOTS: TrustRoots = {
  amd: {
    Milan: ["9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9"],
    Genoa: ["429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831"],
    Turin: ["4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08"],
  },
  intel: ["a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e"],
  nitro: ["f2caf5ecc6190b4a8399b78bc58a2bbcd0382375db8a1bfd78a82743874fd225"],
};

// A key that lives in this browser, of either kind, and where that is allowed.

export type PageKeyKind = "passkey" | "browser-key";

interface AnyPageKey {
  /** SSH wire format. */
  readonly publicKey: Uint8Array;
  /** Milliseconds since 1970, UTC. */
  readonly madeAt: number;
}

export type PageKey = AnyPageKey &
  (
    | { readonly kind: "passkey"; readonly credentialId: Uint8Array<ArrayBuffer> }
    | { readonly kind: "browser-key"; readonly privateKey: CryptoKey }
  );

/** Where the page is, as far as keys depend on it. */
export interface PagePlace {
  readonly protocol: string;
  readonly hostname: string;
  readonly port: string;
  readonly origin: string;
}

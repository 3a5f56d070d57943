// What it takes to check SSH signatures of every kind, in Node.

import { webCryptoSignatures } from "../protocol/crypto/webcrypto-signatures.ts";
import type { SshCrypto } from "../protocol/user-auth/signature.ts";
import { nodeSuite } from "./crypto-suite.ts";

export const nodeSshCrypto: SshCrypto = {
  suite: nodeSuite,
  signatures: webCryptoSignatures(globalThis.crypto.subtle),
};

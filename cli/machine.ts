// This machine's network, keys, clock and cryptography, for the command line and for the API.

import { nodeClock } from "../node/clock.ts";
import { nodeSuite } from "../node/crypto-suite.ts";
import { loadIdentity } from "../node/user-identity.ts";
import { parsePolicy } from "../protocol/attestation/policy.ts";
import { webCryptoSignatures } from "../protocol/crypto/webcrypto-signatures.ts";
import { connect } from "../protocol/session/connect.ts";
import { dial } from "./dial.ts";
import type { Machine } from "./services.ts";
import { localUser } from "./surroundings.ts";

export const machine: Machine = {
  environment: process.env,
  suite: nodeSuite,
  signatures: webCryptoSignatures(globalThis.crypto.subtle),
  clock: nodeClock,
  wallTime: () => Date.now(),
  connect,
  parsePolicy,
  loadIdentity: (file) => loadIdentity(file === undefined ? {} : { identityFile: file }),
  dial: (address, environment = process.env) => dial(address, environment, nodeClock),
  localUser: localUser(),
};

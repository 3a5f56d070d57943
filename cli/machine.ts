// This machine's network, keys, clock and cryptography, for the command line and for the API.

import { userInfo } from "node:os";
import { nodeClock } from "../node/clock.ts";
import { nodeSuite } from "../node/crypto-suite.ts";
import { loadIdentity } from "../node/user-identity.ts";
import { parsePolicy } from "../protocol/attestation/policy.ts";
import { webCryptoSignatures } from "../protocol/crypto/webcrypto-signatures.ts";
import { connect } from "../protocol/session/connect.ts";
import { dial } from "./dial.ts";
import type { Machine } from "./services.ts";

export const machine: Machine = {
  environment: process.env,
  suite: nodeSuite,
  signatures: webCryptoSignatures(globalThis.crypto.subtle),
  clock: nodeClock,
  wallTime: () => Date.now(),
  connect,
  parsePolicy,
  loadIdentity: (file) => loadIdentity(file === undefined ? {} : { identityFile: file }),
  dial: (address) => dial(address, process.env, nodeClock),
  localUser: localUser(),
};

function localUser(): string {
  try {
    return userInfo().username;
  } catch {
    return process.env["USER"] ?? "root"; // a container's user without an entry in /etc/passwd
  }
}

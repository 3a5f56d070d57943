// This machine's network, keys, clock and cryptography, for the command line and for the API.

import { nodeClock } from "../node/clock.ts";
import { nodeSuite } from "../node/crypto-suite.ts";
import { loadIdentities } from "../node/user-identity.ts";
import { parsePolicy } from "../protocol/attestation/policy.ts";
import { webCryptoSignatures } from "../protocol/crypto/webcrypto-signatures.ts";
import { SealttyError } from "../protocol/errors.ts";
import { connect } from "../protocol/session/connect.ts";
import { askPassphrase, sayOnTerminal } from "./ask-passphrase.ts";
import { dial } from "./dial.ts";
import { printable } from "./printable.ts";
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
  async loadIdentity(identityFile, { certificate, silent = false, certificateSkipped } = {}) {
    const ask = (file: string): Promise<string | undefined> =>
      askPassphrase(`Passphrase for key '${printable(file)}': `, process.env);
    const [first, ...others] = await loadIdentities({
      ...(identityFile === undefined ? {} : { identityFile }),
      ...(certificate === undefined ? {} : { certificateFile: certificate }),
      ...(silent ? {} : { askPassphrase: ask }),
      ...(certificateSkipped === undefined ? {} : { certificateSkipped }),
      stillUnlocking: (file) =>
        sayOnTerminal(`The key '${printable(file)}' takes long to unlock; Ctrl-C gives up.`),
    });
    if (first === undefined) throw new SealttyError("bad-config", "No SSH key to authenticate with");
    return { ...first, others };
  },
  dial: (address, environment = process.env) => dial(address, environment, nodeClock),
  localUser: localUser(),
};

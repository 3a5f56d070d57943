// `import { connect } from "sealtty/browser"`, in a page or in a worker. docs/api.md

import { attestGuest, signedIn } from "../../protocol/api/attest.ts";
import { requireOptions, requireThere } from "../../protocol/api/misuse.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import type { Clock } from "../../protocol/clock.ts";
import { webCryptoSignatures } from "../../protocol/crypto/webcrypto-signatures.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { Pipe } from "../../protocol/pipe.ts";
import type { AttestedGuest, ConnectOptions as ProtocolOptions } from "../../protocol/session/api.ts";
import { connect as connectByProtocol } from "../../protocol/session/connect.ts";
import type { SshCrypto } from "../../protocol/user-auth/signature.ts";
import { browserClock } from "../browser-clock.ts";
import { browserSuite } from "../browser-suite.ts";
import { openHostSocket } from "../web-socket-pipe.ts";
import { BrowserGuest } from "./open-guest.ts";
import { collateralOf, CONNECT_OPTIONS } from "./options.ts";
import type { ConnectOptions, Guest } from "./types.ts";
import { userAuthOf } from "./user-key.ts";
import { webSocketUrl } from "./web-socket-address.ts";

export { SealttyError } from "../../protocol/errors.ts";
export type * from "./types.ts";
export { publicKeyLine } from "./user-key.ts";

const DEFAULT_TIMEOUT_MS = 30_000;

/** All that it needs from outside, so that a test can have another. */
export interface Browser extends SshCrypto {
  readonly clock: Clock;
  /** Milliseconds since 1970, UTC. */
  wallTime(): number;
  connect(options: ProtocolOptions): Promise<AttestedGuest>;
  dial(url: string): Promise<Pipe>;
}

let browser: Browser | undefined; // one for all connections

/**
 * Reaches a guest, appraises its evidence against the policy, and logs the user in; before that nothing secret was sent.
 * @throws SealttyError with a `code`: `evidence-refused`, `user-refused`, `guest-silent`, `bad-policy`, …
 */
export async function connect(options: ConnectOptions): Promise<Guest> {
  browser ??= thisBrowser();
  return await connectFrom(browser, options);
}

/** @param from - the browser to reach it from. */
export async function connectFrom(from: Browser, options: ConnectOptions): Promise<Guest> {
  requireOptions("connect()", options, CONNECT_OPTIONS);
  requireThere("connect()", options, ["guest", "policy", "user", "key"]);
  const url = webSocketUrl(options.guest);
  const policy = parsePolicy(options.policy.text);
  const userAuth = await userAuthOf(options, from);
  const reached = await attestGuest(
    (all) => from.connect(all),
    {
      dial: () => from.dial(url),
      suite: from.suite,
      signatures: from.signatures,
      clock: from.clock,
      wallTime: () => from.wallTime(),
      collateral: collateralOf(options.collateral ?? {}),
      address: options.guest,
      identity: policy.name,
      policy,
      acceptSimulated: options.simulated ?? false,
      timeout: options.timeout ?? DEFAULT_TIMEOUT_MS,
      encoding: options.encoding ?? "auto",
      shaping: options.obfuscate ?? "off",
    },
    {
      onState: (state) => options.onState?.(state),
      onEvidence: (event) => options.onEvidence?.(event),
      // Absent is not the same as one that says nothing.
      ...(options.onChanged === undefined ? {} : { onChanged: options.onChanged.bind(options) }),
    },
  );
  return new BrowserGuest(await signedIn(reached, (attested) => attested.authenticate(userAuth), from.clock));
}

/** @throws SealttyError `api-misuse` where signatures cannot be checked. */
function thisBrowser(): Browser {
  if (!globalThis.isSecureContext || crypto.subtle === undefined)
    throw new SealttyError(
      "api-misuse",
      "The browser gives this page no cryptography: it has to come by https, or from this machine (localhost)",
    );
  return {
    suite: browserSuite(),
    signatures: webCryptoSignatures(crypto.subtle),
    clock: browserClock(),
    wallTime: () => Date.now(),
    connect: connectByProtocol,
    dial: openHostSocket,
  };
}

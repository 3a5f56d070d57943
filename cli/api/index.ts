// `import { connect } from "sealtty"`. docs/api.md

import { signedIn } from "../../protocol/api/attest.ts";
import { requireOptions, requireThere } from "../../protocol/api/misuse.ts";
import type { AttestedGuest, ConnectionState, Guest as ProtocolGuest } from "../../protocol/session/api.ts";
import { machine } from "../machine.ts";
import { DEFAULT_TIMEOUT_MS } from "../option-values.ts";
import type { Machine } from "../services.ts";
import { CONNECT_OPTIONS } from "./misuse.ts";
import { OpenGuest } from "./open-guest.ts";
import { attest, logIn, readPolicyFile } from "./reaching.ts";
import type { ConnectOptions, Guest } from "./types.ts";

export { SealttyError } from "../../protocol/errors.ts";
export type * from "./types.ts";

/**
 * Reaches a guest, appraises its evidence against the policy, and logs the user in; before that nothing secret was sent.
 * @throws SealttyError with a `code`: `evidence-refused`, `user-refused`, `guest-silent`, `bad-policy`, …
 */
export function connect(options: ConnectOptions): Promise<Guest> {
  return connectFrom(machine, options);
}

/** @param from - the machine to reach it from: a test has another. */
export async function connectFrom(from: Machine, options: ConnectOptions): Promise<Guest> {
  const { guest: address, policy: named } = checkedOptions(options);
  const { policy } =
    typeof named === "string"
      ? await readPolicyFile(named, address, from)
      : { policy: from.parsePolicy(named.text) };
  const identity =
    options.identity === false ? undefined : await from.loadIdentity(options.identity, { silent: true });
  const reached = await attest(
    {
      guest: address,
      identity: policy.name,
      policy,
      collateral: options.collateral,
      acceptSimulated: options.simulated ?? false,
      timeout: options.timeout ?? DEFAULT_TIMEOUT_MS,
      encoding: options.encoding ?? "auto",
      shaping: options.obfuscate ?? "off",
    },
    {
      onState: (state: ConnectionState) => options.onState?.(state),
      onEvidence: (event) => options.onEvidence?.(event),
      // Absent is not the same as one that says nothing.
      ...(options.onChanged === undefined ? {} : { onChanged: options.onChanged.bind(options) }),
    },
    from,
  );
  const user = options.user ?? from.localUser;
  const signIn = (attested: AttestedGuest): Promise<ProtocolGuest> =>
    logIn(attested, user, identity, () => {});
  return new OpenGuest(await signedIn(reached, signIn, from.clock));
}

/** From JavaScript anything may come. */
function checkedOptions(options: ConnectOptions): ConnectOptions {
  requireOptions("connect()", options, CONNECT_OPTIONS);
  requireThere("connect()", options, ["guest", "policy"]);
  return options;
}

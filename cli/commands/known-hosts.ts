// `sealtty known-hosts`: lines of known_hosts for the guest's sshd, out of verified evidence, for ssh's KnownHostsCommand.

import { hostKeysOf, type SshHostKey } from "../../protocol/attestation/ssh-host-keys.ts";
import { SealttyError } from "../../protocol/errors.ts";
import { parseAddress } from "../address.ts";
import { handedHostKeys } from "../host-keys-handed.ts";
import { COMMON_OPTIONS, type Command, type Input, usage } from "../options.ts";
import { reach, readPolicy } from "../reach.ts";
import { print, Reporter } from "../report.ts";
import type { Services } from "../services.ts";
import { isKnownHostName } from "../ssh-config.ts";

/** Who writes one line of options for several commands need not leave them out. */
const UNUSED: ReadonlySet<string> = new Set(["login", "identity", "certificate"]);

export const knownHostsCommand: Command = {
  name: "known-hosts",
  summary: "the host keys of the guest's sshd, out of its verified evidence",
  operands: "GUEST [NAME]",
  options: COMMON_OPTIONS.map((option) =>
    UNUSED.has(option.name)
      ? { ...option, help: "as elsewhere, and of no use here: nobody is logged in" }
      : option,
  ),
  notes: [
    "For ssh's KnownHostsCommand; sealtty config-ssh writes that down for you. NAME is what ssh calls the host (%H);",
    "without it the policy's name. The guest says its keys by ssh_host_keys of [instance]; nobody is logged in for this.",
    "Exit status: 0, or 255 for sealtty's errors: then nothing was printed, and ssh believes no key.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    const [guestName, name, ...extra] = input.operands;
    if (guestName === undefined || guestName === "") throw usage(knownHostsCommand, "GUEST is missing");
    if (extra.length > 0 || input.rest !== undefined)
      throw usage(knownHostsCommand, "too much behind the name");
    if (name !== undefined && !isKnownHostName(name))
      throw usage(knownHostsCommand, `${JSON.stringify(name)} is no name of a host`);
    const reporter = new Reporter(services, input);
    const { keys, policyName } = await verifiedKeys(guestName, input, services, reporter);
    if (keys.length === 0) {
      throw new SealttyError(
        "evidence-unavailable",
        'the guest is who your policy says, but its evidence names no SSH host key: add ssh_host_keys = ["/etc/ssh/ssh_host_ed25519_key.pub"] to [instance] in its sealttyd.toml, or see that the file named there exists (sealttyd --check, in the guest)',
      );
    }
    const host = name ?? policyName;
    const lines = keys.map(({ type, blob }) => `${host} ${type} ${Buffer.from(blob).toString("base64")}\n`);
    await print(services.stdout, lines.join(""));
    return 0;
  },
};

async function verifiedKeys(
  guestName: string,
  input: Input,
  services: Services,
  reporter: Reporter,
): Promise<{ keys: readonly SshHostKey[]; policyName: string }> {
  const { policy, text } = await readPolicy(input, input.alias ?? guestName, services);
  const believed = { address: parseAddress(guestName).text, policyText: text };
  const handed = await handedHostKeys(believed, services);
  if (handed !== undefined) return { keys: handed, policyName: policy.name };
  const reached = await reach(guestName, input, services, reporter, { login: false });
  try {
    return { keys: hostKeysOf(reached.attested), policyName: policy.name };
  } finally {
    await reached.end();
  }
}

// `sealtty provision`: the owner's seed for cloud-init, through the console and by no way of the host's.

import { createHash } from "node:crypto";
import { SealttyError } from "../../protocol/errors.ts";
import { MAX_META_DATA, MAX_NETWORK_CONFIG, MAX_USER_DATA } from "../../protocol/limits.ts";
import { PROVISION_STATUS, type Seed, encodeSeed } from "../../protocol/provision/seed.ts";
import type { RemoteProcess } from "../api/types.ts";
import { type Command, type Input, KEYED_OPTIONS, onlyGuest, usage } from "../options.ts";
import { readOwnerFile } from "../owner-file.ts";
import { printable } from "../printable.ts";
import { Reporter } from "../report.ts";
import { complaintOf, serviceFailed, useService } from "../service-program.ts";

export const provisionCommand: Command = {
  name: "provision",
  summary: "give the guest its cloud-init user-data, on its first boot",
  operands: "GUEST --user-data FILE",
  brief: "GUEST",
  options: [
    ...KEYED_OPTIONS,
    { name: "user-data", value: "FILE", help: "cloud-init's user-data (required)" },
    {
      name: "meta-data",
      value: "FILE",
      help: "its meta-data; without: an instance-id of the guest's making",
    },
    { name: "network-config", value: "FILE", help: "its network configuration; without: cloud-init's own" },
  ],
  notes: [
    "The guest waits for it ([provision] in its sealttyd.toml), and takes it once. Nothing of it can be seen by the host.",
    "For users whom [provision] users names, with a key.",
    "Exit status: 0 where the guest has it all, or 255 for sealtty's errors.",
  ],
  exits: "ssh-like",
  async run(input, services) {
    const guestName = onlyGuest(provisionCommand, input);
    const seed = await seedOf(input);
    const encoded = encodeSeed(seed);
    const reporter = new Reporter(services, input);
    const service = { name: "provision" } as const;
    return await useService(
      guestName,
      service,
      { input, services, reporter, stdin: encoded },
      async (program) => {
        await takenBy(program);
        const sha256 = createHash("sha256").update(seed.userData).digest("hex");
        reporter.event("provisioned", { bytes: seed.userData.length, sha256 });
        reporter.say(
          `sealtty: the guest has its user-data (${seed.userData.length} bytes, SHA-256 ${sha256})`,
        );
        return 0;
      },
    );
  },
};

/** @throws SealttyError `bad-config`. */
async function seedOf(input: Input): Promise<Seed> {
  const file = input.text("user-data");
  if (file === undefined) throw usage(provisionCommand, "--user-data FILE is missing");
  const userData = await readOwnerFile(file, "user-data", MAX_USER_DATA);
  requireKnownKind(file, userData);
  const optional = async (option: "meta-data" | "network-config", most: number) => {
    const named = input.text(option);
    return named === undefined ? undefined : await readOwnerFile(named, option, most);
  };
  const metaData = await optional("meta-data", MAX_META_DATA);
  const networkConfig = await optional("network-config", MAX_NETWORK_CONFIG);
  return {
    userData,
    ...(metaData === undefined ? {} : { metaData }),
    ...(networkConfig === undefined ? {} : { networkConfig }),
  };
}

/** What cloud-init tells by its first line; or gzip; anything else it ignores without a word on the first boot. */
const KINDS =
  /^(?:#cloud-config|#!|#include|#cloud-boothook|#part-handler|#upstart-job|## template: *jinja|MIME-Version:|Content-Type:|From )/i;

function requireKnownKind(file: string, userData: Uint8Array): void {
  if (userData[0] === 0x1f && userData[1] === 0x8b) return;
  if (KINDS.test(Buffer.from(userData.subarray(0, 64)).toString("latin1"))) return;
  throw new SealttyError(
    "bad-config",
    `${printable(file)} is nothing that cloud-init takes as user-data: its first line has to be #cloud-config, #!/bin/sh, a MIME header or the like`,
  );
}

/** @throws SealttyError `user-refused` where the guest has one already, `program-failed`. */
async function takenBy(program: RemoteProcess): Promise<void> {
  const complaint = complaintOf(program);
  program.stdout.resume(); // there is none
  const exit = await program.exit;
  if (exit.status === PROVISION_STATUS.written) return;
  if (exit.status === PROVISION_STATUS["already-provisioned"])
    throw new SealttyError("user-refused", `The guest takes no seed: ${await complaint}`);
  throw serviceFailed("The guest could not take the seed", exit, await complaint);
}

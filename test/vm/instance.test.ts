// Which guest, on a real VM: the host delivers an instance document by fw_cfg, the guest extends it into a PCR and obeys it,
// the client believes it because the quote has it. A host that delivers another one is found out.

import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { connectUnixSocket } from "../../node/unix-socket-pipe.ts";
import { loadIdentity, sshKeyAuth } from "../../node/user-identity.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { AttestationEvent, ConnectOptions } from "../../protocol/session/api.ts";
import type { Channel } from "../../protocol/session/channel-api.ts";
import { connect, inspectGuest } from "../../protocol/session/connect.ts";
import { makeScratch, sshKeygen } from "../support/openssh.ts";
import { clientOptions } from "../support/session.ts";
import { BOOT_TIMEOUT, bootVm, CONNECT_TIMEOUT, sealttydServes, type Vm } from "../support/vm.ts";

const scratch = makeScratch();
const keyFile = scratch.path("owner_key");
const DAEMON = `[pipe]
type = "virtio"
name = "sealtty.0"
[evidence]
type = "tpm"
device = "/dev/tpmrm0"
[instance]
document = ["fw_cfg", "cmdline"]
[users]
login = ["/bin/login"]
`;

let publicLine: string;
beforeAll(() => {
  sshKeygen(keyFile);
  publicLine = readFileSync(`${keyFile}.pub`, "utf8").trim();
});
afterAll(() => scratch.remove());

const documentOf = (name: string): Uint8Array =>
  utf8(
    `version = 1\nname = "${name}"\nauthorized_keys = ["${publicLine}"]\nusers = ["root"]\n` +
      `commands = [["cat", "/etc/hostname"]]\n[agent]\nshell = false\n`,
  );
const digestOf = (document: Uint8Array): string => toHex(nodeSuite.sha256(document));

function boot(document: Uint8Array | undefined): Promise<Vm> {
  const file = scratch.path("instance.toml");
  if (document !== undefined) writeFileSync(file, document);
  return bootVm({
    firmware: "ovmf",
    tpmStateDirectory: scratch.path("tpm"), // the same machine each time
    files: { "/etc/sealtty/virtio.toml": DAEMON },
    qemuArguments: document === undefined ? [] : ["-fw_cfg", `name=opt/org.sealtty/instance,file=${file}`],
  });
}

const options = (vm: Vm, own: Partial<ConnectOptions> = {}): ConnectOptions =>
  clientOptions(nodeClock, () => connectUnixSocket(vm.unixPath ?? ""), {
    address: vm.address,
    identity: "db1",
    acceptSimulated: false,
    timeout: CONNECT_TIMEOUT,
    ...own,
  });

async function outputOf(channel: Channel): Promise<string> {
  let text = "";
  for (;;) {
    const chunk = await channel.stdout.read();
    if (chunk === undefined) return text;
    text += Buffer.from(chunk).toString();
    channel.stdout.consumed(chunk.length);
  }
}

let policyText: string;

test(
  "the owner's document: proven by the quote, shown, obeyed, and renewed",
  async () => {
    const document = documentOf("db1");
    const vm = await boot(document);
    try {
      await sealttydServes(vm);
      const { claims } = await inspectGuest(options(vm));
      expect(claims.instanceDocument).toMatchObject({ name: "db1", digest: digestOf(document) });
      policyText = claims.policyText;
      expect(policyText).toContain(digestOf(document));

      const events: AttestationEvent[] = [];
      const policy = parsePolicy(policyText);
      const attested = await connect(options(vm, { policy, onAttestation: (event) => events.push(event) }));
      expect(attested.verified.claims.instanceDocument?.name).toBe("db1");
      const guest = await attested.authenticate(
        sshKeyAuth("root", await loadIdentity({ identityFile: keyFile })),
      );
      const channel = await guest.openChannel({
        kind: "exec",
        command: ["cat", "/etc/hostname"],
        environment: {},
      });
      channel.end();
      expect(await outputOf(channel)).toBe("sealtty-guest\n");
      expect(await channel.exit).toEqual({ kind: "exited", status: 0 });
      for (const command of [["cat", "/etc/shadow"], ["sh"]]) {
        await expect(guest.openChannel({ kind: "exec", command, environment: {} })).rejects.toThrow(
          SealttyError,
        );
      }
      await guest.reattest();
      expect(events.map((event) => event.kind)).toEqual(["renewed"]);
      await guest.close();

      // Another user than the document names is refused, key or not.
      const other = await connect(options(vm, { policy }));
      const identity = await loadIdentity({ identityFile: keyFile });
      await expect(other.authenticate(sshKeyAuth("alice", identity))).rejects.toMatchObject({
        code: "user-refused",
      });
      await other.close();
    } finally {
      await vm.stop();
    }
  },
  2 * BOOT_TIMEOUT,
);

test(
  "the host delivers another document: the same machine and software, and refused",
  async () => {
    const vm = await boot(documentOf("evil-twin"));
    try {
      const refused: unknown = await connect(options(vm, { policy: parsePolicy(policyText) })).catch(
        (error) => error,
      );
      expect(refused).toBeInstanceOf(SealttyError);
      const { refusal } = refused as SealttyError;
      const checks = [refusal?.check, ...(refusal?.others ?? []).map(({ check }) => check)];
      expect(checks).toContain("instance.pinned-document");
    } finally {
      await vm.stop();
    }
  },
  2 * BOOT_TIMEOUT,
);

test(
  "the host delivers none: sealttyd does not start, and its log says why",
  async () => {
    const vm = await boot(undefined);
    try {
      await vm.waitForSerial(/sealttyd\[virtio\]: .*instance document/i, 60_000);
      const attempt = connect(options(vm, { policy: parsePolicy(policyText), timeout: 4000 }));
      await expect(attempt).rejects.toMatchObject({ code: "guest-silent" });
    } finally {
      await vm.stop();
    }
  },
  2 * BOOT_TIMEOUT,
);

// The oldest pipe there is: a 16550 (ttyS1) over a unix chardev, and a second guest console that the kernel itself uses.
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { connectUnixSocket } from "../../node/unix-socket-pipe.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import { connect, inspectGuest } from "../../protocol/session/connect.ts";
import { clientOptions } from "../support/session.ts";
import { TestTerminal } from "../support/terminal.ts";
import { BOOT_TIMEOUT, withVm } from "../support/vm.ts";

const PASSWORD = "sealtty-test-password";
const START = [
  "#!/bin/sh",
  "(while :; do",
  "  SEALTTY_PTY_ADDON=/usr/lib/sealtty/pty.node node /usr/lib/sealtty/sealttyd.js --config /etc/sealtty/ttyS1.toml </dev/null 2>&1 |",
  '    while IFS= read -r line; do echo "sealttyd[ttyS1]: $line"; done',
  "  sleep 2",
  "done) &",
  "",
].join("\n");

function config(device: string): string {
  const users = '[users]\nlogin = ["/bin/login"]\n';
  return `[pipe]\ntype = "tty"\ndevice = "${device}"\n[evidence]\ntype = "tpm"\n${users}`;
}

test(
  "evidence, login and a shell over a 16550, and a kernel console that is refused",
  async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-serial-"));
    const socket = path.join(directory, "ttyS1");
    const options = {
      firmware: "seabios",
      cpus: 2, // one machine of the tests has them
      append: "sealtty.only=none",
      qemuArguments: [
        "-chardev",
        `socket,id=s1,path=${socket},server=on,wait=off`,
        "-device",
        "isa-serial,chardev=s1,index=1",
      ],
      files: {
        "/etc/sealtty/ttyS1.toml": config("/dev/ttyS1"),
        "/etc/sealtty/ttyS0.toml": config("/dev/ttyS0"),
        "/etc/sealtty/init.d/serial": { data: START, mode: 0o755 },
        "/etc/sealtty/init.d/refused": {
          data: "#!/bin/sh\nnode /usr/lib/sealtty/sealttyd.js --config /etc/sealtty/ttyS0.toml </dev/null 2>&1 | sed 's/^/refused: /'\n",
          mode: 0o755,
        },
      },
    } as const;
    try {
      await withVm(options, async (vm) => {
        await vm.waitForSerial(/refused: .*ttyS0.*kernel.*console/i);
        await vm.waitForSerial(/sealttyd\[ttyS1\]: .*sealttyd serves/);
        for (const encoding of ["auto", "armour"] as const) {
          const client = clientOptions(nodeClock, () => connectUnixSocket(socket), {
            acceptSimulated: false,
            encoding,
          });
          const policy = parsePolicy((await inspectGuest(client)).claims.policyText);
          const attested = await connect({ ...client, policy });
          const guest = await attested.authenticate({ method: "none", user: "root" });
          const terminal = new TestTerminal(
            await guest.openChannel({ kind: "login", term: "vt220", columns: 100, rows: 30 }),
          );
          await terminal.waitFor(/login: /);
          await terminal.type("root\r");
          await terminal.waitFor(/assword: /);
          await terminal.type(`${PASSWORD}\r`);
          await terminal.waitFor(/# (?:\x1b\[6n)?$/);
          await terminal.type("stty size; seq 1 2000 | md5sum; echo over-$((40+2))\r");
          await terminal.waitFor(/over-42\r\n/);
          expect(terminal.shown).toContain("30 100");
          await attested.close();
        }
        expect(vm.serialLog()).not.toContain(PASSWORD);
      });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
  BOOT_TIMEOUT,
);

// A real machine stopped, saved and set back while a console is open: it must not go on with the keys of its other life.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { nodeClock } from "../../node/clock.ts";
import { connectUnixSocket } from "../../node/unix-socket-pipe.ts";
import { parsePolicy } from "../../protocol/attestation/policy.ts";
import { connect } from "../../protocol/session/connect.ts";
import { clientOptions } from "../support/session.ts";
import { TestTerminal } from "../support/terminal.ts";
import { BOOT_TIMEOUT, CONNECT_TIMEOUT, sealttydServes, withVm, type Vm } from "../support/vm.ts";

const PASSWORD = "sealtty-test-password";
const POLICY = parsePolicy(
  'version = 1\nname = "vm"\nminimumAssurance = "simulated"\n[simulated]\ninstance = "test-guest"\n',
);

async function monitor(vm: Vm, line: string): Promise<void> {
  const answer = await vm.qmp("human-monitor-command", { "command-line": line });
  expect(answer, line).toBe(""); // QEMU's words for what went wrong
}

async function logIn(vm: Vm) {
  const attested = await connect(
    clientOptions(nodeClock, () => connectUnixSocket(vm.unixPath ?? ""), {
      address: vm.address,
      policy: POLICY,
      timeout: CONNECT_TIMEOUT,
    }),
  );
  const guest = await attested.authenticate({ method: "none", user: "root" });
  const terminal = new TestTerminal(
    await guest.openChannel({ kind: "login", term: "vt220", columns: 80, rows: 24 }),
  );
  await terminal.waitFor(/login: /);
  await terminal.type("root\r");
  await terminal.waitFor(/assword: /);
  await terminal.type(`${PASSWORD}\r`);
  await terminal.waitFor(/# (?:\x1b\[6n)?$/);
  return { guest, terminal };
}

test(
  "stopped for a while: the session goes on; set back by loadvm: it ends, both sides say why, and a new one begins",
  async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-snapshot-"));
    const disk = path.join(directory, "state.qcow2");
    execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", disk, "64M"]);
    const options = {
      firmware: "seabios",
      tpm: false, // a software TPM beside QEMU would be saved, too, and takes longer
      memoryMiB: 768,
      qemuArguments: ["-drive", `if=none,id=state,format=qcow2,file=${disk}`],
    } as const;
    try {
      await withVm(options, async (vm) => {
        await sealttydServes(vm);
        const { guest, terminal } = await logIn(vm);
        await terminal.type("echo before-$((40+2))\r");
        await terminal.waitFor(/before-42\r\n/);

        await vm.qmp("stop");
        await sleep(7000); // what a pause is known by has whole seconds
        await vm.qmp("cont");
        await vm.waitForSerial(/this machine stood still/, 60_000);
        await terminal.type("echo resumed-$((40+2))\r");
        await terminal.waitFor(/resumed-42\r\n/);

        await monitor(vm, "savevm life");
        await terminal.type("echo after-$((40+2))\r");
        await terminal.waitFor(/after-42\r\n/);
        await monitor(vm, "loadvm life");
        await terminal.type("echo again-$((40+2))\r").catch(() => {});
        expect(await guest.closed).toBe("state-rolled-back");
        await vm.waitForSerial(/STATE ROLLED BACK/);
        expect(terminal.shown).not.toContain("again-42");

        const next = await logIn(vm);
        await next.terminal.type("echo anew-$((40+2))\r");
        await next.terminal.waitFor(/anew-42\r\n/);
        await next.guest.close();
      });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
  BOOT_TIMEOUT,
);

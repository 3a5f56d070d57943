// The small guest for the doctor: root has a shell on a port of the test's own, which is no console, and so no finding.

import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import type { RunInGuest } from "./planted-findings.ts";
import { eventsOf, findingsOf, type FindingLine } from "./planted-walk.ts";
import { BOOT_TIMEOUT, type GuestFile, type Vm, type VmOptions, withVm } from "./vm.ts";

const SHELL = `#!/bin/sh
for name in /sys/class/virtio-ports/*/name; do
  [ "$(cat "$name")" = test.shell ] && port=/dev/$(basename "$(dirname "$name")")
done
while :; do sh 0<>"$port" >&0 2>&1; sleep 0.1; done & # its input ends whenever nobody is connected
`;

export interface DoctorGuest {
  readonly vm: Vm;
  readonly run: RunInGuest;
  /** `sealttyd doctor --json` with more options. */
  readonly doctor: (...options: readonly string[]) => Promise<FindingLine[]>;
  /** @returns the ids of what the doctor finds. */
  readonly findings: () => Promise<string[]>;
}

export type DoctorGuestOptions = Pick<VmOptions, "tpm" | "hvc0" | "qemuArguments" | "authorizedKeys"> & {
  /** More of the kernel's command line. */
  readonly words?: string;
  readonly files?: Readonly<Record<string, GuestFile>>;
};

/** Boots one, in which no sealttyd runs by itself. */
export async function withDoctorGuest<T>(
  { words = "", files = {}, qemuArguments = [], ...more }: DoctorGuestOptions,
  use: (guest: DoctorGuest) => Promise<T>,
): Promise<T> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-doctor-guest-"));
  const socket = path.join(directory, "shell");
  const options: VmOptions = {
    firmware: "seabios",
    tpm: false,
    ...more,
    append: `sealtty.only=none ${words}`,
    files: { ...files, "/etc/sealtty/init.d/shell": { data: SHELL, mode: 0o755 } },
    qemuArguments: [
      ...["-chardev", `socket,id=shell,path=${socket},server=on,wait=off`],
      ...["-device", "virtserialport,bus=vs0.0,nr=4,chardev=shell,name=test.shell"],
      ...qemuArguments,
    ],
    timeoutMs: BOOT_TIMEOUT,
  };
  try {
    return await withVm(options, async (vm) => {
      const shell = await openShell(socket);
      const doctor: DoctorGuest["doctor"] = async (...given) =>
        eventsOf(await shell.run(`node /usr/lib/sealtty/sealttyd.js doctor --json ${given.join(" ")}`));
      const findings = async (): Promise<string[]> => {
        const events = await doctor();
        if (!events.some(({ event }) => event === "doctor")) throw new Error("The doctor did not end");
        return findingsOf(events);
      };
      try {
        return await use({ vm, run: shell.run, doctor, findings });
      } finally {
        shell.close();
      }
    });
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

async function openShell(at: string): Promise<{ readonly run: RunInGuest; close(): void }> {
  const socket = net.connect(at);
  await once(socket, "connect");
  let text = "";
  let lines = 0;
  let wake = (): void => {};
  socket.setEncoding("latin1").on("data", (chunk: string) => {
    text += chunk;
    wake();
  });
  socket.on("error", () => {});
  socket.on("close", () => wake());
  return {
    async run(line) {
      const from = text.length;
      const end = `\nend-of-line-${++lines}\n`;
      socket.write(`{ ${line}\n} </dev/null 2>&1; printf '\\nend-of-line-%s\\n' ${lines}\n`);
      while (!text.includes(end, from)) {
        if (socket.destroyed) throw new Error(`The guest ended in: ${line}\n${text.slice(from)}`);
        await new Promise<void>((resolve) => (wake = resolve));
      }
      return text.slice(from, text.indexOf(end, from));
    },
    close: () => socket.destroy(),
  };
}

// The small guest for the doctor: root has a shell on a port of the test's own, which is no console, and so no finding.

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { hostLine, type RunInGuest } from "./planted-findings.ts";
import { eventsOf, findingsOf, type FindingLine } from "./planted-walk.ts";
import { BOOT_TIMEOUT, type GuestFile, type Vm, type VmOptions, withVm } from "./vm.ts";

const SHELL = `#!/bin/sh
for name in /sys/class/virtio-ports/*/name; do
  [ "$(cat "$name")" = test.shell ] && port=/dev/$(basename "$(dirname "$name")")
done
exec 3<>"$port" # kept: what was sent to a port is thrown away where it is closed
while :; do sh <&3 >&3 2>&1; sleep 0.1; done & # its input ends whenever nobody is connected
`;

export interface DoctorGuest {
  readonly vm: Vm;
  readonly run: RunInGuest;
  /** `sealttyd doctor --json` with more options. */
  readonly doctor: (...options: readonly string[]) => Promise<FindingLine[]>;
  /** @returns the ids of what the doctor finds. */
  readonly findings: () => Promise<string[]>;
}

export type DoctorGuestOptions = Pick<
  VmOptions,
  "tpm" | "hvc0" | "qemuArguments" | "authorizedKeys" | "console" | "ready"
> & {
  /** More of the kernel's command line. */
  readonly words?: string;
  readonly files?: Readonly<Record<string, GuestFile>>;
};

/** What a finding leaves to do by hand. */
export const handsOf = (events: readonly FindingLine[], id: string): readonly string[] =>
  events.find((line) => line.event === "finding" && line.id === id)?.byHand ?? [];

/** What the doctor wants on the kernel's command line. */
export function wordsFor(events: readonly FindingLine[], id: string): string {
  const [, words] = /put onto the kernel's command line: ([^()]+) \(/.exec(handsOf(events, id).join()) ?? [];
  if (words === undefined) throw new Error(`The doctor names no words for ${id}`);
  return words;
}

/** @param sealttyd - how it is started there. */
export function doctorOf(run: RunInGuest, sealttyd: string): Pick<DoctorGuest, "doctor" | "findings"> {
  const doctor: DoctorGuest["doctor"] = async (...given) => {
    const events = eventsOf(await run(`${sealttyd} doctor --json ${given.join(" ")}`));
    if (!events.some(({ event }) => event === "doctor")) throw new Error("The doctor did not end");
    return events;
  };
  return { doctor, findings: async () => findingsOf(await doctor()) };
}

/** Boots one, in which no sealttyd runs by itself. */
export async function withDoctorGuest<T>(
  { words = "", files = {}, qemuArguments = [], ...more }: DoctorGuestOptions,
  use: (guest: DoctorGuest) => Promise<T>,
): Promise<T> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "sealtty-doctor-guest-"));
  const options: VmOptions = {
    firmware: "seabios",
    tpm: false,
    ...more,
    append: `sealtty.only=none ${words}`,
    files: { ...files, "/etc/sealtty/init.d/shell": { data: SHELL, mode: 0o755 } },
    qemuArguments: [...shellHardware(directory), ...qemuArguments],
    timeoutMs: BOOT_TIMEOUT,
  };
  try {
    return await withVm(options, async (vm) => {
      const shell = await openShell(directory);
      try {
        return await use({ vm, run: shell.run, ...doctorOf(shell.run, "node /usr/lib/sealtty/sealttyd.js") });
      } finally {
        shell.close();
      }
    });
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

/** The port of root's shell. @param directory - of this machine's alone. */
export function shellHardware(directory: string): string[] {
  return [
    ...["-chardev", `socket,id=shell,path=${path.join(directory, "shell")},server=on,wait=off`],
    ...["-device", "virtserialport,bus=vs0.0,nr=4,chardev=shell,name=test.shell"],
  ];
}

export interface Shell {
  readonly run: RunInGuest;
  readonly close: () => void;
}

/** The host's end of that port; what is run waits until the guest has opened its own. */
export async function openShell(directory: string): Promise<Shell> {
  const line = await hostLine(path.join(directory, "shell"));
  let lines = 0;
  return {
    async run(command) {
      const from = line.text().length;
      const end = `\nend-of-line-${++lines}\n`;
      line.type(`{ ${command}\n} </dev/null 2>&1; printf '\\nend-of-line-%s\\n' ${lines}\n`);
      await line.shows(end, from);
      return line.text().slice(from, line.text().indexOf(end, from));
    },
    close: () => line.close(),
  };
}

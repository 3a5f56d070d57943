// Somebody with a key and a home of their own, who reaches a real sealttyd as root with the command.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RunningCli, startCli } from "./cli.ts";
import { makeScratch, sshKeygen } from "./openssh.ts";
import type { RunningGuest } from "./sealttyd.ts";

export interface KeyHolder {
  readonly home: string;
  /** The line of authorized_keys. */
  readonly publicKey: string;
  /** @returns a path for another key, in the directory of this one. */
  path(name: string): string;
  /** `sealtty COMMAND GUEST … MORE`, with this key. */
  cli(guest: RunningGuest, command: string, ...more: readonly string[]): RunningCli;
  /** The same with no key at all, or with one that `more` names. */
  cliWithoutKey(guest: RunningGuest, command: string, ...more: readonly string[]): RunningCli;
  remove(): void;
}

/** Makes both; `remove` takes them away. */
export function keyHolder(): KeyHolder {
  const scratch = makeScratch();
  const keyFile = scratch.path("key");
  const publicKey = sshKeygen(keyFile);
  const home = mkdtempSync(join(tmpdir(), "sealtty-home-"));
  const cliWithoutKey: KeyHolder["cliWithoutKey"] = (guest, command, ...more) => {
    const own = ["--policy", guest.policyFile, "--simulated", ...more];
    return startCli([command, `unix:${guest.socket}`, ...own], { env: { HOME: home } });
  };
  return {
    home,
    publicKey,
    path: (name) => scratch.path(name),
    cli: (guest, command, ...more) => cliWithoutKey(guest, command, "-l", "root", "-i", keyFile, ...more),
    cliWithoutKey,
    remove() {
      scratch.remove();
      rmSync(home, { recursive: true });
    },
  };
}

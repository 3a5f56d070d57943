// `sealttyd --check`: the configuration is right by itself; what it names may still be missing on this machine.

import { accessSync, constants, existsSync } from "node:fs";
import { SealttyError } from "../protocol/errors.ts";
import type { ServerConfig } from "./config.ts";
import { escapeText } from "./log.ts";
import { loadPtyAddon } from "./sessions/pty-addon.ts";
import { findProgram } from "./sessions/launch.ts";
import { VIRTIO_PORTS, virtioPortNames } from "./pipes/virtio-port.ts";

/** What would not work here and now, a sentence each. An image may be checked on another machine than it boots on. */
export function missingHere(config: ServerConfig): string[] {
  const missing: string[] = [];
  const { pipe, evidence, users } = config;
  if (pipe.type === "virtio" && !virtioPortNames().includes(pipe.name)) {
    missing.push(`there is no virtio port named "${escapeText(pipe.name)}" (${VIRTIO_PORTS})`);
  }
  if (pipe.type === "tty" && !existsSync(pipe.device)) missing.push(`there is no ${escapeText(pipe.device)}`);
  if (evidence.type === "tpm" && !existsSync(evidence.device)) {
    missing.push(`there is no TPM at ${escapeText(evidence.device)}: no client could verify this machine`);
  }
  const keys = users.authorizedKeys;
  if (keys !== undefined && !keys.includes("%u") && !existsSync(keys)) {
    missing.push(`there is no ${escapeText(keys)}: nobody could use a key`);
  }
  for (const [what, command] of Object.entries({ login: users.login, shell: users.shell })) {
    const program = command?.[0];
    if (program !== undefined && !isProgram(program))
      missing.push(`the ${what} program ${escapeText(program)} cannot be run`);
  }
  if (findProgram("setsid") === undefined)
    missing.push("the program setsid (util-linux or busybox) is missing: no terminal could be opened");
  try {
    loadPtyAddon();
  } catch (error) {
    if (!(error instanceof SealttyError)) throw error;
    missing.push(error.message);
  }
  return missing;
}

function isProgram(program: string): boolean {
  if (!program.includes("/")) return findProgram(program) !== undefined;
  try {
    accessSync(program, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

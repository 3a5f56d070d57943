// The real sealttyd as a process of this machine, on a unix socket, with simulated evidence.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";

export interface RunningGuest {
  readonly directory: string;
  readonly socket: string;
  readonly policyFile: string;
  readonly child: ChildProcess;
  log(): string;
  stop(): Promise<void>;
}

export interface GuestSettings {
  /** Lines of authorized_keys; absent: none. */
  readonly authorizedKeys?: string;
  /** Program of a session without a key; default: a plain shell. */
  readonly login?: readonly string[] | null;
  readonly shell?: readonly string[];
  readonly entry?: string;
  /** `[daemon] user`, where the tests run as root; default: nothing is split. */
  readonly daemonUser?: string;
  /** Lines of the configuration, behind all others. */
  readonly more?: readonly string[];
}

/** Resolves once sealttyd listens. */
export async function startSealttyd(settings: GuestSettings = {}): Promise<RunningGuest> {
  const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-guest-"));
  const socket = path.join(directory, "guest.sock");
  const policyFile = path.join(directory, "policy.toml");
  writeFileSync(
    policyFile,
    'version = 1\nname = "test"\nminimumAssurance = "simulated"\n[simulated]\ninstance = "test"\n',
  );
  const keys = path.join(directory, "authorized_keys");
  if (settings.authorizedKeys !== undefined) writeFileSync(keys, settings.authorizedKeys);
  const login = settings.login === undefined ? ["/bin/sh"] : settings.login;
  const config = [
    "[pipe]",
    'type = "unix"',
    `path = ${JSON.stringify(socket)}`,
    "[evidence]",
    'type = "simulated"',
    'instance = "test"',
    "i_know_this_proves_nothing = true",
    "[users]",
    ...(settings.authorizedKeys === undefined ? [] : [`authorized_keys = ${JSON.stringify(keys)}`]),
    ...(login === null ? [] : [`login = ${JSON.stringify(login)}`]),
    ...(settings.shell === undefined ? [] : [`shell = ${JSON.stringify(settings.shell)}`]),
    "[daemon]",
    `user = "${settings.daemonUser ?? "root"}"`,
    ...(settings.more ?? []),
  ];
  const configFile = path.join(directory, "sealttyd.toml");
  writeFileSync(configFile, `${config.join("\n")}\n`);
  const entry = settings.entry ?? path.resolve(import.meta.dirname, "../../dist/bin/sealttyd.js");
  const child = spawn(process.execPath, [entry, "--config", configFile], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  const listening = new Promise<void>((resolve, reject) => {
    child.stderr.on("data", (chunk: Buffer) => {
      log += chunk.toString();
      if (existsSync(socket) && log.includes("sealttyd serves")) resolve();
    });
    child.once("exit", (code) => reject(new Error(`sealttyd ended with ${code}:\n${log}`)));
  });
  await listening;
  child.removeAllListeners("exit");
  return {
    directory,
    socket,
    policyFile,
    child,
    log: () => log,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        const gone = once(child, "exit");
        child.kill("SIGTERM");
        await gone;
      }
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

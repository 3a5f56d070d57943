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
  /** Ends it and starts another one of the same configuration: new keys, nothing of before. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface GuestSettings {
  /** Lines of authorized_keys; absent: none. */
  readonly authorizedKeys?: string;
  /** Program of a session without a key; default: a plain shell. */
  readonly login?: readonly string[] | null;
  readonly shell?: readonly string[];
  readonly entry?: string;
  /** Of its simulated evidence, and of its policy; default "test". */
  readonly instance?: string;
  /** In place of /etc/passwd, for it alone: a file. For root only. */
  readonly passwd?: string;
  /** `[daemon] user`, where the tests run as root; default: nothing is split. */
  readonly daemonUser?: string;
  /** `[users] pam`. */
  readonly pam?: string;
  /** A program and its arguments that becomes sealttyd, whose command line follows them. */
  readonly through?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Lines of the configuration, behind all others. */
  readonly more?: readonly string[];
  /** It logs all that it can. */
  readonly verbose?: boolean;
}

const OWN_PASSWD = 'mount --bind "$0" /etc/passwd && exec "$@"';

/** Resolves once sealttyd listens. */
export async function startSealttyd(settings: GuestSettings = {}): Promise<RunningGuest> {
  const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-guest-"));
  const socket = path.join(directory, "guest.sock");
  const { instance = "test" } = settings;
  const policyFile = path.join(directory, "policy.toml");
  writeFileSync(
    policyFile,
    `version = 1\nname = "test"\nminimumAssurance = "simulated"\n[simulated]\ninstance = "${instance}"\n`,
  );
  const keys = path.join(directory, "authorized_keys");
  if (settings.authorizedKeys !== undefined) writeFileSync(keys, settings.authorizedKeys, { mode: 0o600 });
  const login = settings.login === undefined ? ["/bin/sh"] : settings.login;
  const config = [
    "[pipe]",
    'type = "unix"',
    `path = ${JSON.stringify(socket)}`,
    "[evidence]",
    'type = "simulated"',
    `instance = "${instance}"`,
    "i_know_this_proves_nothing = true",
    "[users]",
    ...(settings.authorizedKeys === undefined
      ? []
      : [`authorized_keys = ${JSON.stringify(keys)}`, 'names = ["*"]']),
    ...(login === null ? [] : [`login = ${JSON.stringify(login)}`]),
    ...(settings.shell === undefined ? [] : [`shell = ${JSON.stringify(settings.shell)}`]),
    ...(settings.pam === undefined ? [] : [`pam = "${settings.pam}"`]),
    "[daemon]",
    `user = "${settings.daemonUser ?? "root"}"`,
    ...(settings.more ?? []),
  ];
  const configFile = path.join(directory, "sealttyd.toml");
  writeFileSync(configFile, `${config.join("\n")}\n`);
  const entry = settings.entry ?? path.resolve(import.meta.dirname, "../../dist/bin/sealttyd.js");
  let log = "";
  const launch = async (): Promise<ChildProcess> => {
    const [program = "", ...args] = [
      ...(settings.through ?? []),
      ...(settings.passwd === undefined ? [] : ["unshare", "-m", "sh", "-c", OWN_PASSWD, settings.passwd]),
      ...[process.execPath, entry, "--config", configFile],
      ...(settings.verbose === true ? ["-v"] : []),
    ];
    const child = spawn(program, args, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...settings.env },
    });
    let own = "";
    await new Promise<void>((resolve, reject) => {
      child.stderr.on("data", (chunk: Buffer) => {
        own += chunk.toString();
        log += chunk.toString();
        if (existsSync(socket) && own.includes("sealttyd serves")) resolve();
      });
      child.once("exit", (code) => reject(new Error(`sealttyd ended with ${code}:\n${own}`)));
    });
    child.removeAllListeners("exit");
    return child;
  };
  let child = await launch();
  const end = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGTERM");
    await gone;
  };
  return {
    directory,
    socket,
    policyFile,
    get child() {
      return child;
    },
    log: () => log,
    async restart() {
      await end();
      child = await launch();
    },
    async stop() {
      await end();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

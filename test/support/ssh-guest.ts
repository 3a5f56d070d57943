// A guest process that has an sshd without a port: `sshd -i` as the service ssh, its key in the guest's evidence, and a user's
// key that is good at both doors.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { startSealttyd, type RunningGuest } from "./sealttyd.ts";

export const SSHD = "/usr/sbin/sshd";
export const SEALTTY = path.resolve(import.meta.dirname, "../../dist/bin/sealtty.js");
export const USER = os.userInfo().username;

export interface SshGuest {
  readonly guest: RunningGuest;
  /** A home directory of the client's own: ssh's, ansible's and sealtty's files are in it. */
  readonly home: string;
  at(name: string): string;
  /** How sealtty reaches this guest, behind the command and GUEST. */
  readonly options: readonly string[];
  readonly address: string;
  stop(): Promise<void>;
}

export function makeKey(file: string, type = "ed25519"): string {
  execFileSync("ssh-keygen", ["-q", "-t", type, "-N", "", "-C", "test", "-f", file]);
  return readFileSync(`${file}.pub`, "utf8");
}

/** @param settings.hostKeys - the .pub files that the guest's evidence names; default: those that sshd has. */
export async function startSshGuest(
  settings: {
    readonly hostKeys?: (at: (name: string) => string) => readonly string[];
    readonly more?: readonly string[];
  } = {},
): Promise<SshGuest> {
  const home = mkdtempSync(path.join(os.tmpdir(), "sealtty-ssh-"));
  const at = (name: string): string => path.join(home, name);
  const authorizedKeys = makeKey(at("user_key"));
  makeKey(at("host_ed25519"));
  makeKey(at("host_ecdsa"), "ecdsa");
  makeKey(at("other_host_key"));
  writeFileSync(at("authorized_keys"), authorizedKeys);
  // Started as root, sshd wants its chroot directory, which its service unit would make. It stays: others use it too.
  if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
  const sshd = [
    `HostKey ${at("host_ed25519")}`,
    `HostKey ${at("host_ecdsa")}`,
    `AuthorizedKeysFile ${at("authorized_keys")}`,
    "StrictModes no", // the keys are below /tmp
    "PermitRootLogin prohibit-password",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "UsePAM no",
    "UseDNS no",
    "PrintMotd no",
    "PrintLastLog no",
    "Subsystem sftp internal-sftp",
  ];
  writeFileSync(at("sshd_config"), `${sshd.join("\n")}\n`);
  const hostKeys = settings.hostKeys?.(at) ?? [at("host_ed25519.pub"), at("host_ecdsa.pub")];
  const guest = await startSealttyd({
    authorizedKeys,
    login: null,
    more: [
      "[instance]",
      `ssh_host_keys = ${JSON.stringify(hostKeys)}`,
      "[forward]",
      "allow = true",
      `ssh = ${JSON.stringify([SSHD, "-i", "-f", at("sshd_config")])}`,
      ...(settings.more ?? []),
    ],
  });
  return {
    guest,
    home,
    at,
    address: `unix:${guest.socket}`,
    options: ["--policy", guest.policyFile, "--simulated", "-l", USER, "-i", at("user_key")],
    async stop() {
      await guest.stop();
      rmSync(home, { recursive: true, force: true });
    },
  };
}

export const hasSshd = existsSync(SSHD);

export interface Outcome {
  readonly status: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program of this machine, run to its end in a home directory of its own. */
export function runProgram(
  home: string,
  program: string,
  args: readonly string[],
  input: string | Uint8Array = "",
  environment: NodeJS.ProcessEnv = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: home,
      env: { PATH: process.env["PATH"], LANG: "C.UTF-8", HOME: home, SSH_AUTH_SOCK: "", ...environment },
    });
    const out: Buffer[] = [];
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.once("error", reject);
    child.stdin.on("error", () => {});
    child.stdin.end(input);
    child.once("close", (code, signal) =>
      resolve({ status: code ?? signal ?? "?", stdout: Buffer.concat(out).toString("latin1"), stderr }),
    );
  });
}

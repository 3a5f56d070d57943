// OpenSSH as a peer: an sshd of our own on loopback with throw-away keys, and `ssh -tt` with pipes to this process.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { freePort, isInstalled, scratchDirectory, startProgram } from "./children.ts";
import { type Absence, type Peer, shellLines } from "./peer.ts";

const NAME = "OpenSSH, ssh -tt";
const SSHD = "/usr/sbin/sshd";

function makeKey(file: string): string {
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", file]);
  return file;
}

/** Why there can be no sshd here; undefined where there can. */
export function opensshIsAbsent(): string | undefined {
  if (!existsSync(SSHD)) return "sshd not installed";
  return isInstalled("ssh") && isInstalled("ssh-keygen") ? undefined : "ssh not installed";
}

/** Never throws for an sshd that is missing or does not want to: the bench goes on without. */
export async function startOpenssh(): Promise<Peer | Absence> {
  const absent = opensshIsAbsent();
  if (absent !== undefined) return { name: NAME, absent };
  try {
    return await start();
  } catch (error) {
    return { name: NAME, absent: (error as Error).message.trim() };
  }
}

export interface Sshd {
  /** Arguments of ssh up to the host; the command comes behind them. */
  readonly args: readonly string[];
  /** For sockets and the like; removed at the end. */
  readonly directory: string;
  log(): string;
  stop(): Promise<void>;
}

/** An sshd on loopback. @throws where it does not want to. */
export async function startSshd(): Promise<Sshd> {
  // Started as root, sshd wants its chroot directory, which its service unit would make. It stays: others use it too.
  if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
  const directory = scratchDirectory("openssh");
  const file = (name: string): string => path.join(directory, name);
  const hostKey = makeKey(file("host_key"));
  const userKey = makeKey(file("user_key"));
  copyFileSync(`${userKey}.pub`, file("authorized_keys"));
  const port = await freePort();
  const serverConfig = [
    `ListenAddress 127.0.0.1:${port}`,
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${file("authorized_keys")}`,
    "PidFile none",
    "StrictModes no", // the keys are below /tmp
    "PermitRootLogin prohibit-password",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "UsePAM no",
    "UseDNS no",
    "PrintMotd no",
    "PrintLastLog no",
    "Subsystem sftp internal-sftp", // scp's
  ];
  writeFileSync(file("sshd_config"), `${serverConfig.join("\n")}\n`);
  const hostLine = execFileSync("ssh-keygen", ["-y", "-f", hostKey]).toString().trim();
  writeFileSync(file("known_hosts"), `[127.0.0.1]:${port} ${hostLine}\n`);
  const clientConfig = [
    "Host *",
    `User ${os.userInfo().username}`,
    `IdentityFile ${userKey}`,
    "IdentitiesOnly yes",
    "IdentityAgent none",
    `UserKnownHostsFile ${file("known_hosts")}`,
    "GlobalKnownHostsFile none",
    "StrictHostKeyChecking yes",
    "LogLevel ERROR",
  ];
  writeFileSync(file("ssh_config"), `${clientConfig.join("\n")}\n`);
  const sshd = startProgram(SSHD, ["-D", "-e", "-f", file("sshd_config")]);
  await sshd.waitForLog(/Server listening/);
  const args = ["-F", file("ssh_config"), "-p", String(port), "127.0.0.1"];
  return { args, directory, log: () => sshd.log(), stop: () => sshd.stop() };
}

async function start(): Promise<Peer> {
  const sshd = await startSshd();
  const args = ["-tt", ...sshd.args, "exec /bin/sh"];
  return {
    name: NAME,
    patienceMs: 30_000,
    ...shellLines,
    async open(inbox) {
      const ssh = spawn("ssh", args, { stdio: ["pipe", "pipe", "pipe"] });
      const ended = once(ssh, "exit");
      let complaints = "";
      ssh.stderr.on("data", (chunk: Buffer) => (complaints += chunk.toString()));
      ssh.stdout.on("data", inbox.receive);
      ssh.stdin.on("error", () => {}); // told by its end
      ssh.once("exit", () => inbox.fail(new Error(`ssh ended: ${complaints}\n${sshd.log()}`)));
      return {
        write: (bytes) => void ssh.stdin.write(bytes),
        async close() {
          ssh.kill("SIGTERM");
          await ended;
        },
      };
    },
    stop: () => sshd.stop(),
  };
}

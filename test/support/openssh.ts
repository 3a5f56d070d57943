// Real OpenSSH programs for tests: keys in a throw-away directory, ssh-keygen -Y, an ssh-agent of our own.

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { isListening } from "../../scripts/lib/unix-socket.mjs";

export const hasOpenssh =
  spawnSync("ssh-keygen", ["-?"]).error === undefined && spawnSync("ssh-add", ["-?"]).error === undefined;

/** For each test file that has `test.runIf(hasOpenssh)`: without the programs, one test whose name says so. */
export function tellIfOpensshIsAbsent(): void {
  if (!hasOpenssh)
    test("NOT RUN: no OpenSSH client programs (apt-get install openssh-client)", () => {
      expect(hasOpenssh).toBe(false);
    });
}

export function makeScratch(): { path(name: string): string; remove(): void } {
  const directory = mkdtempSync(join(tmpdir(), "sealtty-ssh-"));
  return {
    path: (name) => join(directory, name),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/** @returns the line of the `.pub` file. */
export function sshKeygen(file: string, type = "ed25519", ...more: readonly string[]): string {
  execFileSync("ssh-keygen", ["-q", "-t", type, "-f", file, "-N", "", "-C", "test key", ...more]);
  return readFileSync(`${file}.pub`, "utf8").trim();
}

/** The SSH wire form of a public key line. */
export function blobOf(line: string): Uint8Array {
  return new Uint8Array(Buffer.from(line.split(" ")[1] ?? "", "base64"));
}

/** `ssh-keygen -Y sign`. @returns the SSHSIG blob without its armour. */
export function signWithSshKeygen(
  keyFile: string,
  namespace: string,
  message: Uint8Array,
  hash = "sha512",
): Uint8Array {
  const args = ["-Y", "sign", "-q", "-f", keyFile, "-n", namespace, "-O", `hashalg=${hash}`];
  const armoured = execFileSync("ssh-keygen", args, { input: message, stdio: ["pipe", "pipe", "ignore"] });
  const body = armoured.toString().replace(/-----(?:BEGIN|END) SSH SIGNATURE-----/g, "");
  return new Uint8Array(Buffer.from(body, "base64"));
}

/**
 * `ssh-keygen -Y verify`. @param scratch - a path to write beside. @param principal - that the line's key certifies; absent: the
 * key is the signer's own.
 */
export function sshKeygenAccepts(
  scratch: string,
  publicKeyLine: string,
  namespace: string,
  message: Uint8Array,
  sshsig: Uint8Array,
  principal?: string,
): boolean {
  const body = Buffer.from(sshsig)
    .toString("base64")
    .replace(/.{1,70}/g, "$&\n");
  writeFileSync(`${scratch}.sig`, `-----BEGIN SSH SIGNATURE-----\n${body}-----END SSH SIGNATURE-----\n`);
  writeFileSync(
    `${scratch}.signers`,
    principal === undefined ? `someone ${publicKeyLine}\n` : `${principal} cert-authority ${publicKeyLine}\n`,
  );
  const args = [
    "-Y",
    "verify",
    "-f",
    `${scratch}.signers`,
    "-I",
    principal ?? "someone",
    "-n",
    namespace,
    "-s",
    `${scratch}.sig`,
  ];
  return spawnSync("ssh-keygen", args, { input: message }).status === 0;
}

/** An ssh-agent in the foreground, ours to end. */
export async function startAgent(socket: string): Promise<{
  add(file: string, ...options: string[]): void;
  run(...args: string[]): void;
  stop(): Promise<void>;
}> {
  const agent = spawn("ssh-agent", ["-D", "-a", socket], { stdio: "ignore" });
  const ended = new Promise<void>((resolve) => agent.once("exit", () => resolve()));
  for (let i = 0; i < 200 && !isListening(socket); i++)
    await new Promise((resolve) => setTimeout(resolve, 25));
  const run = (...args: string[]): void => {
    execFileSync("ssh-add", args, { env: { ...process.env, SSH_AUTH_SOCK: socket }, stdio: "ignore" });
  };
  return {
    run,
    add: (file, ...options) => run("-q", ...options, file),
    stop: async () => {
      agent.kill();
      await ended;
    },
  };
}

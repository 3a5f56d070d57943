// A guest's user owns the file that `%u` names: it must not be able to stop the daemon with it.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import type { KeyGrant } from "../../protocol/user-auth/verify-user.ts";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { sshsigToBeSigned } from "../../protocol/user-auth/sshsig.ts";
import { USER_AUTH_NAMESPACE, userAuthMessage } from "../../protocol/user-auth/user-auth-message.ts";
import { SoftwareSecurityKey } from "../support/software-security-key.ts";
import { sshsigOf } from "../support/user-attempt.ts";
import type { UsersConfig } from "../../server/config.ts";
import { userKeys } from "../../server/user-keys.ts";

const FIELDS = {
  handshakeHash: new Uint8Array(32),
  evidenceDigest: new Uint8Array(32),
  user: os.userInfo().username,
  service: "sealtty-session",
};

async function attempt(
  make: (file: string) => void,
): Promise<{ result: KeyGrant | undefined | "hangs"; log: string[] }> {
  const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-keys-"));
  const file = path.join(directory, "keys");
  const log: string[] = [];
  const say = (message: string, fields?: object) => void log.push(`${message} ${JSON.stringify(fields)}`);
  try {
    make(file);
    const check = userKeys(
      {
        authorizedKeys: file,
        names: "any",
        login: undefined,
        shell: undefined,
        passkeyOrigins: [],
        pam: "auto",
        maxPrograms: 512,
      },
      undefined,
      {
        error: say,
        warn: say,
        info: say,
        debug: say,
      },
    );
    const late = new Promise<"hangs">((resolve) => setTimeout(() => resolve("hangs"), 3000).unref());
    const result = await Promise.race([check(FIELDS, new Uint8Array(51), new Uint8Array(10)), late]);
    if (result === "hangs") execFileSync("sh", ["-c", `timeout 1 sh -c ': > "$1"' sh "$0" || true`, file]);
    return { result, log };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("a FIFO in place of authorized_keys is refused at once", async () => {
  expect((await attempt((file) => execFileSync("mkfifo", [file]))).result).toBeUndefined();
});

test("an endless file that says it is empty is refused", async () => {
  const { result, log } = await attempt((file) => symlinkSync("/dev/zero", file));
  expect(result).toBeUndefined();
  expect(log.length).toBe(1);
});

test("a file of nonsense does not fill the log", async () => {
  const { result, log } = await attempt((file) =>
    writeFileSync(file, "nonsense\n".repeat(20_000), { mode: 0o600 }),
  );
  expect(result).toBeUndefined();
  expect(log.length).toBeLessThanOrEqual(10);
});

test("a file is parsed when it changed, and then a line that went away lets nobody in", async () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-keys-"));
  try {
    const file = path.join(directory, "keys");
    const key = new SoftwareSecurityKey("ed25519");
    const log: string[] = [];
    const say = (message: string): void => void log.push(message);
    const users: UsersConfig = {
      authorizedKeys: file,
      names: "any",
      login: undefined,
      shell: undefined,
      passkeyOrigins: [],
      pam: "auto",
      maxPrograms: 512,
    };
    const check = userKeys(users, undefined, { error: say, warn: say, info: say, debug: say });
    const fields = { ...FIELDS, handshakeHash: new Uint8Array(32).fill(1) };
    const message = userAuthMessage(fields);
    const signed = sshsigToBeSigned(nodeSuite, USER_AUTH_NAMESPACE, "sha512", message);
    const sshsig = sshsigOf(key.blob, key.sign(signed));
    const judge = async (): Promise<boolean> => (await check(fields, key.blob, sshsig)) !== undefined;
    writeFileSync(file, `${key.line}\nnonsense\n`, { mode: 0o600 });
    expect([await judge(), await judge()]).toEqual([true, true]);
    expect(log).toEqual(["authorized_keys line refused"]); // once for one text
    writeFileSync(file, "");
    expect(await judge()).toBe(false);
    writeFileSync(file, `no-pty ${key.line}\n`, { mode: 0o600 });
    expect((await check(fields, key.blob, sshsig))?.restrictions.pty).toBe(false);
    rmSync(file);
    expect(await judge()).toBe(false);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

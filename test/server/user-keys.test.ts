// For which users a key is good, and from which files it is taken.

import { chmodSync, lchownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { nodeSuite } from "../../node/crypto-suite.ts";
import { sshsigToBeSigned } from "../../protocol/user-auth/sshsig.ts";
import { USER_AUTH_NAMESPACE, userAuthMessage } from "../../protocol/user-auth/user-auth-message.ts";
import type { UsersConfig } from "../../server/config/users.ts";
import { readKeysFile } from "../../server/keys-file.ts";
import { userKeys } from "../../server/user-keys.ts";
import { SoftwareSecurityKey } from "../support/software-security-key.ts";
import { sshsigOf } from "../support/user-attempt.ts";

let directory: string;
const at = (...names: string[]): string => path.join(directory, ...names);
beforeEach(() => {
  directory = mkdtempSync(path.join(os.tmpdir(), "sealtty-user-keys-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const me = os.userInfo().username;
/** Users of this machine by what they have for a shell. */
const accounts = readFileSync("/etc/passwd", "utf8")
  .split("\n")
  .map((line) => line.split(":"));
const closed = accounts.find(([, , , , , , shell = ""]) => /\/(?:nologin|false)$/.test(shell))?.[0];
const key = new SoftwareSecurityKey("ed25519");

/** Whether the user gets in by that key, and what the log says. */
async function signIn(users: Partial<UsersConfig>, user: string): Promise<{ in: boolean; log: string }> {
  const { why: _, ...outcome } = await attemptOf(users, user);
  return outcome;
}

async function attemptOf(users: Partial<UsersConfig>, user: string) {
  const fields = {
    handshakeHash: new Uint8Array(32).fill(1),
    evidenceDigest: new Uint8Array(32).fill(2),
    user,
    service: "sealtty-session",
  };
  const signed = sshsigToBeSigned(nodeSuite, USER_AUTH_NAMESPACE, "sha512", userAuthMessage(fields));
  let log = "";
  const say = (message: string, more?: object): void => void (log += `${message} ${JSON.stringify(more)}\n`);
  const check = userKeys(
    {
      authorizedKeys: undefined,
      names: "any",
      login: undefined,
      shell: undefined,
      passkeyOrigins: [],
      pam: "auto",
      maxPrograms: 512,
      ...users,
    },
    undefined,
    { error: say, warn: say, info: say, debug: say },
  );
  const why: string[] = [];
  const sshsig = sshsigOf(key.blob, key.sign(signed));
  const grant = await check(fields, key.blob, sshsig, (word) => why.push(word));
  return { in: grant !== undefined, log, why };
}

function keysAt(file: string, mode = 0o600): string {
  writeFileSync(file, `${key.line}\n`);
  chmodSync(file, mode);
  return file;
}

describe("a file for all users", () => {
  test("is good for those who are named, and for nobody else", async () => {
    const authorizedKeys = keysAt(at("keys"));
    expect((await signIn({ authorizedKeys, names: [me] }, me)).in).toBe(true);
    expect((await signIn({ authorizedKeys, names: "any" }, me)).in).toBe(true);
    expect((await signIn({ authorizedKeys, names: ["somebody"] }, me)).in).toBe(false);
    expect((await signIn({ authorizedKeys, names: [] }, me)).in).toBe(false);
    expect((await signIn({ authorizedKeys, names: ["no-such-user"] }, "no-such-user")).in).toBe(false);
  });
  test("why not is said in a word, once, and not where somebody is let in", async () => {
    const authorizedKeys = keysAt(at("keys"));
    const why = async (users: Partial<UsersConfig>, user: string) => (await attemptOf(users, user)).why;
    expect(await why({ authorizedKeys, names: [me] }, me)).toEqual([]);
    expect(await why({ authorizedKeys, names: ["somebody"] }, me)).toEqual(["user-not-named"]);
    expect(await why({ authorizedKeys }, "no-such-user")).toEqual(["unknown-user"]);
    expect(await why({ authorizedKeys }, closed ?? "")).toEqual(["no-shell"]);
    expect(await why({ authorizedKeys: at("none") }, me)).toEqual(["unknown-key"]);
  });
  test.runIf(closed !== undefined)(
    "does not open an account that has nologin or false for a shell",
    async () => {
      const outcome = await signIn({ authorizedKeys: keysAt(at("keys")) }, closed ?? "");
      expect(outcome).toEqual({ in: false, log: "" });
    },
  );
});

describe("a file of keys is read only where nobody else could have put it", () => {
  const outcomeOf = (file: string) => signIn({ authorizedKeys: file }, me);
  test("as it should be: also below a directory with the sticky bit, and by an administrator's link", async () => {
    mkdirSync(at("shared"));
    chmodSync(at("shared"), 0o1777);
    expect(await outcomeOf(keysAt(at("shared", "keys"), 0o644))).toEqual({ in: true, log: "" });
    symlinkSync("shared/keys", at("link"));
    symlinkSync(at("shared"), at("way"));
    expect(await outcomeOf(at("link"))).toEqual({ in: true, log: "" });
    expect(await outcomeOf(at("way", "..", "shared", ".", "keys"))).toEqual({ in: true, log: "" });
  });
  test.each([
    ["the file", 0o620, 0o700, "keys can be written by others"],
    ["the file", 0o602, 0o700, "keys can be written by others"],
    ["its directory", 0o600, 0o770, "ssh can be written by others"],
    ["its directory", 0o600, 0o707, "ssh can be written by others"],
  ])("others may write %s (%o, %o): refused, and the log says which", async (_, mode, above, words) => {
    mkdirSync(at("ssh"));
    const file = keysAt(at("ssh", "keys"), mode);
    chmodSync(at("ssh"), above);
    const outcome = await outcomeOf(file);
    expect(outcome.in).toBe(false);
    expect(outcome.log).toContain(words);
    chmodSync(at("ssh"), 0o700);
  });
  test("a directory, a socket, a circle of links, nothing at all: refused", async () => {
    mkdirSync(at("directory"));
    symlinkSync("b", at("a"));
    symlinkSync("a", at("b"));
    const server = createServer().listen(at("socket"));
    await new Promise((resolve) => server.once("listening", resolve));
    chmodSync(at("socket"), 0o600);
    for (const [name, words] of [
      ["directory", "not a regular file"],
      ["socket", "not a regular file"],
      ["a", "too many symbolic links"],
      ["none", "there is no none"],
      ["nowhere/keys", "there is no nowhere"],
    ] as const) {
      const outcome = await outcomeOf(at(name));
      expect(outcome.in).toBe(false);
      expect(outcome.log).toContain(words);
    }
    await new Promise((resolve) => server.close(resolve));
  });
  describe.runIf(process.getuid?.() === 0)("what belongs to another user", () => {
    const OTHER = 65_534;
    test("the file, its directory, or a link on the way: refused, unless it is the user's who signs in", async () => {
      mkdirSync(at("home"));
      const file = keysAt(at("home", "keys"));
      const owners = (...more: number[]) => new Set([0, ...more]);
      lchownSync(file, OTHER, OTHER);
      await expect(readKeysFile(file, owners(), 1000)).rejects.toThrow(`keys belongs to user ${OTHER}`);
      expect(Buffer.from(await readKeysFile(file, owners(OTHER), 1000)).toString()).toBe(`${key.line}\n`);
      lchownSync(at("home"), OTHER, OTHER);
      await expect(readKeysFile(file, owners(), 1000)).rejects.toThrow(`home belongs to user ${OTHER}`);
      expect((await readKeysFile(file, owners(OTHER), 1000)).length).toBeGreaterThan(0);
      await expect(readKeysFile(file, owners(OTHER), 10)).rejects.toThrow("too large");
    });
    test("a link to a device is not followed, and the device not opened", async () => {
      symlinkSync("/dev/ptmx", at("keys"));
      lchownSync(at("keys"), OTHER, OTHER);
      await expect(readKeysFile(at("keys"), new Set([0, OTHER]), 1000)).rejects.toThrow(
        `keys is a symbolic link of user ${OTHER}`,
      );
    });
  });
});

// Which keys a user may log in with: those of the believed instance document, or the configured file, read anew at each
// attempt, bounded.

import { nodeSshCrypto } from "../node/ssh-crypto.ts";
import { type InstanceDocument, mayUse } from "../protocol/attestation/instance/document.ts";
import type { GuestServices } from "../protocol/session/guest-connection.ts";
import { type AuthorizedKey, parseAuthorizedKeys } from "../protocol/user-auth/authorized-keys.ts";
import { isUserName } from "../protocol/user-auth/user-auth-message.ts";
import { type KeyGrant, type KeyRefusal, verifyUserAuth } from "../protocol/user-auth/verify-user.ts";
import type { UsersConfig } from "./config.ts";
import { readKeysFile } from "./keys-file.ts";
import type { Log } from "./log.ts";
import { type Account, findAccount } from "./sessions/account.ts";

const MAX_KEYS_FILE = 1024 * 1024;
/** `%u` makes a file of each user's. */
const MAX_FILES_KEPT = 8;
/** One attempt to log in must not write a user's whole file into the log. */
const MAX_LINES_REPORTED = 10;

/** Programs that stand in /etc/passwd for "nobody logs in as this": sshd would start them, whatever was asked for. */
const NO_SHELLS: ReadonlySet<string> = new Set(["nologin", "false"]);

/** Why a key is of no use here, in a word of the guest's log. */
export type WhyRefused = KeyRefusal | "unknown-user" | "user-not-named" | "no-shell";

type Verify = GuestServices["verifyUserKey"];
/** @param onRefused - told why, once, where the answer is undefined. The peer never is. */
export type VerifyAndSay = (
  ...attempt: readonly [...Parameters<Verify>, onRefused?: (why: WhyRefused) => void]
) => Promise<KeyGrant | undefined>;

/**
 * A user that is unknown, not named or without a shell, an unknown key and a bad signature get the same answer after the same work.
 * @param document - where there is one, its keys are good for its users, and no file is read.
 */
export function userKeys(users: UsersConfig, document: InstanceDocument | undefined, log: Log): VerifyAndSay {
  const files = new KeysFiles(log);
  return async (fields, publicKey, sshsig, onRefused = () => {}) => {
    const account = isUserName(fields.user) ? await findAccount(fields.user) : undefined;
    const named = mayUse(document ?? { users: users.names }, fields.user);
    const known = account !== undefined && named && hasShell(account) ? account : undefined;
    const authorizedKeys =
      document === undefined
        ? await files.read(users.authorizedKeys ?? "", known)
        : document.authorizedKeys.map((key, index) => ({ ...key, line: index + 1 }));
    const { passkeyOrigins } = users;
    const attempt = { fields, publicKey, sshsig, authorizedKeys, passkeyOrigins, now: Date.now() };
    let why: WhyRefused | undefined;
    const grant = await verifyUserAuth(nodeSshCrypto, attempt, (reason) => (why = reason));
    if (account === undefined) why = "unknown-user";
    else if (!named) why = "user-not-named";
    else if (known === undefined) why = "no-shell";
    if (why === undefined) return grant;
    onRefused(why);
    return undefined;
  };
}

function hasShell({ shell }: Account): boolean {
  return !NO_SHELLS.has(shell.slice(shell.lastIndexOf("/") + 1));
}

/** Each file is read at every attempt, and parsed where it has another text than the last time: anybody can make attempts. */
class KeysFiles {
  readonly #log: Log;
  /** The one read least recently first. */
  readonly #parsed = new Map<string, { readonly text: string; readonly keys: readonly AuthorizedKey[] }>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** @param pattern - with `%u` for the user's name: then the file may be the user's own. @param user - undefined: nobody's. */
  async read(pattern: string, user: Account | undefined): Promise<readonly AuthorizedKey[]> {
    const file = pattern.replaceAll("%u", user?.name ?? "nobody");
    const owners = new Set([0, process.geteuid?.() ?? 0]);
    if (user !== undefined && file !== pattern) owners.add(user.uid);
    const text = await readKeys(file, owners, this.#log);
    const before = this.#parsed.get(file);
    const parsed = before?.text === text ? before : { text, keys: this.#parse(text, file) };
    this.#parsed.delete(file);
    this.#parsed.set(file, parsed);
    for (const oldest of [...this.#parsed.keys()].slice(0, -MAX_FILES_KEPT)) this.#parsed.delete(oldest);
    return parsed.keys;
  }

  #parse(text: string, file: string): readonly AuthorizedKey[] {
    const { keys, refusedLines } = parseAuthorizedKeys(text);
    for (const { line, reason } of refusedLines.slice(0, MAX_LINES_REPORTED))
      this.#log.warn("authorized_keys line refused", { file, line, reason });
    return keys;
  }
}

async function readKeys(file: string, owners: ReadonlySet<number>, log: Log): Promise<string> {
  try {
    return Buffer.from(await readKeysFile(file, owners, MAX_KEYS_FILE)).toString("utf8");
  } catch (error) {
    log.warn("cannot read authorized keys", {
      file,
      error: error instanceof Error ? error.message : "unknown",
    });
    return "";
  }
}

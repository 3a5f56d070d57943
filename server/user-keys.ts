// Which keys a user may log in with: those of the believed instance document, or the configured file, read anew at each
// attempt, bounded.

import { readBoundedFile } from "../node/bounded-file.ts";
import { nodeSshCrypto } from "../node/ssh-crypto.ts";
import { type InstanceDocument, mayUse } from "../protocol/attestation/instance/document.ts";
import type { GuestServices } from "../protocol/session/guest-connection.ts";
import { type AuthorizedKey, parseAuthorizedKeys } from "../protocol/user-auth/authorized-keys.ts";
import { isUserName } from "../protocol/user-auth/user-auth-message.ts";
import { verifyUserAuth } from "../protocol/user-auth/verify-user.ts";
import type { UsersConfig } from "./config.ts";
import type { Log } from "./log.ts";
import { findAccount } from "./sessions/account.ts";

const MAX_KEYS_FILE = 1024 * 1024;
/** `%u` makes a file of each user's. */
const MAX_FILES_KEPT = 8;
/** One attempt to log in must not write a user's whole file into the log. */
const MAX_LINES_REPORTED = 10;

/**
 * An unknown user, an unknown key and a bad signature get the same answer after the same work.
 * @param document - where there is one, its keys are good for its users, and no file is read.
 */
export function userKeys(
  users: UsersConfig,
  document: InstanceDocument | undefined,
  log: Log,
): GuestServices["verifyUserKey"] {
  const files = new KeysFiles(log);
  return async (fields, publicKey, sshsig) => {
    const exists = isUserName(fields.user) && (await findAccount(fields.user)) !== undefined;
    const known = exists && (document === undefined || mayUse(document, fields.user));
    const authorizedKeys =
      document === undefined
        ? await files.read((users.authorizedKeys ?? "").replaceAll("%u", known ? fields.user : "nobody"))
        : document.authorizedKeys.map((key, index) => ({ ...key, line: index + 1 }));
    const { passkeyOrigins } = users;
    const attempt = { fields, publicKey, sshsig, authorizedKeys, passkeyOrigins, now: Date.now() };
    const grant = await verifyUserAuth(nodeSshCrypto, attempt);
    return known ? grant : undefined;
  };
}

/** Each file is read at every attempt, and parsed where it has another text than the last time: anybody can make attempts. */
class KeysFiles {
  readonly #log: Log;
  /** The one read least recently first. */
  readonly #parsed = new Map<string, { readonly text: string; readonly keys: readonly AuthorizedKey[] }>();

  constructor(log: Log) {
    this.#log = log;
  }

  async read(file: string): Promise<readonly AuthorizedKey[]> {
    const text = await readKeys(file, this.#log);
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

async function readKeys(file: string, log: Log): Promise<string> {
  try {
    // With %u it may be a user's own file: a FIFO would hold a thread of the daemon for ever, a device feed it for ever.
    return Buffer.from(await readBoundedFile(file, MAX_KEYS_FILE)).toString("utf8");
  } catch (error) {
    log.warn("cannot read authorized keys", {
      file,
      error: error instanceof Error ? error.message : "unknown",
    });
    return "";
  }
}

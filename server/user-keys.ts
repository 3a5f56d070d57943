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
  return async (fields, publicKey, sshsig) => {
    const exists = isUserName(fields.user) && (await findAccount(fields.user)) !== undefined;
    const known = exists && (document === undefined || mayUse(document, fields.user));
    const authorizedKeys =
      document === undefined
        ? await keysOfFile((users.authorizedKeys ?? "").replaceAll("%u", known ? fields.user : "nobody"), log)
        : document.authorizedKeys.map((key, index) => ({ ...key, line: index + 1 }));
    const { passkeyOrigins } = users;
    const attempt = { fields, publicKey, sshsig, authorizedKeys, passkeyOrigins, now: Date.now() };
    const grant = await verifyUserAuth(nodeSshCrypto, attempt);
    return known ? grant : undefined;
  };
}

async function keysOfFile(file: string, log: Log): Promise<readonly AuthorizedKey[]> {
  const { keys, refusedLines } = parseAuthorizedKeys(await readKeys(file, log));
  for (const { line, reason } of refusedLines.slice(0, MAX_LINES_REPORTED))
    log.warn("authorized_keys line refused", { file, line, reason });
  return keys;
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

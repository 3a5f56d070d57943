// Which keys a user may log in with: the configured file, read anew at each attempt, bounded.

import { open } from "node:fs/promises";
import { nodeSuite } from "../node/crypto-suite.ts";
import type { GuestServices } from "../protocol/session/guest-connection.ts";
import { parseAuthorizedKeys } from "../protocol/user-auth/authorized-keys.ts";
import { isUserName } from "../protocol/user-auth/user-auth-message.ts";
import { verifyUserAuth } from "../protocol/user-auth/verify-user.ts";
import type { UsersConfig } from "./config.ts";
import type { Log } from "./log.ts";
import { findAccount } from "./sessions/account.ts";

const MAX_KEYS_FILE = 1024 * 1024;

/** An unknown user, an unknown key and a bad signature get the same answer after the same work. */
export function userKeys(users: UsersConfig, log: Log): GuestServices["verifyUserKey"] {
  return async (fields, publicKey, sshsig) => {
    const known = isUserName(fields.user) && (await findAccount(fields.user)) !== undefined;
    const file = (users.authorizedKeys ?? "").replaceAll("%u", known ? fields.user : "nobody");
    const { keys, refusedLines } = parseAuthorizedKeys(await readBounded(file, log));
    for (const { line, reason } of refusedLines)
      log.warn("authorized_keys line refused", { file, line, reason });
    const good = verifyUserAuth(nodeSuite, { fields, publicKey, sshsig, authorizedKeys: keys });
    return good && known;
  };
}

async function readBounded(file: string, log: Log): Promise<string> {
  try {
    const handle = await open(file, "r");
    try {
      const { size } = await handle.stat();
      if (size > MAX_KEYS_FILE) throw new Error("file too large");
      return await handle.readFile("utf8");
    } finally {
      await handle.close();
    }
  } catch (error) {
    log.warn("cannot read authorized keys", {
      file,
      error: error instanceof Error ? error.message : "unknown",
    });
    return "";
  }
}

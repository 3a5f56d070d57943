// Which keys a user may log in with: the configured file, read anew at each attempt, bounded.

import { constants } from "node:fs";
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
/** One attempt to log in must not write a user's whole file into the log. */
const MAX_LINES_REPORTED = 10;

/** An unknown user, an unknown key and a bad signature get the same answer after the same work. */
export function userKeys(users: UsersConfig, log: Log): GuestServices["verifyUserKey"] {
  return async (fields, publicKey, sshsig) => {
    const known = isUserName(fields.user) && (await findAccount(fields.user)) !== undefined;
    const file = (users.authorizedKeys ?? "").replaceAll("%u", known ? fields.user : "nobody");
    const { keys, refusedLines } = parseAuthorizedKeys(await readBounded(file, log));
    for (const { line, reason } of refusedLines.slice(0, MAX_LINES_REPORTED))
      log.warn("authorized_keys line refused", { file, line, reason });
    const good = verifyUserAuth(nodeSuite, { fields, publicKey, sshsig, authorizedKeys: keys });
    return good && known;
  };
}

async function readBounded(file: string, log: Log): Promise<string> {
  try {
    // With %u it may be a user's own file: a FIFO would hold a thread of the daemon for ever, a device feed it for ever.
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    try {
      const stat = await handle.stat();
      if (!stat.isFile()) throw new Error("not a regular file");
      // One byte more shows a file that is too large, whatever size it claims: it may grow, and those of /proc say 0.
      const bytes = Buffer.alloc(MAX_KEYS_FILE + 1);
      let length = 0;
      while (length < bytes.length) {
        const { bytesRead } = await handle.read(bytes, length, bytes.length - length, null);
        if (bytesRead === 0) return bytes.toString("utf8", 0, length);
        length += bytesRead;
      }
      throw new Error("file too large");
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

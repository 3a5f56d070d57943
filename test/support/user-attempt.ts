// A user's attempt to log in with a key, as the guest judges it.

import { nodeSshCrypto } from "../../node/ssh-crypto.ts";
import type { UserAuthFields } from "../../protocol/session/api.ts";
import { parseAuthorizedKeys } from "../../protocol/user-auth/authorized-keys.ts";
import { encodeSshsig, type SshsigHash, sshsigToBeSigned } from "../../protocol/user-auth/sshsig.ts";
import { USER_AUTH_NAMESPACE, userAuthMessage } from "../../protocol/user-auth/user-auth-message.ts";
import {
  type KeyGrant,
  type KeyRefusal,
  type UserAuthAttempt,
  verifyUserAuth,
} from "../../protocol/user-auth/verify-user.ts";

export const FIELDS: UserAuthFields = {
  handshakeHash: new Uint8Array(32).fill(1),
  evidenceDigest: new Uint8Array(32).fill(2),
  user: "alice",
  service: "sealtty-session",
};
export const MESSAGE = userAuthMessage(FIELDS);
/** Of guest and of clients, ms. */
export const NOW = Date.UTC(2026, 5, 15);

/** What a key signs for `FIELDS`. */
export function toBeSigned(hash: SshsigHash = "sha512"): Uint8Array {
  return sshsigToBeSigned(nodeSshCrypto.suite, USER_AUTH_NAMESPACE, hash, MESSAGE);
}

/** @param signature - over `toBeSigned(hash)`, SSH wire format. */
export function sshsigOf(
  publicKey: Uint8Array,
  signature: Uint8Array,
  hash: SshsigHash = "sha512",
): Uint8Array {
  return encodeSshsig({ publicKey, namespace: USER_AUTH_NAMESPACE, hash, signature });
}

/** @param authorizedKeys - the file's text; each line must be a good one. */
export async function attempt(
  authorizedKeys: string,
  publicKey: Uint8Array,
  sshsig: Uint8Array,
  over: Partial<UserAuthAttempt> = {},
  onRefused?: (why: KeyRefusal) => void,
): Promise<KeyGrant | undefined> {
  const { keys, refusedLines } = parseAuthorizedKeys(authorizedKeys);
  if (refusedLines.length > 0) throw new Error(`refused: ${JSON.stringify(refusedLines)}`);
  const asked = {
    fields: FIELDS,
    publicKey,
    sshsig,
    authorizedKeys: keys,
    passkeyOrigins: [],
    now: NOW,
    ...over,
  };
  return await verifyUserAuth(nodeSshCrypto, asked, onRefused);
}

// The guest's decision on an SSH key: the signature holds for this connection, and the key is one of the user's.

import { equalBytes } from "../bytes.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import type { UserAuthFields } from "../session/api.ts";
import type { AuthorizedKey } from "./authorized-keys.ts";
import { verifySshsig } from "./sshsig.ts";
import { isServiceName, isUserName, USER_AUTH_NAMESPACE, userAuthMessage } from "./user-auth-message.ts";

export interface UserAuthAttempt {
  /** `handshakeHash` and `evidenceDigest` are the guest's own; `user` and `service` come from the client. */
  readonly fields: UserAuthFields;
  /** As the client sent it: SSH wire format. */
  readonly publicKey: Uint8Array;
  readonly sshsig: Uint8Array;
  /** The keys of `fields.user`; empty for a user that does not exist. */
  readonly authorizedKeys: readonly AuthorizedKey[];
}

/**
 * The signature is checked under the client's key whether or not that key is authorized, and every authorized key is
 * compared: neither answer nor time tells which keys or users the guest knows.
 * @returns false for whatever a client can send; never throws on it.
 */
export function verifyUserAuth(suite: CryptoSuite, attempt: UserAuthAttempt): boolean {
  const { fields, publicKey, sshsig, authorizedKeys } = attempt;
  if (!isUserName(fields.user) || !isServiceName(fields.service)) return false;
  const message = userAuthMessage(fields);
  const holds = verifySshsig(suite, sshsig, { publicKey, namespace: USER_AUTH_NAMESPACE, message });
  let authorized = false;
  for (const key of authorizedKeys) authorized = equalBytes(key.blob, publicKey) || authorized;
  return holds && authorized;
}

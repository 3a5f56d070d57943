// Whether a user is let in: what the guest allows, and whether the key is theirs.

import type { BindingContext } from "../attestation/binder.ts";
import type { UserAuthFields } from "./api.ts";
import { AUTH_METHOD_NOT_ALLOWED, AUTH_OK, AUTH_REFUSED, type SessionMessage } from "./messages.ts";

export interface UserServices {
  /** Whether a session without a key is allowed: it gets the login program and nothing else. */
  readonly loginAllowed: boolean;
  readonly keysAllowed: boolean;
  /** Equal work for unknown keys. */
  verifyUserKey(fields: UserAuthFields, publicKey: Uint8Array, sshsig: Uint8Array): Promise<boolean>;
  log(event: string): void;
}

/** @returns the code of AUTHENTICATED (docs/protocol.md §8.2). Never throws. */
export async function judgeUser(
  services: UserServices,
  { handshakeHash }: Pick<BindingContext, "handshakeHash">,
  evidenceDigest: Uint8Array,
  { user, service, key }: Extract<SessionMessage, { type: "authenticate" }>,
): Promise<number> {
  if (key === undefined) return services.loginAllowed ? AUTH_OK : AUTH_METHOD_NOT_ALLOWED;
  if (!services.keysAllowed) return AUTH_METHOD_NOT_ALLOWED;
  const fields = { handshakeHash, evidenceDigest, user, service };
  try {
    return (await services.verifyUserKey(fields, key.publicKey, key.sshsig)) ? AUTH_OK : AUTH_REFUSED;
  } catch {
    services.log("internal error while checking a key");
    return AUTH_REFUSED;
  }
}

// Whether a user is let in: what the guest allows, and whether the key is theirs.

import type { BindingContext } from "../attestation/binder.ts";
import { fingerprintOf } from "../user-auth/key-line.ts";
import type { KeyGrant } from "../user-auth/verify-user.ts";
import type { UserAuthFields } from "./api.ts";
import { AUTH_METHOD_NOT_ALLOWED, AUTH_OK, AUTH_REFUSED, type SessionMessage } from "./messages.ts";

export interface UserServices {
  /** Whether a session without a key is allowed: it gets the login program and nothing else. */
  readonly loginAllowed: boolean;
  readonly keysAllowed: boolean;
  /** Equal work for unknown keys. @returns undefined for who is not let in. */
  verifyUserKey(
    fields: UserAuthFields,
    publicKey: Uint8Array,
    sshsig: Uint8Array,
  ): Promise<KeyGrant | undefined>;
  log(event: string): void;
}

/** For the guest's own log. */
export function grantWords(grant: KeyGrant | undefined): string {
  if (grant === undefined) return "user authenticated by none";
  const { key, certificate } = grant;
  const by = `user authenticated by ssh-key ${fingerprintOf(key)}`;
  if (certificate === undefined) return by;
  return `${by}, certificate ${certificate.serial} of ${fingerprintOf(certificate.authority)}`;
}

/** A code of AUTHENTICATED (docs/protocol.md §8.2), and of who is let in by a key what it grants. */
export interface Judgement {
  readonly code: number;
  readonly grant?: KeyGrant;
}

/** Never throws. */
export async function judgeUser(
  services: UserServices,
  { handshakeHash }: Pick<BindingContext, "handshakeHash">,
  evidenceDigest: Uint8Array,
  { user, service, key }: Extract<SessionMessage, { type: "authenticate" }>,
): Promise<Judgement> {
  if (key === undefined) return { code: services.loginAllowed ? AUTH_OK : AUTH_METHOD_NOT_ALLOWED };
  if (!services.keysAllowed) return { code: AUTH_METHOD_NOT_ALLOWED };
  const fields = { handshakeHash, evidenceDigest, user, service };
  try {
    const grant = await services.verifyUserKey(fields, key.publicKey, key.sshsig);
    return grant === undefined ? { code: AUTH_REFUSED } : { code: AUTH_OK, grant };
  } catch {
    services.log("internal error while checking a key");
    return { code: AUTH_REFUSED };
  }
}

// The guest's decision on an SSH key: the signature holds for this connection, the key is one of the user's or certified for
// them, and what it may be used for. docs/protocol.md §8.2

import { equalBytes } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import type { UserAuthFields } from "../session/api.ts";
import type { AuthorizedKey } from "./authorized-keys.ts";
import {
  decodeKeyOrCertificate,
  isSigned,
  type OfferedKey,
  type UserCertificate,
  useOfCertificate,
} from "./certificate.ts";
import type { KeyOptions } from "./key-options.ts";
import { encodePublicKey, type SshPublicKey } from "./public-key.ts";
import { bothRestrictions, isExpired, type UserRestrictions } from "./restrictions.ts";
import type { SecurityKeyFacts, SshCrypto } from "./signature.ts";
import { verifySshsig } from "./sshsig.ts";
import { isServiceName, isUserName, USER_AUTH_NAMESPACE, userAuthMessage } from "./user-auth-message.ts";
import { isAllowedOrigin, isHostOf } from "./webauthn.ts";

export interface UserAuthAttempt {
  /** `handshakeHash` and `evidenceDigest` are the guest's own; `user` and `service` come from the client. */
  readonly fields: UserAuthFields;
  /** As the client sent it: a key or a certificate in SSH wire format. */
  readonly publicKey: Uint8Array;
  readonly sshsig: Uint8Array;
  /** The keys of `fields.user`; empty for a user that does not exist. */
  readonly authorizedKeys: readonly AuthorizedKey[];
  /** Pages that may ask for a passkey's signature, as `isOriginPattern` takes them. */
  readonly passkeyOrigins: readonly string[];
  /** Ms since 1970 UTC, of the guest's clock. */
  readonly now: number;
}

/** A user who was let in by a key. */
export interface KeyGrant {
  /** SHA-256 of the plain key in SSH wire format, 32 bytes: the same with every certificate for it. */
  readonly key: Uint8Array;
  readonly restrictions: UserRestrictions;
  /** The sign-in's number with whoever checked it, where that is another process than the one that asks. */
  readonly ticket?: number;
  /** For the guest's log. */
  readonly certificate?: { readonly serial: string; readonly authority: Uint8Array } | undefined; // SHA-256 of its key
}

/**
 * The signatures of the client's key and of its certificate are checked whether or not they are of any use, and every authorized
 * key is compared: neither answer nor time tells which keys or users the guest knows.
 * @returns undefined for whatever else a client can send; never throws on it.
 */
export async function verifyUserAuth(
  crypto: SshCrypto,
  attempt: UserAuthAttempt,
): Promise<KeyGrant | undefined> {
  const { fields, publicKey, sshsig, authorizedKeys } = attempt;
  if (!isUserName(fields.user) || !isServiceName(fields.service)) return undefined;
  const offered = offeredKey(publicKey);
  if (offered === undefined) return undefined;
  const { key, certificate } = offered;
  const message = userAuthMessage(fields);
  const facts = await verifySshsig(crypto, sshsig, {
    publicKey,
    key,
    namespace: USER_AUTH_NAMESPACE,
    message,
  });
  const certified = certificate === undefined || (await isSigned(crypto, certificate));
  const uses = authorizedKeys.map((line) => {
    const alike = equalBytes(line.blob, certificate?.authority ?? publicKey);
    return alike ? useOfLine(line.options, certificate, attempt) : undefined;
  });
  // As with sshd the first line that fits decides, and a later one is no way around it.
  const use = uses.find((found) => found !== undefined);
  if (facts === undefined || !certified || use === undefined) return undefined;
  const { securityKey } = facts;
  const shown = securityKey === undefined ? !use.verifyRequired : isShown(securityKey, key, use, attempt);
  if (!shown) return undefined;
  return {
    key: crypto.suite.sha256(encodePublicKey(key)),
    restrictions: use.restrictions,
    ...(certificate && {
      certificate: {
        serial: certificate.serial,
        authority: crypto.suite.sha256(certificate.authority),
      },
    }),
  };
}

/** What a key may be used for, and how its signature must have come about. */
interface Use {
  readonly restrictions: UserRestrictions;
  readonly touchRequired: boolean;
  readonly verifyRequired: boolean;
}

function useOfLine(
  options: KeyOptions,
  certificate: UserCertificate | undefined,
  { fields, now }: UserAuthAttempt,
): Use | undefined {
  if (options.certAuthority !== (certificate !== undefined)) return undefined;
  if (isExpired(options.restrictions, now)) return undefined;
  if (certificate === undefined) return options;
  const certified = useOfCertificate(certificate, options.principals ?? [fields.user], now);
  if (certified === undefined) return undefined;
  const restrictions = bothRestrictions(options.restrictions, certified.restrictions);
  if (restrictions === undefined) return undefined;
  return {
    restrictions,
    touchRequired: options.touchRequired || certified.touchRequired,
    verifyRequired: options.verifyRequired || certified.verifyRequired,
  };
}

/** Whether its owner did what is asked of them. */
function isShown(
  { present, verified, origin }: SecurityKeyFacts,
  key: SshPublicKey,
  { touchRequired, verifyRequired }: Use,
  { passkeyOrigins }: UserAuthAttempt,
): boolean {
  if (touchRequired && !present) return false;
  if (verifyRequired && !verified) return false;
  if (origin === undefined) return true;
  if (!("application" in key) || !isHostOf(latin1(key.application), origin)) return false;
  return present && verified && isAllowedOrigin(origin, passkeyOrigins);
}

function offeredKey(blob: Uint8Array): OfferedKey | undefined {
  try {
    return decodeKeyOrCertificate(blob);
  } catch (error) {
    if (error instanceof SealttyError && error.code === "peer-misbehaved") return undefined;
    throw error;
  }
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

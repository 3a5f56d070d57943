// The guest's decision on an SSH key: the signature holds for this connection, the key is one of the user's or certified for
// them, and what it may be used for. docs/protocol.md §8.2

import { equalBytes } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import type { UserAuthFields } from "../session/api.ts";
import type { AuthorizedKey } from "./authorized-keys.ts";
import {
  type CertificateRefusal,
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

/** Why somebody was not let in by a key: for the guest's own log, and for nobody else. */
export type KeyRefusal =
  | CertificateRefusal
  | "malformed" // no name of a user's, no key or certificate that can be read
  | "unknown-key" // none of the user's lines has the key, or the authority of the certificate
  | "not-an-authority" // one has it, for keys where this is a certificate, or the other way round
  | "line-expired"
  | "two-commands" // the line's forced command and the certificate's are not the same
  | "certificate-signature"
  | "signature"
  | "not-touched"
  | "not-verified"
  | "origin";

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
 * @param onRefused - told why, once, where it is undefined.
 */
export async function verifyUserAuth(
  crypto: SshCrypto,
  attempt: UserAuthAttempt,
  onRefused: (why: KeyRefusal) => void = () => {},
): Promise<KeyGrant | undefined> {
  const granted = await judge(crypto, attempt);
  if (typeof granted !== "string") return granted;
  onRefused(granted);
  return undefined;
}

async function judge(crypto: SshCrypto, attempt: UserAuthAttempt): Promise<KeyGrant | KeyRefusal> {
  const { fields, publicKey, sshsig, authorizedKeys } = attempt;
  if (!isUserName(fields.user) || !isServiceName(fields.service)) return "malformed";
  const offered = offeredKey(publicKey);
  if (offered === undefined) return "malformed";
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
  const use = uses.find((found): found is Use => typeof found === "object");
  if (use === undefined) return uses.find((why) => typeof why === "string") ?? "unknown-key";
  if (!certified) return "certificate-signature";
  if (facts === undefined) return "signature";
  const { securityKey } = facts;
  const missing =
    securityKey === undefined ? whatASoftKeyLacks(use) : notShown(securityKey, key, use, attempt);
  if (missing !== undefined) return missing;
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
): Use | KeyRefusal {
  if (options.certAuthority !== (certificate !== undefined)) return "not-an-authority";
  if (isExpired(options.restrictions, now)) return "line-expired";
  if (certificate === undefined) return options;
  const certified = useOfCertificate(certificate, options.principals ?? [fields.user], now);
  if (typeof certified === "string") return certified;
  // ssh-keygen writes permit-port-forwarding into every certificate: it says nothing about one with a forced command.
  const forced = certified.restrictions.command !== undefined && !options.forwardingNamed;
  const restrictions = bothRestrictions(options.restrictions, {
    ...certified.restrictions,
    portForwarding: certified.restrictions.portForwarding && !forced,
  });
  if (restrictions === undefined) return "two-commands";
  return {
    restrictions,
    touchRequired: options.touchRequired || certified.touchRequired,
    verifyRequired: options.verifyRequired || certified.verifyRequired,
  };
}

const whatASoftKeyLacks = ({ verifyRequired }: Use): KeyRefusal | undefined =>
  verifyRequired ? "not-verified" : undefined;

/** @returns what its owner did not do that is asked of them; undefined: all was done. */
function notShown(
  { present, verified, origin }: SecurityKeyFacts,
  key: SshPublicKey,
  { touchRequired, verifyRequired }: Use,
  { passkeyOrigins }: UserAuthAttempt,
): KeyRefusal | undefined {
  if (touchRequired && !present) return "not-touched";
  if (verifyRequired && !verified) return "not-verified";
  if (origin === undefined) return undefined;
  if (!("application" in key) || !isHostOf(latin1(key.application), origin)) return "origin";
  if (!present) return "not-touched";
  if (!verified) return "not-verified";
  return isAllowedOrigin(origin, passkeyOrigins) ? undefined : "origin";
}

export function offeredKey(blob: Uint8Array): OfferedKey | undefined {
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

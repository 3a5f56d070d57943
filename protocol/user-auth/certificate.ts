// OpenSSH user certificates (PROTOCOL.certkeys): parsed exactly, and what they let their holder do. docs/protocol.md §8.2

import { Reader, textOf } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { MAX_SSH_KEY, MAX_SSH_SIGNATURE } from "../limits.ts";
import { decodePublicKey, isKeyType, type KeyType, readKeyFields, type SshPublicKey } from "./public-key.ts";
import type { UserRestrictions } from "./restrictions.ts";
import { type SshCrypto, verifySignature } from "./signature.ts";
import { readName } from "./ssh-wire.ts";

export interface UserCertificate {
  /** The key that is certified. */
  readonly key: SshPublicKey;
  /** As the authority numbered it, decimal. */
  readonly serial: string;
  /** 1 for users, 2 for hosts. */
  readonly type: number;
  readonly principals: readonly string[];
  /** Seconds since 1970 UTC: good from `validAfter` on, and before `validBefore`. */
  readonly validAfter: number;
  readonly validBefore: number;
  readonly criticalOptions: ReadonlyMap<string, Uint8Array>;
  readonly extensions: ReadonlyMap<string, Uint8Array>;
  /** SSH wire format of the authority's key. */
  readonly authority: Uint8Array;
  /** What the authority signed, and its signature in SSH wire format. */
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
}

const SUFFIX = "-cert-v01@openssh.com";
const USER = 1;
const MAX_NONCE = 64;
const MAX_KEY_ID = 1024;
/** As OpenSSH. */
const MAX_PRINCIPALS = 256;
const MAX_OPTIONS = 64;
/** Of validBefore: never. */
const FOREVER = 2 ** 53;

/** @returns the type of the key in it; undefined where this is no name of a certificate's type. */
export function certifiedType(name: string): KeyType | undefined {
  if (!name.endsWith(SUFFIX)) return undefined;
  const plain = name.slice(0, -SUFFIX.length);
  const type = plain.startsWith("sk-") ? `${plain}@openssh.com` : plain;
  return isKeyType(type) ? type : undefined;
}

/** The name of a certificate of such a key: "ssh-ed25519-cert-v01@openssh.com". */
export function certificateType(type: KeyType): string {
  return `${type.replace(/@openssh\.com$/, "")}${SUFFIX}`;
}

/** @throws SealttyError `peer-misbehaved` on any other blob: options out of order or twice, a reserved field, bytes left over. */
export function decodeCertificate(blob: Uint8Array): UserCertificate {
  const reader = new Reader(blob, "SSH certificate");
  if (blob.length > MAX_SSH_KEY) reader.fail("is too long");
  const type = certifiedType(readName(reader));
  if (type === undefined) return reader.fail("is of no known type");
  reader.lv32(MAX_NONCE);
  const key = readKeyFields(type, reader);
  const serial = ((BigInt(reader.u32()) << 32n) | BigInt(reader.u32())).toString();
  const kind = reader.u32();
  reader.lv32(MAX_KEY_ID);
  const principals = readPrincipals(reader.lv32(MAX_SSH_KEY));
  const validAfter = readTime(reader);
  const validBefore = readTime(reader);
  const criticalOptions = readOptions(reader.lv32(MAX_SSH_KEY));
  const extensions = readOptions(reader.lv32(MAX_SSH_KEY));
  if (reader.lv32(MAX_SSH_KEY).length !== 0) reader.fail("has a reserved field");
  const authority = reader.lv32(MAX_SSH_KEY);
  const signed = blob.subarray(0, reader.offset);
  const signature = reader.lv32(MAX_SSH_SIGNATURE);
  reader.end();
  return {
    key,
    serial,
    type: kind,
    principals,
    validAfter,
    validBefore,
    criticalOptions,
    extensions,
    authority,
    signed,
    signature,
  };
}

/**
 * Whether the authority that is named in it signed it, whoever that is. An authority that is a security key must have been
 * touched, and is no passkey.
 */
export async function isSigned(crypto: SshCrypto, certificate: UserCertificate): Promise<boolean> {
  let key: SshPublicKey;
  try {
    key = decodePublicKey(certificate.authority); // a certificate is none: no chains
  } catch (error) {
    if (error instanceof SealttyError && error.code === "peer-misbehaved") return false;
    throw error;
  }
  const facts = await verifySignature(crypto, key, certificate.signed, certificate.signature);
  if (facts === undefined) return false;
  const { securityKey } = facts;
  return securityKey === undefined || (securityKey.present && securityKey.origin === undefined);
}

/** What a certificate grants where its signature holds and its authority is believed. */
export interface CertifiedUse {
  readonly restrictions: UserRestrictions;
  /** False only where the authority allowed a security key without a touch. */
  readonly touchRequired: boolean;
  readonly verifyRequired: boolean;
}

/** Why a certificate grants nothing, for the guest's own log. */
export type CertificateRefusal =
  | "not-a-user-certificate"
  | "certificate-not-yet-valid"
  | "certificate-expired"
  | "principal-not-named"
  | "source-address"
  | "critical-option";

/**
 * @param names - one of these must be among its principals: a certificate that names nobody is for nobody.
 * @param now - ms since 1970 UTC. @returns why not, where it is no user's, not valid now, for others, or has a critical option
 * that is not known or cannot be honoured (`source-address`: who carries the console says from where).
 */
export function useOfCertificate(
  { type, principals, validAfter, validBefore, criticalOptions, extensions }: UserCertificate,
  names: readonly string[],
  now: number,
): CertifiedUse | CertificateRefusal {
  if (type !== USER) return "not-a-user-certificate";
  if (now >= validBefore * 1000) return "certificate-expired";
  if (now < validAfter * 1000) return "certificate-not-yet-valid";
  if (!principals.some((principal) => names.includes(principal))) return "principal-not-named";
  let command: string | undefined;
  let verifyRequired = false;
  for (const [name, data] of criticalOptions) {
    if (name === "force-command") {
      command = textInside(data);
      if (command === undefined) return "critical-option";
    } else if (name === "verify-required" && data.length === 0) verifyRequired = true;
    else return name === "source-address" ? name : "critical-option";
  }
  return {
    restrictions: {
      ...(command === undefined ? {} : { command }),
      pty: has(extensions, "permit-pty"),
      portForwarding: has(extensions, "permit-port-forwarding"),
      ...(validBefore >= FOREVER ? {} : { expires: validBefore * 1000 }),
    },
    touchRequired: !has(extensions, "no-touch-required"),
    verifyRequired,
  };
}

/** An extension with data is another one than that which is known. */
function has(extensions: ReadonlyMap<string, Uint8Array>, name: string): boolean {
  return extensions.get(name)?.length === 0;
}

/** @returns the text of a `string` within an option's data; undefined where it is anything else, or has a zero byte. */
function textInside(data: Uint8Array): string | undefined {
  try {
    const reader = new Reader(data, "certificate option");
    const bytes = reader.lv32(MAX_SSH_KEY);
    reader.end();
    return bytes.includes(0) ? undefined : textOf(bytes);
  } catch (error) {
    if (error instanceof SealttyError && error.code === "peer-misbehaved") return undefined;
    throw error;
  }
}

function readPrincipals(bytes: Uint8Array): readonly string[] {
  const reader = new Reader(bytes, "SSH certificate's principals");
  const names: string[] = [];
  while (reader.remaining > 0) {
    names.push(textOf(reader.lv32(MAX_KEY_ID)));
    if (names.length > MAX_PRINCIPALS) reader.fail("are too many");
  }
  return names;
}

/** In ascending order, each once: so that there is one certificate for one meaning. */
function readOptions(bytes: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const reader = new Reader(bytes, "SSH certificate's options");
  const options = new Map<string, Uint8Array>();
  let before = "";
  while (reader.remaining > 0) {
    const name = textOf(reader.lv32(MAX_KEY_ID));
    if (name <= before) reader.fail("are not in order");
    before = name;
    options.set(name, reader.lv32(MAX_SSH_KEY));
    if (options.size > MAX_OPTIONS) reader.fail("are too many");
  }
  return options;
}

/** Beyond 2^53 no clock goes. */
function readTime(reader: Reader): number {
  return Math.min(reader.u32() * 2 ** 32 + reader.u32(), FOREVER);
}

/** A key or certificate that a client names, told apart by its type. */
export interface OfferedKey {
  readonly key: SshPublicKey;
  readonly certificate: UserCertificate | undefined;
}

/** @throws SealttyError `peer-misbehaved` on any other blob. */
export function decodeKeyOrCertificate(blob: Uint8Array): OfferedKey {
  const name = readName(new Reader(blob, "SSH public key"));
  if (certifiedType(name) === undefined) return { key: decodePublicKey(blob), certificate: undefined };
  const certificate = decodeCertificate(blob);
  return { key: certificate.key, certificate };
}

// SSH signatures of every kind of key: what they look like, and whether they hold. docs/protocol.md §8.2

import { concat, equalBytes, Reader, u8, u32, utf8 } from "../bytes.ts";
import type { SignatureAlgorithm, SignatureVerifier } from "../crypto/signatures.ts";
import type { CryptoSuite } from "../crypto/suite.ts";
import { SealttyError } from "../errors.ts";
import { MAX_SSH_SIGNATURE } from "../limits.ts";
import { CURVES, type CurveName, type SshPublicKey, typeOf } from "./public-key.ts";
import { readMpint, readName, sshMpint, sshString } from "./ssh-wire.ts";
import { MAX_CLIENT_DATA, MAX_ORIGIN, originOfClientData } from "./webauthn.ts";

export interface SshCrypto {
  /** Ed25519 and hashes. */
  readonly suite: CryptoSuite;
  /** ECDSA and RSA. */
  readonly signatures: SignatureVerifier;
}

export const WEBAUTHN_ECDSA = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com";
export const RSA_SHA2_256 = "rsa-sha2-256";
export const RSA_SHA2_512 = "rsa-sha2-512";

/** What a security key says of its owner, in what it signed. */
export interface SecurityKeyFacts {
  /** UP: it was touched. */
  readonly present: boolean;
  /** UV: by its owner, who showed a fingerprint or a PIN. */
  readonly verified: boolean;
  /** Of a passkey in a browser: the page that asked. */
  readonly origin: string | undefined;
}

/** Of a signature that holds. */
export interface SignatureFacts {
  readonly securityKey: SecurityKeyFacts | undefined;
}

// Flags of authenticator data: WebAuthn Level 2 §6.1
const USER_PRESENT = 0x01;
const USER_VERIFIED = 0x04;
const ATTESTED_DATA = 0x40;
const EXTENSION_DATA = 0x80;
const MAX_EXTENSIONS = 1024;

const ECDSA: Readonly<Record<CurveName, SignatureAlgorithm>> = {
  nistp256: "ecdsa-p256-sha256",
  nistp384: "ecdsa-p384-sha384",
  nistp521: "ecdsa-p521-sha512",
};

/**
 * @param blob - SSH wire format: algorithm, then what belongs to it. RSA with SHA-1 ("ssh-rsa") is no signature here.
 * @returns undefined for every signature that does not hold, malformed ones included; never throws on a peer's bytes.
 */
export async function verifySignature(
  crypto: SshCrypto,
  key: SshPublicKey,
  message: Uint8Array,
  blob: Uint8Array,
): Promise<SignatureFacts | undefined> {
  try {
    const reader = new Reader(blob, "SSH signature");
    if (blob.length > MAX_SSH_SIGNATURE) reader.fail("is too long");
    const algorithm = readName(reader);
    switch (key.kind) {
      case "ed25519":
      case "ecdsa":
      case "rsa":
        return await verifyPlain(crypto, key, algorithm, message, reader);
      case "sk-ed25519":
      case "sk-ecdsa":
        return await verifySecurityKey(crypto, key, algorithm, message, reader);
    }
  } catch (error) {
    if (error instanceof SealttyError && error.code === "peer-misbehaved") return undefined;
    throw error;
  }
}

async function verifyPlain(
  { suite, signatures }: SshCrypto,
  key: SshPublicKey & { readonly kind: "ed25519" | "ecdsa" | "rsa" },
  algorithm: string,
  message: Uint8Array,
  reader: Reader,
): Promise<SignatureFacts | undefined> {
  const bytes = reader.lv32(MAX_SSH_SIGNATURE);
  reader.end();
  if (key.kind === "rsa") {
    // RFC 8332 §3: as long as the modulus, whatever the number
    const how =
      algorithm === RSA_SHA2_256 ? "rsassa-sha256" : algorithm === RSA_SHA2_512 ? "rsassa-sha512" : undefined;
    if (how === undefined) return undefined;
    return (await signatures.verify(how, key, message, bytes)) ? NO_SECURITY_KEY : undefined;
  }
  if (algorithm !== typeOf(key)) return undefined;
  if (key.kind === "ed25519")
    return suite.ed25519Verify(key.key, message, bytes) ? NO_SECURITY_KEY : undefined;
  const ec = { kind: "ec", x: key.x, y: key.y } as const;
  const pair = readEcdsa(bytes, CURVES[key.curve].size);
  return (await signatures.verify(ECDSA[key.curve], ec, message, pair)) ? NO_SECURITY_KEY : undefined;
}

const NO_SECURITY_KEY: SignatureFacts = { securityKey: undefined };

async function verifySecurityKey(
  { suite, signatures }: SshCrypto,
  key: SshPublicKey & { readonly kind: "sk-ed25519" | "sk-ecdsa" },
  algorithm: string,
  message: Uint8Array,
  reader: Reader,
): Promise<SignatureFacts | undefined> {
  const webauthn = key.kind === "sk-ecdsa" && algorithm === WEBAUTHN_ECDSA;
  if (!webauthn && algorithm !== typeOf(key)) return undefined;
  const bytes = reader.lv32(256);
  const flags = reader.u8();
  const counter = reader.u32();
  let extensions: Uint8Array = new Uint8Array(0);
  let digest: Uint8Array;
  let origin: string | undefined;
  if (webauthn) {
    const parts = { origin: reader.lv32(MAX_ORIGIN), clientData: reader.lv32(MAX_CLIENT_DATA) };
    extensions = reader.lv32(MAX_EXTENSIONS);
    origin = originOfClientData(parts, message);
    if (origin === undefined) return undefined;
    if ((flags & ATTESTED_DATA) !== 0) return undefined;
    if (((flags & EXTENSION_DATA) !== 0) !== extensions.length > 0) return undefined;
    digest = suite.sha256(parts.clientData);
  } else {
    digest = suite.sha256(message);
  }
  reader.end();
  // The hash of the application (of the RP ID) is not sent: it is the key's own, so a signature for another does not hold.
  const signed = concat(suite.sha256(key.application), u8(flags), u32(counter), extensions, digest);
  const holds =
    key.kind === "sk-ed25519"
      ? suite.ed25519Verify(key.key, signed, bytes)
      : await signatures.verify(
          "ecdsa-p256-sha256",
          { kind: "ec", x: key.x, y: key.y },
          signed,
          readEcdsa(bytes, CURVES.nistp256.size),
        );
  if (!holds) return undefined;
  const present = (flags & USER_PRESENT) !== 0;
  return { securityKey: { present, verified: (flags & USER_VERIFIED) !== 0, origin } };
}

/** `mpint r ‖ mpint s` (RFC 5656 §3.1.2). @returns r‖s, each of `size` bytes. */
function readEcdsa(bytes: Uint8Array, size: number): Uint8Array {
  const reader = new Reader(bytes, "ECDSA signature");
  const numbers = [readMpint(reader, size), readMpint(reader, size)];
  reader.end();
  return concat(...numbers.flatMap((number) => [new Uint8Array(size - number.length), number]));
}

/** @param signature - r‖s of equal length, as WebCrypto and Node's `ieee-p1363` have it. @returns the wire form. */
export function encodeEcdsaSignature(algorithm: string, signature: Uint8Array): Uint8Array<ArrayBuffer> {
  const half = signature.length / 2;
  const pair = concat(sshMpint(signature.subarray(0, half)), sshMpint(signature.subarray(half)));
  return concat(sshString(algorithm), sshString(pair));
}

/** Whether a blob names an algorithm that a key of this type may sign with. What it is worth, `verifySignature` says. */
export function isSignatureFor(key: SshPublicKey, blob: Uint8Array): boolean {
  const names: readonly string[] =
    key.kind === "rsa"
      ? [RSA_SHA2_256, RSA_SHA2_512]
      : key.kind === "sk-ecdsa"
        ? [typeOf(key), WEBAUTHN_ECDSA]
        : [typeOf(key)];
  return names.some((name) => equalBytes(sshString(utf8(name)), blob.subarray(0, 4 + name.length)));
}

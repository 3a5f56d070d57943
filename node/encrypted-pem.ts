// An encrypted PKCS#8 key in PEM (RFC 5958 §3, RFC 8018 §6.2). OpenSSL would read it, and do whatever work the file asks for before
// it comes back: here the work has a bound, and is done beside everything else.

import { createDecipheriv, createPrivateKey, type KeyObject, pbkdf2 } from "node:crypto";
import { promisify } from "node:util";
import { DerReader, TAG } from "../protocol/attestation/x509/der.ts";
import { utf8, wipe } from "../protocol/bytes.ts";
import { SealttyError } from "../protocol/errors.ts";
import { decodeBase64 } from "../protocol/user-auth/base64.ts";
import { refused } from "./openssh-key-file.ts";

const ENCRYPTED =
  /^-----BEGIN ENCRYPTED PRIVATE KEY-----\r?\n([A-Za-z0-9+/=\r\n]*)-----END ENCRYPTED PRIVATE KEY-----/m;
const PBES2 = "1.2.840.113549.1.5.13";
const PBKDF2 = "1.2.840.113549.1.5.12";
const DIGESTS: ReadonlyMap<string, string> = new Map([
  ["1.2.840.113549.2.7", "sha1"],
  ["1.2.840.113549.2.9", "sha256"],
  ["1.2.840.113549.2.10", "sha384"],
  ["1.2.840.113549.2.11", "sha512"],
]);
const CIPHERS: ReadonlyMap<string, { readonly name: string; readonly key: number; readonly iv: number }> =
  new Map([
    ["2.16.840.1.101.3.4.1.2", { name: "aes-128-cbc", key: 16, iv: 16 }],
    ["2.16.840.1.101.3.4.1.22", { name: "aes-192-cbc", key: 24, iv: 16 }],
    ["2.16.840.1.101.3.4.1.42", { name: "aes-256-cbc", key: 32, iv: 16 }],
    ["1.2.840.113549.3.7", { name: "des-ede3-cbc", key: 24, iv: 8 }],
  ]);

/** Some seconds of one processor; OpenSSL and ssh-keygen take 2048 unless told otherwise. */
const MAX_ITERATIONS = 2_000_000;

interface Sealed {
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly digest: string;
  readonly cipher: { readonly name: string; readonly key: number };
  readonly iv: Uint8Array;
  readonly bytes: Uint8Array;
}

/**
 * @param name - how the user named the file.
 * @returns undefined where the passphrase is a wrong one. @throws SealttyError `bad-config` where no passphrase could help.
 */
export async function unlockPem(
  text: string,
  passphrase: string,
  name: string,
): Promise<KeyObject | undefined> {
  const { salt, iterations, digest, cipher, iv, bytes } = sealedIn(text, name);
  if (iterations > MAX_ITERATIONS)
    throw refused(name, `it takes ${iterations} rounds to unlock; load it into ssh-agent (ssh-add FILE)`);
  const secret = utf8(passphrase);
  const key = await promisify(pbkdf2)(secret, salt, iterations, cipher.key, digest);
  wipe(secret);
  try {
    const opening = createDecipheriv(cipher.name, key, iv);
    const plain = Buffer.concat([opening.update(bytes), opening.final()]);
    try {
      return createPrivateKey({ key: plain, format: "der", type: "pkcs8" });
    } finally {
      plain.fill(0);
    }
  } catch {
    return undefined; // the padding, or what is in it, is not that of a key
  } finally {
    key.fill(0);
  }
}

function sealedIn(text: string, name: string): Sealed {
  const der = decodeBase64(ENCRYPTED.exec(text)?.[1]?.replaceAll(/[\r\n]/g, "") ?? "");
  if (der === undefined || der.length === 0) throw refused(name, "the key file is damaged");
  try {
    return readSealed(der, () => {
      throw refused(
        name,
        "it is encrypted in a way that is not known; load it into ssh-agent (ssh-add FILE)",
      );
    });
  } catch (cause) {
    if (!(cause instanceof SealttyError) || cause.code !== "peer-misbehaved") throw cause;
    throw refused(name, "the key file is damaged", cause);
  }
}

/** @throws SealttyError `peer-misbehaved` where it is no such structure. */
function readSealed(der: Uint8Array, unknown: () => never): Sealed {
  const file = new DerReader(der, "encrypted key");
  const outer = file.open();
  file.end();
  const scheme = outer.open();
  if (scheme.oid() !== PBES2) return unknown();
  const parameters = scheme.open();
  scheme.end();
  const derivation = parameters.open();
  if (derivation.oid() !== PBKDF2) return unknown();
  const work = derivation.open();
  derivation.end();
  const salt = work.octetString();
  const iterations = work.number(2 ** 32 - 1);
  const keyLength = work.nextTag === TAG.integer ? work.number(1024) : undefined;
  const digestPart = work.openOptional(TAG.sequence);
  const digest = digestPart === undefined ? "sha1" : (DIGESTS.get(digestPart.oid()) ?? unknown());
  digestPart?.null();
  digestPart?.end();
  work.end();
  const encryption = parameters.open();
  parameters.end();
  const cipher = CIPHERS.get(encryption.oid()) ?? unknown();
  const iv = encryption.octetString();
  encryption.end();
  const bytes = outer.octetString();
  outer.end();
  if (iterations === 0 || iv.length !== cipher.iv) outer.fail("has impossible parameters");
  if (keyLength !== undefined && keyLength !== cipher.key) outer.fail("has a key of another length");
  return { salt, iterations, digest, cipher, iv, bytes };
}

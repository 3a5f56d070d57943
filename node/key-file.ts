// Private key files of every form that ssh-keygen writes or wrote: OpenSSH's own, and PEM.

import { createPrivateKey, type KeyObject } from "node:crypto";
import { SealttyError } from "../protocol/errors.ts";
import { SK_ECDSA, SK_ED25519 } from "../protocol/user-auth/public-key.ts";
import { keyTypeOf } from "../protocol/user-auth/ssh-wire.ts";
import { unlockPem } from "./encrypted-pem.ts";
import { unlockKeyFile } from "./key-file-encryption.ts";
import { notAKeyFile, readKeyFile, refused } from "./openssh-key-file.ts";
import { type PrivateKey, privateKeyOf } from "./private-key.ts";

export interface KeyInFile {
  readonly encrypted: boolean;
  /** Only its name is in the file: an agent that has the security key can use it. */
  readonly inSecurityKey: boolean;
  /** SSH wire format; undefined where it is encrypted, too. */
  readonly publicKeyBlob: Uint8Array | undefined;
  /**
   * May take its time, and leaves time to everything else. @param passphrase - not looked at unless the key is encrypted.
   * @returns undefined where it is a wrong one. @throws SealttyError `bad-config` where no passphrase could help.
   */
  unlock(passphrase: string): Promise<PrivateKey | undefined>;
}

/** @param name - how the user named the file, for errors. @throws SealttyError `bad-config` where it is no private key file. */
export function openKeyFile(text: string, name: string): KeyInFile {
  const file = readKeyFile(text, name);
  if (file === undefined) return openPem(text, name);
  const type = keyTypeOf(file.publicKeyBlob);
  return {
    encrypted: file.encryption !== undefined,
    inSecurityKey: type === SK_ED25519 || type === SK_ECDSA,
    publicKeyBlob: file.publicKeyBlob,
    // A copy: what is read is wiped, and another passphrase may follow.
    unlock: (passphrase) =>
      unlockKeyFile({ ...file, privatePart: file.privatePart.slice() }, passphrase, name),
  };
}

/** PKCS#1, SEC 1 and PKCS#8, as OpenSSL has them. */
function openPem(text: string, name: string): KeyInFile {
  if (!/^-----BEGIN [A-Z ]*PRIVATE KEY-----/m.test(text)) throw notAKeyFile(text, name);
  const encrypted = /^-----BEGIN ENCRYPTED |^Proc-Type: 4,ENCRYPTED/m.test(text);
  if (!encrypted) {
    const key = sshKeyOf(readPem(text, name), name);
    return {
      encrypted,
      inSecurityKey: false,
      publicKeyBlob: key.publicKeyBlob,
      unlock: () => Promise.resolve(key),
    };
  }
  const pkcs8 = /^-----BEGIN ENCRYPTED /m.test(text);
  return {
    encrypted,
    inSecurityKey: false,
    publicKeyBlob: undefined,
    async unlock(passphrase) {
      const object = pkcs8 ? await unlockPem(text, passphrase, name) : unlockOldPem(text, passphrase);
      return object === undefined ? undefined : sshKeyOf(object, name);
    },
  };
}

function readPem(text: string, name: string): KeyObject {
  try {
    return createPrivateKey({ key: text, format: "pem" });
  } catch (cause) {
    throw refused(name, "the key file is damaged", cause);
  }
}

/** Of PKCS#1 and SEC 1: the key is one MD5 of the passphrase. */
function unlockOldPem(text: string, passphrase: string): KeyObject | undefined {
  try {
    return createPrivateKey({ key: text, format: "pem", passphrase });
  } catch {
    return undefined;
  }
}

function sshKeyOf(object: KeyObject, name: string): PrivateKey {
  const key = privateKeyOf(object, "");
  if (key !== undefined) return key;
  throw new SealttyError(
    "bad-config",
    `${name}: this is no key that SSH has; make one with ssh-keygen -t ed25519`,
  );
}

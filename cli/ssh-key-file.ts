// Makes a fresh Ed25519 key in OpenSSH's file format (PROTOCOL.key): the demonstration's, which lives for one run.

import { concat, u32, utf8 } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto/suite.ts";

const TYPE = "ssh-ed25519";

export interface NewSshKey {
  /** The private key file's text. */
  readonly privateFile: string;
  /** The line for authorized_keys, with a line end. */
  readonly publicLine: string;
}

/** @param comment - printable ASCII. */
export function newSshKey(suite: CryptoSuite, comment: string): NewSshKey {
  const seed = suite.randomBytes(32);
  const publicKey = suite.ed25519PublicKey(seed);
  const blob = concat(string(utf8(TYPE)), string(publicKey));
  const check = suite.randomBytes(4);
  const secret = concat(check, check, blob, string(concat(seed, publicKey)), string(utf8(comment)));
  const padding = Uint8Array.from({ length: (8 - (secret.length % 8)) % 8 }, (_, i) => i + 1);
  const file = concat(
    utf8("openssh-key-v1\0"),
    string(utf8("none")), // cipher
    string(utf8("none")), // key derivation
    string(new Uint8Array(0)), // its options
    u32(1), // keys
    string(blob),
    string(concat(secret, padding)),
  );
  const lines =
    Buffer.from(file)
      .toString("base64")
      .match(/.{1,70}/g) ?? [];
  return {
    privateFile: `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join("\n")}\n-----END OPENSSH PRIVATE KEY-----\n`,
    publicLine: `${TYPE} ${Buffer.from(blob).toString("base64")} ${comment}\n`,
  };
}

function string(bytes: Uint8Array): Uint8Array {
  return concat(u32(bytes.length), bytes);
}

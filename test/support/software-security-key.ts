// A TEST DOUBLE of a security key: signs in the exact forms of OpenSSH's PROTOCOL.u2f, with a key in software. No authenticator
// made these, and none is needed: flags and counter are whatever a test wants.

import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { concat, u32, u8, utf8 } from "../../protocol/bytes.ts";
import {
  encodePublicKey,
  SK_ECDSA,
  SK_ED25519,
  type SshPublicKey,
} from "../../protocol/user-auth/public-key.ts";
import { WEBAUTHN_ECDSA } from "../../protocol/user-auth/signature.ts";
import { sshMpint, sshString } from "../../protocol/user-auth/ssh-wire.ts";

export const TOUCHED = 0x01;
export const VERIFIED = 0x04;

export interface SignOptions {
  readonly flags?: number;
  readonly counter?: number;
}

export interface WebAuthnOptions extends SignOptions {
  readonly origin?: string;
  /** In place of what a browser would write. */
  readonly clientData?: string;
  readonly extensions?: Uint8Array;
}

const sha256 = (bytes: Uint8Array): Uint8Array => createHash("sha256").update(bytes).digest();
const part = (text: string | undefined): Uint8Array => new Uint8Array(Buffer.from(text ?? "", "base64url"));

export class SoftwareSecurityKey {
  readonly key: SshPublicKey;
  readonly blob: Uint8Array;
  readonly #secret: KeyObject;
  readonly #application: string;

  constructor(kind: "ed25519" | "ecdsa", application = "ssh:") {
    const pair =
      kind === "ed25519"
        ? generateKeyPairSync("ed25519")
        : generateKeyPairSync("ec", { namedCurve: "P-256" });
    const { x, y } = pair.publicKey.export({ format: "jwk" });
    this.key =
      kind === "ed25519"
        ? { kind: "sk-ed25519", key: part(x), application: utf8(application) }
        : { kind: "sk-ecdsa", x: part(x), y: part(y), application: utf8(application) };
    this.blob = encodePublicKey(this.key);
    this.#secret = pair.privateKey;
    this.#application = application;
  }

  /** The line of its `.pub` file. */
  get line(): string {
    const type = this.key.kind === "sk-ed25519" ? SK_ED25519 : SK_ECDSA;
    return `${type} ${Buffer.from(this.blob).toString("base64")} software`;
  }

  /** A signature as ssh-agent would hand it over. */
  sign(message: Uint8Array, { flags = TOUCHED, counter = 7 }: SignOptions = {}): Uint8Array {
    const signed = concat(sha256(utf8(this.#application)), u8(flags), u32(counter), sha256(message));
    const type = this.key.kind === "sk-ed25519" ? SK_ED25519 : SK_ECDSA;
    return concat(sshString(type), sshString(this.#raw(signed)), u8(flags), u32(counter));
  }

  /** A signature as a page makes it of a passkey's assertion; ECDSA only. */
  webauthn(message: Uint8Array, options: WebAuthnOptions = {}): Uint8Array {
    const { flags = TOUCHED | VERIFIED, counter = 7, origin = "http://localhost:8743" } = options;
    const challenge = Buffer.from(message).toString("base64url");
    const clientData = utf8(
      options.clientData ??
        `{"type":"webauthn.get","challenge":"${challenge}","origin":"${origin}","crossOrigin":false}`,
    );
    const extensions = options.extensions ?? new Uint8Array(0);
    const signed = concat(
      sha256(utf8(this.#application)),
      u8(flags),
      u32(counter),
      extensions,
      sha256(clientData),
    );
    return concat(
      sshString(WEBAUTHN_ECDSA),
      sshString(this.#raw(signed)),
      u8(flags),
      u32(counter),
      sshString(origin),
      sshString(clientData),
      sshString(extensions),
    );
  }

  #raw(signed: Uint8Array): Uint8Array {
    if (this.key.kind === "sk-ed25519") return sign(null, signed, this.#secret);
    const pair = sign("sha256", signed, { key: this.#secret, dsaEncoding: "ieee-p1363" });
    return concat(sshMpint(pair.subarray(0, 32)), sshMpint(pair.subarray(32)));
  }
}

// What a browser's WebAuthn hands out (Level 2 §5.2, §6.1, §6.5), in the forms that OpenSSH gave it: a passkey as an sk-ecdsa key,
// an assertion as its signature (PROTOCOL.u2f). docs/protocol.md §8.2

import { rawSignature, readPublicKey } from "../attestation/x509/algorithms.ts";
import { DerReader } from "../attestation/x509/der.ts";
import { concat, Reader, u8, u32, utf8 } from "../bytes.ts";
import { encodePublicKey } from "./public-key.ts";
import { encodeEcdsaSignature, WEBAUTHN_ECDSA } from "./signature.ts";
import { sshString } from "./ssh-wire.ts";

const RP_ID_HASH = 32;
const ATTESTED_DATA = 0x40;

/**
 * @param spki - DER, as `getPublicKey()` has it at creation; assertions do not. @param rpId - becomes the key's application.
 * @returns SSH wire format. @throws SealttyError `peer-misbehaved` on any key but one of P-256.
 */
export function passkeyPublicKey(spki: Uint8Array, rpId: string): Uint8Array<ArrayBuffer> {
  const reader = new DerReader(spki, "passkey's public key");
  const { key, kind } = readPublicKey(reader);
  reader.end();
  if (kind !== "ec-p256" || key.kind !== "ec") return reader.fail("is not of P-256");
  return encodePublicKey({ kind: "sk-ecdsa", x: key.x, y: key.y, application: utf8(rpId) });
}

export interface PasskeyAssertion {
  readonly authenticatorData: Uint8Array;
  /** JSON of the browser's making. */
  readonly clientData: Uint8Array;
  /** DER, SEQUENCE { r, s }. */
  readonly signature: Uint8Array;
}

/**
 * Only the form: whether it holds, `verifySignature` says. @param origin - of the page that asked.
 * @returns a signature in SSH wire format. @throws SealttyError `peer-misbehaved`.
 */
export function encodePasskeySignature(
  { authenticatorData, clientData, signature }: PasskeyAssertion,
  origin: string,
): Uint8Array<ArrayBuffer> {
  const reader = new Reader(authenticatorData, "authenticator data");
  reader.bytes(RP_ID_HASH); // the key's application says it
  const flags = reader.u8();
  if ((flags & ATTESTED_DATA) !== 0) reader.fail("is of a creation, not of a signature");
  const counter = reader.u32();
  const extensions = reader.bytes(reader.remaining);
  return concat(
    encodeEcdsaSignature(WEBAUTHN_ECDSA, rawSignature("ecdsa-p256-sha256", signature)),
    u8(flags),
    u32(counter),
    sshString(origin),
    sshString(clientData),
    sshString(extensions),
  );
}

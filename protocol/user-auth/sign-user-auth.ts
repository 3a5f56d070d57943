// A user's signature for one connection, made with whatever holds the key, and checked as the guest will.

import type { UserAuthFields } from "../session/api.ts";
import { decodeKeyOrCertificate } from "./certificate.ts";
import type { SignatureFacts, SshCrypto } from "./signature.ts";
import { encodeSshsig, sshsigToBeSigned, verifySshsig } from "./sshsig.ts";
import { USER_AUTH_NAMESPACE, userAuthMessage } from "./user-auth-message.ts";

/**
 * @param publicKey - of a key, or a certificate for it, in SSH wire format. @param sign - gets the very bytes that the key signs, and
 * returns a signature in SSH wire format.
 * @returns the SSHSIG blob; without facts where the signature does not hold.
 * @throws SealttyError `peer-misbehaved` on a public key that is none.
 */
export async function signUserAuth(
  crypto: SshCrypto,
  publicKey: Uint8Array,
  fields: UserAuthFields,
  sign: (toBeSigned: Uint8Array<ArrayBuffer>) => Promise<Uint8Array>,
): Promise<{ readonly blob: Uint8Array; readonly facts: SignatureFacts | undefined }> {
  const { key } = decodeKeyOrCertificate(publicKey);
  const namespace = USER_AUTH_NAMESPACE;
  const message = userAuthMessage(fields);
  const signature = await sign(sshsigToBeSigned(crypto.suite, namespace, "sha512", message));
  const blob = encodeSshsig({ publicKey, namespace, hash: "sha512", signature });
  const facts = await verifySshsig(crypto, blob, { publicKey, key, namespace, message });
  return { blob, facts };
}

// Who signs in: a key pair of WebCrypto's, whatever else can sign, or nobody.

import { misuse } from "../../protocol/api/misuse.ts";
import { SealttyError } from "../../protocol/errors.ts";
import type { UserAuth, UserAuthFields } from "../../protocol/session/api.ts";
import { authorizedKeysLine } from "../../protocol/user-auth/key-line.ts";
import { signUserAuth } from "../../protocol/user-auth/sign-user-auth.ts";
import type { SshCrypto } from "../../protocol/user-auth/signature.ts";
import { ed25519KeyOf, signWithBrowserKey } from "../browser-key.ts";
import { isKeyPair } from "./options.ts";
import type { ConnectOptions, SignRequest, UserKey } from "./types.ts";

/** @throws SealttyError `user-refused` where the browser does not say what the public half is. */
export async function userAuthOf(
  { user, key }: Pick<ConnectOptions, "user" | "key">,
  crypto: SshCrypto,
): Promise<UserAuth> {
  if (key === false) return { method: "none", user };
  const signer = isKeyPair(key) ? await signerOf(key) : key;
  const publicKey = signer.publicKey.slice();
  return {
    method: "ssh-key",
    user,
    publicKey,
    sign: (fields) => checkedSignature(signer, publicKey, fields, crypto),
  };
}

async function signerOf({ publicKey, privateKey }: CryptoKeyPair): Promise<UserKey> {
  return {
    publicKey: await ed25519KeyOf(publicKey),
    sign: ({ toBeSigned }) => signWithBrowserKey(privateKey, toBeSigned),
  };
}

/** What the guest would refuse without a word is said here in words. @throws SealttyError `user-refused`. */
async function checkedSignature(
  signer: UserKey,
  publicKey: Uint8Array,
  fields: UserAuthFields,
  crypto: SshCrypto,
): Promise<Uint8Array> {
  const { blob, facts } = await signUserAuth(crypto, publicKey, fields, async (toBeSigned) => {
    const signature = await asked(signer, { ...fields, toBeSigned });
    if (signature instanceof Uint8Array) return signature;
    throw misuse("The key's sign() gives a signature as bytes", signature);
  });
  if (facts === undefined)
    throw new SealttyError(
      "user-refused",
      "The key made a signature that does not hold: it is over other bytes than toBeSigned, of another key, or not in SSH's wire format",
    );
  return blob;
}

async function asked(signer: UserKey, request: SignRequest): Promise<unknown> {
  try {
    return await signer.sign(request);
  } catch (cause) {
    if (cause instanceof SealttyError) throw cause;
    throw new SealttyError("user-refused", "The key did not sign", { cause });
  }
}

/**
 * The line that lets a key in: for the guest's authorized_keys.
 * @param comment - on one line. @throws SealttyError `api-misuse`.
 */
export async function publicKeyLine(
  key: CryptoKeyPair | Pick<UserKey, "publicKey">,
  comment: string,
): Promise<string> {
  if (typeof comment !== "string" || !/^[\x20-\x7e]*$/.test(comment))
    throw misuse("A key's comment is printable ASCII, on one line", comment);
  return authorizedKeysLine(isKeyPair(key) ? await ed25519KeyOf(key.publicKey) : plainKeyOf(key), comment);
}

function plainKeyOf({ publicKey }: { readonly publicKey: unknown }): Uint8Array {
  if (publicKey instanceof Uint8Array) return publicKey;
  throw misuse("A public key is a CryptoKeyPair's, or bytes in SSH's wire format", publicKey);
}

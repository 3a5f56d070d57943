// An Ed25519 key that the browser keeps: it signs for this page, and its private half cannot be read by anything in the page.

import { SealttyError } from "../protocol/errors.ts";
import { encodeEd25519Key, encodeEd25519Signature } from "../protocol/user-auth/ssh-wire.ts";
import type { PageKey } from "./page-key.ts";

const NOT_EXTRACTABLE = false;

/** @throws SealttyError `user-refused` where the browser cannot. */
export async function makeBrowserKey(madeAt: number): Promise<PageKey> {
  try {
    const pair = await crypto.subtle.generateKey("Ed25519", NOT_EXTRACTABLE, ["sign", "verify"]);
    return {
      kind: "browser-key",
      publicKey: await ed25519KeyOf(pair.publicKey),
      madeAt,
      privateKey: pair.privateKey,
    };
  } catch (cause) {
    const message =
      "This browser cannot make Ed25519 keys (Chrome and Edge can from 137 on, Firefox from 129, Safari from 17). Update it, or use a passkey";
    throw new SealttyError("user-refused", message, { cause });
  }
}

/** @returns SSH wire format. @throws SealttyError `user-refused`. */
export async function ed25519KeyOf(publicKey: CryptoKey): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return encodeEd25519Key(new Uint8Array(await crypto.subtle.exportKey("raw", publicKey)));
  } catch (cause) {
    throw new SealttyError("user-refused", "The browser does not give out a key's public half", { cause });
  }
}

/** @returns a signature in SSH wire format. @throws SealttyError `user-refused`. */
export async function signWithBrowserKey(
  privateKey: CryptoKey,
  toBeSigned: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array> {
  try {
    return encodeEd25519Signature(
      new Uint8Array(await crypto.subtle.sign("Ed25519", privateKey, toBeSigned)),
    );
  } catch (cause) {
    throw new SealttyError("user-refused", "The browser did not sign with its key", { cause });
  }
}

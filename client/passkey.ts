// Passkeys through WebAuthn: one is made, one signs. An authenticator asks its owner each time, with a PIN, a finger or a face.

import { SealttyError } from "../protocol/errors.ts";
import { encodePasskeySignature, passkeyPublicKey } from "../protocol/user-auth/passkey.ts";
import type { PageKey, PagePlace } from "./page-key.ts";

/** ECDSA of P-256 with SHA-256 (RFC 9053 §2.1): the one kind of passkey that OpenSSH knows. */
const ES256 = -7;
/** Half of what a guest waits for its user (docs/protocol.md §8.2). */
const ASKED_MS = 60_000;

/**
 * Call it from a click. @param rpId - whose it is to be, and the key's application in the guest's line.
 * @throws SealttyError `user-refused` in plain words.
 */
export async function makePasskey(
  rpId: string,
  madeAt: number,
  randomBytes: (length: number) => Uint8Array<ArrayBuffer>,
): Promise<PageKey> {
  const name = `sealtty, ${new Date(madeAt).toISOString().slice(0, 16).replace("T", " ")} UTC`;
  const made = await asked("make", () =>
    navigator.credentials.create({
      publicKey: {
        rp: { id: rpId, name: "sealtty" },
        user: { id: randomBytes(32), name, displayName: name }, // another each time: none takes another's place
        challenge: randomBytes(32), // nobody checks it: the guest believes a line that its owner wrote
        pubKeyCredParams: [{ type: "public-key", alg: ES256 }],
        authenticatorSelection: { userVerification: "required", residentKey: "discouraged" },
        attestation: "none",
        timeout: ASKED_MS,
      },
    }),
  );
  if (!(made.response instanceof AuthenticatorAttestationResponse)) throw noPasskey();
  const spki = made.response.getPublicKey();
  if (made.response.getPublicKeyAlgorithm() !== ES256 || spki === null) throw noPasskey();
  return {
    kind: "passkey",
    publicKey: passkeyPublicKey(new Uint8Array(spki), rpId),
    madeAt,
    credentialId: new Uint8Array(made.rawId),
  };
}

/**
 * Call it from a click. @param toBeSigned - whole: WebAuthn hashes it itself, as the challenge in its client data.
 * @returns a signature in SSH wire format. @throws SealttyError `user-refused` in plain words.
 */
export async function signWithPasskey(
  credentialId: Uint8Array<ArrayBuffer>,
  toBeSigned: Uint8Array<ArrayBuffer>,
  { hostname, origin }: PagePlace,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { response } = await asked("use", () =>
    navigator.credentials.get({
      signal,
      publicKey: {
        rpId: hostname,
        challenge: toBeSigned,
        allowCredentials: [{ type: "public-key", id: credentialId }],
        userVerification: "required",
        timeout: ASKED_MS,
      },
    }),
  );
  if (!(response instanceof AuthenticatorAssertionResponse)) throw noPasskey();
  const assertion = {
    authenticatorData: new Uint8Array(response.authenticatorData),
    clientData: new Uint8Array(response.clientDataJSON),
    signature: new Uint8Array(response.signature),
  };
  return encodePasskeySignature(assertion, origin);
}

async function asked(
  what: "make" | "use",
  ask: () => Promise<Credential | null>,
): Promise<PublicKeyCredential> {
  let credential: Credential | null;
  try {
    credential = await ask();
  } catch (cause) {
    const name = cause instanceof DOMException ? cause.name : "";
    throw new SealttyError("user-refused", passkeyWords(name, what), { cause });
  }
  if (!(credential instanceof PublicKeyCredential)) throw noPasskey();
  return credential;
}

/** What a browser's refusal means for a person. @param name - of its DOMException: WebAuthn Level 2 §5.1.3, §5.1.4. */
export function passkeyWords(name: string, what: "make" | "use"): string {
  switch (name) {
    case "NotAllowedError": // on purpose the browser does not say which
      return what === "make"
        ? "No passkey was made: it was cancelled, it took longer than a minute, or nothing here can hold one that verifies you (PIN, fingerprint, face)"
        : "The passkey did not sign: it was cancelled, it took longer than a minute, you were not verified, or it is not on this device any more";
    case "ConstraintError":
    case "NotSupportedError":
      return "No authenticator here can do this: it takes an ES256 passkey, and one that verifies you by PIN, fingerprint or face";
    case "SecurityError":
      return "The browser lets this page's address use no passkeys: open the page as http://localhost with its port";
    case "AbortError":
      return "The passkey was not needed any more: the connection had ended";
    default:
      return "The browser could not use passkeys just now";
  }
}

function noPasskey(): SealttyError {
  return new SealttyError("user-refused", "The browser answered with something that is no ES256 passkey");
}

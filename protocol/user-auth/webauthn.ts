// What a browser had a passkey sign: WebAuthn Level 2 §5.8.1, §7.2, in the form that OpenSSH gave it
// (webauthn-sk-ecdsa-sha2-nistp256@openssh.com, PROTOCOL.u2f). docs/protocol.md §8.2

import { parseStrictJson } from "../attestation/strict-json.ts";
import { equalBytes, textOf, utf8 } from "../bytes.ts";
import { SealttyError } from "../errors.ts";
import { encodeBase64Url } from "./base64.ts";

export interface WebAuthnParts {
  /** As the signer says; it counts only where `clientData` says the same. */
  readonly origin: Uint8Array;
  /** JSON of the browser's making. */
  readonly clientData: Uint8Array;
}

export const MAX_ORIGIN = 256;
export const MAX_CLIENT_DATA = 4096;

/**
 * Whether the browser says that it asked for just this, in a page of that origin.
 * @param challenge - what was to be signed. @returns the origin; undefined where anything is otherwise.
 */
export function originOfClientData(
  { origin, clientData }: WebAuthnParts,
  challenge: Uint8Array,
): string | undefined {
  try {
    const named = textOf(origin);
    if (!isOrigin(named)) return undefined;
    // The beginning is fixed byte for byte (WebAuthn Level 2 §5.8.1.1), so that nothing rests on a JSON parser alone.
    const head = utf8(
      `{"type":"webauthn.get","challenge":"${encodeBase64Url(challenge)}","origin":"${named}"`,
    );
    if (!equalBytes(clientData.subarray(0, head.length), head)) return undefined;
    const members = parseStrictJson(clientData, "client data");
    const crossOrigin = members.get("crossOrigin");
    if (crossOrigin !== undefined && crossOrigin !== false) return undefined;
    if (members.has("topOrigin")) return undefined; // the page was in a frame of another's
    return named;
  } catch (error) {
    if (error instanceof SealttyError && error.code === "peer-misbehaved") return undefined;
    throw error;
  }
}

const ORIGIN = /^(https?):\/\/([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::([1-9][0-9]{0,4}))?$/;

/** Scheme, host name in lower case, and a port where it is not the scheme's own. */
export function isOrigin(text: string): boolean {
  return text.length <= MAX_ORIGIN && ORIGIN.test(text);
}

/** An origin, or one with `*` in place of the port, for a page whose port is another each time. */
export function isOriginPattern(text: string): boolean {
  if (!text.endsWith(":*")) return isOrigin(text);
  const host = text.slice(0, -2);
  return isOrigin(host) && withoutPort(host) === host;
}

/** @param allowed - as `isOriginPattern` takes them. */
export function isAllowedOrigin(origin: string, allowed: readonly string[]): boolean {
  return allowed.some(
    (pattern) =>
      pattern === origin || (pattern.endsWith(":*") && withoutPort(pattern) === withoutPort(origin)),
  );
}

/** A browser lets a page ask for passkeys of its own host and of domains above it (WebAuthn Level 2 §5.1.4.1). */
export function isHostOf(rpId: string, origin: string): boolean {
  const host = ORIGIN.exec(origin)?.[2] ?? "";
  return host === rpId || host.endsWith(`.${rpId}`);
}

function withoutPort(origin: string): string {
  return origin.replace(/:(?:[0-9]+|\*)$/, "");
}

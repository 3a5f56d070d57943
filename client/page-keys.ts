// Keys that live in this browser: passkeys, whose private half is an authenticator's, and Ed25519 keys that the browser keeps and
// gives to nobody. Only in a page of this very machine: docs/decisions/0022-keys-in-the-page.md

import type { CryptoSuite } from "../protocol/crypto/suite.ts";
import type { SignatureVerifier } from "../protocol/crypto/signatures.ts";
import { SealttyError } from "../protocol/errors.ts";
import type { UserAuthFields } from "../protocol/session/api.ts";
import { authorizedKeysLine, fingerprintOf } from "../protocol/user-auth/key-line.ts";
import type { SignatureFacts } from "../protocol/user-auth/signature.ts";
import { signUserAuth } from "../protocol/user-auth/sign-user-auth.ts";
import { makeBrowserKey, signWithBrowserKey } from "./browser-key.ts";
import type { KeyStore } from "./key-store.ts";
import type { PageKey, PageKeyKind, PagePlace } from "./page-key.ts";
import { makePasskey, signWithPasskey } from "./passkey.ts";

export interface PageKeysParts {
  readonly place: PagePlace;
  readonly suite: CryptoSuite;
  readonly signatures: SignatureVerifier;
  readonly store: KeyStore;
  /** Milliseconds since 1970, UTC. */
  wallTime(): number;
  randomBytes(length: number): Uint8Array<ArrayBuffer>;
}

const OWN_HOSTS: readonly string[] = ["localhost", "127.0.0.1", "[::1]"];

/** Over loopback's http: nobody but a program of this machine can have delivered this page. A file has no place of its own. */
export function isOnOwnMachine({ protocol, hostname }: PagePlace): boolean {
  return protocol === "http:" && OWN_HOSTS.includes(hostname);
}

export class PageKeys {
  readonly #parts: PageKeysParts;

  constructor(parts: PageKeysParts) {
    this.#parts = parts;
  }

  /** Nothing of either kind is to be shown. */
  get forbidden(): boolean {
    return !isOnOwnMachine(this.#parts.place);
  }

  get origin(): string {
    return this.#parts.place.origin;
  }

  /** Why no key of this kind can be made or used here, in words; undefined where it can, as far as is known before. */
  whyNot(kind: PageKeyKind): string | undefined {
    if (this.forbidden) return "Keys are kept only in a page of your own machine, as sealtty open serves it.";
    if (kind === "browser-key") return undefined; // whether the browser has Ed25519, only making one tells
    const { hostname, port } = this.#parts.place;
    if (hostname !== "localhost")
      return `Passkeys belong to localhost: open this page as http://localhost:${port}, not ${hostname}.`;
    if (!("PublicKeyCredential" in globalThis)) return "This browser has no passkeys.";
    return undefined;
  }

  /** As ssh-keygen -l has it. */
  fingerprint(publicKey: Uint8Array): string {
    return fingerprintOf(this.#parts.suite.sha256(publicKey));
  }

  /** For the guest's authorized_keys. */
  line({ kind, publicKey, madeAt }: PageKey): string {
    const day = new Date(madeAt).toISOString().slice(0, 16).replaceAll(/[-:]/g, "");
    return authorizedKeysLine(publicKey, `sealtty-${kind}-${day}Z`);
  }

  /** Oldest first; none where the browser keeps nothing. */
  async all(): Promise<readonly PageKey[]> {
    if (this.forbidden) return [];
    try {
      return (await this.#parts.store.all()).toSorted((a, b) => a.madeAt - b.madeAt);
    } catch {
      return []; // forbidden or broken: making one says so
    }
  }

  /** @throws SealttyError `user-refused` in plain words; nothing is kept then. */
  async make(kind: PageKeyKind): Promise<PageKey> {
    this.#requireHere(kind);
    const { store, place } = this.#parts;
    await store.all().catch((cause: unknown) => {
      throw notKept(cause); // before an authenticator has made what nobody could use
    });
    const madeAt = this.#parts.wallTime();
    const key =
      kind === "passkey"
        ? await makePasskey(place.hostname, madeAt, (length) => this.#parts.randomBytes(length))
        : await makeBrowserKey(madeAt);
    await store.put(this.fingerprint(key.publicKey), key).catch((cause: unknown) => {
      throw notKept(cause);
    });
    return key;
  }

  /** A passkey stays in its authenticator, and cannot be used here any more. */
  async forget({ publicKey }: PageKey): Promise<void> {
    await this.#parts.store.remove(this.fingerprint(publicKey));
  }

  /**
   * @param signal - ends a passkey's question. @returns the SSHSIG blob, made and checked.
   * @throws SealttyError `user-refused` in plain words.
   */
  async sign(key: PageKey, fields: UserAuthFields, signal: AbortSignal): Promise<Uint8Array> {
    this.#requireHere(key.kind);
    const { place } = this.#parts;
    const { blob, facts } = await signUserAuth(this.#parts, key.publicKey, fields, (toBeSigned) =>
      key.kind === "passkey"
        ? signWithPasskey(key.credentialId, toBeSigned, place, signal)
        : signWithBrowserKey(key.privateKey, toBeSigned),
    );
    requireSound(facts, key.kind);
    return blob;
  }

  #requireHere(kind: PageKeyKind): void {
    const why = this.whyNot(kind);
    if (why !== undefined) throw new SealttyError("user-refused", why);
  }
}

/** What the guest would refuse without a word is said here in words. */
function requireSound(facts: SignatureFacts | undefined, kind: PageKeyKind): void {
  if (facts === undefined)
    throw new SealttyError("user-refused", "The browser made a signature that does not hold");
  if (kind === "passkey" && facts.securityKey?.verified !== true) {
    throw new SealttyError(
      "user-refused",
      "The authenticator did not verify you: a passkey needs a PIN, a fingerprint or a face, and every guest asks for that",
    );
  }
}

function notKept(cause: unknown): SealttyError {
  const message =
    "This browser keeps nothing for this page (a private window?), so a key made here would be lost";
  return new SealttyError("user-refused", message, { cause });
}

// How this page's user signs in: with a key of the command that served the page, with one of this browser's, or not with a key, so
// that the guest's own login program asks. The last choice for each guest is remembered; it is no secret.

import type { UserAuthFields } from "../protocol/session/api.ts";
import type { CommandKey, PageConfig, SignInMethod } from "./page-config.ts";
import type { PageKey } from "./page-key.ts";
import type { PageKeys } from "./page-keys.ts";

export type SignInWay =
  | { readonly kind: "prompt" }
  | { readonly kind: "command-key"; readonly key: CommandKey }
  | { readonly kind: "page-key"; readonly key: PageKey };

const STORED = "sealtty.sign-in.v1";
const MAX_GUESTS = 64; // the ones chosen for last
const MAX_STORE = 64 * 1024; // characters
const PROMPT = "prompt";

interface Choice {
  readonly identity: string;
  readonly address: string;
  readonly user: string;
  /** "prompt", or a key's fingerprint. */
  readonly way: string;
}

/** Asks the page's user for a click. @param trouble - what came of the last one. Never resolves where none comes. */
export type AskForClick = (trouble: string | undefined) => Promise<void>;

export class SignIn {
  readonly keys: PageKeys;
  readonly #storage: () => Pick<Storage, "getItem" | "setItem">;
  readonly #config: PageConfig;

  /** @param storage - asked for each time: where a browser forbids it, even looking at it throws. */
  constructor(keys: PageKeys, storage: () => Pick<Storage, "getItem" | "setItem">, config: PageConfig) {
    this.keys = keys;
    this.#storage = storage;
    this.#config = config;
  }

  /** As the command line has it. */
  get default(): SignInWay {
    const { auth, publicKey, keys } = this.#config;
    if (auth === "none" || publicKey === undefined) return { kind: "prompt" };
    return { kind: "command-key", key: keys[0] ?? { publicKey, source: "" } };
  }

  /** Every way there is. */
  async ways(): Promise<readonly SignInWay[]> {
    const { keys } = this.#config;
    const own = await this.keys.all();
    return [
      ...keys.map((key) => ({ kind: "command-key", key }) as const),
      ...own.map((key) => ({ kind: "page-key", key }) as const),
      { kind: "prompt" },
    ];
  }

  /** The way that was chosen last, where it is still there; else the command line's. */
  async chosen(): Promise<SignInWay> {
    const chosen = this.#read().find((choice) => this.#isMine(choice));
    if (chosen === undefined) return this.default;
    const ways = await this.ways();
    return ways.find((way) => this.idOf(way) === chosen.way) ?? this.default;
  }

  remember(way: SignInWay): void {
    const { identity, address, user } = this.#config;
    const others = this.#read().filter((choice) => !this.#isMine(choice));
    const choices = [{ identity, address, user, way: this.idOf(way) }, ...others].slice(0, MAX_GUESTS);
    try {
      this.#storage().setItem(STORED, JSON.stringify(choices));
    } catch {
      // Full or forbidden: the next page signs in as the command line says.
    }
  }

  idOf(way: SignInWay): string {
    return way.kind === "prompt" ? PROMPT : this.keys.fingerprint(way.key.publicKey);
  }

  #isMine({ identity, address, user }: Choice): boolean {
    const own = this.#config;
    return identity === own.identity && address === own.address && user === own.user;
  }

  #read(): Choice[] {
    try {
      const text = this.#storage().getItem(STORED);
      if (text === null || text.length > MAX_STORE) return [];
      const stored: unknown = JSON.parse(text);
      return Array.isArray(stored) ? stored.filter(isChoice).slice(0, MAX_GUESTS) : [];
    } catch {
      return [];
    }
  }
}

function isChoice(value: unknown): value is Choice {
  if (typeof value !== "object" || value === null) return false;
  const { identity, address, user, way } = value as Record<string, unknown>;
  return [identity, address, user, way].every((each) => typeof each === "string");
}

export function methodOf(way: SignInWay): SignInMethod {
  switch (way.kind) {
    case "prompt":
      return "none";
    case "command-key":
      return "ssh-key";
    case "page-key":
      return way.key.kind;
  }
}

/** The configuration as a session needs it that signs in this way. */
export function configFor(config: PageConfig, way: SignInWay): PageConfig {
  const publicKey = way.kind === "prompt" ? undefined : way.key.publicKey;
  return { ...config, auth: methodOf(way), publicKey };
}

/**
 * A passkey is asked for by a click of the user's alone, once for each click, whatever guest or host do; a browser's own key and the
 * command's sign at once, for this page, this guest and this user.
 * @param signByCommand - as the command's link does. @param signal - ends what is being asked.
 */
export function signerFor(
  way: SignInWay,
  keys: PageKeys,
  signByCommand: (fields: UserAuthFields, publicKey: Uint8Array) => Promise<Uint8Array>,
  askForClick: AskForClick,
  signal: AbortSignal,
): (fields: UserAuthFields) => Promise<Uint8Array> {
  return async (fields) => {
    if (way.kind === "prompt") throw new Error("nothing is signed without a key");
    if (way.kind === "command-key") return await signByCommand(fields, way.key.publicKey);
    if (way.key.kind === "browser-key") return await keys.sign(way.key, fields, signal);
    for (let trouble: string | undefined; ; ) {
      await askForClick(trouble);
      try {
        return await keys.sign(way.key, fields, signal);
      } catch (error) {
        signal.throwIfAborted();
        trouble = error instanceof Error ? error.message : String(error);
      }
    }
  };
}

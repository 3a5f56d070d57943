// What the local server tells the page about the guest to open. Ours, yet checked: a typo must not become a default.

import { MAX_OWNER_PIECES, NO_COLLATERAL, type Collateral } from "../protocol/attestation/collateral.ts";
import { MAX_COLLATERAL_PIECE } from "../protocol/limits.ts";
import { SHAPING_PROFILES, type ShapingProfile } from "../protocol/packets/shaping.ts";
import { SealttyError } from "../protocol/errors.ts";
import { fromBase64 } from "./base64.ts";

/** How a user shows who they are; `none`: by what the guest's own login program asks. */
export type SignInMethod = "none" | "ssh-key" | "passkey" | "browser-key";

/** A key that the command which served this page can have sign. */
export interface CommandKey {
  /** SSH wire format, of the key or a certificate for it. */
  readonly publicKey: Uint8Array;
  /** Where it is, for a person: a path, or the agent. */
  readonly source: string;
}

/**
 * "fresh": at an address that is new each time, where the command's keys sign. "kept": at localhost, where passkeys and keys of
 * the browser are. docs/decisions/0024-a-fresh-address.md
 */
export type PageKind = "fresh" | "kept";

export interface PageConfig {
  readonly page: PageKind;
  /** The kept page's link, once; the fresh page's is never told to the kept one. */
  readonly keptPage: string | undefined;
  /** What the command remembers for this page; absent: the browser does. */
  readonly memory: ReadonlyMap<string, string> | undefined;
  /** As the user named the guest's pipe; goes into the transcript. */
  readonly address: string;
  /** `direct-vnc`: at that web socket is a VNC server. */
  readonly pipe:
    | { readonly kind: "direct" | "direct-vnc"; readonly url: string }
    | { readonly kind: "through-server" };
  readonly pipeToken: string | undefined;
  /** One-use, for the next load of this page in this tab. */
  readonly nextToken: string | undefined;
  readonly policyText: string;
  /** The user said `--simulated`. */
  readonly simulated: boolean;
  readonly user: string;
  /** As the command line says; the page's user may choose otherwise (sign-in.ts). */
  readonly auth: SignInMethod;
  readonly publicKey: Uint8Array | undefined;
  /** Best first. */
  readonly keys: readonly CommandKey[];
  /** The guest the user means: alias or policy name. */
  readonly identity: string;
  /** Demonstration only: the server shows what it carries. */
  readonly hostView: boolean;
  readonly hostViewToken: string | undefined;
  readonly encoding: "auto" | "binary" | "armour";
  /** How sizes and times of what is typed and shown are hidden from the host. */
  readonly obfuscate: ShapingProfile;
  /** The owner's own: what the vendors signed about their keys and platforms. */
  readonly collateral: Collateral;
}

/** @throws SealttyError `bad-config`. */
export function parsePageConfig(json: string): PageConfig {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new SealttyError("bad-config", "The local server sent something that is not JSON", { cause });
  }
  const fields = objectOf(value, "configuration");
  if (fields["type"] !== "config") throw bad("type");
  const pipe = objectOf(fields["pipe"], "pipe");
  const auth = oneOf(fields, "auth", ["ssh-key", "none"] as const);
  const publicKey = optionalText(fields, "publicKey");
  const hostView = flag(fields, "hostView");
  if (auth === "ssh-key" && publicKey === undefined) throw bad("publicKey");
  return {
    page: oneOf(fields, "page", ["fresh", "kept"] as const),
    keptPage: keptPageOf(optionalText(fields, "keptPage")),
    memory: memoryOf(fields["memory"]),
    address: text(fields, "address"),
    pipe: pipeOf(pipe),
    pipeToken: optionalText(fields, "pipeToken"),
    nextToken: optionalText(fields, "nextToken"),
    policyText: text(fields, "policyText"),
    simulated: flag(fields, "simulated"),
    user: text(fields, "user"),
    auth,
    publicKey: publicKey === undefined ? undefined : bytes(publicKey, "publicKey"),
    keys: commandKeysOf(fields["keys"]),
    identity: text(fields, "identity"),
    hostView,
    hostViewToken: optionalText(fields, "hostViewToken"),
    encoding: oneOf(fields, "encoding", ["auto", "binary", "armour"] as const),
    obfuscate: oneOf(fields, "obfuscate", SHAPING_PROFILES),
    collateral: collateralOf(fields["collateral"]),
  };
}

type Fields = Readonly<Record<string, unknown>>;

export function objectOf(value: unknown, name: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw bad(name);
  return value as Fields;
}

function pipeOf(pipe: Fields): PageConfig["pipe"] {
  const kind = oneOf(pipe, "kind", ["direct", "direct-vnc", "through-server"] as const);
  return kind === "through-server" ? { kind } : { kind, url: webSocketUrl(pipe) };
}

function keptPageOf(link: string | undefined): string | undefined {
  if (link !== undefined && !/^http:\/\/localhost:\d+\/#t=[A-Za-z0-9_-]+$/.test(link)) throw bad("keptPage");
  return link;
}

function memoryOf(value: unknown): ReadonlyMap<string, string> | undefined {
  if (value === undefined || value === null) return undefined;
  const items = Object.entries(objectOf(value, "memory"));
  return new Map(
    items.map(([name, item]) => {
      if (typeof item !== "string") throw bad("memory");
      return [name, item];
    }),
  );
}

const MAX_COMMAND_KEYS = 32;

function commandKeysOf(value: unknown): readonly CommandKey[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length > MAX_COMMAND_KEYS) throw bad("keys");
  return value.map((each: unknown) => {
    const key = objectOf(each, "keys");
    return { publicKey: bytes(text(key, "publicKey"), "keys"), source: text(key, "source") };
  });
}

const COLLATERAL_KINDS = ["certificates", "crls", "tcbInfos", "qeIdentities"] as const;

/** All four lists of base64 pieces, or no collateral at all. */
function collateralOf(value: unknown): Collateral {
  if (value === undefined || value === null) return NO_COLLATERAL;
  const lists = objectOf(value, "collateral");
  for (const name of Object.keys(lists))
    if (!COLLATERAL_KINDS.some((kind) => kind === name)) throw bad("collateral");
  let left = MAX_OWNER_PIECES;
  const piecesOf = (kind: keyof Collateral): Uint8Array[] => {
    const list = lists[kind];
    if (!Array.isArray(list) || list.length > left) throw bad(`collateral.${kind}`);
    left -= list.length;
    return list.map((piece: unknown) => {
      if (typeof piece !== "string" || piece.length > MAX_PIECE_BASE64) throw bad(`collateral.${kind}`);
      const decoded = bytes(piece, `collateral.${kind}`);
      if (decoded.length === 0 || decoded.length > MAX_COLLATERAL_PIECE) throw bad(`collateral.${kind}`);
      return decoded;
    });
  };
  return {
    certificates: piecesOf("certificates"),
    crls: piecesOf("crls"),
    tcbInfos: piecesOf("tcbInfos"),
    qeIdentities: piecesOf("qeIdentities"),
  };
}

const MAX_PIECE_BASE64 = Math.ceil(MAX_COLLATERAL_PIECE / 3) * 4;

function text(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== "string") throw bad(name);
  return value;
}

function optionalText(fields: Fields, name: string): string | undefined {
  return fields[name] === null || fields[name] === undefined ? undefined : text(fields, name);
}

function flag(fields: Fields, name: string): boolean {
  const value = fields[name];
  if (typeof value !== "boolean") throw bad(name);
  return value;
}

function oneOf<Name extends string>(fields: Fields, name: string, allowed: readonly Name[]): Name {
  const value = allowed.find((each) => each === fields[name]);
  if (value === undefined) throw bad(name);
  return value;
}

function webSocketUrl(fields: Fields): string {
  const value = text(fields, "url");
  if (!/^wss?:\/\//.test(value)) throw bad("url");
  return value;
}

function bytes(base64: string, name: string): Uint8Array {
  try {
    return fromBase64(base64);
  } catch {
    throw bad(name);
  }
}

function bad(field: string): SealttyError {
  return new SealttyError("bad-config", `The local server's configuration has no usable "${field}"`);
}

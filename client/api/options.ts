// The options of each call, as a program in a browser has them.

import {
  BOUNDED,
  type Check,
  type Checks,
  ELSEWHERE,
  ENCODING,
  HOOK,
  isObject,
  isText,
  MILLISECONDS,
  OBFUSCATION,
  ON_TERMINAL,
  SIGNAL,
  SWITCH,
  TEXT,
  USER,
} from "../../protocol/api/misuse.ts";
import { aboveOwnersMost, COLLATERAL_KINDS, type Collateral } from "../../protocol/attestation/collateral.ts";
import { MAX_COLLATERAL_PIECE, MAX_SSH_KEY } from "../../protocol/limits.ts";
import type {
  ConnectOptions,
  ExecOptions,
  OwnCollateral,
  ShellOptions,
  StreamOptions,
  UserKey,
} from "./types.ts";

const COLLATERAL: Check = {
  words: `lists of bytes by the names of ${COLLATERAL_KINDS.join(", ")}, as much as an owner may have`,
  holds: (value) =>
    isObject(value) &&
    Object.entries(value).every(
      ([name, pieces]) => isKind(name) && (pieces === undefined || isPieces(pieces)),
    ) &&
    aboveOwnersMost(collateralOf(value)) === undefined,
};

function isKind(name: string): boolean {
  return COLLATERAL_KINDS.some((kind) => kind === name);
}

function isPieces(pieces: unknown): boolean {
  return Array.isArray(pieces) && pieces.every((piece) => isBytes(piece, MAX_COLLATERAL_PIECE));
}

function isBytes(value: unknown, most: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length > 0 && value.length <= most;
}

export function collateralOf(own: OwnCollateral): Collateral {
  const { certificates = [], crls = [], tcbInfos = [], qeIdentities = [] } = own;
  return { certificates, crls, tcbInfos, qeIdentities };
}

/** Of whichever realm: a key may have come from another window. */
export function isKeyPair(key: unknown): key is CryptoKeyPair {
  return (
    isObject(key) &&
    "privateKey" in key &&
    isEd25519(key.privateKey, "private") &&
    "publicKey" in key &&
    isEd25519(key.publicKey, "public")
  );
}

/** A private one signs, and cannot be read by anything in the page. */
function isEd25519(key: unknown, type: "private" | "public"): boolean {
  if (!isObject(key) || !("type" in key) || key.type !== type) return false;
  const { algorithm, extractable, usages } = key as Partial<CryptoKey>;
  if (algorithm?.name !== "Ed25519") return false;
  return type === "public" || (extractable === false && usages?.includes("sign") === true);
}

function isUserKey(key: unknown): key is UserKey {
  return (
    isObject(key) &&
    "publicKey" in key &&
    isBytes(key.publicKey, MAX_SSH_KEY) &&
    "sign" in key &&
    typeof key.sign === "function"
  );
}

export const CONNECT_OPTIONS: Checks<ConnectOptions> = {
  guest: TEXT,
  policy: {
    words: "{ text }",
    holds: (value) => isObject(value) && "text" in value && isText(value.text),
    secret: true,
  },
  user: USER,
  key: {
    words: "a CryptoKeyPair of Ed25519 whose private half is not extractable, { publicKey, sign }, or false",
    holds: (value) => value === false || isKeyPair(value) || isUserKey(value),
    secret: true,
  },
  simulated: SWITCH,
  collateral: COLLATERAL,
  timeout: MILLISECONDS,
  encoding: ENCODING,
  obfuscate: OBFUSCATION,
  onState: HOOK,
  onEvidence: HOOK,
  onChanged: HOOK,
};

export const EXEC_OPTIONS: Checks<ExecOptions> = {
  env: ELSEWHERE,
  cwd: ELSEWHERE,
  stdin: {
    words: "true, a text, bytes, a ReadableStream, or what can be iterated",
    holds: (value) =>
      value === true ||
      isText(value) ||
      (isObject(value) &&
        ("getReader" in value || Symbol.asyncIterator in value || Symbol.iterator in value)),
    secret: true,
  },
  ...BOUNDED,
};

export const SHELL_OPTIONS: Checks<ShellOptions> = { ...ON_TERMINAL, ...BOUNDED };

export const STREAM_OPTIONS: Checks<StreamOptions> = { signal: SIGNAL, onStderr: HOOK };

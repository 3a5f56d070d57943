// A directory of collateral: certificates, CRLs, Intel's JSON bodies, each file known by its content. Nothing is believed here.

import { readdir } from "node:fs/promises";
import path from "node:path";
import {
  aboveOwnersMost,
  type Collateral,
  MAX_OWNER_PIECES,
  NO_COLLATERAL,
  joinCollateral,
} from "../protocol/attestation/collateral.ts";
import { SealttyError } from "../protocol/errors.ts";
import { MAX_COLLATERAL_PIECE } from "../protocol/limits.ts";
import { decodeBase64 } from "../protocol/user-auth/base64.ts";
import { readBoundedFile } from "./bounded-file.ts";
import { errorCode } from "./socket-pipe.ts";

/** Others in the directory (a README, say) are left alone. */
const SUFFIXES = [".der", ".crt", ".cer", ".crl", ".pem", ".json"];
const MAX_FILES = MAX_OWNER_PIECES;
/** PEM is a third larger than what is in it. */
const MAX_FILE = 2 * MAX_COLLATERAL_PIECE;

/**
 * Reads every file that ends in .der .crt .cer .crl .pem or .json, in the order of their names; no subdirectories.
 * @throws SealttyError `bad-config` naming the file that cannot be read, or is none of what belongs here.
 */
export async function readCollateralDirectory(directory: string): Promise<Collateral> {
  let bag = NO_COLLATERAL;
  for (const name of await collateralFiles(directory)) {
    bag = joinCollateral(bag, await readCollateralFile(path.join(directory, name)));
    requireOwnersSize(bag, directory);
  }
  return bag;
}

/** @param where - for people. @throws SealttyError `bad-config` where it is more than an owner may have. */
export function requireOwnersSize(bag: Collateral, where: string): void {
  const most = aboveOwnersMost(bag);
  if (most !== undefined)
    throw problem(where, `holds more than ${most} of collateral`, "Remove what is out of date.");
}

/** @returns the names that count, sorted. @throws SealttyError `bad-config`. */
export async function collateralFiles(directory: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (cause) {
    const code = errorCode(cause);
    const what =
      code === "ENOENT"
        ? "does not exist"
        : code === "ENOTDIR"
          ? "is not a directory"
          : `cannot be read (${code ?? "unknown error"})`;
    throw problem(directory, what, "Name the directory that holds certificates, CRLs and TCB info.", cause);
  }
  const counted = names.filter((name) => SUFFIXES.includes(path.extname(name).toLowerCase())).sort();
  if (counted.length > MAX_FILES)
    throw problem(directory, `has more than ${MAX_FILES} files`, "Remove what is out of date.");
  return counted;
}

async function readCollateralFile(file: string): Promise<Collateral> {
  let bytes: Uint8Array;
  try {
    bytes = await readBoundedFile(file, MAX_FILE);
  } catch (cause) {
    const why = errorCode(cause) ?? (cause instanceof Error ? cause.message : "unknown error");
    throw problem(file, `cannot be read (${why})`, "Check the file, or remove it.", cause);
  }
  const bag = collateralOf(bytes, file);
  for (const piece of Object.values(bag).flat() as Uint8Array[]) {
    if (piece.length > MAX_COLLATERAL_PIECE)
      throw problem(file, `holds more than ${MAX_COLLATERAL_PIECE} bytes in one piece`, "Check what it is.");
  }
  return bag;
}

const NOT_COLLATERAL = `If it is no collateral, remove it, or give it another ending than ${SUFFIXES.join(", ")}.`;

/** @param file - its name, for errors. @throws SealttyError `bad-config` where it is none of what belongs here. */
export function collateralOf(bytes: Uint8Array, file: string): Collateral {
  const first = bytes[0];
  if (first === 0x30) return derCollateral(bytes, file);
  const text = Buffer.from(bytes).toString("latin1");
  if (/^\s*\{/.test(text)) return jsonCollateral(bytes, text, file);
  if (text.includes("-----BEGIN ")) return pemCollateral(text, file);
  throw problem(file, "is neither DER nor PEM nor JSON", NOT_COLLATERAL);
}

/** A certificate and a CRL begin alike: SEQUENCE { SEQUENCE { [0] version (certificate), or INTEGER version (CRL) … */
function derCollateral(bytes: Uint8Array, file: string): Collateral {
  const outer = derHeader(bytes, 0);
  if (outer === undefined || outer.content + outer.length !== bytes.length)
    throw problem(file, "is cut off, or has bytes behind its end", "Fetch it again.");
  const inner = derHeader(bytes, outer.content);
  const tag = inner === undefined ? undefined : bytes[inner.content];
  const copy = bytes.slice();
  if (bytes[outer.content] === 0x30 && tag === 0xa0) return { ...NO_COLLATERAL, certificates: [copy] };
  if (bytes[outer.content] === 0x30 && tag === 0x02) {
    // Version 2: INTEGER 1; that of Intel's and AMD's CRLs. A PKCS #8 key, say, has no SEQUENCE there.
    return { ...NO_COLLATERAL, crls: [copy] };
  }
  throw problem(file, "is neither an X.509 certificate (version 3) nor a CRL (version 2)", "Remove it.");
}

function derHeader(bytes: Uint8Array, at: number): { content: number; length: number } | undefined {
  const short = bytes[at + 1];
  if (short === undefined) return undefined;
  if (short < 0x80) return { content: at + 2, length: short };
  const count = short & 0x7f;
  if (count < 1 || count > 3) return undefined;
  let length = 0;
  for (let i = 0; i < count; i++) length = length * 256 + (bytes[at + 2 + i] ?? 0);
  return { content: at + 2 + count, length };
}

/** The bytes stay as they are: Intel's signature is over the exact text inside. */
function jsonCollateral(bytes: Uint8Array, text: string, file: string): Collateral {
  let keys: string[];
  try {
    keys = Object.keys(JSON.parse(text) as object);
  } catch (cause) {
    throw problem(file, "is not valid JSON", `Fetch it again. ${NOT_COLLATERAL}`, cause);
  }
  const copy = bytes.slice();
  if (keys.includes("signature")) {
    if (keys.includes("tcbInfo")) return { ...NO_COLLATERAL, tcbInfos: [copy] };
    if (keys.includes("enclaveIdentity")) return { ...NO_COLLATERAL, qeIdentities: [copy] };
  }
  throw problem(
    file,
    "has neither a signed tcbInfo nor a signed enclaveIdentity",
    `${NOT_COLLATERAL} Of Intel's answers the body must be kept, unchanged.`,
  );
}

function pemCollateral(text: string, file: string): Collateral {
  const blocks = /-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\r\n]*?)-----END \1-----/g;
  let bag = NO_COLLATERAL;
  let count = 0;
  for (const [, label = "", body = ""] of text.matchAll(blocks)) {
    count++;
    if (label !== "CERTIFICATE" && label !== "X509 CRL")
      throw problem(file, "holds something else than certificates and CRLs", "Remove that part.");
    const der = decodeBase64(body.replace(/[\r\n]/g, ""));
    if (der === undefined) throw problem(file, "has damaged base64", "Fetch it again.");
    const found = derCollateral(der, file);
    if ((label === "CERTIFICATE") !== (found.certificates.length === 1))
      throw problem(file, "has a block that is something else than its label says", "Fetch it again.");
    bag = joinCollateral(bag, found);
  }
  if (count === 0 || count !== text.split("-----BEGIN ").length - 1)
    throw problem(file, "has a damaged PEM block", "Fetch it again.");
  return bag;
}

function problem(file: string, what: string, next: string, cause?: unknown): SealttyError {
  return new SealttyError("bad-config", `${file} ${what}. ${next}`, cause === undefined ? {} : { cause });
}

// Attestation documents of AWS Nitro Enclaves, verified whole as far as needs no policy. No policy of this version has a
// section for them, so that as evidence of a connection they are recognised and refused.
// Format: AWS, "NSM API: attestation process", §3 and §4.

import { isZero, toHex } from "../../bytes.ts";
import { CborMembers, type CborValue, decodeCbor } from "../cbor.ts";
import { type Sign1, isSign1By, readSign1 } from "../cose.ts";
import { parsing, refuse } from "../refusal.ts";
import type { VerifyContext } from "../verify-context.ts";
import { type Certificate, isSignedBy, isValidAt, parseCertificate } from "../x509/certificate.ts";

const WHAT = "The Nitro attestation document";
const MAX_BUNDLE = 8;
const MAX_CERTIFICATE = 1024;
const MAX_FIELD = 512;
const MAX_PUBLIC_KEY = 1024;
const MAX_PCR = 31;
const MEMBERS = [
  "module_id",
  "digest",
  "timestamp",
  "pcrs",
  "certificate",
  "cabundle",
  "public_key",
  "user_data",
  "nonce",
];
const NEXT = "Do not connect: Amazon's hardware did not sign this document, or it is not of now.";

/** Fixed words for who meets such evidence in a connection. */
export const NITRO_RECOGNISED =
  "AWS Nitro Enclaves evidence is recognised, but this version has no policy for it";

export interface NitroFacts {
  readonly moduleId: string;
  /** When the hypervisor made it: milliseconds since 1970. */
  readonly timestamp: number;
  /** 48 bytes each. */
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  readonly nonce: Uint8Array | undefined;
  readonly userData: Uint8Array | undefined;
  readonly publicKey: Uint8Array | undefined;
}

interface Document extends NitroFacts {
  readonly certificate: Uint8Array;
  /** Root first. */
  readonly bundle: readonly Uint8Array[];
}

/** @param document - COSE_Sign1. @throws SealttyError `peer-misbehaved`. */
export function parseNitroDocument(document: Uint8Array): {
  readonly sign1: Sign1;
  readonly claims: Document;
} {
  const sign1 = readSign1(decodeCbor(document, WHAT), WHAT);
  const members = new CborMembers(decodeCbor(sign1.payload, WHAT, { indefiniteMaps: true }), WHAT).only(
    ...MEMBERS,
  );
  if (members.text("digest", 16) !== "SHA384") members.fail("names a digest that this version does not know");
  const list = members.get("cabundle");
  if (!Array.isArray(list) || list.length === 0 || list.length > MAX_BUNDLE)
    return members.fail("has no bundle of certificates");
  const optional = (name: string, limit: number) => {
    const value = members.get(name);
    if (value === undefined || value === null) return undefined;
    if (!(value instanceof Uint8Array) || value.length > limit)
      return members.fail(`has a ${name} that is too long, or no bytes`);
    return value;
  };
  const claims = {
    moduleId: members.text("module_id", 128),
    timestamp: members.number("timestamp", Number.MAX_SAFE_INTEGER),
    pcrs: readPcrs(members.get("pcrs")),
    nonce: optional("nonce", MAX_FIELD),
    userData: optional("user_data", MAX_FIELD),
    publicKey: optional("public_key", MAX_PUBLIC_KEY),
    certificate: members.someBytes("certificate", MAX_CERTIFICATE),
    bundle: list.map((value: CborValue) =>
      value instanceof Uint8Array && value.length <= MAX_CERTIFICATE
        ? value
        : members.fail("has something else than certificates in its bundle"),
    ),
  };
  return { sign1, claims };
}

function readPcrs(value: CborValue | undefined): ReadonlyMap<number, Uint8Array> {
  const members = new CborMembers(value, "The list of PCRs");
  const pcrs = new Map<number, Uint8Array>();
  for (const [index] of members.entries) {
    if (typeof index !== "number" || index < 0 || index > MAX_PCR)
      return members.fail("names an impossible PCR");
    pcrs.set(index, members.bytes(index, 48));
  }
  for (const index of MEASURED) if (!pcrs.has(index)) members.fail("lacks a PCR that says what was started");
  return pcrs;
}

/** Image, kernel, application. */
const MEASURED = [0, 1, 2];

/**
 * Chain to the pinned root at the time of the document, signature, age, and that the enclave is no debug enclave.
 * Not whom it was made for: `nonce` and `userData` are the caller's.
 * @param maxAge - milliseconds between the document and `context.now`, either way.
 * @throws SealttyError `evidence-refused`.
 */
export async function checkNitro(
  document: Uint8Array,
  context: Pick<VerifyContext, "now" | "roots" | "signatures" | "suite">,
  maxAge: number,
): Promise<NitroFacts> {
  const { sign1, claims } = parsing("nitro.format", WHAT, () => parseNitroDocument(document));
  const leaf = await requireChain(claims, context);
  if (sign1.algorithm !== "ecdsa-p384-sha384" || !(await isSign1By(sign1, leaf.key, context.signatures)))
    refuse(
      "nitro.signature",
      `${WHAT}'s signature does not hold`,
      "a signature of its certificate's key",
      "another signature",
      NEXT,
    );
  if (!(Math.abs(context.now - claims.timestamp) <= maxAge))
    refuse(
      "nitro.age",
      `${WHAT} is not of now`,
      `at most ${maxAge} ms from ${context.now}`,
      `${claims.timestamp}`,
      NEXT,
    );
  if (MEASURED.every((index) => isZero(claims.pcrs.get(index) ?? new Uint8Array())))
    refuse(
      "nitro.debug",
      "The enclave runs in debug mode: whoever started it reads its memory and its console",
      "PCR 0, 1 and 2 measured",
      "all zero",
      "Start the enclave without debug mode.",
    );
  const { moduleId, timestamp, pcrs, nonce, userData, publicKey } = claims;
  return { moduleId, timestamp, pcrs, nonce, userData, publicKey };
}

/** The bundle begins with the root, each certificate signs the next, the last one signs the document's own. */
async function requireChain(
  { certificate, bundle, timestamp }: Document,
  { roots, signatures, suite }: Pick<VerifyContext, "roots" | "signatures" | "suite">,
): Promise<Certificate> {
  const [root, ...rest] = parsing("nitro.chain", `${WHAT}'s certificates`, () =>
    [...bundle, certificate].map(parseCertificate),
  ) as [Certificate, ...Certificate[]];
  const pinned = toHex(suite.sha256(root.spki));
  if (!roots.nitro.includes(pinned))
    refuse(
      "nitro.root",
      `${WHAT} does not lead to Amazon's root key`,
      roots.nitro.join(" or "),
      pinned,
      NEXT,
    );
  let issuer = root;
  const chain = [root, ...rest];
  for (const [depth, each] of chain.entries()) {
    if (!(await isSignedBy(each, issuer, signatures)))
      refuse(
        "nitro.chain",
        `${WHAT}'s certificates do not lead to Amazon's root key`,
        "each signed by the one before",
        `certificate ${depth} is not`,
        NEXT,
      );
    if (!isValidAt(each, timestamp, 0))
      refuse(
        "nitro.chain-validity",
        `A certificate of ${WHAT.toLowerCase()} was not valid when the document was made`,
        `valid at ${timestamp}`,
        `${each.notBefore} to ${each.notAfter}`,
        NEXT,
      );
    // CAs below this one, the document's own certificate not counted.
    const below = chain.length - 2 - depth;
    if (each.isCa && each.pathLength !== undefined && below > each.pathLength)
      refuse(
        "nitro.chain",
        `${WHAT}'s chain is longer than a CA of it allows`,
        `${each.pathLength}`,
        `${below}`,
        NEXT,
      );
    issuer = each;
  }
  if (issuer.isCa || issuer.keyKind !== "ec-p384" || issuer.keyUsage?.has("digitalSignature") === false)
    refuse(
      "nitro.chain",
      `${WHAT} is signed with a key that is not for signing documents`,
      "an end entity's P-384 key",
      "another key",
      NEXT,
    );
  return issuer;
}

// Arm CCA tokens: the platform's and the realm's, verified whole as far as needs no policy. No policy of this version has a
// section for them, so that as evidence of a connection they are recognised and refused.
// Format: Arm, "Realm Management Monitor specification" (DEN0137) §A7; draft-ffm-rats-cca-token.

import { sha384 } from "@noble/hashes/sha2.js";
import { equalBytes, toHex } from "../../bytes.ts";
import type { HardwareKey } from "../../crypto/signatures.ts";
import { CborMembers, CborTag, type CborValue, decodeCbor } from "../cbor.ts";
import { type Sign1, isSign1By, readSign1 } from "../cose.ts";
import { parsing, refuse } from "../refusal.ts";
import type { VerifyContext } from "../verify-context.ts";

const WHAT = "The Arm CCA token";
const COLLECTION_TAG = 399;
const PLATFORM_TOKEN = 44234;
const REALM_TOKEN = 44241;

const CLAIM = {
  nonce: 10,
  platformInstance: 256,
  profile: 265,
  lifecycle: 2395,
  implementation: 2396,
  realmPersonalization: 44235,
  realmHash: 44236,
  realmKey: 44237,
  realmInitial: 44238,
  realmExtensible: 44239,
  realmKeyHash: 44240,
} as const;
const PLATFORM_PROFILES = ["http://arm.com/CCA-SSD/1.0.0", "tag:arm.com,2023:cca_platform#1.0.0"];
const REALM_PROFILES = ["tag:arm.com,2023:realm#1.0.0"];
/** "Secured": 0x3000 to 0x30ff; all else is being made, debugged or decommissioned. */
const SECURED = 0x30;
const HASHES = ["sha-256", "sha-384", "sha-512"] as const;
type HashName = (typeof HASHES)[number];
/** Some makers fill shorter measurements up to 64 bytes, so that the hash does not say the length. */
const MEASUREMENT_SIZES = [32, 48, 64] as const;
const NEXT = "Do not connect: this token does not come from the hardware that the platform key belongs to.";

/** Fixed words for who meets such evidence in a connection. */
export const CCA_RECOGNISED = "Arm CCA evidence is recognised, but this version has no policy for it";

export interface CcaFacts {
  /** 64 bytes. */
  readonly challenge: Uint8Array;
  /** 64 bytes. */
  readonly personalization: Uint8Array;
  /** RIM and four REMs, all of 32, 48 or 64 bytes. */
  readonly initialMeasurement: Uint8Array;
  readonly extensibleMeasurements: readonly Uint8Array[];
  readonly hash: HashName;
  /** 33 bytes. */
  readonly platformInstance: Uint8Array;
  /** 32 bytes. */
  readonly implementation: Uint8Array;
  readonly lifecycle: number;
}

interface Token {
  readonly platform: Sign1;
  readonly realm: Sign1;
  /** Of the realm's key, as the platform signed it. */
  readonly platformNonce: Uint8Array;
  readonly realmKeyBytes: Uint8Array;
  readonly realmKeyHash: HashName;
  readonly realmKey: HardwareKey;
  readonly facts: CcaFacts;
}

/** @param token - tag 399 around a map of two COSE_Sign1. @throws SealttyError `peer-misbehaved`. */
export function parseCcaToken(token: Uint8Array): Token {
  const outer = decodeCbor(token, WHAT);
  const inner = outer instanceof CborTag && outer.tag === COLLECTION_TAG ? outer.value : undefined;
  const collection = new CborMembers(inner, WHAT).only(PLATFORM_TOKEN, REALM_TOKEN);
  const sign1 = (key: number) => readSign1(decodeCbor(collection.someBytes(key, token.length), WHAT), WHAT);
  const platform = sign1(PLATFORM_TOKEN);
  const realm = sign1(REALM_TOKEN);
  // Other claims are tolerated: all are signed, and none of them loosens what is read here.
  const platformClaims = new CborMembers(decodeCbor(platform.payload, WHAT), "The platform's token");
  const realmClaims = new CborMembers(decodeCbor(realm.payload, WHAT), "The realm's token");

  if (!PLATFORM_PROFILES.includes(platformClaims.text(CLAIM.profile, 64)))
    platformClaims.fail("has a profile that this version does not know");
  const profile = realmClaims.get(CLAIM.profile);
  if (profile !== undefined && !REALM_PROFILES.includes(realmClaims.text(CLAIM.profile, 64)))
    realmClaims.fail("has a profile that this version does not know");

  const hash = hashName(realmClaims, CLAIM.realmHash);
  const initialMeasurement = realmClaims.bytes(CLAIM.realmInitial, ...MEASUREMENT_SIZES);
  const extensible = realmClaims.get(CLAIM.realmExtensible);
  if (!Array.isArray(extensible) || extensible.length !== 4)
    return realmClaims.fail("has not four extensible measurements");
  const extensibleMeasurements = extensible.map((value: CborValue) =>
    value instanceof Uint8Array && value.length === initialMeasurement.length
      ? value
      : realmClaims.fail("has an extensible measurement of another length"),
  );
  const realmKeyBytes = realmClaims.someBytes(CLAIM.realmKey, 256);
  return {
    platform,
    realm,
    platformNonce: platformClaims.bytes(CLAIM.nonce, 32, 48, 64),
    realmKeyBytes,
    realmKeyHash: hashName(realmClaims, CLAIM.realmKeyHash),
    // The older form has no profile and a bare point, the newer one a COSE_Key.
    realmKey: profile === undefined ? pointKey(realmKeyBytes) : coseKey(realmKeyBytes),
    facts: {
      challenge: realmClaims.bytes(CLAIM.nonce, 64),
      personalization: realmClaims.bytes(CLAIM.realmPersonalization, 64),
      initialMeasurement,
      extensibleMeasurements,
      hash,
      platformInstance: platformClaims.bytes(CLAIM.platformInstance, 33),
      implementation: platformClaims.bytes(CLAIM.implementation, 32),
      lifecycle: platformClaims.number(CLAIM.lifecycle, 0xffff),
    },
  };
}

function hashName(claims: CborMembers, claim: number): HashName {
  const name = claims.text(claim, 16);
  return HASHES.find((hash) => hash === name) ?? claims.fail("names a hash that this version does not know");
}

/** SEC1, uncompressed, P-384. */
function pointKey(bytes: Uint8Array): HardwareKey {
  const members = new CborMembers(new Map(), "The realm's key");
  if (bytes.length !== 97 || bytes[0] !== 4) members.fail("is not a point of P-384");
  return { kind: "ec", x: bytes.subarray(1, 49), y: bytes.subarray(49) };
}

/** RFC 9053 §7.1: kty EC2, crv P-384. */
function coseKey(bytes: Uint8Array): HardwareKey {
  const key = new CborMembers(decodeCbor(bytes, "The realm's key"), "The realm's key").only(1, -1, -2, -3);
  if (key.get(1) !== 2 || key.get(-1) !== 2) key.fail("is not a key of P-384");
  return { kind: "ec", x: key.bytes(-2, 48), y: key.bytes(-3, 48) };
}

/**
 * Both signatures, and that the platform vouches for the realm's key. Not whom it was made for: `challenge` is the caller's.
 * @param platformKey - the CPAK of that very machine, endorsed by its maker: the token itself has no chain.
 * @throws SealttyError `evidence-refused`.
 */
export async function checkCca(
  token: Uint8Array,
  platformKey: HardwareKey,
  context: Pick<VerifyContext, "signatures" | "suite">,
): Promise<CcaFacts> {
  const { signatures, suite } = context;
  const parsed = parsing("cca.format", WHAT, () => parseCcaToken(token));
  if (!(await isSign1By(parsed.platform, platformKey, signatures)))
    refuse(
      "cca.platform-signature",
      "The platform's token is not signed by the platform key that you gave",
      "a signature of that key",
      "another signature",
      NEXT,
    );
  const hashes = {
    "sha-256": (message: Uint8Array) => suite.sha256(message),
    "sha-384": (message: Uint8Array) => sha384(message),
    "sha-512": (message: Uint8Array) => suite.sha512(message),
  };
  const bound = hashes[parsed.realmKeyHash](parsed.realmKeyBytes);
  if (!equalBytes(bound, parsed.platformNonce))
    refuse(
      "cca.realm-key",
      "The platform vouches for another realm's key than the one that signed",
      toHex(parsed.platformNonce),
      toHex(bound),
      NEXT,
    );
  if (
    parsed.realm.algorithm !== "ecdsa-p384-sha384" ||
    !(await isSign1By(parsed.realm, parsed.realmKey, signatures))
  )
    refuse(
      "cca.realm-signature",
      "The realm's token is not signed by the realm's key",
      "a signature of that key",
      "another signature",
      NEXT,
    );
  const { facts } = parsed;
  if (facts.lifecycle >> 8 !== SECURED)
    refuse(
      "cca.lifecycle",
      "The platform is not in its secured state: it is being made, debugged or taken apart",
      "3000 to 30ff",
      facts.lifecycle.toString(16),
      "Use a machine that is in its secured state.",
    );
  return facts;
}

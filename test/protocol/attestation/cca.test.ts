// Arm CCA tokens: the samples by name, and made ones with throw-away keys.

import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { CCA_RECOGNISED, checkCca, parseCcaToken } from "../../../protocol/attestation/cca/verify.ts";
import { concat, u8 } from "../../../protocol/bytes.ts";
import type { HardwareKey } from "../../../protocol/crypto/signatures.ts";
import { Tagged, cbor, sign1Value } from "../../support/made-cbor.ts";
import { type MadeKey, madeKey } from "../../support/made-pki.ts";
import {
  hasEvidence,
  onlySealttyErrors,
  refusedBy,
  sample,
  sampleJson,
  samples,
  signatures,
  suite,
} from "./support.ts";

const CASES: Record<string, string> = {
  "trustee-fvp-es384": "pass",
  "veraison-good-es256": "pass",
  "mut-wrong-platform-key": "cca.platform-signature",
};

test.runIf(hasEvidence)("every CCA sample has a test", () => {
  expect(samples("cca").sort()).toEqual(Object.keys(CASES).sort());
});

test.runIf(hasEvidence).each(Object.entries(CASES))("sample %s: %s", async (name, outcome) => {
  const expected = sampleJson(`cca/${name}/expected.json`);
  expect(expected.expected).toBe(outcome === "pass" ? "pass" : "fail");
  const jwk = sampleJson(`cca/${name}/platform_key.jwk`);
  const [x, y] = [jwk.x, jwk.y].map((text) => new Uint8Array(Buffer.from(text, "base64url")));
  const key = { kind: "ec", x: x as Uint8Array, y: y as Uint8Array } as const;
  const token = sample(`cca/${name}/token.cbor`);
  const attempt = () => checkCca(token, key, { signatures, suite });
  if (outcome !== "pass") {
    expect(await refusedBy(attempt)).toBe(outcome);
    return;
  }
  const facts = await attempt();
  expect(facts.challenge).toHaveLength(64);
  expect(facts.extensibleMeasurements).toHaveLength(4);
  for (let at = 0; at < token.length; at += 23) {
    const changed = token.slice();
    changed[at] = (changed[at] as number) ^ 0x01;
    await refusedBy(() => checkCca(changed, key, { signatures, suite }));
  }
});

// --- made ----------------------------------------------------------------------------------------------------------------

const platform = madeKey("ec-p256", "cca-platform");
const realm = madeKey("ec-p384", "cca-realm");
const stranger = madeKey("ec-p384", "cca-stranger");

const point = (key: MadeKey) => concat(u8(4), key.point);
const coseKey = (key: MadeKey) =>
  cbor(
    new Map<number, unknown>([
      [1, 2],
      [-1, 2],
      [-2, key.point.slice(0, 48)],
      [-3, key.point.slice(48)],
    ]),
  );
const hash = (name: string, bytes: Uint8Array) => new Uint8Array(createHash(name).update(bytes).digest());

interface Changes {
  readonly platformClaims?: readonly (readonly [number, unknown])[];
  readonly realmClaims?: readonly (readonly [number, unknown])[];
  readonly platformKey?: MadeKey;
  readonly realmKey?: MadeKey;
  /** The form of the realm's key: a bare point, or a COSE_Key with its profile. */
  readonly cose?: boolean;
}

function withChanges(
  claims: readonly (readonly [number, unknown])[],
  changes: Changes["realmClaims"] = [],
): Uint8Array {
  const map = new Map<number, unknown>([...claims, ...changes]);
  return cbor(new Map([...map].filter(([, value]) => value !== undefined)));
}

function tokenOf(changes: Changes = {}): Uint8Array {
  const keyBytes = changes.cose ? coseKey(realm) : point(realm);
  const platformClaims = withChanges(
    [
      [265, "http://arm.com/CCA-SSD/1.0.0"],
      [10, hash("sha256", keyBytes)],
      [256, new Uint8Array(33).fill(1)],
      [2396, new Uint8Array(32).fill(2)],
      [2395, 0x3003],
      [2399, []],
    ],
    changes.platformClaims,
  );
  const realmClaims = withChanges(
    [
      [10, new Uint8Array(64).fill(3)],
      [44235, new Uint8Array(64)],
      [44236, "sha-256"],
      [44237, keyBytes],
      [44238, new Uint8Array(32).fill(4)],
      [44239, [5, 6, 7, 8].map((fill) => new Uint8Array(32).fill(fill))],
      [44240, "sha-256"],
      ...(changes.cose ? [[265, "tag:arm.com,2023:realm#1.0.0"] as const] : []),
    ],
    changes.realmClaims,
  );
  const signed = (payload: Uint8Array, key: MadeKey, algorithm: number) =>
    cbor(new Tagged(18, sign1Value(payload, key, algorithm)));
  return cbor(
    new Tagged(
      399,
      new Map([
        [44234, signed(platformClaims, changes.platformKey ?? platform, -7)],
        [44241, signed(realmClaims, changes.realmKey ?? realm, -35)],
      ]),
    ),
  );
}

const check = (token: Uint8Array, key: HardwareKey = platform.publicKey) =>
  checkCca(token, key, { signatures, suite });

test.each([false, true])("a made token passes (key as COSE_Key: %s)", async (cose) => {
  const facts = await check(tokenOf({ cose }));
  expect(facts.challenge).toEqual(new Uint8Array(64).fill(3));
  expect(facts.extensibleMeasurements[3]).toEqual(new Uint8Array(32).fill(8));
  expect(CCA_RECOGNISED).toContain("no policy");
});

test.each([
  [
    "another platform's signature",
    "cca.platform-signature",
    { platformKey: madeKey("ec-p256", "cca-other") },
  ],
  ["another realm's signature", "cca.realm-signature", { realmKey: stranger }],
  [
    "another realm's key, with its own signature",
    "cca.realm-key",
    { realmKey: stranger, realmClaims: [[44237, point(stranger)]] },
  ],
  ["the hash of another algorithm", "cca.realm-key", { realmClaims: [[44240, "sha-512"]] }],
  ["a platform under debug", "cca.lifecycle", { platformClaims: [[2395, 0x6000]] }],
  ["a platform of an unknown profile", "cca.format", { platformClaims: [[265, "http://other"]] }],
  ["a realm of an unknown profile", "cca.format", { realmClaims: [[265, "http://other"]] }],
  ["a profile and a bare point", "cca.format", { realmClaims: [[265, "tag:arm.com,2023:realm#1.0.0"]] }],
  ["a short challenge", "cca.format", { realmClaims: [[10, new Uint8Array(32)]] }],
  ["no lifecycle", "cca.format", { platformClaims: [[2395, undefined]] }],
  [
    "three extensible measurements",
    "cca.format",
    { realmClaims: [[44239, [1, 2, 3].map(() => new Uint8Array(32))]] },
  ],
  ["measurements of two lengths", "cca.format", { realmClaims: [[44238, new Uint8Array(48)]] }],
  ["an unknown hash", "cca.format", { realmClaims: [[44236, "toString"]] }],
] as const)("%s is refused by %s", async (_what, expected, changes: Changes) => {
  expect(await refusedBy(() => check(tokenOf(changes)))).toBe(expected);
});

test("the realm's token of one machine under the platform's of another is refused", async () => {
  const inner = (token: Uint8Array) => parseCcaToken(token);
  const [mine, other] = [tokenOf(), tokenOf({ platformClaims: [[10, hash("sha256", point(stranger))]] })];
  expect(inner(mine).realmKeyBytes).toEqual(inner(other).realmKeyBytes);
  expect(await refusedBy(() => check(other))).toBe("cca.realm-key");
});

test("changed bytes all over, a cut and a byte added are refused", async () => {
  const token = tokenOf();
  for (let at = 0; at < token.length; at += 2) {
    const changed = token.slice();
    changed[at] = (changed[at] as number) ^ 0x01;
    expect(await refusedBy(() => check(changed))).toMatch(/^cca\./);
    expect(onlySealttyErrors(() => parseCcaToken(token.subarray(0, at)))).toBe(false);
  }
  expect(await refusedBy(() => check(concat(token, u8(0))))).toBe("cca.format");
});

// AWS Nitro documents: the samples by name, and made ones under a throw-away root.

import { expect, test } from "vitest";
import {
  NITRO_RECOGNISED,
  checkNitro,
  parseNitroDocument,
} from "../../../protocol/attestation/nitro/verify.ts";
import { toHex } from "../../../protocol/bytes.ts";
import { caExtensions, keyUsage, madeKey, makeCertificate } from "../../support/made-pki.ts";
import { cbor, sign1 } from "../../support/made-cbor.ts";
import {
  hasEvidence,
  onlySealttyErrors,
  refusedBy,
  sample,
  sampleJson,
  samples,
  sha256,
  verifyAt,
} from "./support.ts";

const HOUR = 3_600_000;

const CASES: Record<string, string> = {
  "prod-dstack": "pass",
  "prod-anjuna-publickey": "pass",
  "debug-dstack": "nitro.debug",
};

test.runIf(hasEvidence)("every Nitro sample has a test", () => {
  expect(samples("nitro").sort()).toEqual(Object.keys(CASES).sort());
});

test.runIf(hasEvidence).each(Object.entries(CASES))("sample %s: %s", async (name, outcome) => {
  const expected = sampleJson(`nitro/${name}/expected.json`);
  expect(expected.expected).toBe(outcome === "pass" ? "pass" : "fail");
  const document = sample(`nitro/${name}/document.cbor`);
  const attempt = () => checkNitro(document, verifyAt(expected.verify_at), HOUR);
  if (outcome !== "pass") {
    expect(await refusedBy(attempt)).toBe(outcome);
    return;
  }
  const facts = await attempt();
  expect(facts.moduleId).toBe(expected.claims.module_id);
  expect(facts.timestamp).toBe(expected.claims.timestamp_ms);
  for (const [index, value] of Object.entries(expected.claims.pcrs))
    expect(toHex(facts.pcrs.get(Number(index)) as Uint8Array)).toBe(value);
  expect(facts.publicKey?.length ?? 0).toBe(expected.claims.public_key_len);
  const later = verifyAt(new Date(facts.timestamp + HOUR + 1).toISOString());
  expect(await refusedBy(() => checkNitro(document, later, HOUR))).toBe("nitro.age");
  const changed = document.slice();
  changed[document.length - 1] = (changed.at(-1) as number) ^ 1;
  expect(await refusedBy(() => checkNitro(changed, verifyAt(expected.verify_at), HOUR))).toBe(
    "nitro.signature",
  );
});

// --- made ----------------------------------------------------------------------------------------------------------------

const NOW = Date.parse("2026-06-01T12:00:00Z");
const DAY = 24 * HOUR;
const root = madeKey("ec-p384", "nitro-root");
const middle = madeKey("ec-p384", "nitro-middle");
const leaf = madeKey("ec-p384", "nitro-leaf");
const stranger = madeKey("ec-p384", "nitro-stranger");
const NAMES = { root: { CN: "root" }, middle: { CN: "middle" }, leaf: { CN: "leaf" } };

const LONG = { notBefore: NOW - DAY, notAfter: NOW + DAY };
const rootDer = makeCertificate({
  subject: NAMES.root,
  key: root,
  issuer: { name: NAMES.root, key: root },
  ...LONG,
  extensions: caExtensions(),
});
const middleDer = (pathLength?: number) =>
  makeCertificate({
    subject: NAMES.middle,
    key: middle,
    issuer: { name: NAMES.root, key: root },
    ...LONG,
    extensions: caExtensions(pathLength),
  });
const leafDer = (changes: Partial<Parameters<typeof makeCertificate>[0]> = {}) =>
  makeCertificate({
    subject: NAMES.leaf,
    key: leaf,
    issuer: { name: NAMES.middle, key: middle },
    notBefore: NOW - HOUR,
    notAfter: NOW + HOUR,
    extensions: [keyUsage("digitalSignature")],
    ...changes,
  });

const pcr = (fill: number) => new Uint8Array(48).fill(fill);
const PCRS = new Map([
  [0, pcr(1)],
  [1, pcr(2)],
  [2, pcr(3)],
]);

function payloadOf(changes: Record<string, unknown> = {}): Map<string, unknown> {
  const all: Record<string, unknown> = {
    module_id: "i-0-enc0",
    digest: "SHA384",
    timestamp: NOW,
    pcrs: PCRS,
    certificate: leafDer(),
    cabundle: [rootDer, middleDer(0)],
    public_key: null,
    user_data: null,
    nonce: new Uint8Array(64).fill(9),
    ...changes,
  };
  return new Map(Object.entries(all).filter(([, value]) => value !== undefined));
}
const documentOf = (changes: Record<string, unknown> = {}, key = leaf) =>
  sign1(cbor(payloadOf(changes)), key, -35);

const roots = { ...verifyAt("2026-06-01T12:00:00Z").roots, nitro: [toHex(sha256(root.spki))] };
const context = verifyAt("2026-06-01T12:00:00Z", { roots });
const check = (document: Uint8Array, maxAge = 60_000) => checkNitro(document, context, maxAge);

test("a made document passes, and its claims are what was signed", async () => {
  const facts = await check(documentOf());
  expect(facts.nonce).toEqual(new Uint8Array(64).fill(9));
  expect([...facts.pcrs.keys()]).toEqual([0, 1, 2]);
  expect(NITRO_RECOGNISED).toContain("no policy");
});

test.each([
  ["a debug enclave", "nitro.debug", () => documentOf({ pcrs: new Map([0, 1, 2].map((i) => [i, pcr(0)])) })],
  ["another signer", "nitro.signature", () => documentOf({}, stranger)],
  ["a document of yesterday", "nitro.chain-validity", () => documentOf({ timestamp: NOW - DAY })],
  ["a document of two minutes ago", "nitro.age", () => documentOf({ timestamp: NOW - 120_000 })],
  ["a document of the future", "nitro.age", () => documentOf({ timestamp: NOW + 120_000 })],
  ["a chain without its middle", "nitro.chain", () => documentOf({ cabundle: [rootDer] })],
  ["a chain from another root", "nitro.root", () => documentOf({ cabundle: [middleDer(0), rootDer] })],
  [
    "an issuer that is no CA",
    "nitro.chain",
    () =>
      documentOf({
        cabundle: [
          rootDer,
          makeCertificate({
            subject: NAMES.middle,
            key: middle,
            issuer: { name: NAMES.root, key: root },
            ...LONG,
            extensions: [],
          }),
        ],
      }),
  ],
  [
    "a leaf signed by a stranger under the CA's name",
    "nitro.chain",
    () => documentOf({ certificate: leafDer({ issuer: { name: NAMES.middle, key: stranger } }) }),
  ],
  [
    "a CA that signs documents",
    "nitro.chain",
    () => documentOf({ certificate: leafDer({ extensions: caExtensions() }) }),
  ],
  [
    "more CAs than one allows",
    "nitro.chain",
    () =>
      documentOf({
        certificate: leafDer({ issuer: { name: NAMES.leaf, key: stranger } }),
        cabundle: [
          rootDer,
          middleDer(0),
          makeCertificate({
            subject: NAMES.leaf,
            key: stranger,
            issuer: { name: NAMES.middle, key: middle },
            ...LONG,
            extensions: caExtensions(),
          }),
        ],
      }),
  ],
  ["a member that nobody knows", "nitro.format", () => documentOf({ extra: 1 })],
  ["another digest", "nitro.format", () => documentOf({ digest: "SHA256" })],
  ["no timestamp", "nitro.format", () => documentOf({ timestamp: undefined })],
  ["a measurement missing", "nitro.format", () => documentOf({ pcrs: new Map([[0, pcr(1)]]) })],
  ["a short measurement", "nitro.format", () => documentOf({ pcrs: new Map([[0, new Uint8Array(47)]]) })],
  ["no certificates", "nitro.format", () => documentOf({ cabundle: [] })],
  ["a certificate that is none", "nitro.chain", () => documentOf({ certificate: new Uint8Array(10) })],
] as const)("%s is refused by %s", async (_what, expected, document) => {
  expect(await refusedBy(() => check(document()))).toBe(expected);
});

test("changed bytes all over are refused", async () => {
  const document = documentOf();
  await check(document);
  for (let at = 0; at < document.length; at += 5) {
    const changed = document.slice();
    changed[at] = (changed[at] as number) ^ 0x01;
    expect(await refusedBy(() => check(changed))).toMatch(/^nitro\./);
  }
});

test("a document cut anywhere is malformed", () => {
  const document = documentOf();
  for (let length = 0; length < document.length; length++)
    expect(onlySealttyErrors(() => parseNitroDocument(document.subarray(0, length)))).toBe(false);
});

// Which machine, by document and key: believed only where the evidence holds it; whatever was sent is never ignored.

import { expect, test } from "vitest";
import { nodeSuite } from "../../../node/crypto-suite.ts";
import { documentDigests } from "../../../protocol/attestation/instance/document.ts";
import { type InstanceInput, judgeInstance } from "../../../protocol/attestation/instance/judge.ts";
import {
  KEY_PROOF_LENGTH,
  signInstanceKey,
  verifyInstanceKey,
} from "../../../protocol/attestation/instance/key-proof.ts";
import { keyProofContext } from "../../../protocol/attestation/binder.ts";
import { Checks } from "../../../protocol/attestation/refusal.ts";
import { concat, toHex, utf8 } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import { DOCUMENT } from "./made-instances.ts";
import { newContext, suite } from "./support.ts";

const bytes = utf8(DOCUMENT);
const digests = documentDigests(suite, bytes);
const DIGEST = toHex(digests.sha256);
const NO_PINS = { documents: [], keys: [], pcr: 15 } as const;
const HOST_DATA = { hash: "sha256", value: digests.sha256, field: "HOST_DATA" } as const;
const MRCONFIGID = { hash: "sha384", value: digests.sha384, field: "MRCONFIGID" } as const;
const pcr = (bank: "sha256" | "sha384", index = 15, value = digests.pcr[bank]) => ({ bank, index, value });

const secret = new Uint8Array(32).fill(7);
const publicKey = toHex(suite.ed25519PublicKey(secret));
const context = keyProofContext(newContext());
const proof = signInstanceKey(suite, secret, context);

const input = (changes: Partial<InstanceInput>): InstanceInput => ({
  policy: NO_PINS,
  documentDigest: undefined,
  pcrs: [],
  document: undefined,
  keyProof: undefined,
  proofContext: context,
  suite,
  ...changes,
});

/** The names of all checks that failed, the first first; or the document's name and what held. */
function judged(changes: Partial<InstanceInput>) {
  const checks = new Checks();
  const proven = judgeInstance(input(changes), checks);
  try {
    return { proven, passed: checks.settle().map(({ check }) => check), failed: [] };
  } catch (error) {
    expect((error as SealttyError).code).toBe("evidence-refused");
    const { refusal } = error as SealttyError;
    expect(refusal?.next).toMatch(/\S/);
    return {
      proven,
      passed: [],
      failed: [refusal?.check, ...(refusal?.others ?? []).map(({ check }) => check)],
    };
  }
}

test("nothing pinned and nothing sent: nothing to say", () => {
  expect(judged({ documentDigest: HOST_DATA })).toEqual({ proven: undefined, passed: [], failed: [] });
});

const matching: readonly (readonly [string, Partial<InstanceInput>])[] = [
  ["HOST_DATA", { documentDigest: HOST_DATA }],
  ["MRCONFIGID", { documentDigest: MRCONFIGID }],
  ["a PCR of the sha256 bank", { pcrs: [pcr("sha256", 7), pcr("sha256")] }],
  ["a PCR of the sha384 bank", { pcrs: [pcr("sha384")] }],
  ["the PCR that the policy names", { pcrs: [pcr("sha256", 13)], policy: { ...NO_PINS, pcr: 13 } }],
];
test.each(matching)("a document is believed where %s holds its digest", (_what, changes) => {
  const pinned = { ...(changes.policy ?? NO_PINS), documents: ["00".repeat(32), DIGEST] };
  for (const policy of [changes.policy ?? NO_PINS, pinned]) {
    const { proven, failed } = judged({ ...changes, document: bytes, policy });
    expect(failed).toEqual([]);
    expect(proven).toEqual({ name: "db1", digest: DIGEST, text: DOCUMENT, pinned: policy === pinned });
  }
});

const other = utf8(DOCUMENT.replace("db1", "db2"));
const notMatching: readonly (readonly [string, Partial<InstanceInput>])[] = [
  ["no field and no register", {}],
  ["a HOST_DATA of zeros", { documentDigest: { ...HOST_DATA, value: new Uint8Array(32) } }],
  [
    "another document's HOST_DATA",
    { documentDigest: { ...HOST_DATA, value: documentDigests(suite, other).sha256 } },
  ],
  [
    "SHA-256 where SHA-384 belongs",
    { documentDigest: { ...MRCONFIGID, value: concat(digests.sha256, new Uint8Array(16)) } },
  ],
  ["another PCR", { pcrs: [pcr("sha256", 14)] }],
  ["a PCR that holds the bare digest", { pcrs: [pcr("sha256", 15, digests.sha256)] }],
  [
    "a PCR that was extended twice",
    { pcrs: [pcr("sha256", 15, suite.sha256(concat(digests.pcr.sha256, digests.sha256)))] },
  ],
  ["a PCR of the sha1 bank", { pcrs: [{ bank: "sha1", index: 15, value: new Uint8Array(20) }] }],
];
test.each(notMatching)(
  "a document that was sent is refused, pinned or not: the evidence has %s",
  (_what, changes) => {
    expect(judged({ ...changes, document: bytes })).toEqual({
      proven: undefined,
      passed: [],
      failed: ["instance.document"],
    });
    expect(
      judged({ ...changes, document: bytes, policy: { ...NO_PINS, documents: [DIGEST] } }).failed,
    ).toEqual(["instance.document"]);
  },
);

test("one bit of the document, and it is refused", () => {
  for (let i = 0; i < bytes.length; i++) {
    const changed = bytes.map((byte, at) => (at === i ? byte ^ 1 : byte));
    expect(judged({ documentDigest: HOST_DATA, document: changed }).failed).toEqual(["instance.document"]);
  }
});

test("a pinned document that does not come is refused, even where its digest is in the evidence", () => {
  const policy = { ...NO_PINS, documents: [DIGEST] };
  expect(judged({ documentDigest: HOST_DATA, policy }).failed).toEqual(["instance.document"]);
  expect(judged({ policy }).failed).toEqual(["instance.document"]);
});

test("the sibling: same image, own document, own HOST_DATA", () => {
  const theirs = {
    documentDigest: { ...HOST_DATA, value: documentDigests(suite, other).sha256 },
    document: other,
  };
  expect(judged({ ...theirs, policy: { ...NO_PINS, documents: [DIGEST] } }).failed).toEqual([
    "instance.pinned-document",
  ]);
  // Our document shown by a guest that was started with theirs.
  expect(judged({ ...theirs, document: bytes, policy: { ...NO_PINS, documents: [DIGEST] } }).failed).toEqual([
    "instance.document",
  ]);
});

test("a proven document that cannot be read is refused", () => {
  const broken = utf8('version = 1\nname = "\u202e"\n');
  const documentDigest = { ...HOST_DATA, value: documentDigests(suite, broken).sha256 };
  expect(judged({ documentDigest, document: broken })).toMatchObject({
    proven: undefined,
    failed: ["instance.format"],
  });
});

test("a pinned key has to sign for this connection", () => {
  const policy = { ...NO_PINS, keys: ["11".repeat(32), publicKey] };
  expect(judged({ policy, keyProof: proof })).toMatchObject({
    passed: ["instance.key-proof", "instance.key"],
    failed: [],
  });
  expect(judged({ policy }).failed).toEqual(["instance.key"]);
  expect(judged({ policy: { ...NO_PINS, keys: ["11".repeat(32)] }, keyProof: proof }).failed).toEqual([
    "instance.key",
  ]);
  const elsewhere = signInstanceKey(suite, secret, keyProofContext(newContext()));
  expect(judged({ policy, keyProof: elsewhere }).failed).toEqual(["instance.key-proof", "instance.key"]);
});

test("a proof that nobody asked for still has to hold", () => {
  expect(judged({ keyProof: proof })).toMatchObject({ passed: ["instance.key-proof"], failed: [] });
  expect(judged({ keyProof: proof.slice(1) }).failed).toEqual(["instance.key-proof"]);
  expect(judged({ keyProof: new Uint8Array() }).failed).toEqual(["instance.key-proof"]);
  expect(judged({ keyProof: proof, proofContext: new Uint8Array() }).failed).toEqual(["instance.key-proof"]);
});

test("all that does not fit is named at once", () => {
  const policy = { documents: ["22".repeat(32)], keys: ["11".repeat(32)], pcr: 15 };
  expect(judged({ policy, document: bytes, keyProof: new Uint8Array(KEY_PROOF_LENGTH) }).failed).toEqual([
    "instance.document",
    "instance.pinned-document",
    "instance.key-proof",
    "instance.key",
  ]);
});

test("a key proof breaks with every byte of it, and with every byte of the connection", () => {
  expect(proof).toHaveLength(KEY_PROOF_LENGTH);
  expect(toHex(verifyInstanceKey(suite, proof, context) as Uint8Array)).toBe(publicKey);
  const flipped = (source: Uint8Array, at: number) => source.map((byte, i) => (i === at ? byte ^ 1 : byte));
  for (let i = 0; i < proof.length; i++)
    expect(verifyInstanceKey(nodeSuite, flipped(proof, i), context)).toBeUndefined();
  for (let i = 0; i < context.length; i++)
    expect(verifyInstanceKey(nodeSuite, proof, flipped(context, i))).toBeUndefined();
  expect(verifyInstanceKey(suite, concat(proof, Uint8Array.of(0)), context)).toBeUndefined();
});

test("a key proof of a renewal is none for the connection's beginning, nor for another renewal", () => {
  const start = newContext();
  const nonce = new Uint8Array(32).fill(1);
  const renewal = keyProofContext({ ...start, counter: 1, renewalNonce: nonce });
  const renewed = signInstanceKey(suite, secret, renewal);
  expect(verifyInstanceKey(suite, renewed, renewal)).toBeDefined();
  for (const wrong of [
    keyProofContext(start),
    keyProofContext({ ...start, counter: 2, renewalNonce: nonce }),
    keyProofContext({ ...start, counter: 1, renewalNonce: new Uint8Array(32) }),
  ]) {
    expect(verifyInstanceKey(suite, renewed, wrong)).toBeUndefined();
  }
});

test("nothing is signed without a connection", () => {
  expect(() => signInstanceKey(suite, secret, new Uint8Array())).toThrow(SealttyError);
});

// appraise() against an attacker who can change every byte, or who owns a key and signs what it likes.

import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import {
  acceptedEvidenceTypes,
  appraise,
  describeUnderNoPolicy,
} from "../../../protocol/attestation/appraisal.ts";
import {
  commitmentOf,
  bareCommitment,
  type Commitment,
  commitmentOfFile,
} from "../../../protocol/attestation/commitment.ts";
import { decodeAux, encodeAux } from "../../../protocol/attestation/aux.ts";
import { type BindingContext, binderOf } from "../../../protocol/attestation/binder.ts";
import { NO_COLLATERAL } from "../../../protocol/attestation/collateral.ts";
import type { Evidence } from "../../../protocol/attestation/evidence.ts";
import { type Policy, parsePolicy } from "../../../protocol/attestation/policy.ts";
import { VENDOR_ROOTS } from "../../../protocol/attestation/roots.ts";
import { signSimulatedQuote, simulatedParts } from "../../../protocol/attestation/simulated.ts";
import { ATTRIBUTES } from "../../../protocol/attestation/tpm/public.ts";
import { decodeTpmQuote, encodeTpmQuote } from "../../../protocol/attestation/tpm/quote.ts";
import { tpmEventLogOf } from "../../../protocol/attestation/tpm/verify.ts";
import { VerifiedGuest } from "../../../protocol/attestation/verified-guest.ts";
import { documentDigests } from "../../../protocol/attestation/instance/document.ts";
import { concat, toHex, utf8 } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import { DOCUMENT } from "./made-instances.ts";
import {
  GOOD_ATTRIBUTES,
  SoftwareAk,
  makeTpmEvidence,
  newContext,
  pcrsOf,
  refusedBy,
  signatures,
  suite,
} from "./support.ts";

const ak = new SoftwareAk();
const context = newContext();
const pcrs = pcrsOf({ 0: "firmware", 4: "kernel", 7: "secure boot" });
const hexOf = (index: number) => toHex(pcrs.find((pcr) => pcr.index === index)?.value as Uint8Array);

function policyOf(changes: { ak?: string; four?: string; more?: string; bank?: string } = {}): Policy {
  return parsePolicy(`version = 1
name = "db1"
minimumAssurance = "host-vouched"
[tpm]
ak = ["${changes.ak ?? ak.name}"]
${changes.bank ?? ""}
[tpm.pcrs]
4 = ["${changes.four ?? hexOf(4)}"]
${changes.more ?? ""}`);
}

const input = (
  evidence: Evidence,
  policy = policyOf(),
  acceptSimulated = false,
  of: BindingContext = context,
) => ({
  evidence,
  commitment: commitmentOf(suite, of),
  now: Date.UTC(2026, 5, 15),
  roots: VENDOR_ROOTS,
  collateral: NO_COLLATERAL,
  policy,
  suite,
  signatures,
  acceptSimulated,
});
const good = makeTpmEvidence(ak, context, pcrs);

test("good TPM evidence makes a VerifiedGuest that says what was checked and what was not", async () => {
  const { claims } = await appraise(input(good));
  expect(claims.type).toBe("tpm");
  expect(claims.assurance).toBe("host-vouched");
  expect(claims.signedBy).toBe(`TPM attestation key ${ak.name}`);
  expect(claims.anyInstance).toBe(false);
  expect(claims.verified.map((line) => line.check)).toEqual([
    "tpm.ak-attributes",
    "tpm.signature",
    "tpm.pcr-digest",
    "tpm.boot",
    "tpm.binding",
    "tpm.ak-name",
    "tpm.pcr",
    "assurance",
  ]);
  expect(claims.notVerified.join("\n")).toContain("belongs to the host");
  expect(claims.notVerified.join("\n")).toContain("memory is encrypted");
  expect(claims.notVerified).toContain("PCRs quoted but not pinned by the policy: 0, 7");
  expect(claims.notVerified).toContain("The event log: the guest sent no event log");
  expect(claims.warnings).toEqual([]);
});

test("the saved policy pins what was found, and accepts the same evidence", async () => {
  const { claims } = await appraise(input(good));
  expect(parsePolicy(claims.policyText).tpm?.pcrs.size).toBe(3);
  const again = await appraise(input(good, parsePolicy(claims.policyText)));
  expect(again.claims.policyText).toBe(claims.policyText);
});

test("the PCR of a proven document is the document's: the saved policy pins it once, and comments on PCR 1 and 5", async () => {
  const document = utf8(DOCUMENT);
  const digests = documentDigests(suite, document);
  const evidenceIn = (index: number) =>
    makeTpmEvidence(
      ak,
      context,
      [...pcrsOf({ 1: "boot order", 4: "kernel" }), { bank: "sha256", index, value: digests.pcr.sha256 }],
      undefined,
      {},
      { instanceDocument: document },
    );
  const { claims } = await describeUnderNoPolicy({ ...input(evidenceIn(15)), name: "db1" });
  const saved = parsePolicy(claims.policyText);
  expect(saved.instance).toEqual({ documents: [toHex(digests.sha256)], keys: [], pcr: 15 });
  expect([...(saved.tpm?.pcrs.keys() ?? [])]).toEqual([1, 4]);
  expect(claims.policyText).toMatch(/# firmware configuration: .*boot order.*\n1 = /);
  await appraise(input(evidenceIn(15), saved));
  // Another PCR, which the owner's policy names.
  const other: Policy = { ...saved, instance: { ...saved.instance, pcr: 14 } };
  const again = parsePolicy((await appraise(input(evidenceIn(14), other))).claims.policyText);
  expect(again.instance.pcr).toBe(14);
  expect([...(again.tpm?.pcrs.keys() ?? [])]).toEqual([1, 4]);
  await appraise(input(evidenceIn(14), again));
  // Without a document it is a register like any other.
  const bare = makeTpmEvidence(ak, context, pcrsOf({ 4: "kernel", 15: "machine" }));
  const { policyText } = (await describeUnderNoPolicy({ ...input(bare), name: "db1" })).claims;
  expect([...(parsePolicy(policyText).tpm?.pcrs.keys() ?? [])]).toEqual([4, 15]);
});

test("describeUnderNoPolicy() checks the crypto, gives a policy that accepts it, and no VerifiedGuest", async () => {
  const result = await describeUnderNoPolicy({ ...input(good), name: "db 1" });
  expect(result).not.toBeInstanceOf(VerifiedGuest);
  expect(result.claims.warnings[0]).toContain("No policy was applied");
  const { claims } = await appraise(input(good, parsePolicy(result.claims.policyText)));
  expect(claims.warnings).toEqual([]);
  const relayed = { ...input(good, policyOf(), false, newContext()), name: "db 1" };
  expect(await refusedBy(() => describeUnderNoPolicy(relayed))).toBe("tpm.binding");
});

test("describeUnderNoPolicy() of a file, or of a bare report, claims no connection", async () => {
  const described = async (commitment: Commitment) =>
    (await describeUnderNoPolicy({ ...input(good), commitment, name: "db1" })).claims;
  const bare = await described(bareCommitment(undefined));
  expect(bare.verified.map(({ check }) => check)).not.toContain("tpm.binding");
  expect(bare.fresh).toMatch(/^Unknown/);
  expect(bare.notVerified.join("\n")).toContain("no report data was named");
  expect(bare.warnings.join("\n")).toContain("may be replayed");
  const file = await described(commitmentOfFile(suite, context, ", fetched then"));
  expect(file.verified.map(({ check }) => check)).toContain("tpm.binding");
  expect(file.fresh).toContain("fetched then");
  expect(file.notVerified.join("\n")).toContain("Who had that connection");
  expect(file.warnings.join("\n")).not.toContain("replayed");
  for (const { verdict } of [bare, file]) expect(verdict).not.toContain("answered");
});

test("anyInstance accepts any key, and says so for ever", async () => {
  const policy = parsePolicy(
    `version = 1\nanyInstance = true\nminimumAssurance = "host-vouched"\n[tpm.pcrs]\n7 = ["${hexOf(7)}"]`,
  );
  const { claims } = await appraise(input(good, policy));
  expect(claims.anyInstance).toBe(true);
  expect(claims.warnings.join("\n")).toContain("any machine");
  expect(claims.warnings.join("\n")).toContain("which kernel was started");
});

test.each([
  ["another machine's key", "tpm.ak-name", () => good, () => policyOf({ ak: `000b${"11".repeat(32)}` })],
  ["another kernel", "tpm.pcr", () => good, () => policyOf({ four: "22".repeat(32) })],
  [
    "a pinned PCR outside the quote",
    "tpm.pcr-selection",
    () => good,
    () => policyOf({ more: `9 = ["${"00".repeat(32)}"]` }),
  ],
  [
    "a pinned PCR quoted in another bank only",
    "tpm.pcr-selection",
    () => good,
    () => policyOf({ bank: 'bank = "sha384"', four: "22".repeat(48) }),
  ],
  ["evidence of another connection", "tpm.binding", () => makeTpmEvidence(ak, newContext(), pcrs), policyOf],
  ["evidence that the policy has no section for", "evidence.type", () => good, () => simulatedPolicy],
  ["SNP evidence", "evidence.type", () => ({ ...good, type: "sev-snp" as const }), policyOf],
  ["TDX evidence", "evidence.type", () => ({ ...good, type: "tdx" as const }), policyOf],
  ["Azure evidence", "evidence.type", () => ({ ...good, type: "azure-snp" as const }), policyOf],
  [
    "a quote whose magic is not a TPM's",
    "tpm.magic",
    () => makeTpmEvidence(ak, context, pcrs, undefined, { magic: 0xff544348 }),
    policyOf,
  ],
  [
    "a signed structure of another type",
    "tpm.type",
    () => makeTpmEvidence(ak, context, pcrs, undefined, { type: 0x801a }),
    policyOf,
  ],
  [
    "a signed structure with a byte left over",
    "tpm.format",
    () => makeTpmEvidence(ak, context, pcrs, undefined, { trailing: new Uint8Array(1) }),
    policyOf,
  ],
  [
    "empty qualifying data",
    "tpm.binding",
    () => makeTpmEvidence(ak, context, pcrs, undefined, { extraData: new Uint8Array() }),
    policyOf,
  ],
  [
    "PCR values that are not the quoted ones",
    "tpm.pcr-digest",
    () => makeTpmEvidence(ak, context, pcrs, undefined, { pcrDigest: new Uint8Array(32) }),
    policyOf,
  ],
] as const)("%s is refused by %s", async (_what, check, evidence, policy) => {
  expect(await refusedBy(() => appraise(input(evidence(), policy())))).toBe(check);
});

test("the values must be of the quoted PCRs, in the quoted order", async () => {
  const swapped = [...pcrs].reverse();
  expect(await refusedBy(() => appraise(input(makeTpmEvidence(ak, context, swapped))))).toBe("tpm.pcr-list");
});

test.each(["fixedTPM", "fixedParent", "sensitiveDataOrigin", "restricted", "sign"] as const)(
  "a key without %s is refused even where the policy names it",
  async (attribute) => {
    const weak = new SoftwareAk(GOOD_ATTRIBUTES & ~ATTRIBUTES[attribute]);
    const attempt = () => appraise(input(makeTpmEvidence(weak, context, pcrs), policyOf({ ak: weak.name })));
    expect(await refusedBy(attempt)).toBe("tpm.ak-attributes");
  },
);

test("a key that also decrypts is refused", async () => {
  const weak = new SoftwareAk(GOOD_ATTRIBUTES | ATTRIBUTES.decrypt);
  const attempt = () => appraise(input(makeTpmEvidence(weak, context, pcrs), policyOf({ ak: weak.name })));
  expect(await refusedBy(attempt)).toBe("tpm.ak-attributes");
});

test("another key's signature under the pinned key's name is refused", async () => {
  const forged = makeTpmEvidence(new SoftwareAk(), context, pcrs);
  const aux = encodeAux({ ...decodeAux("tpm", forged.aux), akPublic: ak.publicArea });
  expect(await refusedBy(() => appraise(input({ ...forged, aux })))).toBe("tpm.signature");
});

test("a changed byte anywhere in quote or aux is refused, and never another error", async () => {
  const evidence = makeTpmEvidence(ak, context, pcrs, new Uint8Array(randomBytes(40)));
  expect(await appraise(input(evidence))).toBeInstanceOf(VerifiedGuest);
  for (const part of ["quote", "aux"] as const) {
    for (let at = 0; at < evidence[part].length; at++) {
      for (const mask of [0x01, 0x80, 0xff]) {
        const changed = evidence[part].slice();
        changed[at] = (changed[at] as number) ^ mask;
        await refusedBy(() => appraise(input({ ...evidence, [part]: changed })));
      }
    }
    for (const changed of [
      evidence[part].slice(0, -1),
      concat(evidence[part], new Uint8Array(1)),
      new Uint8Array(),
    ]) {
      await refusedBy(() => appraise(input({ ...evidence, [part]: changed })));
    }
  }
});

test.each(["handshakeHash", "guestStatic", "exporter", "clientNonce"] as const)(
  "evidence made for another %s is refused",
  async (field) => {
    const changed = context[field].slice();
    changed[31] = (changed[31] as number) ^ 1;
    const attempt = () => appraise(input(good, policyOf(), false, { ...context, [field]: changed }));
    expect(await refusedBy(attempt)).toBe("tpm.binding");
  },
);

test("an event log that is no log is not a refusal, but is not verified either", async () => {
  const evidence = makeTpmEvidence(ak, context, pcrs, new Uint8Array(randomBytes(100)).fill(0xee));
  const { claims } = await appraise(input(evidence));
  expect(claims.notVerified).toContain("The event log: the event log is malformed");
  expect(claims.verified.map((line) => line.check)).not.toContain("tpm.event-log");
  expect(tpmEventLogOf(decodeAux("tpm", evidence.aux), "sha256", suite).events).toEqual([]);
});

test("a policy that wants more than a TPM can give refuses it", async () => {
  const strict: Policy = { ...policyOf(), minimumAssurance: "hardware" };
  expect(await refusedBy(() => appraise(input(good, strict)))).toBe("assurance");
});

// --- simulated ---------------------------------------------------------------------------------------------------------

const simulatedPolicy = parsePolicy(
  'version = 1\nminimumAssurance = "simulated"\n[simulated]\ninstance = "demo"\n',
);

function simulatedEvidence(instance = "demo", of = context): Evidence {
  const secretKey = new Uint8Array(randomBytes(32));
  const aux = encodeAux(simulatedParts({ publicKey: suite.ed25519PublicKey(secretKey), instance }));
  const quote = signSimulatedQuote(suite, secretKey, binderOf(suite, of, "simulated", aux));
  return { type: "simulated", quote, aux };
}

test("simulated evidence needs the policy's section and the user's word, both", async () => {
  const evidence = simulatedEvidence();
  const { claims } = await appraise(input(evidence, simulatedPolicy, true));
  expect(claims.assurance).toBe("simulated");
  expect(claims.warnings.join()).toContain("SIMULATED");
  expect(claims.notVerified.join()).toContain("Everything");
  await appraise(input(evidence, parsePolicy(claims.policyText), true));
  expect(await refusedBy(() => appraise(input(evidence, simulatedPolicy, false)))).toBe("simulated.accepted");
  expect(await refusedBy(() => appraise(input(evidence, policyOf(), true)))).toBe("evidence.type");
  const strict: Policy = { ...simulatedPolicy, minimumAssurance: "host-vouched" };
  expect(await refusedBy(() => appraise(input(evidence, strict, true)))).toBe("assurance");
});

test("simulated evidence of another instance or connection, or changed anywhere, is refused", async () => {
  const attempt = (evidence: Evidence) => refusedBy(() => appraise(input(evidence, simulatedPolicy, true)));
  expect(await attempt(simulatedEvidence("other"))).toBe("simulated.instance");
  expect(await attempt(simulatedEvidence("demo", newContext()))).toBe("simulated.binding");
  const evidence = simulatedEvidence();
  for (const part of ["quote", "aux"] as const) {
    for (let at = 0; at < evidence[part].length; at++) {
      const changed = evidence[part].slice();
      changed[at] = (changed[at] as number) ^ 0x04;
      await attempt({ ...evidence, [part]: changed });
    }
    await attempt({ ...evidence, [part]: concat(evidence[part], new Uint8Array(1)) });
  }
});

test("acceptedEvidenceTypes() offers simulated evidence only where the user said so", () => {
  expect(acceptedEvidenceTypes(policyOf(), true)).toEqual(["tpm"]);
  expect(acceptedEvidenceTypes(simulatedPolicy, false)).toEqual([]);
  expect(acceptedEvidenceTypes(simulatedPolicy, true)).toEqual(["simulated"]);
});

test("describeUnderNoPolicy() refuses a name that no policy may have", async () => {
  const attempt = describeUnderNoPolicy({ ...input(good), name: "a\nb" });
  await expect(attempt).rejects.toBeInstanceOf(SealttyError);
});

test("the containers give back what went in", () => {
  expect(encodeTpmQuote(decodeTpmQuote(good.quote))).toEqual(good.quote);
  expect(encodeAux(decodeAux("tpm", good.aux))).toEqual(good.aux);
});

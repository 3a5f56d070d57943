// checkTpm(), judgeTpm(), reportTpm() against an attacker who can change every byte, or owns a key and signs what it likes.

import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { decodeAux, encodeAux } from "../../../protocol/attestation/aux.ts";
import { binderOf, tpmQualifyingData } from "../../../protocol/attestation/binder.ts";
import type { Evidence } from "../../../protocol/attestation/evidence.ts";
import type { TpmPolicy } from "../../../protocol/attestation/policy/model.ts";
import { ATTRIBUTES } from "../../../protocol/attestation/tpm/public.ts";
import {
  decodeTpmQuote,
  encodeTpmQuote,
  readTpmParts,
  tpmParts,
} from "../../../protocol/attestation/tpm/quote.ts";
import {
  type TpmFacts,
  checkTpm,
  judgeTpm,
  reportTpm,
  tpmEventLogOf,
  valueOf,
} from "../../../protocol/attestation/tpm/verify.ts";
import { concat, toHex, u16, u32, utf8 } from "../../../protocol/bytes.ts";
import { SealttyError } from "../../../protocol/errors.ts";
import {
  GOOD_ATTRIBUTES,
  SoftwareAk,
  makeEventLog,
  makeTpmEvidence,
  newContext,
  pcrsOf,
  refusedBy,
  settled,
  sha256,
  signatures,
  suite,
} from "./support.ts";

const ak = new SoftwareAk();
const context = newContext();
const pcrs = pcrsOf({ 0: "firmware", 4: "kernel", 7: "secure boot" });
const hexOf = (index: number) => toHex(pcrs.find((pcr) => pcr.index === index)?.value as Uint8Array);
const good = makeTpmEvidence(ak, context, pcrs);

const check = ({ quote, aux }: Evidence) => checkTpm(quote, decodeAux("tpm", aux), { suite, signatures });
const policyOf = (changes: Partial<TpmPolicy> = {}): TpmPolicy => ({
  akNames: [ak.name],
  bank: "sha256",
  pcrs: new Map([[4, [hexOf(4)]]]),
  ...changes,
});
const judged = (facts: TpmFacts, policy = policyOf()) => settled((checks) => judgeTpm(facts, policy, checks));

test("good evidence: what was checked, what was not, what is bound, and values that tell machines and boots apart", async () => {
  const facts = await check(good);
  const report = reportTpm(facts);
  expect(report.assurance).toBe("host-vouched");
  expect(report.signedBy).toBe(`TPM attestation key ${ak.name}`);
  expect(report.bound).toEqual(tpmQualifyingData(suite, binderOf(suite, context, "tpm", good.aux)));
  expect(report.verified.map((line) => line.check)).toEqual([
    "tpm.ak-attributes",
    "tpm.signature",
    "tpm.pcr-digest",
    "tpm.boot",
  ]);
  expect(report.notVerified.join("\n")).toContain("belongs to the host");
  expect(report.notVerified.join("\n")).toContain("memory is encrypted");
  expect(report.notVerified).toContain("The event log: the guest sent no event log");
  expect(report.warnings).toEqual([]);
  expect(report.values.map(({ name, value, scope }) => [name, value, scope])).toEqual([
    ["tpm.ak-name", ak.name, "lasting"],
    ["tpm.pcr-0", hexOf(0), "lasting"],
    ["tpm.pcr-4", hexOf(4), "lasting"],
    ["tpm.pcr-7", hexOf(7), "lasting"],
    ["tpm.reset-count", "2", "boot"],
    ["tpm.restart-count", "1", "boot"],
  ]);
  const { verified, notVerified, warnings } = judged(facts);
  expect(verified.map((line) => line.check)).toEqual(["tpm.ak-name", "tpm.pcr"]);
  expect(notVerified).toContain("PCRs quoted but not pinned by the policy: 0, 7");
  expect(warnings).toEqual([]);
  expect(toHex(valueOf(facts, "sha256", 7) as Uint8Array)).toBe(hexOf(7));
  expect(valueOf(facts, "sha256", 15)).toBeUndefined();
});

test("what a saved policy would pin accepts the same evidence, and leaves out what changes at every look", async () => {
  const some = pcrsOf({ 0: "firmware", 4: "kernel", 10: "ima", 16: "debug", 23: "application" });
  const facts = await check(makeTpmEvidence(ak, context, some));
  const { pins, values } = reportTpm(facts);
  expect([...(pins.tpm?.pcrs.keys() ?? [])]).toEqual([0, 4]);
  expect(values.map((value) => value.name)).not.toContain("tpm.pcr-10");
  expect(judged(facts, pins.tpm).warnings).toEqual([]);
  const passing = await check(makeTpmEvidence(ak, context, pcrsOf({ 16: "debug" })));
  expect(reportTpm(passing).pins.tpm).toBeUndefined();
});

test("a policy that pins no kernel warns for ever; one without a key compares no key", async () => {
  const { warnings, verified } = judged(
    await check(good),
    policyOf({ akNames: [], pcrs: new Map([[7, [hexOf(7)]]]) }),
  );
  expect(warnings.join("\n")).toContain("which kernel was started");
  expect(verified.map((line) => line.check)).toEqual(["tpm.pcr"]);
});

test.each([
  ["another machine's key", "tpm.ak-name", policyOf({ akNames: [`000b${"11".repeat(32)}`] })],
  ["another kernel", "tpm.pcr", policyOf({ pcrs: new Map([[4, ["22".repeat(32)]]]) })],
  [
    "a pinned PCR outside the quote",
    "tpm.pcr-selection",
    policyOf({ pcrs: new Map([[9, ["00".repeat(32)]]]) }),
  ],
  [
    "a pinned PCR quoted in another bank only",
    "tpm.pcr-selection",
    policyOf({ bank: "sha384", pcrs: new Map([[4, ["22".repeat(48)]]]) }),
  ],
] as const)("%s is refused by %s", async (_what, expected, policy) => {
  const facts = await check(good);
  expect(await refusedBy(() => judged(facts, policy))).toBe(expected);
});

test("a refusal lists everything that does not fit, and names the keys to change", async () => {
  const facts = await check(good);
  const policy = policyOf({
    akNames: [`000b${"11".repeat(32)}`],
    pcrs: new Map([
      [4, ["22".repeat(32)]],
      [7, [hexOf(7)]],
      [9, ["33".repeat(32)]],
    ]),
  });
  let refusal: SealttyError["refusal"];
  try {
    judged(facts, policy);
  } catch (error) {
    if (error instanceof SealttyError) ({ refusal } = error);
  }
  expect([refusal?.check, refusal?.policyKey]).toEqual(["tpm.ak-name", "tpm.ak"]);
  expect(refusal?.others?.map((other) => [other.check, other.policyKey, other.found])).toEqual([
    ["tpm.pcr", "tpm.pcrs.4", hexOf(4)],
    ["tpm.pcr-selection", "tpm.pcrs.9", "PCR 0, 4, 7 of sha256"],
  ]);
});

const made = (change: Parameters<typeof makeTpmEvidence>[4]) =>
  makeTpmEvidence(ak, context, pcrs, undefined, change);

test.each([
  ["a quote whose magic is not a TPM's", "tpm.magic", () => made({ magic: 0xff544348 })],
  ["a signed structure of another type", "tpm.type", () => made({ type: 0x8017 })],
  ["a signed structure with a byte left over", "tpm.format", () => made({ trailing: new Uint8Array(1) })],
  [
    "PCR values that are not the quoted ones",
    "tpm.pcr-digest",
    () => made({ pcrDigest: new Uint8Array(32) }),
  ],
  [
    "values in another order than quoted",
    "tpm.pcr-list",
    () => makeTpmEvidence(ak, context, [...pcrs].reverse()),
  ],
  [
    "a quote of SHA-1 registers only",
    "tpm.pcr-selection",
    () => makeTpmEvidence(ak, context, pcrsOf({ 4: "kernel" }, "sha1")),
  ],
  [
    "a quote of no register at all",
    "tpm.pcr-selection",
    () => makeTpmEvidence(ak, context, [], undefined, { selections: u32(0) }),
  ],
] as const)("%s is refused by %s", async (_what, expected, evidence) => {
  expect(await refusedBy(() => check(evidence()))).toBe(expected);
});

test.each(["fixedTPM", "fixedParent", "sensitiveDataOrigin", "restricted", "sign"] as const)(
  "a key without %s is refused",
  async (attribute) => {
    const weak = new SoftwareAk(GOOD_ATTRIBUTES & ~ATTRIBUTES[attribute]);
    expect(await refusedBy(() => check(makeTpmEvidence(weak, context, pcrs)))).toBe("tpm.ak-attributes");
  },
);

test("a key that also decrypts is refused", async () => {
  const weak = new SoftwareAk(GOOD_ATTRIBUTES | ATTRIBUTES.decrypt);
  expect(await refusedBy(() => check(makeTpmEvidence(weak, context, pcrs)))).toBe("tpm.ak-attributes");
});

test("another key's signature under the pinned key's public area is refused", async () => {
  const forged = makeTpmEvidence(new SoftwareAk(), context, pcrs);
  const parts = { ...decodeAux("tpm", forged.aux), akPublic: ak.publicArea };
  expect(await refusedBy(() => checkTpm(forged.quote, parts, { suite, signatures }))).toBe("tpm.signature");
});

test("a signature of another scheme than the key's is refused before it is looked at", async () => {
  const { attest } = decodeTpmQuote(good.quote);
  for (const scheme of [0x14, 0x16]) {
    const signature = concat(u16(scheme), u16(0x0b), u16(256), new Uint8Array(256));
    const quote = encodeTpmQuote({ attest, signature });
    expect(await refusedBy(() => check({ ...good, quote }))).toBe("tpm.signature-scheme");
  }
});

test.each(["akPublic", "pcrs"] as const)("evidence without the part %s is refused", async (part) => {
  const { [part]: _, ...parts } = decodeAux("tpm", good.aux);
  expect(await refusedBy(() => checkTpm(good.quote, parts, { suite, signatures }))).toBe("tpm.format");
});

test("a changed byte anywhere in the quote is refused, and so is one cut or added", async () => {
  await check(good);
  for (let at = 0; at < good.quote.length; at++) {
    for (const mask of [0x01, 0x80, 0xff]) {
      const changed = good.quote.slice();
      changed[at] = (changed[at] as number) ^ mask;
      expect(await refusedBy(() => check({ ...good, quote: changed }))).toMatch(/^tpm\./);
    }
  }
  for (const quote of [good.quote.slice(0, -1), concat(good.quote, new Uint8Array(1)), new Uint8Array()]) {
    expect(await refusedBy(() => check({ ...good, quote }))).toBe("tpm.format");
  }
});

test("a changed byte in the key or the values beside the quote is refused", async () => {
  const parts = decodeAux("tpm", good.aux);
  for (const part of ["akPublic", "pcrs"] as const) {
    const bytes = parts[part] as Uint8Array;
    for (let at = 0; at < bytes.length; at++) {
      const changed = bytes.slice();
      changed[at] = (changed[at] as number) ^ 0x01;
      // Attributes that decide nothing may differ, and then it is another key by its name.
      const facts = await checkTpm(good.quote, { ...parts, [part]: changed }, { suite, signatures }).catch(
        (error: unknown) => {
          expect(error).toMatchObject({ code: "evidence-refused" });
          return undefined;
        },
      );
      if (facts !== undefined) {
        expect(part).toBe("akPublic");
        expect(await refusedBy(() => judged(facts))).toBe("tpm.ak-name");
      }
    }
  }
});

test("an event log is replayed against the quoted PCRs; one that is no log is not a refusal, but not verified either", async () => {
  const data = utf8("linux console=hvc0\0");
  const log = makeEventLog([{ index: 4, type: 0x0d, data }]);
  const value = sha256(concat(new Uint8Array(32), sha256(data)));
  const evidence = makeTpmEvidence(ak, context, [{ bank: "sha256", index: 4, value }], log);
  const facts = await check(evidence);
  expect(reportTpm(facts).verified.find((line) => line.check === "tpm.event-log")?.words).toContain("PCR 4");
  const shown = tpmEventLogOf(decodeAux("tpm", evidence.aux), "sha256", suite);
  expect(shown.events.map((event) => [event.register, event.text, event.textProven])).toEqual([
    ["PCR 4", "linux console=hvc0", true],
  ]);

  const noise = await check(makeTpmEvidence(ak, context, pcrs, new Uint8Array(randomBytes(100)).fill(0xee)));
  const report = reportTpm(noise);
  expect(report.notVerified).toContain("The event log: the event log is malformed");
  expect(report.verified.map((line) => line.check)).not.toContain("tpm.event-log");
});

test("the parts give back what went in", () => {
  const eventLog = new Uint8Array(randomBytes(10));
  const aux = { akPublic: ak.publicArea, pcrs, eventLog };
  expect(readTpmParts(decodeAux("tpm", encodeAux(tpmParts(aux))))).toEqual(aux);
  expect(tpmParts({ ...aux, eventLog: new Uint8Array() })).not.toHaveProperty("eventLog");
  expect(encodeTpmQuote(decodeTpmQuote(good.quote))).toEqual(good.quote);
});

// Every sample under shared/evidence/tpm, with the verdict that its expected.json gives.

import { createHash, createPublicKey } from "node:crypto";
import { expect, test } from "vitest";
import type { TpmPolicy } from "../../../protocol/attestation/policy/model.ts";
import { parseAttest } from "../../../protocol/attestation/tpm/attest.ts";
import { parseEventLog } from "../../../protocol/attestation/tpm/event-log-format.ts";
import { reportEventLog } from "../../../protocol/attestation/tpm/event-log.ts";
import { type BankName, type PcrValue, bankOfAlgorithm } from "../../../protocol/attestation/tpm/pcr.ts";
import { parsePublic, sha256Name, unwrapPublic } from "../../../protocol/attestation/tpm/public.ts";
import { encodeTpmQuote, tpmParts } from "../../../protocol/attestation/tpm/quote.ts";
import { checkQuote } from "../../../protocol/attestation/tpm/quoted.ts";
import { checkTpm, judgeTpm, reportTpm } from "../../../protocol/attestation/tpm/verify.ts";
import { refuse } from "../../../protocol/attestation/refusal.ts";
import { Reader, concat, equalBytes, fromHex, lv16, toHex, u16, u32 } from "../../../protocol/bytes.ts";
import {
  GOOD_ATTRIBUTES,
  evidenceDirectory,
  hasEvidence,
  refusedBy,
  sample,
  sampleJson,
  samples,
  settled,
  signatures,
  sha256,
  suite,
} from "./support.ts";

if (!hasEvidence)
  test("sample evidence is absent: its tests did not run", () => {
    expect(samples("tpm")).toEqual([]);
    console.warn(`No sample evidence at ${evidenceDirectory}; the other attestation tests still ran.`);
  });

type Selection = readonly [string, readonly number[]];

/** PCR values of a sample, in the order of its selection, as a guest would send them. */
function pcrsInOrder(
  selections: readonly Selection[],
  banks: Record<string, Record<string, string>>,
): PcrValue[] {
  return selections.flatMap(([alg, indexes]) => {
    const bank = bankOfAlgorithm(Number(alg)) as BankName;
    return indexes.map((index) => ({ bank, index, value: fromHex(banks[bank]?.[index] as string) }));
  });
}

const hash = (bank: string) => (message: Uint8Array) =>
  new Uint8Array(createHash(bank).update(message).digest());
const BOOT_PCRS = [0, 4, 7, 11];

/** The owner's policy of a sample: that key, those values (PCR 11 of the substituted case as it truly was). */
function policyFor(akName: string, pcrs: readonly PcrValue[]): TpmPolicy {
  const bank = pcrs.some((pcr) => pcr.bank === "sha256") ? "sha256" : "sha384";
  const values = new Map<number, string[]>();
  for (const index of BOOT_PCRS) {
    const value = pcrs.find((pcr) => pcr.bank === bank && pcr.index === index)?.value ?? new Uint8Array(32);
    values.set(index, [toHex(value)]);
  }
  return { akNames: [akName], bank, pcrs: values };
}

const EXPECTED_CHECK: Record<string, string> = {
  "swtpm-rsa-pcr16-only": "tpm.pcr-selection",
  "swtpm-forged-by-unrestricted-key": "tpm.ak-attributes",
  "swtpm-pcr11-substituted": "tpm.pcr-digest",
  "swtpm-sig-flip": "tpm.signature",
  "swtpm-wrong-ak": "tpm.signature-scheme",
  "swtpm-nonce-replay": "tpm.binding",
  "swtpm-attest-certify-as-quote": "tpm.type",
};
const PARSE_ONLY = ["dstack-quote-msg-parse-only", "swtpm-make-activate-credential"];
const FOREIGN_LAYOUT = ["gce-cos85-nonce9009", "trustee-swtpm-rsa"];
const ordinary = samples("tpm").filter((name) => ![...PARSE_ONLY, ...FOREIGN_LAYOUT].includes(name));

test.runIf(hasEvidence)("every TPM sample has a test", () => {
  const failing = samples("tpm").filter(
    (name) => sampleJson(`tpm/${name}/expected.json`).expected === "fail",
  );
  expect(failing.sort()).toEqual(Object.keys(EXPECTED_CHECK).sort());
  expect(samples("tpm")).toHaveLength(15);
});

test.runIf(hasEvidence).each(ordinary)("sample %s gets its expected verdict", async (name) => {
  const expected = sampleJson(`tpm/${name}/expected.json`);
  const akPublic = unwrapPublic(sample(`tpm/${name}/ak.tpm2b_public`));
  const akName = toHex(sha256Name(akPublic, sha256));
  const certify = name === "swtpm-attest-certify-as-quote";
  const pcrs = certify ? [] : pcrsInOrder(expected.tpm_quote.sel, sampleJson(`tpm/${name}/pcrs.json`));
  const nonce =
    name === "swtpm-nonce-replay"
      ? hash("sha256")(new TextEncoder().encode("other"))
      : fromHex(expected.tpm_quote?.extra ?? "");
  const judge = async () => {
    const quote = { attest: sample(`tpm/${name}/quote.msg`), signature: sample(`tpm/${name}/quote.sig`) };
    const parts = tpmParts({ akPublic, pcrs, eventLog: new Uint8Array() });
    const facts = await checkTpm(encodeTpmQuote(quote), parts, { suite, signatures });
    // The appraisal's own comparison, with a nonce in the place of the binder.
    if (!equalBytes(facts.bound, nonce))
      refuse("tpm.binding", "Stale", toHex(nonce), toHex(facts.bound), "Next");
    return { facts, ...settled((checks) => judgeTpm(facts, policyFor(akName, pcrs), checks)) };
  };
  if (expected.expected === "fail") {
    expect(await refusedBy(judge)).toBe(EXPECTED_CHECK[name]);
  } else {
    const { facts, verified } = await judge();
    expect(verified.map((line) => line.check)).toContain("tpm.ak-name");
    expect(verified.filter((line) => line.check === "tpm.pcr")).toHaveLength(BOOT_PCRS.length);
    const report = reportTpm(facts);
    expect(report.notVerified).toContain("The event log: the guest sent no event log");
    expect(report.pins.tpm?.akNames).toEqual([akName]);
    settled((checks) => judgeTpm(facts, report.pins.tpm as TpmPolicy, checks));
    expect(toHex(sample(`tpm/${name}/ak.name`))).toBe(akName);
  }
});

test.runIf(hasEvidence)(
  "sample gce-cos85: quotes of three banks verify, the log replays to PCR 0-9, PCR 10 is not in it",
  async () => {
    const at = "tpm/gce-cos85-nonce9009";
    const akPublic = sample(`${at}/ak.tpmt_public`);
    const eventLog = sample(`${at}/eventlog.bin`);
    for (const { bank, quote } of sampleJson(`${at}/expected.json`).quotes) {
      const pcrs = pcrsInOrder(quote.sel, { [bank]: sampleJson(`${at}/pcrs_${bank}.json`) });
      const attested = {
        attest: sample(`${at}/quote_${bank}.msg`),
        signature: sample(`${at}/quote_${bank}.sig`),
      };
      const ak = parsePublic(akPublic);
      const key = { key: ak.key, scheme: ak.scheme, name: "ak", check: "tpm.signature", problem: "Forged" };
      const quoted = await checkQuote(attested, pcrs, key, { suite, signatures });
      expect(toHex(quoted.bound)).toBe(quote.extra);
      const report = reportEventLog(eventLog, quoted.pcrs, bank, hash(bank));
      expect(report.problem).toBeUndefined();
      expect(report.reproduced).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      expect(report.differing).toEqual([]);
      expect(report.uncovered).toContain(10);
      expect(report.events.every((event) => event.verified || event.type === "EV_NO_ACTION")).toBe(true);
      const whole = () =>
        checkTpm(encodeTpmQuote(attested), tpmParts({ akPublic, pcrs, eventLog }), { suite, signatures });
      if (bank === "sha1") {
        expect(await refusedBy(whole)).toBe("tpm.pcr-selection"); // no policy may pin it
        continue;
      }
      const facts = await whole();
      settled((checks) => judgeTpm(facts, policyFor(facts.akName, pcrs), checks));
      const told = reportTpm(facts);
      expect(told.verified.find((line) => line.check === "tpm.event-log")?.words).toContain("PCR 0, 1, 2, 3");
      expect(told.notVerified.join("\n")).toContain("How PCR 10");
    }
  },
);

test.runIf(hasEvidence)(
  "sample gce-cos85: a log with one digest changed is not verified where it matters",
  () => {
    const at = "tpm/gce-cos85-nonce9009";
    const values = sampleJson(`${at}/pcrs_sha256.json`) as Record<string, string>;
    const quoted = Object.entries(values).map(([index, value]) => ({
      bank: "sha256" as const,
      index: Number(index),
      value: fromHex(value),
    }));
    const log = sample(`${at}/eventlog.bin`);
    const parsed = parseEventLog(log);
    if (parsed.format !== "crypto-agile") throw new Error("not crypto-agile");
    const target = parsed.events.findLast((event) => event.index === 4)?.digests.get("sha256") as Uint8Array;
    target[0] = (target[0] as number) ^ 1; // a view into `log`
    const report = reportEventLog(log, quoted, "sha256", sha256);
    expect(report.differing).toEqual([4]);
    expect(report.events.filter((event) => event.index === 4).some((event) => event.verified)).toBe(false);
    expect(report.events.filter((event) => event.index === 7).some((event) => event.verified)).toBe(true);
  },
);

test.runIf(hasEvidence)(
  "sample trustee-swtpm-rsa: a quote with 64 bytes of qualifying data verifies",
  async () => {
    const at = "tpm/trustee-swtpm-rsa";
    const key = createPublicKey({
      key: Buffer.from(sample(`${at}/ak_spki.der`)),
      format: "der",
      type: "spki",
    });
    const modulus = new Uint8Array(Buffer.from(key.export({ format: "jwk" }).n as string, "base64url"));
    // The sample has no TPMT_PUBLIC: this one has its modulus and the usual attributes.
    const akPublic = concat(
      ...[
        u16(1),
        u16(0x0b),
        u32(GOOD_ATTRIBUTES),
        u16(0),
        u16(0x10),
        u16(0x14),
        u16(0x0b),
        u16(2048),
        u32(0),
      ],
      lv16(modulus),
    );
    const { extra, sel } = sampleJson(`${at}/expected.json`).tpm_quote;
    const list = sampleJson(`${at}/pcrs_sha256.json`) as string[];
    const pcrs = pcrsInOrder(sel, { sha256: Object.fromEntries(list.entries()) });
    const quote = { attest: sample(`${at}/quote.msg`), signature: sample(`${at}/quote.sig`) };
    const parts = tpmParts({ akPublic, pcrs, eventLog: new Uint8Array() });
    const facts = await checkTpm(encodeTpmQuote(quote), parts, { suite, signatures });
    expect(toHex(facts.bound)).toBe(extra);
    expect(facts.resetCount).toBe(2);
  },
);

test.runIf(hasEvidence)("sample dstack: a quote of another maker parses to its values", () => {
  const { tpm_quote: expected } = sampleJson("tpm/dstack-quote-msg-parse-only/expected.json");
  const attest = parseAttest(sample("tpm/dstack-quote-msg-parse-only/quote.msg"));
  expect(toHex(attest.qualifiedSigner)).toBe(expected.qs);
  expect(toHex(attest.extraData)).toBe(expected.extra);
  expect(attest.quote?.selections).toEqual([{ bank: "sha256", indexes: [0, 1, 2] }]);
  expect(toHex(attest.quote?.pcrDigest as Uint8Array)).toBe(expected.pcrDigest);
});

// Only the TPM that holds the EK can open such a credential, and no verifier here makes one: its shape, and its keys'.
test.runIf(hasEvidence)(
  "sample make-activate-credential: the AK parses to its name, the EK is no signing key, the credential is for them",
  () => {
    const at = "tpm/swtpm-make-activate-credential";
    const ak = unwrapPublic(sample(`${at}/ak.tpm2b_public`));
    expect(parsePublic(ak).kind).toBe("rsa-2048");
    expect(toHex(sha256Name(ak, sha256))).toBe(toHex(sample(`${at}/ak.name`)));
    expect(() => parsePublic(unwrapPublic(sample(`${at}/ek_rsa.tpm2b_public`)))).toThrow(
      "storage or decryption key",
    );

    const blob = new Reader(sample(`${at}/credential.blob`), "Credential");
    expect([blob.u32(), blob.u32()]).toEqual([0xbadcc0de, 1]); // the tool's own header
    const idObject = new Reader(blob.lv16(256), "TPM2B_ID_OBJECT");
    expect(idObject.lv16(32)).toHaveLength(32); // integrity: HMAC-SHA256
    expect(idObject.rest()).toHaveLength(2 + sample(`${at}/secret.bin`).length); // the secret as TPM2B, encrypted
    expect(blob.lv16(512)).toHaveLength(256); // the seed, under the EK's RSA-2048 key
    blob.end();
  },
);
